"""A real virtual beamline in a process of its own, and a client that commands it as a plan and a daemon would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from streamer.cli.rig import processes
from streamer.flow.wire import End, FrameHeader, Message, decode

DEADLINE_S = 100.0


class Beamline:
    """One server process with a REQ client and a PULL receiver."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.truth_dir, self.ready = folder / "truth", folder / "beamline.json"
        self.process = processes.start_beamline(folder, "--truth-dir", str(self.truth_dir), *options)
        self.endpoints = self.process.wait_ready()
        self.context = zmq.Context()
        self.pull = self.context.socket(zmq.PULL)
        self.pull.set_hwm(8)
        self.pull.connect(self.endpoints["frames"])
        self.scan_id = "none"
        self.control = self.context.socket(zmq.REQ)
        self.control.connect(self.endpoints["control"])

    def raw(self, body: bytes) -> dict[str, Any]:
        self.control.send(body)
        assert self.control.poll(int(DEADLINE_S * 1000)), "no reply"
        return msgpack.unpackb(self.control.recv())

    def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        if verb in ("acquire", "stop_acquire", "finish"):
            args = {"scan_id": self.scan_id, **args}
        return self.raw(msgpack.packb({"v": 1, "verb": verb, "args": args}))

    def do(self, verb: str, **args: Any) -> dict[str, Any]:
        reply = self.ask(verb, **args)
        assert reply["ok"], reply
        if verb == "prepare":
            self.scan_id = args["spec"]["scan_id"]
        return reply

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, "the server has died"
            assert time.monotonic() < deadline, "nothing happened in time"
            time.sleep(0.005)

    def settle(self) -> dict[str, Any]:
        """Wait until nothing moves and nothing is acquired."""
        status: dict[str, Any] = {}

        def quiet() -> bool:
            status.update(self.do("status"))
            moving = status["rotation"]["moving"] or status["x"]["moving"] or status["changer"]["busy"]
            return not moving and not status["detector"]["acquiring"]

        self.wait(quiet)
        return status

    def mount(self, slot: int) -> None:
        """Exchange the sample, unless it is there; after a fault the robot parks first."""
        changer = self.settle()["changer"]
        if changer["fault"] is not None:
            self.do("park")
            changer = self.settle()["changer"]
        self.do("x", target_mm=0.0)
        self.settle()
        if changer["mounted"] not in (None, slot):
            self.do("mount", slot=None)
            self.settle()
        if changer["mounted"] != slot:
            self.do("mount", slot=slot)
            self.settle()

    def spec(self, scan_id: str, projections: int = 20, **more: Any) -> dict[str, Any]:
        detector = self.do("status")["detector"]
        shape = {"rows": detector["rows"], "columns": detector["columns"]}
        return {"scan_id": scan_id, "sample": "test", "projections": projections, **shape, **more}

    def take(self, frames: int, kind: int, **trigger: Any) -> None:
        self.do("acquire", frames=frames, kind=kind, **({"trigger": "internal"} | trigger))

    def collect(self, ends: int = 1, late: int = 0) -> Callable[[], list[tuple[Message, bytes]]]:
        """Receive in a thread until so many end messages have come, so many more messages, and then none for 100 ms.

        Call the result for the messages.
        """
        messages: list[tuple[Message, bytes]] = []

        def receive() -> None:
            ends_left, late_left = ends, late
            while self.pull.poll(100 if ends_left + late_left <= 0 else int(DEADLINE_S * 1000)):
                parts = self.pull.recv_multipart()
                messages.append((decode(parts[0]), parts[1] if len(parts) > 1 else b""))
                if ends_left <= 0:
                    late_left -= 1
                elif isinstance(messages[-1][0], End):
                    ends_left -= 1

        thread = threading.Thread(target=receive)
        thread.start()

        def join() -> list[tuple[Message, bytes]]:
            thread.join(1.5 * DEADLINE_S)
            assert not thread.is_alive(), "no end message"
            return messages

        return join

    @staticmethod
    def frames(messages: list[tuple[Message, bytes]]) -> list[tuple[FrameHeader, bytes]]:
        """The frames among the messages, in the order in which they came."""
        return [(message, payload) for message, payload in messages if isinstance(message, FrameHeader)]

    def scan(
        self, scan_id: str, projections: int = 20, calibration: int = 4, x_mm: float = 0.0, late: int = 0, **more: Any
    ) -> Scan:
        """Darks, flats, projections by position compare, end; ``late`` messages come after it."""
        join = self.collect(late=late)
        self.do("shutter", open=False)
        self.do("rotation", target_deg=-1.0, velocity_deg_s=2000.0)
        spec = self.spec(scan_id, projections, flats=calibration, darks=calibration, **more)
        self.do("prepare", spec=spec, rate_hz=500.0)
        self.settle()
        self.take(calibration, 2)
        self.settle()
        self.do("shutter", open=True)
        self.do("x", target_mm=6.0)
        self.settle()
        self.take(calibration, 1)
        self.settle()
        self.do("x", target_mm=x_mm)
        self.settle()
        self.take(projections, 0, trigger="position", start_deg=0.0, step_deg=180.0 / projections)
        self.do("rotation", target_deg=180.0, velocity_deg_s=720.0)
        self.settle()
        self.do("finish", status="ok")
        return Scan(join())

    def close(self) -> None:
        self.process.stop()
        self.context.destroy(linger=0)


