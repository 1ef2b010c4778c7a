"""Frames through the receiver of each dialect beside the native one: ``python -m benchmarks.streams.dialects``.

1024² uint16 without compression, over TCP on this machine, into one slot of memory. The dialects take turns; a ratio is
that of a round. Native frames carry a checksum, which is checked; foreign ones have none. The decoders alone, in µs per
message, are beside it. A PV holds nobody back: it is at most some updates ahead. It is served by a process of pvaPy
(``pva``), as fast as areaDetector's C++, and by one of p4p (``pva of p4p``), whose server is what limits it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from timeit import repeat
from typing import Any

import numpy as np
import pvaccess
import zmq
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV
from pvapy.utility.adImageUtility import AdImageUtility

from benchmarks.record import record
from streamer.flow import wire
from streamer.flow.assembly import Assembly
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Image, SeriesStart
from streamer.flow.dialects.ntndarray import image_of
from streamer.flow.kinds import Kinds
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.foreign.pva import PvaInbox, array_of
from streamer.io.senders.outlet import PlainOutlet
from streamer.io.sources.dialect import DialectReceiver, ZmqInbox
from streamer.io.sources.push import FrameReceiver
from tests.io.helpers import local_pv_access

SIDE, FRAMES, ROUNDS = 1024, 400, 7
PATIENCE_S = 60.0
ANYWHERE = "tcp://127.0.0.1:*"
SPEC = ScanSpec("bench", "bench", SIDE, SIDE, projections=FRAMES)
PIXELS = np.random.default_rng(1).poisson(1000, (SIDE, SIDE)).astype("<u2")
MAX_BYTES = 2**24
HIGH_WATER = 8
PV = "bench:image"
AHEAD_S = 1e-4


class Sink:
    """One slot; notes when the first and the last frame came."""

    def __init__(self) -> None:
        self._slot = memoryview(bytearray(PIXELS.nbytes))
        self.first_s = self.last_s = 0.0
        self.frames = 0
        self.done = threading.Event()

    def slot(self, _header: wire.FrameHeader) -> memoryview:
        return self._slot

    def frame(self, _header: wire.FrameHeader, _packed: memoryview | None = None) -> None:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.frames += 1
        if self.frames == FRAMES:
            self.done.set()

    def start(self, message: object) -> None: ...

    def end(self, message: object) -> None: ...

    def alive(self, message: object) -> None: ...

    def series(self, scan_id: str, start: SeriesStart) -> None: ...

    def remarks(self, scan_id: str, texts: Sequence[str]) -> None: ...

    def corrupt(self, header: object, reason: str, text: str = "") -> None:
        raise AssertionError(reason)

    def rejected(self, reason: str, text: str) -> None:
        raise AssertionError(text)

    def failed(self, error: Exception) -> None:
        raise error


def message(name: str, number: int) -> list[Any]:
    if name == "native":
        return list(wire.encode_frame(FrameMeta("bench", number, FrameKind.PROJECTION, 0.1 * number), PIXELS))
    image = Image((SIDE, SIDE), "<u2", PIXELS.data.cast("B"), series="7", number=number)
    return list(DIALECTS[name].encode_image(image))


def receiver_of(name: str, context: zmq.Context[zmq.Socket[bytes]], kind: Any) -> FrameReceiver | DialectReceiver:
    if name == "native":
        return FrameReceiver(context, ANYWHERE, True, HIGH_WATER, MAX_BYTES)
    inbox = ZmqInbox(context, ANYWHERE, True, HIGH_WATER, MAX_BYTES, DIALECTS[name].decode, kind, time.monotonic)
    return DialectReceiver(inbox, name, lambda: SPEC, lambda spec: Assembly(spec, name, Kinds()), time.monotonic)


def frames_per_s(name: str) -> float:
    sink, stopped = Sink(), threading.Event()
    kind: Any = "pull" if name == "native" or "pull" in DIALECTS[name].TRAITS.sockets else "sub"
    messages = [message(name, number) for number in range(FRAMES)]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    receiver = receiver_of(name, context, kind)
    thread = threading.Thread(target=receiver.run, args=(sink, stopped.is_set))
    thread.start()
    outlet = PlainOutlet(context, receiver.endpoint, False, "--to", peer=kind)
    try:
        start = [] if name == "native" else DIALECTS[name].encode_start(SeriesStart("7", FRAMES, (SIDE, SIDE), "<u2"))
        for parts in ([start] if start else []) + messages:
            assert outlet.offer(parts, PATIENCE_S)
        assert sink.done.wait(PATIENCE_S)
    finally:
        stopped.set()
        thread.join()
        outlet.close(0)
        context.term()
    return (FRAMES - 1) / (sink.last_s - sink.first_s)


class PvSink(Sink):
    """The image that the PV held before is refused, by right; ``taken`` counts the others for the server."""

    def __init__(self, taken: Any) -> None:
        super().__init__()
        self.connected, self._taken = threading.Event(), taken

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        super().frame(header, packed)
        self._taken.value = self.frames

    def rejected(self, reason: str, text: str) -> None:
        assert reason == "stale_scan", text
        self.connected.set()


def update(number: int) -> Any:
    """An NTNDArray as a PV of p4p holds it."""
    value = NTNDArray().wrap(PIXELS)
    value["uniqueId"] = number
    return value


def serve_by_p4p(taken: Any, begun: Any) -> None:
    updates = [update(number) for number in range(FRAMES + 1)]
    pv = SharedPV(initial=updates[0])
    with Server(providers=[{PV: pv}]):
        post_all(lambda number: pv.post(updates[number]), taken, begun)


def serve_by_pvapy(taken: Any, begun: Any) -> None:
    # An update holds what differs from the one before: each image has pixels of its own.
    arrays = [AdImageUtility.generateNtNdArray2D(0, np.roll(PIXELS, column, 1)) for column in range(16)]
    server = pvaccess.PvaServer(PV, arrays[0])

    def post(number: int) -> None:
        array = arrays[number % len(arrays)]
        array["uniqueId"] = number
        server.update(PV, array)

    post_all(post, taken, begun)


def post_all(post: Callable[[int], None], taken: Any, begun: Any) -> None:
    """Post images 1 to FRAMES, once it is told to, and stay until they are taken."""
    begun.wait()
    for number in range(1, FRAMES + 1):
        while number - taken.value > HIGH_WATER // 2:
            time.sleep(AHEAD_S)
        post(number)
    while taken.value < FRAMES:
        time.sleep(AHEAD_S)


def pv_frames_per_s(serve: Callable[[Any, Any], None]) -> float:
    processes = multiprocessing.get_context("spawn")
    taken, begun = processes.Value("q", 0, lock=False), processes.Event()
    sink, stopped = PvSink(taken), threading.Event()
    server = processes.Process(target=serve, args=(taken, begun), daemon=True)
    server.start()
    inbox = PvaInbox(f"pva://{PV}", HIGH_WATER, MAX_BYTES)
    receiver = DialectReceiver(inbox, "pva", lambda: SPEC, lambda spec: Assembly(spec, "pva", Kinds()), time.monotonic)
    thread = threading.Thread(target=receiver.run, args=(sink, stopped.is_set))
    thread.start()
    try:
        assert sink.connected.wait(PATIENCE_S)
        begun.set()
        assert sink.done.wait(PATIENCE_S)
    finally:
        stopped.set()
        thread.join()
        server.kill()
        server.join()
    return (FRAMES - 1) / (sink.last_s - sink.first_s)


SERVERS = {"pva": serve_by_pvapy, "pva of p4p": serve_by_p4p}


def pv_decoder_us() -> float:
    value = update(7)
    return round(1e6 * min(repeat(lambda: image_of(array_of(value, PV, MAX_BYTES)), number=500, repeat=5)) / 500, 2)


def decoder_us(name: str) -> float:
    parts = [memoryview(part) for part in message(name, 7)]
    decode: Callable[[], object]
    decode = partial(wire.decode, parts[0]) if name == "native" else partial(DIALECTS[name].decode, parts)
    return round(1e6 * min(repeat(decode, number=2000, repeat=5)) / 2000, 2)


def main() -> None:
    os.environ.update(local_pv_access())
    names = ["native", *DIALECTS, *SERVERS]
    rounds = [
        {name: pv_frames_per_s(SERVERS[name]) if name in SERVERS else frames_per_s(name) for name in names}
        for _ in range(ROUNDS)
    ]
    record(
        "dialects",
        {
            "pixels": f"{SIDE}x{SIDE} uint16",
            "frames": FRAMES,
            "rounds": ROUNDS,
            "dialects": {
                name: {
                    "frames_per_s": round(median(each[name] for each in rounds)),
                    "ratio_to_native": round(median(each[name] / each["native"] for each in rounds), 2),
                    "decoder_us": pv_decoder_us() if name in SERVERS else decoder_us(name),
                }
                for name in names
            },
        },
    )


if __name__ == "__main__":
    main()
