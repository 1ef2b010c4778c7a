"""A session that is aborted in any of its stages; ``benchmarks/plans/sessions.py`` does it in every way."""

import threading

import h5py
import pytest
from bluesky.utils import RunEngineInterrupted

from benchmarks.plans.sessions import STAGES, stage_of
from streamer_plans import stubs
from streamer_plans.tomo import tomo_fly
from tests.plans.conftest import as_an_operator


@pytest.mark.parametrize("stage", STAGES)
def test_an_abort_in_any_stage_leaves_the_beamline_safe(engine, documents, start_daemon, connect, scan, station, stage):
    beamline = connect(start_daemon())
    ended = threading.Event()

    def look(message):
        if stage_of(message, beamline) == stage and not ended.is_set():
            ended.set()
            as_an_operator(engine.abort)

    def sample():
        yield from stubs.to_exchange(beamline.sample_x, beamline.changer)
        yield from stubs.mount(beamline.changer, 1)
        yield from tomo_fly(beamline, scan)
        yield from stubs.unmount(beamline.changer)

    engine(stubs.unmount(beamline.changer))  # so that there is something to mount
    engine.msg_hook = look
    with pytest.raises(RunEngineInterrupted):
        engine(sample())
    engine.msg_hook = None
    assert ended.is_set()
    state = station()
    assert (state.shutter, state.detector.armed, state.detector.acquiring) == ("closed", False, False)
    assert not state.rotation.moving
    assert state.ownership.scan_id is None
    report = beamline.streamer.last_report
    if report is not None and report.written:
        with h5py.File(report.raw_file) as file:
            assert file["/entry/instrument/detector/data"].shape[0] == documents.announced("detector")

    def next_sample():
        yield from stubs.to_exchange(beamline.sample_x, beamline.changer)
        yield from stubs.mount(beamline.changer, 0)
        return (yield from tomo_fly(beamline, scan))

    assert engine(next_sample()).plan_result.report.state == "complete"
    assert station().changer.state == "parked"
