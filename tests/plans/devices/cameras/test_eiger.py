"""The EIGER camera against the simulator of tickit-devices, a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pytest
import zmq

from streamer.client import LinkError, LinkTimeout
from streamer.flow.dialects import dectris_v1, dectris_v2
from streamer.flow.dialects.message import Dialect, Image, Message, SeriesEnd, SeriesStart
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.cameras.camera import Activity
from streamer_plans.devices.cameras.eiger import EigerDetector
from streamer_plans.devices.requests import Exposures
from tests.io.helpers import free_ports, wait_until
from tests.paths import ROOT

SPEC = ScanSpec("scan-1", "wood", 4362, 4148, 12, flats=5, exposure_s=0.015)
RATE_HZ = 50.0
PATIENCE_S = 100.0
CONFIG = """
- type: tests.plans.devices.cameras.eiger_simulator.Eiger
  name: eiger
  inputs: {{}}
  port: {rest}
  legacy: {legacy}
  cbor: {cbor}
"""


class Simulator:
    def __init__(self, folder: Path) -> None:
        rest, legacy, cbor = free_ports(3)
        (folder / "eiger.yaml").write_text(CONFIG.format(rest=rest, legacy=legacy, cbor=cbor), encoding="utf-8")
        self.address, self.streams = f"127.0.0.1:{rest}", {"legacy": legacy, "cbor": cbor}
        with (folder / "eiger.log").open("wb") as log:
            command = [sys.executable, "-m", "tickit", "all", str(folder / "eiger.yaml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        wait_until(self._answers, "an answer of the simulator")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the simulator ended"
        try:
            return bool(self.config("detector", "x_pixels_in_detector"))
        except OSError:
            return False

    def config(self, module: str, name: str) -> object:
        with urlopen(f"http://{self.address}/{module}/api/1.8.0/config/{name}", timeout=PATIENCE_S) as reply:
            return json.loads(reply.read())["value"]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("eiger"))
    yield simulator
    simulator.process.kill()
    simulator.process.wait()


HEADS = (b"dheader-1.0", b"dimage-1.0", b"dseries_end-1.0")


def messages(parts: list[bytes]) -> Iterator[list[memoryview]]:
    """The messages of a detector: the simulator joins those that it has at the same moment."""
    in_json = parts[0][:1] == b"{"  # else CBOR, a part for each message
    starts = [k for k, part in enumerate(parts) if not in_json or any(head in part[:300] for head in HEADS)]
    for first, last in pairwise([*starts, len(parts)]):
        yield [memoryview(part) for part in parts[first:last]]


class Stream:
    """What the detector sends, decoded."""

    def __init__(self, port: int, dialect: Dialect) -> None:
        self._dialect, self._waiting = dialect, deque[list[memoryview]]()
        self._socket = zmq.Context.instance().socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE_S))
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def next(self) -> Message | None:
        if not self._waiting:
            self._waiting.extend(messages(self._socket.recv_multipart()))
        return self._dialect.decode(self._waiting.popleft())

    def series(self) -> tuple[SeriesStart, list[Image]]:
        start = self.next()
        assert isinstance(start, SeriesStart)
        images = []
        while isinstance(message := self.next(), Image):
            images.append(message)
        assert message == SeriesEnd(start.series)
        return start, images

    def close(self) -> None:
        self._socket.close(0)


@pytest.fixture
def open_stream() -> Iterator[Callable[[int, Dialect], Stream]]:
    opened: list[Stream] = []

    def opening(port: int, dialect: Dialect) -> Stream:
        opened.append(Stream(port, dialect))
        return opened[-1]

    yield opening
    for stream in opened:
        stream.close()


def finished(camera: EigerDetector) -> Activity:
    wait_until(lambda: not camera.activity().acquiring, "the end of the exposures")
    return camera.activity()


@pytest.mark.parametrize(("version", "dialect"), [("legacy", dectris_v1), ("cbor", dectris_v2)])
def test_each_kind_of_frames_is_a_series_of_the_stream(
    simulator: Simulator, open_stream: Callable[[int, Dialect], Stream], version: str, dialect: Dialect
) -> None:
    camera = EigerDetector(simulator.address, stream="cbor" if version == "cbor" else "legacy")
    stream = open_stream(simulator.streams[version], dialect)
    geometry = camera.geometry()
    assert (geometry.rows, geometry.columns) == (4362, 4148)
    camera.prepare(SPEC, RATE_HZ)
    assert camera.activity() == Activity(acquiring=False, issued=0, error=None)
    issued = 0
    for kind, frames in ((FrameKind.FLAT, 5), (FrameKind.PROJECTION, 7)):
        camera.acquire(Exposures(frames, kind))
        assert simulator.config("stream", "image_appendix") == json.dumps({"kind": kind.name.lower()})
        start, images = stream.series()
        issued += frames
        assert start.frames == frames
        assert [image.number for image in images] == list(range(frames))
        assert {image.series for image in images} == {start.series}
        assert finished(camera) == Activity(acquiring=False, issued=issued, error=None)
    assert simulator.config("detector", "count_time") == SPEC.exposure_s
    camera.finish("ok")
    assert simulator.config("stream", "image_appendix") == ""


def test_exposures_are_stopped(simulator: Simulator, open_stream: Callable[[int, Dialect], Stream]) -> None:
    camera = EigerDetector(simulator.address)
    stream = open_stream(simulator.streams["legacy"], dectris_v1)
    camera.prepare(SPEC, RATE_HZ)
    camera.acquire(Exposures(100_000, FrameKind.PROJECTION))
    assert isinstance(stream.next(), SeriesStart)
    assert isinstance(stream.next(), Image)
    assert camera.activity().acquiring
    camera.stop()
    activity = finished(camera)
    assert activity.error is None
    assert 0 < activity.issued < 100_000
    camera.stop()  # nothing runs any more


def test_a_detector_that_the_rotation_triggers_waits_and_announces_the_angles(
    simulator: Simulator, open_stream: Callable[[int, Dialect], Stream]
) -> None:
    camera = EigerDetector(simulator.address, position_trigger="exts")
    stream = open_stream(simulator.streams["legacy"], dectris_v1)
    camera.prepare(SPEC, RATE_HZ)
    camera.acquire(Exposures(90, FrameKind.PROJECTION, start_deg=-90.0, step_deg=2.0))
    start = stream.next()
    while not isinstance(start, SeriesStart):  # what the simulator had still to say
        start = stream.next()
    assert (start.start_deg, start.step_deg, start.frames) == (-90.0, 2.0, 90)
    assert camera.activity().acquiring
    assert simulator.config("detector", "trigger_mode") == "exts"
    camera.finish("aborted")
    assert not camera.activity().acquiring


def test_a_detector_that_does_not_answer_or_refuses_is_named(simulator: Simulator) -> None:
    (port,) = free_ports(1)
    with pytest.raises(LinkTimeout, match=f"EIGER 127.0.0.1:{port} does not answer"):
        EigerDetector(f"127.0.0.1:{port}").activity()
    with pytest.raises(LinkError, match="404"):
        EigerDetector(simulator.address, version="9.9.9").geometry()
