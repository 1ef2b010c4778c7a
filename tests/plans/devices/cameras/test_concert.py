"""The Concert camera against a camera with the same coroutines, and a receiver of the acknowledged transport."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import End, FrameHeader, Start
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.cameras import concert
from streamer_plans.devices.cameras.camera import Activity, Geometry
from streamer_plans.devices.cameras.concert import ConcertCamera
from streamer_plans.devices.claim import BeamlineTaken, GivenUp
from streamer_plans.devices.requests import Exposures
from tests.io.helpers import run_python, wait_until
from tests.io.sources.receiving_daemon import Disk, Sink, receiving
from tests.paths import ROOT
from tests.plans.devices.cameras.concert_camera import CoroutineCamera, q

ROWS, COLUMNS, RATE_HZ = 4, 6, 200.0
SPEC = ScanSpec("scan-1", "wood", ROWS, COLUMNS, 8, flats=3, exposure_s=0.002)
FLATS, PROJECTIONS = Exposures(3, FrameKind.FLAT), Exposures(8, FrameKind.PROJECTION, 10.0, 22.5)


class Receiver(Sink):
    """Keeps the headers, too."""

    def __init__(self) -> None:
        super().__init__(Disk())
        self.messages: list[Any] = []

    def admit(self, message: Start | FrameHeader | End) -> str:
        if not self.refusal:
            self.messages.append(message)
        return super().admit(message)

    @property
    def headers(self) -> list[FrameHeader]:
        return [message for message in self.messages if isinstance(message, FrameHeader)]


class Counting:
    """The n-th image holds n everywhere; ``at`` says what happens instead of the n-th."""

    def __init__(self) -> None:
        self.count = 0
        self.at: dict[int, Callable[[], NDArray[Any]]] = {}

    def __call__(self, _angle_deg: float | None) -> NDArray[Any]:
        number, self.count = self.count, self.count + 1
        return self.at.get(number, lambda: np.full((ROWS, COLUMNS), number, "<u2"))()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is gone is not waited for when the test is over."""
    monkeypatch.setattr(concert, "SAFE_S", 5.0)


@pytest.fixture
def picture() -> Counting:
    return Counting()


@pytest.fixture
def device(picture: Counting) -> CoroutineCamera:
    return CoroutineCamera(ROWS, COLUMNS, picture)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def endpoint(receiver: Receiver) -> Iterator[str]:
    with receiving(receiver) as endpoint:
        yield endpoint


@pytest.fixture
def connect(device: CoroutineCamera, endpoint: str) -> Iterator[Callable[..., ConcertCamera]]:
    built: list[ConcertCamera] = []

    def build(given: Any = None, **settings: Any) -> ConcertCamera:
        built.append(ConcertCamera(given or device, endpoint, spool_mb=1, **settings))
        return built[-1]

    yield build
    for camera in built:
        camera.give_back(SPEC.scan_id)
        camera.close()


def begin(camera: ConcertCamera, spec: ScanSpec = SPEC) -> None:
    camera.claim(spec.scan_id, 0.0, lambda: False)
    camera.prepare(spec, RATE_HZ)


def finished(camera: ConcertCamera) -> Activity:
    wait_until(lambda: not camera.activity().acquiring, "the end of the exposures")
    return camera.activity()


def pulses(device: CoroutineCamera, count: int) -> None:
    for number in range(count):
        device.pulse(float(number))


def test_each_image_is_numbered_and_reaches_the_daemon(
    connect: Callable[..., ConcertCamera], device: CoroutineCamera, receiver: Receiver
) -> None:
    camera = connect(pixel_size_m=1e-6, max_rate_hz=500.0)
    assert camera.geometry() == Geometry(ROWS, COLUMNS, 1e-6, 500.0)
    begin(camera)
    assert device.values["frame_rate"] == q.Quantity(RATE_HZ, "1/second")
    assert device.values["exposure_time"] == q.Quantity(0.002, "second")
    assert camera.activity() == Activity(acquiring=False, issued=0, error=None)
    camera.acquire(FLATS)
    assert finished(camera) == Activity(acquiring=False, issued=3, error=None)
    assert device.values["trigger_source"] == "AUTO"
    camera.acquire(PROJECTIONS)
    assert device.values["trigger_source"] == "EXTERNAL"
    assert camera.activity() == Activity(acquiring=True, issued=3, error=None)
    pulses(device, 8)
    assert finished(camera) == Activity(acquiring=False, issued=11, error=None)
    camera.finish("ok")
    wait_until(lambda: len(receiver.disk.frames) == 11, "all frames")
    wait_until(lambda: receiver.disk.ended == 1, "the end of the scan")
    start, *headers, end = receiver.messages
    assert start.spec == SPEC
    assert end == End(SPEC.scan_id, 11, "ok", src="concert")
    assert [header.index for header in headers] == list(range(11))
    assert [header.kind for header in headers] == [FrameKind.FLAT] * 3 + [FrameKind.PROJECTION] * 8
    assert [header.angle_deg for header in headers[3:]] == [10.0 + 22.5 * number for number in range(8)]
    assert receiver.disk.frames == {n: np.full((ROWS, COLUMNS), n, "<u2").tobytes() for n in range(11)}
    assert (device.state, device.recordings) == ("standby", 2)


