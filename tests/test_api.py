"""``import streamer``: the numbers of the command line, and one line for whatever is not a scan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamer
from streamer import phantoms
from streamer.cli import main
from streamer.frames import Decision, FrameKind, StreamerError
from streamer.io.tomogram import read_tomogram

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty

N, ROWS, ANGLES, CENTER, PIXEL_M = 64, 6, 90, 30.4, 1e-5
ANGLES_DEG = np.rad2deg(phantoms.half_turn(ANGLES))
TRUTH = 0.05 * phantoms.image(phantoms.gaussians(N), N)


def attenuation() -> np.ndarray:
    line = phantoms.sinogram(phantoms.gaussians(N), N, phantoms.half_turn(ANGLES), CENTER)
    return 0.05 * line[:, None].repeat(ROWS, axis=1)


RNG = np.random.default_rng(2)
RAW = phantoms.exposures(attenuation(), rng=RNG)
FLATS = phantoms.exposures(np.zeros((4, ROWS, N)), rng=RNG)
DARKS = np.full((2, ROWS, N), 100, np.uint16)
FIELDS = {"flats": FLATS, "darks": DARKS}


def rms(volume: np.ndarray) -> float:
    return float(np.sqrt(np.mean((volume - TRUTH) ** 2)))


@pytest.fixture(scope="module")
def plain() -> streamer.Result:
    return streamer.reconstruct(RAW, ANGLES_DEG, **FIELDS)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "blobs.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/theta"] = RAW, ANGLES_DEG
        file["exchange/data_white"], file["exchange/data_dark"] = FLATS, DARKS
    return path


def by_command(scan: Path, folder: Path, *words: str) -> tuple[np.ndarray, dict[str, Any]]:
    out, told = folder / "out.h5", folder / "told.json"
    assert main(["reconstruct", str(scan), "-o", str(out), "--json", str(told), *words]) == 0
    return read_tomogram(out).data, json.loads(told.read_text())


def same(result: streamer.Result, volume: np.ndarray, told: dict[str, Any]) -> None:
    np.testing.assert_array_equal(result.volume, volume)
    assert result.unit == told["unit"]
    assert result.center == told["center_px"]
    assert result.quality.to_dict() == told["quality"]
    assert json.loads(json.dumps(result.verdict.to_dict())).items() <= told.items()
    assert json.loads(json.dumps(result.parameters)) == told["preparation"]


def test_the_volume_is_the_truth_and_everything_is_told(plain: streamer.Result) -> None:
    assert plain.volume.shape == (ROWS, N, N)
    assert plain.unit == "1/pixel"
    assert rms(plain.volume) < 0.02 * TRUTH.max()
    assert plain.center == pytest.approx(CENTER, abs=0.1)
    assert plain.verdict.decision is Decision.ENOUGH
    assert plain.quality.projections == ANGLES
    assert "array" not in repr(plain)


def test_arrays_give_the_numbers_of_the_command_line(plain: streamer.Result, scan: Path, tmp_path: Path) -> None:
    same(plain, *by_command(scan, tmp_path))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--center 30.4 --pixel-size-m 1e-5", {"center": CENTER, "pixel_size_m": PIXEL_M}),
        ("--rows 1:5 --bin 2", {"rows": slice(1, 5), "bin": 2}),
        ("--stripes full --zingers 8 --memory-mb 0.3", {"stripes": "full", "zingers": 8, "memory_mb": 0.3}),
        ("--method tv --iterations 4", {"method": "tv", "iterations": 4}),
    ],
)
def test_a_file_gives_the_numbers_of_the_command_line(
    scan: Path, tmp_path: Path, words: str, options: dict[str, Any]
) -> None:
    with streamer.open(scan) as opened:
        result = opened.reconstruct(**options)
    same(result, *by_command(scan, tmp_path, *words.split()))


def test_an_open_scan_is_read_when_it_is_asked_for(scan: Path) -> None:
    with streamer.open(str(scan)) as opened:
        assert opened.shape == (ANGLES, ROWS, N)
        assert (opened.spec.flats, opened.spec.darks, opened.spec.sample) == (4, 2, "blobs")
        np.testing.assert_array_equal(opened.angles_deg, ANGLES_DEG)
        np.testing.assert_array_equal(opened.rows(2, 4), RAW[:, 2:4])
        frames = opened.frames()
        kinds = [next(frames).meta.kind for _ in range(7)]
        assert kinds == [FrameKind.DARK] * 2 + [FrameKind.FLAT] * 4 + [FrameKind.PROJECTION]
        np.testing.assert_array_equal(next(frames).pixels, RAW[1])
        with pytest.raises(streamer.BadInput, match=r"rows slice.*0 to 6"):
            opened.reconstruct(rows=slice(4, 4))


@pytest.mark.parametrize("size", [1, 2])
def test_pixels_that_the_file_marks_are_not_used(tmp_path: Path, size: int) -> None:
    whole = streamer.reconstruct(RAW, ANGLES_DEG, **FIELDS, center=CENTER, bin=size)
    mask = np.zeros((ROWS, N), np.uint32)
    mask[2, 20] = mask[3, 40] = 16
    raw, flats = RAW.copy(), FLATS.copy()
    raw[::2, mask != 0] //= 3  # it looks good in the flats
    path = tmp_path / "scan.nx"
    frames = np.concatenate([DARKS, flats, raw])
    with h5py.File(path, "w") as file:
        file["entry/definition"] = "NXtomo"
        detector = file.create_group("entry/instrument/detector")
        detector["data"], detector["pixel_mask"] = frames, mask
        detector["image_key"] = np.repeat([2, 1, 0], [len(DARKS), len(flats), len(raw)])
        file["entry/sample/rotation_angle"] = np.concatenate([np.zeros(len(frames) - len(raw)), ANGLES_DEG])
        file["entry/sample/rotation_angle"].attrs["units"] = "degree"
    with streamer.open(path) as scan:
        mended = scan.reconstruct(center=CENTER, bin=size)
    assert mended.quality.saturation in (None, 0.0)
    assert np.abs(mended.volume - whole.volume).max() < 0.25 * np.ptp(whole.volume)
    with h5py.File(path, "r+") as file:
        file["entry/instrument/detector/pixel_mask"][...] = 0
    with streamer.open(path) as scan:
        spoiled = scan.reconstruct(center=CENTER, bin=size)
    assert np.abs(spoiled.volume - whole.volume).max() > 2 * np.abs(mended.volume - whole.volume).max()


def test_a_result_is_saved_as_the_command_line_writes_it(plain: streamer.Result, tmp_path: Path) -> None:
    plain.save(tmp_path / "volume.h5")
    saved = read_tomogram(tmp_path / "volume.h5")
    np.testing.assert_array_equal(saved.data, plain.volume)
    assert (saved.unit, saved.parameters["center_px"]) == ("1/pixel", plain.center)
    with pytest.raises(streamer.BadInput, match="exists already"):
        plain.save(tmp_path / "volume.h5")


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f8"])
def test_any_type_of_pixels(dtype: str) -> None:
    beam = 200.0
    raw, flat = phantoms.exposures(attenuation(), beam, 10.0), phantoms.exposures(np.zeros((ROWS, N)), beam, 10.0)
    dark = np.full((ROWS, N), 10)
    result = streamer.reconstruct(
        raw.astype(dtype), ANGLES_DEG, flats=flat.astype(dtype), darks=dark.astype(dtype), center=CENTER
    )
    assert rms(result.volume) < 0.05 * TRUTH.max()


def test_the_layout_of_the_memory_does_not_matter(plain: streamer.Result) -> None:
    wide = np.zeros((2 * ANGLES, ROWS, 2 * N), np.uint16)
    wide[::2, :, ::2] = RAW
    columns_first = np.asfortranarray(FLATS)
    strided = streamer.reconstruct(wide[::2, :, ::2], list(ANGLES_DEG), flats=columns_first, darks=DARKS.tolist())
    np.testing.assert_array_equal(strided.volume, plain.volume)


def test_one_detector_row_needs_no_axis(plain: streamer.Result) -> None:
    single = streamer.reconstruct(RAW[:, 0], ANGLES_DEG, flats=FLATS[:, 0], darks=DARKS[0, 0], center=plain.center)
    assert single.volume.shape == (1, N, N)
    np.testing.assert_allclose(single.volume[0], plain.volume[0], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_mended_and_counted(plain: streamer.Result, bad: float) -> None:
    raw = RAW.astype(np.float64)
    raw[[3, 4, 5, 40], 1, 7] = raw[40, 2, 30] = raw[60] = bad
    flats, darks = FLATS.astype(np.float32), DARKS.astype(np.float32)
    flats[0, 1, 7] = darks[0, 0, 3] = bad
    result = streamer.reconstruct(raw, ANGLES_DEG, flats=flats, darks=darks)
    assert np.isfinite(result.volume).all()
    assert result.parameters["nonfinite_pixels"] == 5
    assert result.quality.unusable == {"not a number": "66"}  # the frame without a number is set aside
    assert np.abs(result.volume - plain.volume).max() < 0.1 * TRUTH.max()


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (1, FIELDS),
        (2, FIELDS),
        (ANGLES, {}),  # no flats, no darks
        (ANGLES, {"flats": FLATS[:0], "darks": DARKS[:0]}),
        (ANGLES, {"flats": np.zeros_like(FLATS), "darks": DARKS}),
        (ANGLES, {"flats": np.full(FLATS.shape, np.nan)}),
        (ANGLES, {"flats": np.full(FLATS.shape, np.inf), "darks": np.full(DARKS.shape, -np.inf)}),
    ],
)
def test_a_poor_scan_is_reconstructed_and_not_called_good(count: int, fields: dict[str, Any]) -> None:
    result = streamer.reconstruct(RAW[:count], ANGLES_DEG[:count], **fields)
    assert np.isfinite(result.volume).all()
    assert result.verdict.decision is not Decision.ENOUGH


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projections": RAW[0, 0]}, r"projections: shape \(64,\)"),
        ({"projections": RAW[None]}, r"projections: shape \(1, 90, 6, 64\)"),
        ({"projections": RAW[:0]}, "projections: shape"),
        ({"projections": RAW * 1j}, "projections: dtype complex128"),
        ({"projections": RAW > 0}, "projections: dtype bool"),
        ({"projections": [[1, 2], [3]]}, "projections: not an array of one shape"),
        ({"projections": RAW[:, :, :1], "flats": None, "darks": None}, "columns is 1"),
        ({"angles_deg": ANGLES_DEG[1:]}, "angles_deg: 89 angles for 90 projections"),
        ({"angles_deg": ANGLES_DEG + 0 * 1j}, "angles_deg: dtype complex128"),
        ({"angles_deg": np.where(ANGLES_DEG == 0, np.nan, ANGLES_DEG)}, "the angle of projection 0 is not a number"),
        ({"flats": FLATS[:, 1:]}, r"flats: shape \(4, 5, 64\); a projection is \(6, 64\)"),
        ({"darks": DARKS[None]}, "darks: shape"),
        ({"darks": "none"}, "darks: dtype"),
        ({"center": "middle"}, "center: give auto or a detector column, not 'middle'"),
        ({"center": np.nan}, "center: give auto"),
        ({"center": 1e6}, "centre 1e[+]06: too far"),
        ({"pixel_size_m": -1.0}, "pixel_size_m is -1"),
        ({"bin": 3}, "bin: give 1, 2, 4 or 8, not 3"),
        ({"bin": 8}, "bin 8: too much for 6 rows"),
        ({"method": "sirt"}, "method: give fbp or tv, not 'sirt'"),
        ({"zinger": 8}, "zinger: no such option; known here: .*zingers"),
        ({"zingers": -1}, "zingers: give a number, 0 or more, not -1"),
        ({"iterations": 5}, "iterations: no such option"),  # of tv
        ({"delta_beta": 100.0}, "needs energy_kev, distance_m, pixel_size_m"),
        ({"threads": 0}, "threads: give a whole number"),
    ],
)
def test_what_is_no_scan_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"projections": RAW, "angles_deg": ANGLES_DEG, **FIELDS, **change}
    with pytest.raises(streamer.BadInput, match=message) as caught:
        streamer.reconstruct(given.pop("projections"), given.pop("angles_deg"), **given)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_scan_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    for name in ("text.h5", "nowhere.h5"):
        with pytest.raises(StreamerError, match=name) as caught:
            streamer.open(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_importing_it_loads_nothing() -> None:
    code = (
        "import sys, streamer; assert not {'numba', 'numpy', 'h5py', 'scipy'} & set(sys.modules);"
        "assert {'open', 'reconstruct', 'Result'} <= set(dir(streamer)); assert streamer.__version__;"
        "streamer.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("AttributeError: module 'streamer' has no attribute 'nothing'\n")
