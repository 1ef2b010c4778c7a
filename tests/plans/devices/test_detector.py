"""The detector asked in the wrong order, and a daemon that ends the scan under it."""

import time

import pytest
from msgspec import structs

from streamer.client import LinkError
from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import FrameCounts
from streamer.frames import Decision, FrameKind, Reason, ReasonCode, Verdict
from streamer_plans.devices.cameras.camera import Activity, DetectorHardware, Geometry
from streamer_plans.devices.daemon import StreamerDaemon
from streamer_plans.devices.daemon_watch import DaemonLost, ScanFailed
from streamer_plans.devices.detector import TomoDetector
from streamer_plans.devices.requests import Closing, Exposures, ScanSetup
from tests.gui.stand_in_daemon import fields_of
from tests.plans.stand_in import StandIn

PATIENCE_S = 60.0
SETUP = ScanSetup("s1", "wood", projections=10, flats=2, rate_hz=20.0, energy_kev=25.0, distance_m=0.5)
PROJECTIONS = Exposures(10, FrameKind.PROJECTION)
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), True)


class Camera(DetectorHardware):
    """A camera in memory that takes frames when the test says so."""

    def __init__(self):
        self.state = Activity(acquiring=False, issued=0, error=None)
        self.calls = []

    def geometry(self):
        return Geometry(8, 16, None, 100.0, saturation=4095.0)

    def claim(self, scan_id, patience_s, given_up):
        self.claimed = scan_id

    def give_back(self, scan_id):
        self.claimed = None

    def prepare(self, spec, rate_hz):
        self.calls.append(("prepare", spec, rate_hz))

    def acquire(self, exposures):
        self.calls.append(("acquire", exposures.frames))
        self.state = Activity(acquiring=True, issued=self.state.issued, error=None)

    def activity(self):
        return self.state

    def stop(self):
        self.calls.append(("stop",))
        self.state = Activity(acquiring=False, issued=self.state.issued, error=None)

    def finish(self, status):
        self.calls.append(("finish", status))


@pytest.fixture
def server():
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def detector(server):
    daemon = StreamerDaemon(server.endpoint)
    detector = TomoDetector(Camera(), daemon, stall_s=PATIENCE_S)
    detector.stage()
    yield detector
    detector.unstage()
    daemon.close()


def opened(detector):
    detector.prepare(SETUP).wait(PATIENCE_S)
    return detector


@pytest.mark.parametrize(
    "act",
    [
        lambda detector: detector.prepare(PROJECTIONS),
        lambda detector: detector.kickoff(),
        lambda detector: detector.complete(),
        lambda detector: detector.trigger(),
        lambda detector: detector.describe_collect(),
    ],
)
def test_without_a_scan_nothing_can_be_taken(detector, act):
    with pytest.raises(ScanFailed):
        act(detector)
    assert detector.hardware.calls == []


def test_a_scan_is_announced_to_the_daemon_and_to_the_camera(detector, server):
    opened(detector)
    (_, spec, rate_hz) = detector.hardware.calls[0]
    assert (spec.scan_id, spec.rows, spec.columns, spec.frames, rate_hz) == ("s1", 8, 16, 12, 20.0)
    assert spec.exposure_s == pytest.approx(0.045), "as long as the rate allows"
    assert (spec.energy_kev, spec.distance_m, spec.saturation) == (25.0, 0.5, 4095.0)
    assert server.verbs == ["arm"]
    assert detector.pixel_size_m.get() == 0.0, "not known"
    assert set(detector.describe_collect()) == {"detector", "detector_image_key", "detector_rotation_angle"}


def test_a_scan_that_is_refused_touches_neither_camera_nor_daemon(detector, server):
    """Another user's scan runs on both."""
    server.busy = 10**6
    detector.daemon._busy_timeout_s = 0.0
    with pytest.raises(LinkError, match="another scan is running"):
        opened(detector)
    detector.unstage()
    assert detector.hardware.calls == []
    assert set(server.verbs) == {"arm"}


def test_a_scan_that_is_given_up_while_it_waits_is_not_left_armed(detector, server):
    server.busy = 10**6
    status = detector.prepare(SETUP)
    while not server.verbs:
        time.sleep(0.01)
    detector.unstage()
    assert detector.hardware.calls == [], "the camera works for another user"
    status.wait(PATIENCE_S)  # nobody wants it any more, so that it is no failure
    assert detector.hardware.calls == []
    assert set(server.verbs) == {"arm"}
    assert detector.hardware.claimed is None


def test_exposures_end_well_when_the_plan_itself_closes_the_scan(detector, server):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    status = detector.complete()
    detector.prepare(Closing("aborted", "the rotation stalled"))
    detector.kickoff().wait(PATIENCE_S)
    status.wait(PATIENCE_S)
    assert server.verbs[-1] == "abort"


def test_exposures_end_when_all_are_taken(detector):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    status = detector.complete()
    assert not status.done
    detector.hardware.state = Activity(acquiring=False, issued=10, error=None)
    status.wait(PATIENCE_S)


def test_exposures_that_are_stopped_end_well(detector):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    status = detector.complete()
    detector.stop()
    status.wait(PATIENCE_S)
    assert detector.hardware.calls[-1] == ("stop",)


def test_the_cameras_own_words_fail_the_exposures(detector):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    detector.hardware.state = Activity(acquiring=False, issued=3, error="overheated")
    with pytest.raises(ScanFailed, match="detector: overheated"):
        detector.complete().wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"state": ScanState.FAILED, "error": "disk full"}, "the daemon closed the scan as failed: disk full"),
        ({"state": ScanState.INCOMPLETE, **fields_of(MOVED)}, "as incomplete: RETAKE: motion: it moved"),
        ({"state": ScanState.ABORTED}, "as aborted: UNKNOWN: not_judged: "),
    ],
)
def test_a_daemon_that_ends_the_scan_fails_the_exposures_with_its_reasons(detector, server, report, words):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    server.report = structs.replace(server.report, **report)
    with pytest.raises(ScanFailed, match=words):
        detector.complete().wait(PATIENCE_S)


def test_a_daemon_that_forgot_the_scan_was_restarted(detector, server):
    opened(detector).prepare(PROJECTIONS)
    detector.kickoff().wait(PATIENCE_S)
    server.report = None
    with pytest.raises(DaemonLost, match="it was restarted during the scan"):
        detector.complete().wait(PATIENCE_S)


def test_closing_waits_until_the_frames_are_on_disk(detector, server):
    opened(detector).prepare(Closing("ok"))
    detector.kickoff().wait(PATIENCE_S)
    assert detector.hardware.calls[-1] == ("finish", "ok")
    status = detector.complete()
    server.tell(state=ScanState.FINALISING, frames=FrameCounts(received=12), written=11)
    assert not status.done
    server.tell(written=12)
    status.wait(PATIENCE_S)
    assert detector.get_index() == 12


def test_unstaging_an_open_scan_aborts_it(detector, server):
    opened(detector).unstage()
    assert server.verbs == ["arm", "abort"]
    assert server.report.error == "unstaged before the scan was closed"
    assert ("finish", "aborted") in detector.hardware.calls
