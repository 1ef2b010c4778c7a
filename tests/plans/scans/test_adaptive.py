"""Scans that follow the daemon's opinion: the decisions, and whole scans with virtual beamline and real daemon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.client import Link
from streamer.flow.wire.beamline import Faults, SetFaults
from streamer.frames import BadInput, Decision
from streamer_plans import stubs
from streamer_plans.scan import TomoScan
from streamer_plans.scans.adaptive import Adaptation, Course, Look, Step, tomo_adaptive
from tests.plans.scans.conftest import Whole

KINDS, SIZE, ROWS = ["good", "empty", "slips"], 64, 16
SECTIONS = {"limits": {"max_resolution_px": 6.0, "max_center_offset_share": 0.2}}
SCAN = TomoScan("sample", 400, darks=3, flats=10, rate_hz=200.0, x_out_mm=6.0, verdict_timeout_s=300.0)
LONG = 3200
"""Projections that nobody waits for: a slow machine only ends the scan later."""


def steps(how: Adaptation, *looks: tuple[float | None, float | None]) -> list[Step]:
    course = Course(how, how.turns * how.rounds)
    return [course.after_turn(Look(*look)) for look in looks]


def test_a_round_that_improves_little_is_the_last() -> None:
    how = Adaptation(turns=2, rounds=4, least_gain=0.05)
    good, flat = (10.0, None), (9.8, None)
    assert steps(how, good, good, good, flat) == [Step.GO_ON, Step.GO_ON, Step.GO_ON, Step.STOP]
    assert steps(how, good, good, good, (9.0, None)) == [Step.GO_ON] * 4
    assert steps(how, *[(None, None)] * 8) == [*[Step.GO_ON] * 7, Step.STOP]


def test_flats_are_renewed_when_the_beam_has_changed_since_the_latest() -> None:
    how = Adaptation(turns=8, rounds=1, drift=0.02, flat_sets=2)
    drifts = [0.01, 0.03, 0.04, 0.06, 0.09, 0.2]
    wanted = [Step.GO_ON, Step.FLATS, Step.GO_ON, Step.FLATS, Step.GO_ON, Step.GO_ON]
    assert steps(how, *[(None, drift) for drift in drifts]) == wanted


def mounted(engine: Any, beamline: Any, slot: int) -> None:
    engine(stubs.to_exchange(beamline.sample_x, beamline.changer))
    engine(stubs.mount(beamline.changer, slot))


def test_it_stops_when_the_data_are_enough(engine: Any, documents: Any, whole: Whole) -> None:
    beamline, _ = whole
    mounted(engine, beamline, 0)
    scan = replace(SCAN, projections=LONG)
    outcome = engine(tomo_adaptive(beamline, scan, Adaptation(rounds=2))).plan_result
    assert outcome.last.verdict.decision is Decision.ENOUGH
    assert outcome.why == "the verdict"
    report = outcome.last.report
    assert report.state == "complete"
    assert 200 <= report.projections.received < 2 * LONG
    assert documents.of("stop")[-1]["exit_status"] == "success"


def test_an_empty_holder_is_left_at_once_and_not_scanned_again(engine: Any, whole: Whole) -> None:
    beamline, _ = whole
    mounted(engine, beamline, 1)
    outcome = engine(tomo_adaptive(beamline, replace(SCAN, projections=LONG))).plan_result
    assert len(outcome.scans) == 1
    assert outcome.last.verdict.decision is Decision.EMPTY
    assert outcome.last.report.projections.received < 2 * LONG


def test_a_sample_that_has_slipped_is_scanned_again(engine: Any, documents: Any, whole: Whole) -> None:
    beamline, _ = whole
    mounted(engine, beamline, 2)
    # two turns that are over before a verdict could find the first half good enough
    scan = replace(SCAN, projections=100, rate_hz=1000.0)
    outcome = engine(tomo_adaptive(beamline, scan, Adaptation(turns=2, rounds=1))).plan_result
    assert outcome.scans[0].verdict.decision is Decision.RETAKE
    assert len(outcome.scans) == 2, "it is taken again, once"
    assert [start["attempt"] for start in documents.of("start")] == [0, 1]


def test_flats_are_taken_anew_when_the_beam_drifts(engine: Any, beamline_link: Link, whole: Whole) -> None:
    beamline, _ = whole
    mounted(engine, beamline, 0)
    beamline_link.ask(SetFaults(Faults(beam_drift=0.3)))
    # eight turns, since the daemon has not judged after the first ones on a slow machine
    how = Adaptation(turns=8, rounds=1, flat_sets=1, retakes=0)
    outcome = engine(tomo_adaptive(beamline, replace(SCAN, rate_hz=100.0), how)).plan_result
    assert outcome.flat_sets == 1
    with h5py.File(outcome.last.report.raw_file) as file:
        keys = file["/entry/instrument/detector/image_key"][...]
    assert np.count_nonzero(keys == 1) == 20
    # Where the daemon finds the data to be enough while flats are taken, no turn follows.
    assert np.argmax(keys == 0) < np.flatnonzero(keys == 1)[-1]
    assert keys[-1] == 0 or outcome.why == "the verdict"


def test_what_makes_no_sense_is_refused(engine: Any, whole: Whole) -> None:
    with pytest.raises(BadInput, match="turns of 90° do not interlace"):
        engine(tomo_adaptive(whole[0], replace(SCAN, range_deg=90.0)))
    with pytest.raises(BadInput, match="give 1 turn and 1 round or more"):
        Adaptation(turns=0)