def test_a_camera_of_concert_comes_as_a_coroutine(connect: Callable[..., ConcertCamera], picture: Counting) -> None:
    async def made() -> CoroutineCamera:
        await asyncio.sleep(0)
        device = CoroutineCamera(ROWS, COLUMNS, picture)
        device.values.update(sensor_bitdepth=q.Quantity(8, "count"), rotate=1)
        return device

    camera = connect(made())
    for _ in range(2):
        geometry = camera.geometry()
        assert (geometry.rows, geometry.columns, geometry.dtype) == (COLUMNS, ROWS, "|u1")


def test_a_camera_that_cannot_be_made_is_named_each_time(connect: Callable[..., ConcertCamera]) -> None:
    async def made() -> CoroutineCamera:
        raise RuntimeError("`pco' is not a valid camera")

    camera = connect(made())
    for _ in range(2):
        with pytest.raises(LinkError, match=r"^the Concert camera: `pco' is not a valid camera$"):
            camera.geometry()


def test_what_the_camera_cannot_do_is_named(connect: Callable[..., ConcertCamera], device: CoroutineCamera) -> None:
    camera = connect()

    async def clipped(value: Any) -> None:
        device.values["frame_rate"] = min(value, q.Quantity(50, "1/second"))

    device.set_frame_rate = clipped  # type: ignore[attr-defined]
    with pytest.raises(LinkError, match=r"frame_rate is 50 after 200 was set"):
        begin(camera)
    del device.values["exposure_time"]
    with pytest.raises(LinkError, match="CoroutineCamera has no parameter exposure_time"):
        camera.prepare(SPEC, RATE_HZ)


class Standing:
    position = 33.5


def test_projections_at_the_own_rate_are_where_the_rotation_stands(
    connect: Callable[..., ConcertCamera], receiver: Receiver
) -> None:
    camera = connect(rotation=Standing())
    begin(camera)
    camera.acquire(Exposures(1, FrameKind.PROJECTION))
    assert finished(camera).issued == 1
    wait_until(lambda: bool(receiver.headers), "the frame")
    assert receiver.headers[0].angle_deg == 33.5


def test_without_a_rotation_such_projections_are_refused(connect: Callable[..., ConcertCamera]) -> None:
    camera = connect()
    begin(camera)
    with pytest.raises(LinkError, match="needs a rotation"):
        camera.acquire(Exposures(1, FrameKind.PROJECTION))
    assert not camera.activity().acquiring


def fails() -> NDArray[Any]:
    raise OSError("link down")


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (fails, r"^the Concert camera: link down$"),
        (lambda: np.zeros((ROWS, COLUMNS), "<f4"), r"frame 2: \(4, 6\) <f4, announced are \(4, 6\) <u2"),
        (lambda: np.zeros((ROWS, COLUMNS + 1), "<u2"), r"frame 2: \(4, 7\) <u2, announced are"),
        (lambda: None, r"frame 2: \(1,\) \|O, announced are"),  # of a grab that was cancelled
    ],
)
def test_what_goes_wrong_in_a_grab_is_the_error_of_the_camera(
    connect: Callable[..., ConcertCamera],
    device: CoroutineCamera,
    picture: Counting,
    receiver: Receiver,
    happens: Callable[[], NDArray[Any]],
    says: str,
) -> None:
    camera = connect()
    begin(camera)
    picture.at[2] = happens
    camera.acquire(FLATS)
    activity = finished(camera)
    assert activity.issued == 2
    assert re.search(says, str(activity.error)), activity.error
    assert device.state == "standby"
    camera.finish("aborted")
    wait_until(lambda: receiver.disk.ended == 1, "the end of the scan")
    assert receiver.messages[-1] == End(SPEC.scan_id, 2, "aborted", src="concert")


def test_a_camera_that_somebody_stops_is_named(connect: Callable[..., ConcertCamera], device: CoroutineCamera) -> None:
    camera = connect()
    begin(camera)
    camera.acquire(Exposures(1000, FrameKind.FLAT))
    wait_until(lambda: camera.activity().issued > 3, "some frames")
    device.state = "standby"
    activity = finished(camera)
    assert 3 < activity.issued < 1000
    assert "Current state `standby'" in str(activity.error)


