"""The beam is lost, or the daemon: in flight, between steps, before a scan."""

import threading
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from bluesky.plan_stubs import null

from streamer.client import Link, LinkTimeout
from streamer.flow.scan import ScanState
from streamer.flow.wire.beamline import SetBeam
from streamer.flow.wire.daemon import Report
from streamer.frames import Quality
from streamer_plans.devices.failures import FailureCode
from streamer_plans.devices.signals import PolledSignal
from streamer_plans.guards.beam import first_unlit, lit_until
from streamer_plans.guards.suspenders import suspended
from streamer_plans.tomo import TomoScanError, tomo_fly, tomo_step

PATIENCE_S = 100.0
LIT = 300.0
"""Mean counts above those of a dark frame."""


@pytest.fixture
def machine(beamline_process):
    """The control room."""
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        yield lambda **beam: link.ask(SetBeam(**beam))
        link.ask(SetBeam(current=1.0, front_end="open"))


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def at_frame(engine, count, lose, come_back=lambda: None):
    """When so many frames are announced, ``lose`` the beam before the plan looks; ``come_back`` runs on a thread."""
    done = threading.Event()

    def look(name, document):
        if name == "stream_datum" and document["indices"]["stop"] >= count and not done.is_set():
            done.set()
            lose()
            threading.Thread(target=come_back, daemon=True).start()

    engine.subscribe(look)


def lit_angles(outcome):
    """Angles of the projections with light, and how many have none; the file is that which the documents announce."""
    with h5py.File(outcome.report.raw_file) as file:
        light = file["/entry/instrument/detector/data"][...].mean(axis=(1, 2)) > LIT
        kinds = file["/entry/instrument/detector/image_key"][...]
        angles = file["/entry/sample/rotation_angle"][...]
    return np.round(angles[(kinds == 0) & light], 1), int(((kinds == 0) & ~light).sum()), int((kinds == 1).sum())


@pytest.mark.parametrize("loss", [{"current": 0.1}, {"front_end": "closed"}])
def test_a_scan_in_flight_waits_for_the_beam_and_takes_the_lost_angles_again(
    engine, documents, start_daemon, connect, scan, machine, station, loss
):
    beamline = connect(start_daemon())

    def come_back():
        until(lambda: not station().detector.acquiring and not station().rotation.moving)
        until(lambda: station().shutter == "closed")
        machine(current=1.0, front_end="open")

    at_frame(engine, 40, lambda: machine(**loss), come_back)
    scan = replace(scan, projections=150, rate_hz=50.0, beam_losses=1)
    outcome = engine(tomo_fly(beamline, scan)).plan_result
    angles, dark, flats = lit_angles(outcome)
    assert set(np.round(np.arange(150) * 1.2, 1)) - set(angles) == set(), "every angle has light"
    assert flats == 2 * scan.flats, "the flats are renewed"
    assert dark < 150
    assert outcome.report.frames.missing == 0
    (start,), (stop,) = documents.of("start"), documents.of("stop")
    assert start["num_points"] == 3 + 4 + 150
    assert stop["exit_status"] == "success"
    assert documents.announced("detector") == outcome.report.written == 3 + flats + len(angles) + dark


def test_one_loss_too_many_ends_the_scan_and_says_why(engine, documents, start_daemon, connect, scan, machine, station):
    beamline = connect(start_daemon())
    at_frame(engine, 20, lambda: machine(current=0.0))
    with pytest.raises(TomoScanError) as caught:
        engine(tomo_fly(beamline, replace(scan, projections=1000)))
    assert caught.value.failure is FailureCode.BEAM_LOST
    assert not caught.value.fatal
    (stop,) = documents.of("stop")
    assert (stop["exit_status"], stop["reason"].split(":")[0]) == ("fail", "beam_lost")
    with h5py.File(beamline.streamer.last_report.raw_file) as file:
        assert documents.announced("detector") == file["/entry/instrument/detector/data"].shape[0]
    state = station()
    assert (state.shutter, state.detector.armed, state.rotation.moving) == ("closed", False, False)
    machine(current=1.0)
    assert engine(tomo_fly(beamline, scan)).plan_result.report.state == "complete"


def test_a_scan_by_steps_takes_the_dark_step_again(engine, documents, start_daemon, connect, scan, machine, station):
    beamline = connect(start_daemon())
    wanted = [k * 9.0 for k in range(20)]

    def come_back():
        until(lambda: station().shutter == "closed")
        machine(current=1.0)

    at_frame(engine, 12, lambda: machine(current=0.0), come_back)
    outcome = engine(tomo_step(beamline, replace(scan, beam_losses=1), wanted)).plan_result
    angles, dark, flats = lit_angles(outcome)
    assert set(angles) >= set(wanted)
    assert dark <= 1
    assert flats == 2 * scan.flats
    assert documents.announced("detector") == outcome.report.written


