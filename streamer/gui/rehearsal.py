"""A stand-in for the daemon, to try a viewer without a beamline: ``python -m streamer.gui.rehearsal``.

It speaks the control, event and preview sockets of ``docs/protocol.md`` and shows a foam of glass beads whose planes
fill in angle by angle, by filtered backprojection of exact projections. It knows ``status`` and nothing else, keeps
no frames and measures nothing: centre, verdict and losses are what the caller says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.flow.wire import WireError, pack, unpack
from streamer.frames import Decision, Reason, ReasonCode, Verdict

Array = NDArray[np.float32]
UNIT = "1/cm"


@dataclass
class Foam:
    """Spheres in a cylinder, seen by ``side`` columns and ``rows`` rows; lengths in pixels, attenuation per pixel."""

    side: int = 256
    rows: int = 176
    angles: int = 180
    noise: float = 0.02
    seed: int = 3

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        radius = 0.42 * self.side
        turn, away = rng.uniform(0, 2 * np.pi, 60), 0.8 * radius * np.sqrt(rng.uniform(0, 1, 60))
        self._x, self._y = away * np.cos(turn), away * np.sin(turn)
        self._z = rng.uniform(-0.45, 0.45, 60) * self.rows
        self._r = rng.uniform(0.025, 0.085, 60) * self.side
        self._mu = rng.choice([-0.004, 0.006, 0.012], 60)
        self._body = radius
        self._rng = rng
        frequency = np.abs(np.fft.rfftfreq(2 * self.side))
        self._ramp = frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency))
        axis = np.arange(self.side) - (self.side - 1) / 2
        self._axis = axis
        self._v = np.arange(self.rows) - (self.rows - 1) / 2

    def projection(self, number: int) -> Array:
        """Line integrals at one of ``angles`` angles over half a turn, with noise."""
        angle = np.pi * number / self.angles
        u, v = self._axis[None, :], self._v[:, None]
        picture = 0.004 * 2 * np.sqrt(np.maximum(0, self._body**2 - u**2)) * np.ones_like(v)
        for x, y, z, r, mu in zip(self._x, self._y, self._z, self._r, self._mu, strict=True):
            middle = x * np.cos(angle) + y * np.sin(angle)
            picture += 2 * mu * np.sqrt(np.maximum(0, r**2 - (u - middle) ** 2 - (v - z) ** 2))
        noisy: Array = (picture + self._rng.normal(0, self.noise, picture.shape)).astype(np.float32)
        return noisy

    def fold(self, planes: dict[str, Array], number: int) -> None:
        """Add one angle to the planes."""
        angle = np.pi * number / self.angles
        spectrum = np.fft.rfft(self.projection(number), 2 * self.side, axis=1) * self._ramp
        rows = np.fft.irfft(spectrum, axis=1)[:, : self.side] * np.pi / self.angles
        half = (self.side - 1) / 2
        across = self._axis[None, :] * np.cos(angle) + self._axis[:, None] * np.sin(angle) + half
        columns = np.arange(self.side)
        planes["xy"] += np.interp(across, columns, rows[self.rows // 2]).astype(np.float32)
        for name, way in (("xz", np.cos(angle)), ("yz", np.sin(angle))):
            place = self._axis * way + half
            planes[name] += np.stack([np.interp(place, columns, row) for row in rows]).astype(np.float32)

    def empty(self) -> dict[str, Array]:
        upright = (self.rows, self.side)
        shapes = {"xy": (self.side, self.side), "xz": upright, "yz": upright}
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@dataclass
class Rehearsal:
    """Server side of the viewer's three sockets, on free ports of this machine. Call ``serve`` between the sends."""

    control: str = "tcp://127.0.0.1:*"
    pixel_size_m: float | None = 6.5e-6
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._bind(zmq.ROUTER, self.control)
        self._events = self._bind(zmq.PUB, "tcp://127.0.0.1:*")
        self._preview = self._bind(zmq.PUB, "tcp://127.0.0.1:*")
        self.endpoint = _where(self._router)
        self._version = 0
        self.asked = 0

    def _bind(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 4)
        socket.bind(endpoint)
        return socket

    def close(self) -> None:
        for socket in (self._router, self._events, self._preview):
            socket.close(0)
        self._context.term()

    def serve(self, timeout_s: float = 0.0) -> None:
        """Answer the questions that have come, waiting at most so long for the first."""
        while self._router.poll(int(1000 * timeout_s)):
            timeout_s = 0.0
            *envelope, body = self._router.recv_multipart()
            try:
                verb = unpack(body).get("verb")
            except WireError:
                verb = None
            self.asked += 1
            self._router.send_multipart([*envelope, pack(self._answer(verb))])

    def _answer(self, verb: object) -> dict[str, Any]:
        if verb != "status":
            return {"v": 1, "ok": False, "error": "a rehearsal knows status only", "code": "unknown_verb"}
        endpoints = {"control": self.endpoint, "events": _where(self._events), "preview": _where(self._preview)}
        state = self.report.get("state", "idle")
        scan = self.report or None
        return {"v": 1, "ok": True, "state": state, "version": "rehearsal", "endpoints": endpoints, "scan": scan}

    def event(self, topic: str, **entries: Any) -> None:
        self._events.send_multipart([topic.encode(), pack({"scan_id": self.report["scan_id"], **entries})])

    def tell(self, **changes: Any) -> None:
        """Change the report and announce it."""
        self.report = {**self.report, **changes}
        self.event("progress", report=self.report)

    def scan_state(self, state: str) -> None:
        self.report = {**self.report, "state": state}
        self.event("scan", state=state, time_ns=0, report=self.report)

    def plane(self, name: str, image: Array, angles: int, of: int, **more: Any) -> None:
        """Send one preview; the picture is in 1/pixel."""
        if self.pixel_size_m is not None:
            image = image / np.float32(100 * self.pixel_size_m)
        low, high = float(image.min()), float(image.max())
        pixels = np.round((image - low) * (65535 / max(high - low, 1e-12))).astype("<u2")
        self._version += 1
        header = {
            "scan_id": self.report["scan_id"], "sample": self.report["sample"], "plane": name,
            "version": self._version, "angles": angles, "of": of, "shape": list(image.shape), "lo": low, "hi": high,
            "unit": UNIT if self.pixel_size_m else "1/pixel", "pixel_size_m": self.pixel_size_m, "bin": 1,
            "center_px": self.report.get("center_px"), "frame_rate_hz": 480.0,
            "verdict": self.report.get("verdict"), "reasons": self.report.get("reasons"), **more,
        }  # fmt: skip
        self.raw([b"plane", pack(header), pixels.tobytes()])

    def raw(self, parts: Sequence[bytes]) -> None:
        """Whatever it is, to those who listen to previews."""
        self._preview.send_multipart(list(parts))