def test_exposures_end_after_the_present_frame(
    connect: Callable[..., ConcertCamera], device: CoroutineCamera, receiver: Receiver
) -> None:
    camera = connect()
    begin(camera)
    camera.acquire(Exposures(100_000, FrameKind.FLAT))
    wait_until(lambda: camera.activity().issued > 3, "some frames")
    camera.stop()
    activity = finished(camera)
    assert activity.error is None
    assert activity.issued < 1000
    camera.stop()  # nothing runs any more
    camera.finish("stopped")
    wait_until(lambda: len(receiver.disk.frames) == activity.issued, "all frames")
    wait_until(lambda: receiver.disk.ended == 1, "the end of the scan")
    assert receiver.messages[-1] == End(SPEC.scan_id, activity.issued, "stopped", src="concert")


def test_a_camera_that_waits_for_a_rotation_that_stands_can_be_stopped(
    connect: Callable[..., ConcertCamera], device: CoroutineCamera
) -> None:
    camera = connect()
    begin(camera)
    camera.acquire(PROJECTIONS)
    pulses(device, 2)
    wait_until(lambda: camera.activity().issued == 2, "two frames")
    camera.stop()
    camera.finish("aborted")
    assert camera.activity() == Activity(acquiring=False, issued=2, error=None)
    assert device.state == "standby"
    camera.prepare(SPEC, RATE_HZ)  # and goes on to the next scan
    camera.acquire(FLATS)
    assert finished(camera) == Activity(acquiring=False, issued=3, error=None)


def test_a_daemon_that_takes_nothing_holds_the_camera_but_not_its_end(
    connect: Callable[..., ConcertCamera], receiver: Receiver, device: CoroutineCamera
) -> None:
    receiver.refusal = "the disk is full"
    side = 128  # 32 KiB, of which the spool of 1 MiB holds no more than 31
    device.values.update(roi_height=q.Quantity(side, "count"), roi_width=q.Quantity(side, "count"))
    device.picture = lambda _: np.zeros((side, side), "<u2")
    camera = connect()
    begin(camera, ScanSpec("scan-1", "wood", side, side, 8, flats=1000, exposure_s=0.002))
    camera.acquire(Exposures(1000, FrameKind.FLAT))
    wait_until(lambda: camera.activity().issued == 31, "a full spool")
    time.sleep(0.2)
    assert camera.activity() == Activity(acquiring=True, issued=31, error=None)
    camera.stop()
    camera.finish("stopped")
    assert camera.activity() == Activity(acquiring=False, issued=31, error=None)
    camera.give_back(SPEC.scan_id)
    assert receiver.disk.frames == {}
    receiver.refusal = ""
    wait_until(lambda: len(receiver.disk.frames) == 31, "all frames: what waited is not lost")
    wait_until(lambda: receiver.disk.ended == 1, "the end of the scan")
    assert receiver.messages[-1] == End(SPEC.scan_id, 31, "stopped", src="concert")


def test_the_camera_belongs_to_one_scan(connect: Callable[..., ConcertCamera], device: CoroutineCamera) -> None:
    camera = connect()
    begin(camera)
    with pytest.raises(BeamlineTaken, match=r"belongs to scan scan-1, for more than 0 s"):
        camera.claim("scan-2", 0.0, lambda: False)
    with pytest.raises(GivenUp, match="belongs to scan scan-1"):
        camera.claim("scan-2", 60.0, lambda: True)
    camera.give_back("scan-2")  # which it never had
    camera.claim("scan-1", 0.0, lambda: False)
    camera.give_back("scan-1")
    device.state = "recording"
    with pytest.raises(BeamlineTaken, match="the Concert camera is recording: it records for somebody else"):
        camera.claim("scan-2", 0.0, lambda: False)
    device.state = "standby"
    camera.claim("scan-2", 0.0, lambda: False)
    camera.give_back("scan-2")


def test_exposures_do_not_overlap(connect: Callable[..., ConcertCamera]) -> None:
    camera = connect()
    with pytest.raises(LinkError, match="no scan is prepared"):
        camera.acquire(FLATS)
    begin(camera)
    camera.acquire(PROJECTIONS)
    with pytest.raises(LinkError, match="it takes frames already"):
        camera.acquire(FLATS)


