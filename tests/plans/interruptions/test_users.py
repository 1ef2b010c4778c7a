"""Several users at one beamline, and sessions that pause, halt or die: one owner, and a safe state."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import epics
import h5py
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from streamer.client import Link
from streamer.flow.wire.beamline import Claim, GetBeamlineStatus, MoveRotation, Release, SetShutter
from streamer.flow.wire.control import Ping
from streamer_plans.devices.beamline_file import open_beamline
from streamer_plans.tomo import TomoScanError, tomo_fly, tomo_golden, tomo_step
from tests.paths import ROOT
from tests.plans.conftest import after_frames, set_velocity, velocity_of

PATIENCE_S = 100.0
MORE = 20
"""Frames by which is seen that the camera goes on."""

LIT = 300.0
"""Mean counts above those of a dark frame."""


def stop_loop(engine):
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()
    engine.loop.close()


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def until_more_frames(station):
    """The first user's camera goes on, and so does the rotation that triggers it."""
    wanted = station().detector.issued + MORE
    until(lambda: station().detector.issued >= wanted)


def assert_safe(state):
    assert state.shutter == "closed"
    assert not state.detector.armed
    assert not state.detector.acquiring
    assert not state.rotation.moving
    assert state.ownership.scan_id is None


@pytest.fixture
def second(where, start_daemon):
    """Another user's devices and RunEngine."""
    built = []

    def build(daemon):
        built.append(open_beamline(where, {"streamer.endpoint": daemon.endpoints["control"], "claim.user": "bob"}))
        return built[-1]

    yield build
    for beamline in built:
        beamline.close()


@pytest.fixture
def told(tmp_path):
    """A file; the daemon says ENOUGH to the scan of the first user as soon as it is there."""
    return tmp_path / "told"


@pytest.fixture
def first_scan_with(engine, scan, told):
    """Scan, and run ``meanwhile`` on a thread; the scan ends some frames after that. Returns its outcome."""

    def run(beamline, meanwhile):
        failures = []

        def other():
            try:
                meanwhile()
            except BaseException as error:
                failures.append(error)
            finally:
                told.touch()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            return engine(tomo_fly(beamline, replace(scan, projections=100_000, stop_early=True))).plan_result
        finally:
            thread.join(PATIENCE_S)
            assert failures == []

    return run


def assert_whole(outcome, documents, frames=None):
    """``frames`` are on disk and announced; or as many as were taken until the scan was told to end."""
    assert outcome.report.state == "complete"
    assert outcome.report.frames.missing == 0
    frames = frames or outcome.report.frames.received
    assert frames >= 17
    assert documents.announced("detector") == frames
    with h5py.File(outcome.report.raw_file) as file:
        assert file["/entry/instrument/detector/data"].shape[0] == frames


@pytest.mark.parametrize("ending", ["gives up", "is refused"])
def test_the_scan_of_the_first_user_is_whole_whatever_the_second_one_does(
    documents, start_daemon, connect, scan, second, station, told, first_scan_with, ending
):
    daemon = start_daemon({"live_after": 20, "live_when": str(told), "live": "nothing_wrong"})
    mine = connect(daemon)
    theirs = second(daemon)
    theirs.detector.queue_s = 0.0 if ending == "is refused" else 10 * PATIENCE_S
    caught = []

    def meanwhile():
        until(lambda: station().detector.acquiring)
        other = RunEngine({}, context_managers=[])
        if ending == "gives up":

            def give_up():
                until(lambda: station().ownership.waiting == ["bob"])
                other.abort("somebody scans already")

            threading.Thread(target=give_up).start()
        with pytest.raises((TomoScanError, RunEngineInterrupted)) as error:
            other(tomo_fly(theirs, replace(scan, sample="theirs")))
        caught.append(error.value)
        stop_loop(other)
        until(lambda: station().ownership.waiting == [])
        until_more_frames(station)

    outcome = first_scan_with(mine, meanwhile)
    assert_whole(outcome, documents)
    if ending == "is refused":
        assert "the beamline belongs to scan wood." in str(caught[0])
        assert "waiting: bob" in str(caught[0])
    assert_safe(station())


NO_ORDERS = (Ping, GetBeamlineStatus, Claim, Release)
"""What a user may send to the beamline who does not have it."""


