"""A beam dump in the middle of a scan, with the real daemon: its verdict, and a plan that makes the data good."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from station import Station, eventually

from streamer.flow.wire.beamline import Faults, SetBeam
from streamer.frames import Decision, ReasonCode
from streamer_plans import stubs
from streamer_plans.devices.beamline import sim_beamline
from streamer_plans.tomo import TomoScan, tomo_fly

PROJECTIONS = 180
LIT = 300.0


@pytest.fixture
def station(shared_station: Station) -> Station:
    return shared_station


@pytest.mark.parametrize(("first", "last"), [(60, 79), (60, 109), (150, 191)])
def test_projections_without_light_are_never_enough(station: Station, first: int, last: int) -> None:
    report = station.scan(f"dump-{first}-{last}", projections=PROJECTIONS, faults=Faults(beam_dump=(first, last)))
    assert report.judgement.decision is Decision.RETAKE
    assert ReasonCode.UNUSABLE in report.judgement.codes
    assert report.quality.unusable["no light"] == f"{first}-{last}"
    assert report.frames.received == report.frames.expected


@pytest.mark.parametrize("dump_at", [60, 150])
def test_a_plan_that_waits_for_the_beam_gets_good_data(station: Station, dump_at: int) -> None:
    """No angle is lost, none is taken twice, and the documents announce what is in the file."""
    beamline = sim_beamline(station.beamline["control"], station.daemon["control"])
    engine = RunEngine({}, context_managers=[], call_returns_result=True)
    announced, dumped = [0], threading.Event()

    def come_back() -> None:
        eventually(lambda: beamline.shutter.read()["shutter"]["value"] == "closed", "the scan waits")
        station.do(SetBeam(current=1.0))

    def look(name: str, document: dict[str, Any]) -> None:
        if name == "stream_datum":
            announced[0] = max(announced[0], document["indices"]["stop"])
            if announced[0] >= dump_at and not dumped.is_set():
                dumped.set()
                station.command(SetBeam(current=0.0))  # the plan looks at the beam after it has told what is on disk
                threading.Thread(target=come_back, daemon=True).start()

    try:
        engine(stubs.mount(beamline.changer, 0))
        engine.subscribe(look)
        scan = TomoScan("weevil", PROJECTIONS, darks=4, flats=8, rate_hz=50.0, x_out_mm=6.0, beam_losses=1)
        outcome = engine(tomo_fly(beamline, scan)).plan_result
    finally:
        beamline.close()
        engine.loop.call_soon_threadsafe(engine.loop.stop)
        engine._th.join()
        engine.loop.close()
    assert outcome.verdict.decision is Decision.ENOUGH, str(outcome.verdict)
    assert outcome.report.projections.received == PROJECTIONS, "none was taken twice"
    with h5py.File(Path(outcome.report.raw_file)) as file:
        kinds = file["/entry/instrument/detector/image_key"][...]
        light = file["/entry/instrument/detector/data"][...].mean(axis=(1, 2)) > LIT
        numbers = np.round(file["/entry/sample/rotation_angle"][...] * PROJECTIONS / 180.0).astype(int)
        assert len(kinds) == announced[0] == len(set(file["/entry/instrument/detector/sequence_number"][...]))
    assert sorted(numbers[(kinds == 0) & light]) == list(range(PROJECTIONS))
    assert (kinds == 1).sum() == 2 * 8
    assert outcome.report.frames.missing == 0
