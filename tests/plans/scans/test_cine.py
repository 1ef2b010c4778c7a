"""Time-resolved scans: virtual beamline, real daemon, real RunEngine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ophyd import Signal

from benchmarks.plans.cine import place, true_place
from streamer.cli import main
from streamer.frames import BadInput, Decision
from streamer.io.tomogram import read_tomogram
from streamer_plans import stubs
from streamer_plans.scan import TomoScan
from streamer_plans.scans.capture import tomo_capture
from streamer_plans.scans.cine import tomo_cine
from tests.plans.scans.conftest import Whole

KINDS, SIZE, ROWS = ["stirrer"], 48, 16
TOMOGRAMS = 30
SCAN = TomoScan("stirrer", 40, darks=3, flats=10, rate_hz=300.0, x_out_mm=6.0, distance_m=0.2, verdict_timeout_s=300.0)


def test_each_half_turn_gives_a_tomogram_of_its_moment(engine: Any, documents: Any, whole: Whole) -> None:
    beamline, truth_of = whole
    engine(stubs.mount(beamline.changer, 0))
    outcome = engine(tomo_cine(beamline, SCAN, TOMOGRAMS)).plan_result
    assert (outcome.wanted, outcome.tomograms) == (TOMOGRAMS, TOMOGRAMS)
    (stop,), (start,) = documents.of("stop"), documents.of("start")
    assert stop["exit_status"] == "success"
    assert (start["plan_name"], start["tomograms"]) == ("tomo_cine", TOMOGRAMS)
    assert documents.announced("detector") == TOMOGRAMS * 40 + 13
    report = outcome.scan.report
    assert report.verdict != Decision.RETAKE
    files = sorted(Path(report.tomogram_file).parent.iterdir())
    assert [path.name for path in files] == [f"{k:05d}.h5" for k in range(TOMOGRAMS)]
    truth = truth_of(outcome.scan.scan_id)
    tomograms = [read_tomogram(path) for path in files]
    for number, tomogram in enumerate(tomograms):
        assert (tomogram.status, tomogram.unit, tomogram.parameters["tomogram"]) == ("complete", "1/cm", number)
        assert tomogram.parameters["from_deg"] == pytest.approx(180.0 * number)
        assert tomogram.parameters["to_deg"] == pytest.approx(180.0 * (number + 1))
    rest = np.median([tomogram.data for tomogram in tomograms], axis=0)
    away = [
        np.linalg.norm(place(tomogram.data - rest) - true_place(truth, number, TOMOGRAMS))
        for number, tomogram in enumerate(tomograms)
    ]
    assert np.median(away) < 1.0
    assert max(away) < 3.0
    with h5py.File(report.raw_file) as file:
        assert file["/entry/instrument/beam/incident_energy"][()] == pytest.approx(20.0)
        assert file["/entry/instrument/detector/distance"][()] == 0.2


def test_what_makes_no_series_is_refused(engine: Any, whole: Whole) -> None:
    beamline, _ = whole
    with pytest.raises(BadInput, match="1 tomograms; give 2 or more"):
        engine(tomo_cine(beamline, SCAN, 1))
    with pytest.raises(BadInput, match="a tomogram of 90°; give 180 to 360"):
        engine(tomo_cine(beamline, SCAN, 3, every_deg=90.0))


# ── capture on demand ──
TURNS = TomoScan("foam", 40, darks=3, flats=6, rate_hz=400.0, x_out_mm=6.0, verdict_timeout_s=300.0)


class Crack(Signal):  # type: ignore[misc]
    """True once the daemon has seen so many projections pass by: something happens in the sample."""

    def __init__(self, streamer: Any, projections: int) -> None:
        super().__init__(name="crack", value=False)
        self._streamer, self._projections = streamer, projections

    def get(self, **_: Any) -> bool:
        report = self._streamer.last_report
        return report is not None and report.frames.passed >= self._projections


def test_the_turns_about_a_trigger_are_taken(engine: Any, documents: Any, whole: Whole) -> None:
    beamline, _ = whole
    outcome = engine(tomo_capture(beamline, TURNS, 2, 3, Crack(beamline.streamer, 6 * 40))).plan_result
    assert (outcome.triggered, outcome.tomograms) == (True, 5)
    report = outcome.scan.report
    assert (report.state, report.capture, report.frames.missing) == ("complete", "done", 0)
    assert documents.of("stop")[-1]["exit_status"] == "success"
    assert documents.announced("detector") == 9 + 5 * 40
    with h5py.File(report.raw_file) as file:
        angles = file["/entry/sample/rotation_angle"][9:]
    begin = round(angles[0] / 180.0)
    np.testing.assert_allclose(angles, begin * 180.0 + np.arange(5 * 40) * 180.0 / 40, atol=0.02)
    assert begin >= 4, "the two turns before the one in which it was triggered"
    assert report.frames.passed >= begin * 40
    tomograms = [read_tomogram(path) for path in sorted(Path(report.tomogram_file).parent.iterdir())]
    assert [tomogram.parameters["from_deg"] for tomogram in tomograms] == pytest.approx(
        [180.0 * (begin + k) for k in range(5)]
    )


def test_the_command_line_triggers_as_well(engine: Any, whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    beamline, _ = whole
    daemon = beamline.streamer
    codes: list[int] = []
    asked = threading.Lock()

    def trigger(report: Any) -> None:
        if report.capture == "waiting" and report.frames.passed > 60 and asked.acquire(blocking=False):
            codes.append(main(["trigger", daemon._link.endpoint]))

    daemon.on_report = trigger
    outcome = engine(tomo_capture(beamline, TURNS, 1, 1)).plan_result
    daemon.on_report = None
    assert codes == [0]
    assert "is triggered" in capsys.readouterr().out
    assert (outcome.triggered, outcome.tomograms, outcome.scan.report.state) == (True, 2, "complete")


def test_what_nobody_triggers_ends_without_projections(engine: Any, documents: Any, whole: Whole) -> None:
    beamline, _ = whole
    outcome = engine(tomo_capture(beamline, TURNS, 1, 1, longest_s=0.5)).plan_result
    assert (outcome.triggered, outcome.tomograms) == (False, 0)
    assert (outcome.scan.report.frames.received, outcome.scan.report.frames.missing) == (9, 0)
    assert documents.of("stop")[-1]["exit_status"] == "success"


@pytest.mark.parametrize(
    ("turns", "options", "why"),
    [
        ((0, 0), {}, "0 turns before the trigger and 0 after; give 0 or more, 1 or more"),
        ((1, 1), {"every_deg": 90.0}, "a tomogram of 90°; give 180 to 360"),
    ],
)
def test_what_makes_no_capture_is_refused(
    engine: Any, whole: Whole, turns: tuple[int, int], options: dict[str, float], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        engine(tomo_capture(whole[0], TURNS, *turns, **options))