def report_of(scan_id: str, sample: str, state: str, angles: int, of: int, **more: Any) -> dict[str, Any]:
    """A report as the daemon gives it."""
    frames = {"expected": of, "received": angles, "missing": 0, "duplicate": 0, "late": 0, "corrupt": 0}
    base = {"scan_id": scan_id, "sample": sample, "state": state, "frames": frames}
    return {**base, "projections": {"received": angles, "expected": of}, "verdict": "UNKNOWN", "reasons": [], **more}


ENDINGS = (
    Verdict(Decision.ENOUGH, (Reason(ReasonCode.NOTHING_WRONG, "all 180 angles, centre certain to 0.1 px"),), True),
    Verdict(
        Decision.RETAKE,
        (
            Reason(ReasonCode.FRAMES_LOST, "12 frames are missing between 61° and 73°"),
            Reason(ReasonCode.MOTION, "the sample moved by 3.1 px"),
        ),
        True,
    ),
    Verdict(Decision.REALIGN, (Reason(ReasonCode.AXIS_OFF, "the axis is 41 px off the middle of the detector"),), True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--control", default="tcp://127.0.0.1:5581", help="endpoint to bind (default %(default)s)")
    parser.add_argument("--rate", type=float, default=15.0, help="angles per second (default %(default)s)")
    arguments = parser.parse_args()
    server = Rehearsal(arguments.control)
    print(f"rehearsing at {server.endpoint}; look at it with: streamer view {server.endpoint}", flush=True)
    number = 0
    try:
        while True:
            rehearse_scan(server, number, arguments.rate)
            number += 1
    except KeyboardInterrupt:
        server.close()


def rehearse_scan(server: Rehearsal, number: int, rate_hz: float) -> None:
    """One scan from armed to complete, in real time."""
    verdict = ENDINGS[number % len(ENDINGS)]
    foam = Foam(seed=number + 3)
    planes = foam.empty()
    server.report = report_of(f"rehearsal-{number:03d}", f"foam-{number % 9 + 1}", "acquiring", 0, foam.angles)
    server.scan_state("acquiring")
    for count in range(1, foam.angles + 1):
        foam.fold(planes, count - 1)
        center = {"center_px": 127.5, "center_confidence": min(0.98, count / 60), "verdict": "CONTINUE"}
        fresh = report_of(server.report["scan_id"], server.report["sample"], "acquiring", count, foam.angles, **center)
        server.tell(**fresh)
        for name, image in planes.items():
            server.plane(name, image, count, foam.angles)
        server.serve(1 / rate_hz)
    server.tell(quality={"resolution_px": 2.4}, **verdict.to_dict())
    server.scan_state("complete")
    until = time.monotonic() + 4
    while time.monotonic() < until:
        server.serve(0.1)


def _where(socket: zmq.Socket[bytes]) -> str:
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    return endpoint.rstrip(b"\0").decode() if isinstance(endpoint, bytes) else str(endpoint)


if __name__ == "__main__":
    main()