def test_a_loop_that_is_blocked_does_not_hold_the_plan(
    connect: Callable[..., ConcertCamera], picture: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concert, "CLEANUP_S", 0.2)
    goes_on = threading.Event()
    camera = connect()
    begin(camera)

    def blocks() -> NDArray[Any]:
        goes_on.wait(60.0)
        return np.zeros((ROWS, COLUMNS), "<u2")

    picture.at[1] = blocks
    camera.acquire(FLATS)
    wait_until(lambda: picture.count == 2, "the second grab")
    assert camera.activity() == Activity(acquiring=True, issued=1, error=None)  # which a scan finds to be stalled
    with pytest.raises(LinkTimeout, match="the Concert camera: no answer within"):
        camera.finish("aborted")
    goes_on.set()
    finished(camera)


def test_a_grab_that_cannot_be_cancelled_is_named(
    connect: Callable[..., ConcertCamera], device: CoroutineCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in libuca, whose call blocks a thread of Concert's."""
    monkeypatch.setattr(concert, "CLEANUP_S", 0.4)
    goes_on = threading.Event()

    async def grab() -> NDArray[Any]:
        future = asyncio.get_running_loop().run_in_executor(None, goes_on.wait, 60.0)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            await future
            raise
        return np.zeros((ROWS, COLUMNS), "<u2")

    device.grab = grab  # type: ignore[assignment,method-assign]
    camera = connect()
    begin(camera)
    camera.acquire(PROJECTIONS)
    with pytest.raises(LinkTimeout, match=r"grab\(\) or stop_recording\(\) does not return"):
        camera.finish("aborted")
    assert camera.activity().acquiring
    with pytest.raises(LinkError, match=r"an image of the scan before is still awaited"):
        camera.prepare(SPEC, RATE_HZ)
    goes_on.set()
    assert finished(camera) == Activity(acquiring=False, issued=0, error=None)
    camera.prepare(SPEC, RATE_HZ)


def test_a_loop_that_has_ended_is_named(connect: Callable[..., ConcertCamera], picture: Counting) -> None:
    def ends() -> NDArray[Any]:
        raise SystemExit

    camera = connect()
    begin(camera)
    picture.at[1] = ends
    camera.acquire(FLATS)
    ended = Activity(acquiring=False, issued=1, error="the Concert camera: its event loop has ended")
    wait_until(lambda: camera.activity() == ended, "the end of the loop")
    with pytest.raises(LinkError, match="its event loop has ended; start the session anew"):
        camera.finish("aborted")
    camera.give_back(SPEC.scan_id)


LEFT_OPEN = """
from streamer.frames import ScanSpec
from streamer_plans.devices.cameras.concert import ConcertCamera
from tests.plans.devices.cameras.concert_camera import CoroutineCamera

class Session:  # as a RunEngine whose plan is cleaned up when the interpreter ends
    def __init__(self):
        self.camera = ConcertCamera(CoroutineCamera(4, 6, None), "tcp://127.0.0.1:9", spool_mb=1)
        self.camera.claim("scan-1", 0.0, lambda: False)
        self.camera.prepare(ScanSpec("scan-1", "wood", 4, 6, 8, exposure_s=0.002), 200.0)

    def __del__(self):
        self.camera.give_back("scan-1")
        print("given back", flush=True)

session = Session()
"""


def test_a_session_that_ends_with_a_scan_left_open_ends() -> None:
    done = run_python(LEFT_OPEN, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "given back\n"), done.stderr


ENDS_SOON = """
import sys, threading, time
import numpy as np
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.cameras.concert import ConcertCamera
from streamer_plans.devices.requests import Exposures
from tests.plans.devices.cameras.concert_camera import CoroutineCamera

def scan():
    camera = ConcertCamera(CoroutineCamera(4, 6, lambda _: np.zeros((4, 6), "<u2")), sys.argv[1], spool_mb=1)
    camera.claim("scan-1", 0.0, lambda: False)
    camera.prepare(ScanSpec("scan-1", "wood", 4, 6, 8, flats=3, exposure_s=0.002), 200.0)
    camera.acquire(Exposures(3, FrameKind.FLAT))
    while camera.activity().acquiring:
        time.sleep(0.01)
    camera.finish("stopped")
    camera.give_back("scan-1")

thread = threading.Thread(target=scan, daemon=True)  # as the RunEngine's
thread.start()
thread.join()
print("over", flush=True)
"""


def test_a_session_that_ends_at_once_leaves_its_frames_with_the_daemon(receiver: Receiver, endpoint: str) -> None:
    receiver.refusal = "the disk is full"
    command = [sys.executable, "-c", ENDS_SOON, endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "over\n"
        time.sleep(2.0)
        assert session.poll() is None, "it waits for the daemon"
        receiver.refusal = ""
        assert session.wait(60.0) == 0
    assert sorted(receiver.disk.frames) == [0, 1, 2]
