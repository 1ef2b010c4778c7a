"""Scans that go wrong: the run says why, in time, and the next run works."""

import time
from dataclasses import replace

import h5py
import pytest
from bluesky import Msg
from bluesky.utils import RunEngineInterrupted

from streamer_plans.batch import Sample, tomo_batch
from streamer_plans.orders import golden_angles
from streamer_plans.tomo import TomoScanError, tomo_fly, tomo_step
from tests.plans.conftest import after_frames

LIMIT_S = 60.0


def failing(engine, plan):
    """The error of a run, and how long it took to fail."""
    began = time.monotonic()
    with pytest.raises(TomoScanError) as caught:
        engine(plan)
    assert time.monotonic() - began < LIMIT_S
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_killed_daemon_fails_the_run_and_the_next_one_works(engine, documents, start_daemon, connect, scan):
    daemon = start_daemon()
    beamline = connect(daemon)
    engine.subscribe(after_frames(20, daemon.kill))
    error = failing(engine, tomo_fly(beamline, replace(scan, projections=400)))
    assert error.fatal
    assert "daemon" in str(error)
    (stop,) = documents.of("stop")
    assert (stop["exit_status"], stop["reason"]) == ("fail", f"daemon_lost: {error}")
    assert documents.announced("detector") >= 20
    assert error.run_uid == stop["run_start"]
    assert beamline.shutter.read()["shutter"]["value"] == "closed"
    # the same devices, a new daemon in the old one's place
    fresh = start_daemon()
    for link in (beamline.streamer._link, beamline.streamer._patient):
        link.reset()
        link.endpoint = fresh.endpoints["control"]
    engine(tomo_fly(beamline, scan))
    assert documents.of("stop")[1]["exit_status"] == "success"
    assert documents.announced("detector") == 47


def test_a_daemon_that_is_not_there_fails_at_once(engine, documents, start_daemon, connect, scan):
    daemon = start_daemon()
    beamline = connect(daemon)
    daemon.kill()
    error = failing(engine, tomo_fly(beamline, scan))
    assert error.fatal
    assert "did not answer" in documents.of("stop")[0]["reason"]


def test_a_scan_follows_on_one_whose_cleaning_up_was_cut_short(engine, documents, start_daemon, connect, scan):
    """As by a Status that failed when nobody waited for it any more."""
    beamline = connect(start_daemon())
    beamline.rotation.stage()
    beamline.detector.stage()
    outcome = engine(tomo_fly(beamline, scan)).plan_result
    assert outcome.report.state == "complete"


def test_a_camera_that_stops_is_named(engine, documents, start_daemon, connect, scan, faults):
    beamline = connect(start_daemon())
    faults(stall=20)
    error = failing(engine, tomo_fly(beamline, scan))
    assert documents.of("stop")[0]["reason"] == "camera_fault: detector: camera stopped before frame 20"
    assert not error.fatal
    assert documents.announced("detector") == 20
    engine(tomo_fly(beamline, scan))
    assert documents.of("stop")[1]["exit_status"] == "success"


def test_a_daemon_that_receives_nothing_is_named(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"deaf_after": 15}, {}), stall_s=4.0)
    failing(engine, tomo_fly(beamline, replace(scan, projections=2000)))
    assert documents.of("stop")[0]["reason"].startswith("daemon_stalled: the daemon stalled: 16 of ")
    assert documents.announced("detector") == 16


def test_a_daemon_that_gives_up_says_why(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"fail_after": 20}))
    failing(engine, tomo_fly(beamline, replace(scan, projections=300)))
    assert documents.of("stop")[0]["reason"] == (
        "daemon_gave_up: the daemon closed the scan as failed: no space left on device"
    )


def test_a_rotation_that_does_not_come_is_a_stall(engine, documents, start_daemon, connect, scan, monkeypatch):
    beamline = connect(start_daemon(), stall_s=1.0)
    start = type(beamline.rotation)._start

    def reluctant(axis, target, velocity):
        if target < 100:  # the run-up, but not the scan itself
            start(axis, target, velocity)

    monkeypatch.setattr(type(beamline.rotation), "_start", reluctant)
    monkeypatch.setattr(type(beamline.rotation), "tolerance", 1e6)
    failing(engine, tomo_fly(beamline, scan))
    assert "camera_stalled: detector stalled: no frame for 1 s" in documents.of("stop")[0]["reason"]


def test_a_stuck_shutter_fails_the_run(engine, documents, start_daemon, connect, scan, faults):
    beamline = connect(start_daemon())
    beamline.shutter.timeout_s = 3.0  # enough for the shutter to close, which it can
    faults(shutter="stuck")
    failing(engine, tomo_fly(beamline, scan))
    assert "shutter: getting open (it may be stuck)" in documents.of("stop")[0]["reason"]


def test_an_abort_leaves_everything_safe(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    scan = replace(scan, projections=1000)

    engine.subscribe(after_frames(20, lambda: engine.abort("tea")))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_fly(beamline, scan))
    (stop,) = documents.of("stop")
    assert (stop["exit_status"], stop["reason"]) == ("abort", "tea")
    assert beamline.shutter.read()["shutter"]["value"] == "closed"
    assert not beamline.rotation._where()[1]
    assert not beamline.detector.hardware.activity().acquiring
    with h5py.File(beamline.streamer.last_report.raw_file) as file:
        assert documents.announced("detector") == file["/entry/instrument/detector/data"].shape[0]


def test_a_pause_spoils_a_fly_scan_and_a_batch_takes_it_again(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    scan = replace(scan, projections=400)  # the pause must come while it turns
    engine.subscribe(after_frames(10, lambda: engine.request_pause(defer=False)))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_batch(beamline, [Sample(1, scan)]))
    assert engine.state == "paused"
    (sample,) = engine.resume().plan_result
    assert [attempt.action.choice.value for attempt in sample.attempts] == ["retake", "accept"]
    first, second = documents.of("stop")
    assert (first["exit_status"], second["exit_status"]) == ("fail", "success")
    assert first["reason"].startswith("paused: ")


@pytest.mark.parametrize("defer", [True, False])
def test_a_step_scan_goes_on_after_a_pause(engine, documents, start_daemon, connect, scan, defer):
    beamline = connect(start_daemon())
    beamline.rotation.velocity.put(200.0)
    angles = golden_angles(10)
    engine.subscribe(after_frames(11, lambda: engine.request_pause(defer=defer)))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_step(beamline, scan, angles))
    assert engine.state == "paused"
    outcome = engine.resume().plan_result
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert stop["num_events"]["primary"] == documents.announced("detector") == 17
    with h5py.File(outcome.report.raw_file) as file:
        assert file["/entry/sample/rotation_angle"][7:] == pytest.approx(angles, abs=0.02)


def test_unstage_never_raises(engine, start_daemon, connect, scan):
    daemon = start_daemon()
    beamline = connect(daemon)

    def staged_only():
        yield Msg("stage", beamline.detector)
        daemon.kill()
        yield Msg("unstage", beamline.detector)

    engine(staged_only())
    assert beamline.detector.unstage() is not None


def test_a_rate_beyond_the_camera_is_refused(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    failing(engine, tomo_fly(beamline, replace(scan, rate_hz=1e5)))
    reason = documents.of("stop")[0]["reason"]
    assert reason.startswith("refused_arguments: ")
    assert "can do up to 1000 Hz" in reason
