"""Mosaic, zoom, full turn beside the axis, alignment: virtual beamline, real daemon, real RunEngine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamer
from streamer.cli import main
from streamer.core.masks import circle_mask
from streamer.frames import BadInput
from streamer.io.tomogram import read_tomogram
from streamer.sim.truth import truth_volume
from streamer_plans import stubs
from streamer_plans.scan import TomoScan
from streamer_plans.scans.align import align_axis
from streamer_plans.scans.wide import tile_places, tomo_360_offset, tomo_mosaic, tomo_zoom
from tests.plans.scans.conftest import Whole

KINDS, SIZE, ROWS = ["wide", "good", "off_axis"], 64, 16
SCAN = TomoScan("sample", 120, darks=5, flats=30, rate_hz=300.0, x_out_mm=9.0, verdict_timeout_s=300.0)
PIXEL_MM = 1.8688 / SIZE


def error(volume: Any, truth: Any, share: float = 0.85) -> float:
    inside = circle_mask(volume.shape[2], share)
    return float(np.sqrt(np.mean((volume - truth)[:, inside] ** 2) / np.mean(truth[:, inside] ** 2)))


def mounted(engine: Any, beamline: Any, slot: int) -> None:
    engine(stubs.to_exchange(beamline.sample_x, beamline.changer))
    engine(stubs.mount(beamline.changer, slot))


def test_tiles_are_stitched_to_the_whole_sample(engine: Any, whole: Whole, tmp_path: Path) -> None:
    beamline, truth_of = whole
    mounted(engine, beamline, 0)
    tiles = engine(tomo_mosaic(beamline, SCAN, 2, 2, 40 * PIXEL_MM, 12 * PIXEL_MM)).plan_result
    assert len({tile.scan.scan_id for tile in tiles}) == 4
    assert beamline.sample_z.position == pytest.approx(0.0)
    wide = tmp_path / "wide.nx"
    assert main(["stitch", *(tile.scan.report.raw_file for tile in tiles), "-o", str(wide)]) == 0
    assert main(["stitch", *(tile.scan.report.raw_file for tile in tiles), "-o", str(wide)]) == 2
    with streamer.open(wide) as joined:
        result = joined.reconstruct()
    assert result.volume.shape == (28, 104, 104)
    truth = truth_of(tiles[0].scan.scan_id)
    geometry = {**truth["geometry"], "rows": 28, "columns": 104, "placed_mm": [0.0, 0.0, 0.0]}
    alone = read_tomogram(Path(tiles[0].scan.report.tomogram_file)).data
    joined_error = error(result.volume, truth_volume({**truth, "geometry": geometry}))
    assert joined_error < 0.25
    assert joined_error < 0.5 * error(alone, truth_volume(truth))


def test_a_full_turn_beside_the_axis_is_wider_than_the_detector(engine: Any, whole: Whole) -> None:
    beamline, truth_of = whole
    mounted(engine, beamline, 0)
    scan = replace(SCAN, projections=240)
    found = engine(tomo_360_offset(beamline, scan, 22 * PIXEL_MM)).plan_result
    geometry = found.report.geometry
    assert geometry["geometry"] == "half acquisition"
    truth = truth_of(found.scan_id)["geometry"]
    assert geometry["detector_center_px"] == pytest.approx(truth["center_px"], abs=0.3)
    assert geometry["width_px"] > 1.5 * SIZE


def test_a_box_of_the_overview_is_magnified(engine: Any, documents: Any, whole: Whole, tmp_path: Path) -> None:
    beamline, truth_of = whole
    mounted(engine, beamline, 1)
    box = (5 * PIXEL_MM, -4 * PIXEL_MM, 1 * PIXEL_MM)
    found = engine(tomo_zoom(beamline, SCAN, box, 2.0)).plan_result
    for axis, place in ((beamline.top_x, 0.0), (beamline.sample_z, 0.0), (beamline.magnification, 1.0)):
        assert axis.position == pytest.approx(place)
    truth = truth_of(found.box.scan_id)
    assert truth["geometry"]["pixel_size_m"] == pytest.approx(PIXEL_MM * 1e-3 / 2)
    np.testing.assert_allclose(truth["geometry"]["placed_mm"], [-place for place in box], atol=1e-6)
    second = documents.of("start")[-1]
    assert (second["plan_name"], second["overview"], second["zoom"]) == ("tomo_zoom", found.overview.scan_id, 2.0)
    cut = read_tomogram(Path(found.box.report.tomogram_file))
    assert cut.pixel_size_m == pytest.approx(PIXEL_MM * 1e-3 / 2)
    assert error(cut.data, truth_volume(truth)) < 0.3
    padded, files = tmp_path / "padded.nx", (found.box.report.raw_file, found.overview.report.raw_file)
    axis = ["--overview-center", str(found.overview.center_px)]
    assert main(["stitch", files[0], "--overview", files[1], *axis, "-o", str(padded)]) == 0
    geometry = truth["geometry"]
    with streamer.open(padded) as joined:
        margin = (joined.spec.columns - SIZE) // 2
        volume = joined.reconstruct(center=geometry["center_px"] + margin).volume
    middle = slice(margin, margin + SIZE)
    assert error(volume[:, middle, middle], truth_volume(truth)) < 0.3


def test_the_axis_is_brought_to_the_middle_and_made_upright(engine: Any, whole: Whole) -> None:
    beamline, truth_of = whole
    mounted(engine, beamline, 2)
    found = engine(align_axis(beamline, replace(SCAN, projections=60))).plan_result
    assert found.aligned
    assert len(found.scans) > 1
    truth = truth_of(found.scans[-1].scan_id)["geometry"]
    assert abs(truth["center_px"] - (SIZE - 1) / 2) < 0.5
    assert abs(found.offset_px) <= 0.5
    first = truth_of(found.scans[0].scan_id)["geometry"]
    assert found.x_in_mm == pytest.approx(-(first["center_px"] - (SIZE - 1) / 2) * PIXEL_MM, abs=0.5 * PIXEL_MM)


def test_what_cannot_be_done_is_refused_before_anything_moves(engine: Any, whole: Whole) -> None:
    beamline, _ = whole
    without = replace(beamline, sample_z=None)
    with pytest.raises(BadInput, match="tomo_mosaic: the station has no sample_z"):
        engine(tomo_mosaic(without, SCAN, 1, 2, 0.0, 0.2))
    with pytest.raises(BadInput, match="tomo_zoom: the station has no sample_z"):
        engine(tomo_zoom(without, SCAN, (0, 0, 0), 2.0))
    with pytest.raises(BadInput, match="zoom is 1; give more than 1"):
        engine(tomo_zoom(beamline, SCAN, (0, 0, 0), 1))
    with pytest.raises(BadInput, match="2 coordinates; give x, y and z"):
        engine(tomo_zoom(beamline, SCAN, (0, 0), 2.0))
    with pytest.raises(BadInput, match="0 rounds"):
        engine(align_axis(beamline, SCAN, rounds=0))


def test_places_of_tiles() -> None:
    assert tile_places(2, 2, 1.0, 0.5) == [(-0.5, -0.25), (0.5, -0.25), (-0.5, 0.25), (0.5, 0.25)]
    assert tile_places(3, 1, 1.0, 0.0) == [(-1.0, 0.0), (0.0, 0.0), (1.0, 0.0)]
    with pytest.raises(BadInput, match="1 × 1 tiles"):
        tile_places(1, 1, 1.0, 1.0)
    with pytest.raises(BadInput, match="steps above 0"):
        tile_places(2, 1, 0.0, 1.0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a.nx", "b.nx", "--overview", "c.nx"], "--overview continues one scan, not 2"),
        (["nothing.nx"], "nothing.nx"),
    ],
)
def test_the_verb_names_what_is_wrong(words: list[str], complaint: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["stitch", *words, "-o", str(tmp_path / "out.nx")]) == 2
    assert complaint in capsys.readouterr().err
