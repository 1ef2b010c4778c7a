"""Compressed frames of a detector, into the ring and into the raw file: ``python -m benchmarks.streams.compressed``.

2048² uint16, bitshuffle + LZ4, of two kinds: a radiograph with noise, and a few photons in a pixel. What the daemon
does is measured beside bitshuffle alone and beside a copy of the pixels; the ways take turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.cli.bench.ingest_sink import RingSink
from streamer.cli.rig.processes import ManagedProcess
from streamer.flow import codecs
from streamer.flow.assembly import Assembly
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Codec, Image, SeriesStart
from streamer.flow.kinds import Kinds
from streamer.flow.positions.positions import Positions
from streamer.flow.ring.ring import Ring
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.messaging.sockets import keep_message_memory
from streamer.io.raw.nxtomo import DETECTOR, NXtomoFile
from streamer.io.raw.writer import WriterProcess
from streamer.io.raw.writer_child import WriterOptions
from streamer.io.shared import SharedBuffer
from streamer.io.sources.dialect import DialectReceiver, ZmqInbox

SIDE = 2048
SHAPE = (SIDE, SIDE)
SPEC = ScanSpec("bench", "bench", SIDE, SIDE, projections=5_000)
RING_BYTES = 2**28
HIGH_WATER = 8
ROUNDS = 5
WARM_FRAMES = 8
FIRST_FRAME_S = 60.0
CODEC: Codec = "bslz4-h5"


class Sink(RingSink):
    def series(self, scan_id: str, start: SeriesStart) -> None: ...

    def remarks(self, scan_id: str, texts: Sequence[str]) -> None: ...


@cache
def pixels_of(kind: str) -> NDArray[np.uint16]:
    rng = np.random.default_rng(1)
    if kind == "photons":
        return rng.poisson(5, SHAPE).astype("<u2")
    beam = 1500 + 600 * np.sin(np.linspace(0, 9, SIDE))
    return (beam + rng.normal(0, 30, SHAPE)).astype("<u2")


@cache
def packed_of(kind: str) -> bytes:
    return codecs.compress(CODEC, memoryview(pixels_of(kind)).cast("B"), 2)


def send(kind: str, dialect: str, codec: Codec, endpoint: str) -> None:
    """A detector that sends as fast as it is let."""
    speaks = DIALECTS[dialect]
    data = memoryview(packed_of(kind)) if codec == CODEC else memoryview(pixels_of(kind)).cast("B")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.connect(endpoint)
        parent, number = os.getppid(), 0
        while os.getppid() == parent:
            if socket.poll(200, zmq.POLLOUT):
                image = Image(SHAPE, "<u2", data, codec, "1", number)
                socket.send_multipart(speaks.encode_image(image), copy=False)
                number += 1


@contextmanager
def received(kind: str, dialect: str, codec: Codec, folder: Path, writes: bool) -> Iterator[Callable[[], int]]:
    """Frames of a detector of its own process, through the receiver of the daemon."""
    with SharedBuffer.create(RING_BYTES) as shared, zmq.Context() as context, ExitStack() as stack:
        ring = Ring(shared.memory)
        keep = writes and codec == CODEC
        ring.format(SHAPE, "<u2", 512, keep)
        writer = None
        if writes:
            writer = WriterProcess(shared, folder, WriterOptions(keep_compressed=keep))
            stack.callback(writer.stop)
            writer.open(SPEC, folder / "bench.nx", "")
        sink, stopped = Sink(ring, writer), threading.Event()
        inbox = ZmqInbox(
            context, "tcp://127.0.0.1:*", True, HIGH_WATER, 2**26, DIALECTS[dialect].decode, "pull", time.monotonic
        )
        receiver = DialectReceiver(
            inbox, dialect, lambda: SPEC, lambda spec: Assembly(spec, dialect, Kinds(), Positions()), time.monotonic
        )
        thread = threading.Thread(target=receiver.run, args=(sink, stopped.is_set))
        command = ["-m", "benchmarks.streams.compressed", "--send", kind, dialect, codec, inbox.endpoint]
        stack.callback(thread.join)
        stack.callback(stopped.set)
        stack.callback(sink.stop)
        thread.start()
        stack.callback(ManagedProcess("sender", command, folder / "sender.log").kill)
        yield sink.count
        assert not sink.bad


def counted(count: Callable[[], int], seconds: float) -> float:
    deadline = time.perf_counter() + FIRST_FRAME_S
    while count() < WARM_FRAMES:
        if time.perf_counter() > deadline:
            raise RuntimeError("hardly a frame came")
        time.sleep(0.001)
    first, began = count(), time.perf_counter()
    time.sleep(seconds)
    return (count() - first) / (time.perf_counter() - began)


def repeated(work: Callable[[], object], seconds: float) -> float:
    work()
    times, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        work()
        times += 1
    return times / spent


def ways(kind: str, folder: Path) -> dict[str, Callable[[float], float]]:
    """Frames per second of each way, by its name."""
    raw, packed = memoryview(pixels_of(kind)).cast("B"), memoryview(packed_of(kind))
    room = [memoryview(np.empty(raw.nbytes, np.uint8)) for _ in range(16)]
    sources = [memoryview(bytes(packed)) for _ in range(16)]
    turn = iter(range(10**9))

    def copy() -> None:
        room[next(turn) % 16][:] = raw

    def unpack() -> None:
        k = next(turn) % 16
        codecs.decompress_into(CODEC, sources[k], room[k], 2)

    def bitshuffle() -> None:
        k = next(turn) % 16
        source = np.frombuffer(sources[k], np.uint8)[12:]
        codecs.library().bshuf_decompress_lz4(source.ctypes.data, np.frombuffer(room[k]).ctypes.data, SIDE * SIDE, 2, 0)

    def over_socket(dialect: str, codec: Codec, writes: bool) -> Callable[[float], float]:
        def run(seconds: float) -> float:
            with TemporaryDirectory(dir=folder) as place, received(kind, dialect, codec, Path(place), writes) as count:
                return counted(count, seconds)

        return run

    return {
        "copy of the pixels": lambda seconds: repeated(copy, seconds),
        "bitshuffle alone": lambda seconds: repeated(bitshuffle, seconds),
        "decompress_into": lambda seconds: repeated(unpack, seconds),
        "dectris-v1, compressed → ring": over_socket("dectris-v1", CODEC, False),
        "dectris-v2, compressed → ring": over_socket("dectris-v2", CODEC, False),
        "dectris-v1, plain → ring": over_socket("dectris-v1", "none", False),
        "dectris-v1, compressed → raw file as it came": over_socket("dectris-v1", CODEC, True),
        "dectris-v1, plain → raw file": over_socket("dectris-v1", "none", True),
    }


def written(kind: str, folder: Path) -> dict[str, float]:
    """Milliseconds of the writer for a frame, as it came and plain, by direct chunks with a flush each 16 frames."""
    found: dict[str, float] = {}
    packed = np.frombuffer(packed_of(kind), np.uint8)
    for name, given in (("plain", None), ("as it came", packed)):
        path = folder / f"{name.replace(' ', '-')}.nx"
        file = NXtomoFile.create(path, SPEC, "", keep_compressed=True)
        began = time.process_time()
        for index in range(64):
            meta = FrameMeta("bench", index, FrameKind.PROJECTION, 0.0, checksum=1)
            file.append(meta, pixels_of(kind), given)
            if index % 16 == 15:
                file.flush()
        found[f"{name}, CPU ms per frame"] = 1e3 * (time.process_time() - began) / 64
        file.close("complete", 64)
        with h5py.File(path) as read:
            found[f"{name}, MB per frame"] = read[f"{DETECTOR}/data"].id.get_storage_size() / 64e6
            began = time.perf_counter()
            np.testing.assert_array_equal(read[f"{DETECTOR}/data"][7], pixels_of(kind))
            found[f"{name}, ms to read a frame"] = 1e3 * (time.perf_counter() - began)
        path.unlink()
    return found


def measure(seconds: float, folder: Path) -> dict[str, Any]:
    keep_message_memory()
    result: dict[str, Any] = {}
    for kind in ("radiograph", "photons"):
        each = ways(kind, folder)
        rates: dict[str, list[float]] = {name: [] for name in each}
        for _ in range(ROUNDS):
            for name, rate in each.items():
                rates[name].append(rate(seconds / ROUNDS))
        alone = np.array(rates["bitshuffle alone"])
        result[kind] = {
            "ratio": pixels_of(kind).nbytes / len(packed_of(kind)),
            "frames/s": {name: float(np.median(values)) for name, values in rates.items()},
            "share of bitshuffle alone": {name: float(np.median(values / alone)) for name, values in rates.items()},
            "raw file": written(kind, folder),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each way (default 5)")
    parser.add_argument("--send", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        send(*args.send)
        sys.exit()
    with TemporaryDirectory(prefix="streamer-bench-") as folder:
        record("compressed", measure(args.seconds, Path(folder)))


if __name__ == "__main__":
    main()