class Scan:
    """What came over the frame socket during one scan."""

    def __init__(self, messages: list[tuple[Message, bytes]]) -> None:
        self.messages = [message for message, _ in messages]
        self.frames = Beamline.frames(messages)

    def stack(self, kind: int) -> np.ndarray[Any, Any]:
        """Frames of one label (frame, row, column), float64."""
        pixels = [np.frombuffer(p, h.dtype).reshape(h.shape) for h, p in self.frames if h.meta.kind == kind]
        return np.array(pixels, float)

    @property
    def angles_deg(self) -> list[float]:
        return [header.meta.angle_deg for header, _ in self.frames if header.meta.kind == 0]

    @property
    def hashes(self) -> list[int | None]:
        return [header.checksum for header, _ in self.frames]

    def attenuation(self) -> np.ndarray[Any, Any]:
        """−log of flat-corrected projections (frame, row, column)."""
        dark, flat = self.stack(2).mean(0), self.stack(1).mean(0)
        light = np.maximum(flat - dark, 1.0)
        return -np.log(np.clip((self.stack(0) - dark) / light, 1e-3, None))


@pytest.fixture(scope="session")
def start_beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Beamline]]:
    """Starts servers; all of them are ended after the tests."""
    started: list[Beamline] = []

    def start(*options: str) -> Beamline:
        started.append(Beamline(tmp_path_factory.mktemp("beamline"), *options))
        return started[-1]

    yield start
    for beamline in started:
        beamline.close()


@pytest.fixture(scope="session")
def shared_beamline(start_beamline: Callable[..., Beamline]) -> Beamline:
    return start_beamline("--size", "48", "--mount-s", "0.05", "--samples", "5")


@pytest.fixture
def beamline(shared_beamline: Beamline) -> Iterator[Beamline]:
    """The shared server with slot 0 mounted, x = 0, shutter closed, nothing armed."""
    shared_beamline.mount(0)
    shared_beamline.do("shutter", open=False)
    yield shared_beamline
    shared_beamline.ask("stop_acquire")
    if shared_beamline.ask("finish", status="aborted")["ok"]:  # a scan was open: its end must not meet the next test
        ended = False
        while not ended:
            assert shared_beamline.pull.poll(int(DEADLINE_S * 1000)), "no end message"
            ended = isinstance(decode(shared_beamline.pull.recv_multipart()[0]), End)
    while shared_beamline.pull.poll(50):
        shared_beamline.pull.recv_multipart()
    shared_beamline.do("faults", set={})
    shared_beamline.settle()