def test_a_plan_waits_until_there_is_a_beam(engine, documents, start_daemon, connect, scan, machine, station, capsys):
    beamline = connect(start_daemon())
    machine(front_end="closed")
    engine.preprocessors.append(suspended(beamline, settled_s=0.0))

    def reopen(state, _):
        if state == "suspending":
            threading.Thread(target=machine, kwargs={"front_end": "open"}, daemon=True).start()

    engine.state_hook = reopen
    outcome = engine(tomo_fly(beamline, scan)).plan_result
    assert outcome.report.state == "complete"
    assert lit_angles(outcome)[1] == 0
    assert "the front end is closed" in capsys.readouterr().out


def test_a_suspender_leaves_a_rotation_that_turns_to_the_scan(
    engine, documents, start_daemon, connect, scan, machine, station
):
    """A suspension in flight would spoil the scan, which can wait for the beam itself."""
    beamline = connect(start_daemon())
    engine.preprocessors.append(suspended(beamline, settled_s=0.0))

    def come_back():
        until(lambda: not station().detector.acquiring and station().shutter == "closed")
        machine(current=1.0)

    at_frame(engine, 40, lambda: machine(current=0.0), come_back)
    outcome = engine(tomo_fly(beamline, replace(scan, projections=150, rate_hz=50.0, beam_losses=1))).plan_result
    assert set(np.round(np.arange(150) * 1.2, 1)) <= set(lit_angles(outcome)[0])
    assert documents.of("stop")[0]["exit_status"] == "success"


def test_a_plan_waits_for_a_daemon_that_does_not_answer(engine, start_daemon, connect):
    daemon = start_daemon()
    beamline = connect(daemon)
    assert beamline.streamer.alive.get()
    daemon.kill()
    assert not beamline.streamer.alive.get()
    fresh = start_daemon()

    def come_back():
        link = beamline.streamer._pulse
        link.reset()
        link.endpoint = fresh.endpoints["control"]

    began = time.monotonic()
    threading.Timer(1.0, come_back).start()
    engine.preprocessors.append(suspended(beamline, settled_s=0.0))
    engine(null())
    assert time.monotonic() - began > 1.0


def test_a_signal_is_asked_only_while_somebody_listens():
    asked, heard = [], []
    signal = PolledSignal(lambda: len(asked.append(0) or asked), "count", 0, period_s=0.001)

    def listen(value, **_):
        heard.append(value)

    signal.subscribe(listen)
    until(lambda: len(heard) > 5)
    signal.clear_sub(listen)
    time.sleep(0.05)
    count = len(asked)
    time.sleep(0.05)
    assert len(asked) == count
    assert signal.get() == count + 1


def test_a_listener_may_read_the_signal_while_it_is_told():
    """A suspender does, under a lock that it would take again."""
    lock, heard = threading.Lock(), []
    signal = PolledSignal(lambda: 1, "count", 0, period_s=0.001)

    def listen(value, **_):
        with lock:
            heard.append(signal.get())

    signal.subscribe(listen)
    until(lambda: len(heard) > 5)
    signal.clear_sub(listen)


def test_a_signal_keeps_its_value_while_the_server_is_silent():
    def silent():
        raise LinkTimeout("no answer")

    assert PolledSignal(silent, "beam", 0.75).get() == 0.75


@pytest.mark.parametrize(
    ("listed", "first", "stop", "found"),
    [
        ("", 0, 100, None),
        ("70-72, 80", 0, 100, 70),
        ("70-72, 80", 71, 100, 71),
        ("70-72, 80", 73, 100, 80),
        ("70-72, 80", 73, 80, None),
        ("3, 5, 7, 9, 11, 13, 15, 17, …", 16, 30, 17),
    ],
)
def test_the_first_frame_without_light(listed, first, stop, found):
    assert first_unlit(listed, first, stop) == found


@pytest.mark.parametrize(
    ("projections", "unusable", "found"),
    [
        (60, None, None),  # three frames are on their way
        (63, None, 70),
        (60, ("no light", "67-69"), 67),
        (50, ("no light", "67-69"), 67),
        (60, ("frozen", "67-69"), 70),
    ],
)
def test_frames_count_as_lit_when_the_daemon_has_looked_at_all(projections, unusable, found):
    """None was dark where the detector was quick to stop: then nothing has to be taken again."""
    cause, frames = unusable or ("", "")
    listed, counts = ({cause: frames}, {cause: 3}) if unusable else ({}, {})
    quality = Quality(projections=projections, darks=3, flats=4, unusable=listed, unusable_counts=counts)
    report = Report(scan_id="a.1", sample="a", state=ScanState.ACQUIRING, quality=quality)
    assert lit_until(report, 30, 70) == found


def test_nothing_is_known_of_the_light_without_a_report():
    assert lit_until(None, 30, 70) is None
