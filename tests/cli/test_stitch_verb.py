"""``streamer stitch`` on files of known attenuation: tiles to a wide field, a magnified part inside its overview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer
from streamer.cli import main
from streamer.core.masks import circle_mask
from streamer.flow.scan import ScanState
from streamer.frames import ScanSpec
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.source_file import ScanFile
from streamer.phantoms import Gaussian, image, sinogram
from tests.io.helpers import ENDED, STARTED, meta_of

PIXEL_M = 5e-6
PIXEL_MM = 1e3 * PIXEL_M
ANGLES = np.arange(90) * np.pi / 90
DARK, BEAM = 100.0, 60_000.0
GAIN = np.random.default_rng(3)
BODY = [Gaussian(1.0, 7.0, 3.0, -2.0), Gaussian(0.6, 4.0, 17.0, 12.0), Gaussian(0.8, 5.0, -15.0, 9.0)]
"""Smooth, so that interpolation is exact enough; nothing in it is symmetrical."""


def recorded(path: Path, attenuation: NDArray[Any], pixel_m: float | None = PIXEL_M, **metadata: str) -> Path:
    """A raw file of (projections, rows, columns); the detector of each scan has a pattern of its own."""
    count, rows, columns = attenuation.shape
    spec = ScanSpec(
        path.stem, "tooth", rows=rows, columns=columns, projections=count, flats=2, darks=2,
        pixel_size_m=pixel_m, energy_kev=25.0, distance_m=0.25, metadata=metadata,
    )  # fmt: skip
    beam = BEAM * GAIN.uniform(0.8, 1.0, (rows, columns))
    frames = [*[np.zeros((rows, columns))] * 2, *[beam] * 2, *(beam * np.exp(-attenuation))]
    file = NXtomoFile.create(path, spec, STARTED)
    for index, counts in enumerate(frames):
        file.append(meta_of(index, spec), np.rint(counts + DARK).astype("<u2"))
    file.close(ScanState.COMPLETE, ended=ENDED)
    return path


def attenuation_in(path: Path) -> NDArray[np.float64]:
    """(projections, rows, columns) of a joined file, by its own dark and flat."""
    with ScanFile.open(path) as scan:
        dark, flat = (np.concatenate(list(frames))[0] for frames in (scan.darks(), scan.flats()))
        raw = scan.rows(0, scan.info.rows)
    return np.asarray(-np.log((raw - dark) / (flat - dark)), np.float64)


def tile(path: Path, whole: NDArray[Any], rows: slice, columns: slice) -> Path:
    """What a detector saw of the wide field; the sample was moved against the place of the tile."""
    x, z = -columns.start * PIXEL_MM, -rows.start * PIXEL_MM
    return recorded(path, whole[:, rows, columns], tile_x_mm=repr(x), tile_z_mm=repr(z))


def wide_field(rows: int, columns: int) -> NDArray[np.float32]:
    """Line integrals (angles, rows, columns) of the body, which grows denser from row to row."""
    one = 0.04 * sinogram(BODY, columns, ANGLES)
    return one[:, None] * np.linspace(0.7, 1.3, rows, dtype=np.float32)[:, None]


def test_two_tiles_that_overlap_give_the_tomogram_of_the_whole_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = wide_field(3, 81), tmp_path / "wide.nx"
    right = tile(tmp_path / "right.nx", whole, slice(0, 3), slice(33, 81))
    left = tile(tmp_path / "left.nx", whole, slice(0, 3), slice(0, 48))
    assert main(["stitch", str(right), str(left), "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert told.err.splitlines()[-1] == "joining to 3×81: 90 of 90"
    np.testing.assert_allclose(attenuation_in(out), whole, atol=5e-4)
    with streamer.open(out) as joined:
        spec = joined.spec
        assert spec.sample == "tooth"
        assert [spec.pixel_size_m, spec.energy_kev, spec.distance_m] == pytest.approx([PIXEL_M, 25.0, 0.25])
        result = joined.reconstruct(center=40.0)
    per_cm = 0.04 / (100 * PIXEL_M)
    truth = per_cm * image(BODY, 81) * np.linspace(0.7, 1.3, 3)[:, None, None]
    inside = circle_mask(81, 0.9)
    assert np.abs(result.volume - truth)[:, inside].max() < 0.01 * truth.max()


def test_tiles_below_and_beside_each_other_lie_where_the_plan_took_them(tmp_path: Path) -> None:
    whole = np.random.default_rng(5).uniform(0, 1.5, (20, 11, 24))  # every pixel differs: no place can be mistaken
    places = [(slice(top, top + 7), slice(left, left + 14)) for top in (4, 0) for left in (0, 10)]
    tiles = [tile(tmp_path / f"{number}.nx", whole, *place) for number, place in enumerate(places)]
    out = tmp_path / "wide.nx"
    assert main(["stitch", *map(str, tiles), "-o", str(out)]) == 0
    np.testing.assert_allclose(attenuation_in(out), whole, atol=5e-4)
    with ScanFile.open(out) as joined:
        np.testing.assert_allclose(joined.angles_deg, np.arange(20) * 9.0)


def test_a_magnified_part_is_continued_and_its_axis_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoom, axis, columns, large_mm = 2.0, 46.2, 48, 2 * PIXEL_MM
    x, y = 9.0, 6.0
    magnified = [
        Gaussian(part.value / zoom, zoom * part.sigma, zoom * (part.x - x), zoom * (part.y - y)) for part in BODY
    ]
    inner = (columns - 1) / 2 + zoom * (axis - 95 / 2)
    overview, part = (
        np.repeat(0.04 * sinogram(parts, width, ANGLES, center)[:, None], rows, axis=1)
        for parts, width, center, rows in ((BODY, 96, axis, 12), (magnified, columns, inner, 6))
    )
    box: dict[str, Any] = {f"box_{name}_mm": repr(place * large_mm) for name, place in (("x", x), ("y", y), ("z", 0.0))}
    files = recorded(tmp_path / "part.nx", part, **box), recorded(tmp_path / "all.nx", overview, zoom * PIXEL_M)
    out = tmp_path / "padded.nx"
    words = ["stitch", str(files[0]), "--overview", str(files[1]), "--overview-center", str(axis), "-o", str(out)]
    assert main(words) == 0
    padded = attenuation_in(out)
    begin = (padded.shape[2] - columns) // 2
    assert capsys.readouterr().out == f"centre of rotation {inner + begin:.2f} px\n{out}\n"
    truth = 0.04 * sinogram(magnified, padded.shape[2], ANGLES, inner + begin)
    assert np.abs(padded[:, 3] - truth).max() < 0.02 * truth.max()
    inside = slice(begin + 8, begin + columns - 8)
    np.testing.assert_allclose(padded[:, 3, inside], truth[:, inside], atol=1e-3)
    assert padded[:, :, :3].max() < 0.01 * truth.max()  # it reaches beyond the sample
    with ScanFile.open(out) as scan:
        assert scan.info.pixel_size_m == pytest.approx(PIXEL_M)


def test_scans_that_cannot_be_joined_are_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = np.full((20, 4, 8), 0.5)
    first = recorded(tmp_path / "first.nx", flat, tile_x_mm="0", tile_z_mm="0")
    far = recorded(tmp_path / "far.nx", flat, tile_x_mm=repr(-10 * PIXEL_MM), tile_z_mm="0")
    fewer = recorded(tmp_path / "fewer.nx", flat[:19], tile_x_mm="0", tile_z_mm="0")
    untold = recorded(tmp_path / "untold.nx", flat, tile_x_mm="0")
    unsized = recorded(tmp_path / "unsized.nx", flat, None, tile_x_mm="0", tile_z_mm="0")
    narrow = recorded(tmp_path / "narrow.nx", flat[:, :, :6], tile_x_mm="0", tile_z_mm="0")
    coarse = recorded(tmp_path / "coarse.nx", flat, 2 * PIXEL_M, tile_x_mm="0", tile_z_mm="0")
    words = recorded(tmp_path / "words.nx", flat, tile_x_mm="left", tile_z_mm="0")
    nowhere = recorded(tmp_path / "nowhere.nx", flat, tile_x_mm="nan", tile_z_mm="0")
    before = sorted(tmp_path.iterdir())
    for scans, said in (
        ((first, far), "the tiles leave a gap of 2.0 columns between them"),
        ((first, fewer), f"{fewer}: 19 projections, first.nx has 20"),
        ((first, untold), f"{untold}: says nothing of tile_z_mm; tomo_mosaic and tomo_zoom write it"),
        ((unsized, first), f"{unsized}: has no pixel size, which is needed to join scans"),
        ((first, unsized), f"{unsized}: has no pixel size, which is needed to join scans"),
        ((first, narrow), f"{narrow}: 4×6 pixels, {first} has 4×8"),
        ((first, coarse), f"{coarse}: pixels of 10 µm, {first} has 5 µm"),
        ((first, words), f"{words}: tile_x_mm is 'left', which is no length in mm"),
        ((first, nowhere), f"{nowhere}: tile_x_mm is 'nan', which is no length in mm"),
        ((first, "--overview", far), f"{first}: says nothing of box_x_mm; tomo_mosaic and tomo_zoom write it"),
    ):
        assert main(["stitch", *map(str, scans), "-o", str(tmp_path / "out.nx")]) == 2
        assert capsys.readouterr().err == f"streamer stitch: {said}\n"
        assert sorted(tmp_path.iterdir()) == before