@pytest.fixture
def written(monkeypatch):
    """Requests of other devices than those of the fixture ``station``, and records that are written."""
    sent = []
    ask, put = Link.ask, epics.PV.put

    def asked(link, request, *options):
        sent.append(type(request))
        return ask(link, request, *options)

    def was_put(pv, *values, **options):
        sent.append(pv.pvname)
        return put(pv, *values, **options)

    monkeypatch.setattr(Link, "ask", asked)
    monkeypatch.setattr(epics.PV, "put", was_put)
    if os.environ.get("STREAMER_TEST_CONTROL") == "ophyd-async":
        from ophyd_async.epics.core import _aioca as records

        caput = records.caput

        def was_put_by_aioca(name, *values, **options):
            sent.append(name)
            return caput(name, *values, **options)

        monkeypatch.setattr(records, "caput", was_put_by_aioca)
    return sent


@pytest.mark.parametrize("plan", [tomo_fly, tomo_golden])
def test_a_user_who_is_refused_orders_nothing(
    beamline_process, start_daemon, connect, scan, second, station, written, plan
):
    """Shutter, rotation and camera of the user who has the beamline are as they were, and were asked for nothing."""
    daemon = start_daemon()
    connect(daemon)  # brings the virtual beamline back to its rest
    with Link(beamline_process.endpoints["control"], "the virtual beamline") as link:
        link.ask(Claim("ann.1", "ann", 600.0))
        link.ask(SetShutter(True, "ann.1"))
        link.ask(MoveRotation(5000.0, 1.0, "ann.1"))
        before = station()
        theirs, engine = second(daemon), RunEngine({}, context_managers=[])
        theirs.detector.queue_s = 0.0
        written.clear()
        try:
            with pytest.raises(TomoScanError, match=r"the beamline belongs to scan ann\.1 of ann"):
                engine(plan(theirs, scan))
            sent, after = list(written), station()
        finally:
            stop_loop(engine)
            link.ask(Release("ann.1"))
    assert [what for what in sent if what not in NO_ORDERS and "claim" not in str(what)] == []
    assert (after.shutter, after.detector, after.x) == ("open", before.detector, before.x)
    assert after.rotation.moving
    assert after.rotation.position_deg >= before.rotation.position_deg
    assert (after.ownership.scan_id, after.ownership.waiting) == ("ann.1", [])


def test_the_scan_of_the_first_user_is_whole_when_the_second_one_dies_while_it_waits(
    where, documents, start_daemon, connect, station, told, first_scan_with
):
    daemon = start_daemon({"live_after": 20, "live_when": str(told), "live": "nothing_wrong"})
    mine = connect(daemon)

    def meanwhile():
        until(lambda: station().detector.acquiring)
        session = subprocess.Popen([sys.executable, "-c", SESSION, where, daemon.endpoints["control"]], cwd=ROOT)
        try:
            until(lambda: station().ownership.waiting)
        finally:
            session.kill()
            session.wait()
        until(lambda: station().ownership.waiting == [])
        until_more_frames(station)

    outcome = first_scan_with(mine, meanwhile)
    assert_whole(outcome, documents)
    assert_safe(station())


def test_the_second_user_is_served_when_the_first_one_is_done(
    documents, start_daemon, connect, scan, second, station, told, first_scan_with
):
    daemon = start_daemon({"live_after": 20, "live_when": str(told), "live": "nothing_wrong"}, {})
    mine = connect(daemon)
    theirs = second(daemon)
    set_velocity(theirs, 2000.0)
    results, threads = [], []

    def theirs_too():
        other = RunEngine({}, context_managers=[], call_returns_result=True)
        results.append(other(tomo_fly(theirs, replace(scan, sample="theirs"))).plan_result)
        stop_loop(other)

    def meanwhile():
        until(lambda: station().detector.acquiring)
        threads.append(threading.Thread(target=theirs_too))
        threads[0].start()
        until(lambda: station().ownership.waiting == ["bob"])

    outcome = first_scan_with(mine, meanwhile)
    threads[0].join(PATIENCE_S)
    assert_whole(outcome, documents)
    assert results[0].report.state == "complete"
    assert results[0].report.written == 47
    assert_safe(station())


