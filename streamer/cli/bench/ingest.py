"""``streamer bench ingest``: frames of another process into the ring, as the daemon receives them.

Beside it in the same rounds: a plain TCP socket; a process with a PULL socket that receives each payload into memory of
the same kind and does nothing else; the disk alone, a plain file that the same bytes are written to. What goes into the
raw file is compared with the slower of network and disk. The ways take turns, so that a ratio holds on a machine that
others use as well.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zmq

from streamer.cli.bench.bare_receiver import MAX_SLOTS, RING_BYTES, Counted, bare, slots_of
from streamer.cli.bench.figures import Figure, Step, Task, limits_figures
from streamer.cli.bench.ingest_sink import RingSink
from streamer.cli.bench.sender import SCAN
from streamer.cli.rig.processes import ANYWHERE, ManagedProcess
from streamer.core.backend.selection import Backend
from streamer.flow.ring.ring import Ring
from streamer.flow.wire.acknowledged import Transport
from streamer.frames import ScanSpec, StreamerError
from streamer.io.messaging.sockets import keep_message_memory
from streamer.io.raw.disk_space import free_bytes
from streamer.io.raw.writer import WriterProcess
from streamer.io.shared import SharedBuffer
from streamer.io.sources.acknowledged import AcknowledgingReceiver
from streamer.io.sources.push import FrameReceiver

HIGH_WATER = 8
FIRST_FRAME_S = 60.0
WARM_FRAMES = 16
SENDERS = 2  # at once, each with a connection and an I/O thread of its own
ROUNDS = 5
WHOLE_ROUNDS_S = 2.0
"""With less time than this for each way there is one round only."""


@dataclass(frozen=True)
class Way:
    """How frames travel, and into what. ``beside`` names the ways of which the slower one is compared with it."""

    name: str
    sender: str
    protocol: str
    kind: str  # "plain", "disk", "bare", "ring" or "writer"
    beside: tuple[str, ...] = ()
    senders: int = 1


def ways() -> list[Way]:
    disk = Way("plain file", "", "", "disk")
    found = [Way("plain TCP socket", "tcp", "tcp", "plain"), disk]
    for protocol, senders in (("tcp", 1), ("ipc", 1), ("tcp", SENDERS)):
        which = protocol if senders == 1 else f"{protocol}, {senders} senders"
        bare = Way(f"bare PULL recv_into, {which}", "push", protocol, "bare", senders=senders)
        found.append(bare)
        for sender in ("push", "acknowledged"):
            name = f"{sender}, {which} → ring"
            found.append(Way(name, sender, protocol, "ring", (bare.name,), senders))
            found.append(Way(f"{name} → raw file", sender, protocol, "writer", (bare.name, disk.name), senders))
        if which == "tcp":
            found.append(Way("acknowledged, copied to a spool, tcp → ring", "spooled", protocol, "ring", (bare.name,)))
    return found


def ingest(_backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Measure frames per second of every way, with checksums."""
    keep_message_memory()
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    rounds = ROUNDS if task.seconds >= WHOLE_ROUNDS_S else 1
    for size in task.sizes:
        step(f"{size}²")
        rates: dict[str, list[float]] = {way.name: [] for way in ways()}
        bad = 0
        for _ in range(rounds):
            for way in ways():
                rate, wrong = measure(way, size, task.seconds / rounds)
                rates[way.name].append(rate)
                bad += wrong
        figures += _figures(f"{size}×{size}", 2 * size * size, rates, 1e9 * figures[0].value)
        figures.append(Figure(f"{size}×{size}, corrupt or rejected", float(bad), "frames"))
    return figures


def _figures(size: str, nbytes: int, rates: dict[str, list[float]], copied: float) -> Iterator[Figure]:
    """Medians; the ratio to another way is the median of the ratios in each round."""
    memory = "copy the frame in memory"
    for way in ways():
        rate = float(np.median(rates[way.name]))
        beside, value = memory, copied / nbytes
        if way.beside:
            ratios = np.divide(rates[way.name], np.min([rates[name] for name in way.beside], axis=0))
            beside, value = " or ".join(way.beside), rate / float(np.median(ratios))
        yield Figure(f"{size}, {way.name}", rate, "frames/s", beside, value)
    fastest = max(float(np.median(rates[way.name])) for way in ways() if way.kind == "ring")
    yield Figure(f"{size}, fastest way into the ring", fastest * nbytes / 1e9, "GB/s")


def measure(way: Way, size: int, seconds: float) -> tuple[float, int]:
    """Frames per second of one way, and how many were wrong."""
    with TemporaryDirectory(prefix="streamer-bench-") as folder, ExitStack() as stack:
        if way.kind == "disk":
            return _rate(stack.enter_context(_disk(Path(folder), size)), seconds), 0
        endpoint = ANYWHERE if way.protocol == "tcp" else f"ipc://{folder}/frames"
        if way.kind == "plain":
            place, counted = stack.enter_context(_plain(size))
            sink = None
        elif way.kind == "bare":
            place, counted = stack.enter_context(bare(endpoint, size, way.senders, HIGH_WATER))
            sink = None
        else:
            transport: Transport = "push" if way.sender == "push" else "acknowledged"
            writer_folder = Path(folder) if way.kind == "writer" else None
            place, sink = stack.enter_context(_into_ring(transport, endpoint, size, writer_folder, way.senders))
            counted = sink.count
        arguments = ["-m", "streamer.cli.bench.sender", way.sender, place, str(size)]
        for number in range(way.senders):
            stack.callback(ManagedProcess("sender", arguments, Path(folder) / f"sender-{number}.log").kill)
        return _rate(counted, seconds), 0 if sink is None else sink.bad


@contextmanager
def _running(work: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Do the work on a thread until the block ends."""
    stopped = threading.Event()
    thread = threading.Thread(target=work, args=(stopped.is_set,), name="receive")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _into_ring(
    transport: Transport, endpoint: str, size: int, folder: Path | None, senders: int
) -> Iterator[tuple[str, RingSink]]:
    with SharedBuffer.create(RING_BYTES) as shared, zmq.Context(senders) as context, ExitStack() as stack:
        ring = Ring(shared.memory)
        ring.format((size, size), "<u2", MAX_SLOTS)
        writer = None
        if folder is not None:
            writer = WriterProcess(shared, folder)
            stack.callback(writer.stop)
            most = free_bytes(folder) // (2 * size * size) // 2
            writer.open(ScanSpec(SCAN, SCAN, size, size, projections=most), folder / f"{SCAN}.nx", "")
        sink = RingSink(ring, writer)
        common = (context, endpoint, True, HIGH_WATER, 2 * size * size)
        if transport == "push":
            pull = FrameReceiver(*common)
            stack.enter_context(_running(lambda stopped: pull.run(sink, stopped)))
            yield pull.endpoint, sink
        else:
            router = AcknowledgingReceiver(*common, daemon=time.time_ns(), clock=time.monotonic)
            stack.enter_context(_running(lambda stopped: router.run(sink, stopped)))
            yield router.endpoint, sink
        sink.stop()


@contextmanager
def _plain(size: int) -> Iterator[tuple[str, Counted]]:
    """A TCP socket alone: payload after payload into memory as large as the ring."""
    count = 0

    def receive(stopped: Callable[[], bool]) -> None:
        nonlocal count
        connection, _ = server.accept()
        with connection:
            while not stopped():
                room = slots[count % len(slots)]
                while room and (taken := connection.recv_into(room)):
                    room = room[taken:]
                if room:
                    return
                count += 1

    with slots_of(size) as slots, socket.create_server(("127.0.0.1", 0)) as server, _running(receive):
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", lambda: count


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Counted]:
    """The disk alone: frame after frame into a plain file."""
    count = 0

    def write(stopped: Callable[[], bool]) -> None:
        nonlocal count
        with (folder / "plain").open("xb", buffering=0) as file:
            while not stopped():
                file.write(slots[count % len(slots)])
                count += 1

    with slots_of(size) as slots, _running(write):
        yield lambda: count


def _rate(counted: Counted, seconds: float) -> float:
    """Counts per second, measured for ``seconds`` once the first few have come."""
    deadline = time.perf_counter() + FIRST_FRAME_S
    while counted() < WARM_FRAMES:
        if time.perf_counter() > deadline:
            raise StreamerError(f"hardly a frame came within {FIRST_FRAME_S:g} s")
        time.sleep(0.001)
    first, began = counted(), time.perf_counter()
    time.sleep(seconds)
    return (counted() - first) / (time.perf_counter() - began)