def test_a_halt_leaves_the_beamline_safe_and_the_velocity_as_it_was(
    engine, documents, start_daemon, connect, scan, station
):
    beamline = connect(start_daemon())
    token = engine.subscribe(after_frames(10, engine.halt))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_fly(beamline, replace(scan, projections=3000)))
    engine.unsubscribe(token)
    until(lambda: engine.state == "idle")
    until(lambda: not station().detector.acquiring)
    assert_safe(station())
    until(lambda: velocity_of(beamline) == 2000.0)
    assert engine(tomo_fly(beamline, scan)).plan_result.report.state == "complete"


def test_no_beam_on_the_sample_during_a_pause(engine, documents, start_daemon, connect, scan, station):
    beamline = connect(start_daemon())
    engine.subscribe(after_frames(10, lambda: engine.request_pause(defer=False)))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_step(beamline, scan, [k * 18.0 for k in range(10)]))
    assert engine.state == "paused"
    assert station().shutter == "closed"
    assert station().ownership.scan_id is not None, "the beamline is still ours"
    outcome = engine.resume().plan_result
    assert_whole(outcome, documents, 17)
    with h5py.File(outcome.report.raw_file) as file:
        frames = file["/entry/instrument/detector/data"][...]
        lit = file["/entry/instrument/detector/image_key"][...] != 2
    assert frames[lit].mean(axis=(1, 2)).min() > LIT > frames[~lit].mean(axis=(1, 2)).max()
    assert_safe(station())


def test_a_pause_while_the_rotation_turns_ends_the_scan_at_once(
    engine, documents, start_daemon, connect, scan, station
):
    beamline = connect(start_daemon())
    engine.subscribe(after_frames(10, lambda: engine.request_pause(defer=False)))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_fly(beamline, replace(scan, projections=3000)))
    assert engine.state == "paused"
    until(lambda: not station().detector.acquiring)
    state = station()
    assert (state.shutter, state.detector.armed, state.rotation.moving) == ("closed", False, False)
    with pytest.raises(TomoScanError, match="paused while the rotation turned"):
        engine.resume()
    assert_safe(station())
    with h5py.File(beamline.streamer.last_report.raw_file) as file:
        assert documents.announced("detector") == file["/entry/instrument/detector/data"].shape[0]


SESSION = """
import sys
from bluesky import RunEngine
from streamer_plans.devices.beamline_file import open_beamline
from streamer_plans.tomo import TomoScan, tomo_fly
beamline = open_beamline(sys.argv[1], {"streamer.endpoint": sys.argv[2], "claim.user": "ann"})
RunEngine({})(tomo_fly(beamline, TomoScan("wood", 100_000, 3, 4, rate_hz=100.0, x_out_mm=6.0)))
"""


@pytest.mark.parametrize("stage", ["armed", "taking projections"])
def test_a_session_that_is_killed_leaves_the_beamline_safe(
    where, engine, documents, start_daemon, connect, scan, station, stage
):
    """kill -9: nothing of ours runs any more. The watchdog beside the hardware does it, and tells the daemon."""
    daemon = start_daemon()
    ends = (where, daemon.endpoints["control"])
    session = subprocess.Popen([sys.executable, "-c", SESSION, *ends], cwd=ROOT)
    try:
        if stage == "armed":
            until(lambda: station().detector.armed)
        else:
            until(lambda: station().shutter == "open" and station().detector.issued > 10)
    finally:
        session.kill()
        session.wait()
    until(lambda: station().ownership.scan_id is None)
    until(lambda: not station().detector.acquiring)
    assert_safe(station())
    beamline = connect(daemon)
    assert engine(tomo_fly(beamline, scan)).plan_result.report.state == "complete"


@pytest.mark.parametrize("rate_hz", [30.0, 100.0, 300.0])
def test_every_frame_on_disk_is_announced_when_the_rotation_stops_short(
    engine, documents, start_daemon, connect, scan, monkeypatch, rate_hz
):
    beamline = connect(start_daemon())
    start = type(beamline.rotation)._start
    monkeypatch.setattr(
        type(beamline.rotation), "_start", lambda axis, target, velocity: start(axis, min(target, 90.0), velocity)
    )
    with pytest.raises(TomoScanError, match="rotation stands at 90, not at"):
        engine(tomo_fly(beamline, replace(scan, projections=100, rate_hz=rate_hz)))
    with h5py.File(beamline.streamer.last_report.raw_file) as file:
        frames = file["/entry/instrument/detector/data"].shape[0]
    assert frames > 7  # the last ones may be under way when the scan is given up
    assert documents.announced("detector") == frames
