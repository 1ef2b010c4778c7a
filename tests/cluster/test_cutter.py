"""The cutter with real sockets: a detector before it, shards and a scout behind it, in one process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import zmq
from msgspec import structs

from streamer.cluster import cutter as module
from streamer.cluster.calls import Caller
from streamer.cluster.cutter import Cutter
from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Ask, Attach, CutterStatus, Detach, Done, Redirect, Setup, Stop
from streamer.config import Config
from streamer.flow import wire
from streamer.io.sources.acknowledged import AcknowledgingReceiver
from tests.cluster.cluster_rig import Detector, Scan, eventually
from tests.io.sources.receiving_daemon import Disk, Sink

CUTS = ((0, 32), (32, 64))
SCOUT = (16, 48)
FEW = range(12)


class Recording(Sink):
    """A receiver that keeps what the headers said, and does not settle a frame unless it may."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.headers: list[wire.FrameHeader] = []
        self.starts: list[str] = []
        self.ends: list[int] = []

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        if isinstance(message, wire.Start):
            self.starts.append(message.spec.scan_id)
        return ""

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        self.headers.append(header)
        super().frame(header)

    def end(self, message: wire.End) -> None:
        self.ends.append(message.frames)
        super().end(message)


class Receiver:
    """A shard or a scout, as far as the cutter sees it."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.disk = Disk()
        self.sink = Recording(self.disk)
        self._stopped = threading.Event()
        self._receiver = AcknowledgingReceiver(
            context, "tcp://127.0.0.1:*", True, 8, 2**20, daemon=time.time_ns(), clock=time.monotonic
        )
        self.endpoint = self._receiver.endpoint
        self._thread = threading.Thread(target=self._receiver.run, args=(self.sink, self._stopped.is_set))
        self._thread.start()

    def pixels(self) -> dict[int, bytes]:
        return dict(self.disk.frames)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()


class Bench:
    """A detector, the cutter in a thread, and receivers."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.context: zmq.Context[Any] = zmq.Context()
        stack.callback(self.context.destroy, linger=0)
        self.detector = Detector()
        stack.callback(self.detector.close)
        self.scout = self.receiver()
        self._line, ours = socket.socketpair()
        stack.callback(ours.close)
        setup = Setup("", "127.0.0.1", scout=self.scout.endpoint)
        config = Config(source={"endpoint": self.detector.endpoint})
        self._cutter = Cutter(setup, config, self.context, ToScout(ours))
        self.thread = threading.Thread(target=self._cutter.run)
        self.thread.start()
        self.calls = Caller(self.context, self._cutter.ready.calls, "the cutter", self.thread.is_alive)
        stack.callback(self.stop)

    def receiver(self) -> Receiver:
        made = Receiver(self.context)
        self._stack.callback(made.close)
        return made

    def attach(self, scan: Scan, *shards: Receiver) -> None:
        self.ask(Attach(scan.spec.scan_id, tuple(shard.endpoint for shard in shards), (*CUTS, SCOUT)))

    def ask(self, request: Any) -> None:
        self.calls.ask(request, Done, 5.0)

    def status(self) -> CutterStatus:
        return self.calls.ask(Ask(), CutterStatus, 5.0)[0]

    def lose_the_scout(self) -> None:
        self._line.close()

    def stop(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._line.close)
            stack.callback(self.calls.close)
            stack.callback(self.thread.join)
            if self.thread.is_alive():
                self.ask(Stop())


@contextmanager
def bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan("cut")


def rows(scan: Scan, cut: tuple[int, int], indices: Any = FEW) -> dict[int, bytes]:
    return {index: scan.pixels[index][cut[0] : cut[1]].tobytes() for index in indices}


def test_everybody_gets_the_rows_that_are_meant_for_them(scan: Scan) -> None:
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(scan, *shards)
        one.detector.begin(scan)
        one.detector.frames(scan, FEW)
        one.detector.end(scan)
        everybody = (*shards, one.scout)
        eventually(lambda: all(receiver.sink.ends for receiver in everybody), "all hear the end")
        for receiver, cut in zip(everybody, (*CUTS, SCOUT), strict=True):
            eventually(lambda r=receiver: len(r.disk.frames) == len(FEW), "all frames are on the disk")
            assert receiver.pixels() == rows(scan, cut)
            assert not receiver.sink.bad
            for header in receiver.sink.headers:
                assert header.shape == (cut[1] - cut[0], scan.spec.columns)
                assert header.meta.angle_deg == scan.metas[header.index].angle_deg
                assert header.meta.kind == scan.metas[header.index].kind
        assert one.scout.sink.starts == [scan.spec.scan_id]
        assert not any(shard.sink.starts for shard in shards)  # the scout arms them
        eventually(lambda: one.status() == CutterStatus(len(FEW), 0, (0, 0)), "nothing waits any more")


def test_a_frame_that_was_damaged_is_corrupt_in_every_part(scan: Scan) -> None:
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(scan, *shards)
        parts = wire.encode_frame(scan.metas[3], scan.pixels[3], "detector")
        header = wire.decode(memoryview(parts[0]))
        assert isinstance(header, wire.FrameHeader)
        assert header.checksum is not None
        wrong = structs.replace(header, checksum=header.checksum ^ 1)
        one.detector._send([wire.pack(wrong), parts[1]])
        one.detector.frames(scan, [4])
        everybody = (*shards, one.scout)
        eventually(lambda: all(4 in receiver.disk.frames for receiver in everybody), "the next one arrives")
        assert all(receiver.sink.bad == ["checksum"] for receiver in everybody)
        assert all(3 not in receiver.disk.frames for receiver in everybody)


@pytest.mark.parametrize("what", ["too few rows", "too few bytes"])
def test_a_frame_that_cannot_be_cut_is_refused_by_all(scan: Scan, what: str) -> None:
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(scan, *shards)
        if what == "too few rows":
            one.detector._send(wire.encode_frame(scan.metas[3], np.ascontiguousarray(scan.pixels[3][:40]), "detector"))
        else:
            header, pixels = wire.encode_frame(scan.metas[3], scan.pixels[3], "detector")
            one.detector._send([header, memoryview(pixels).cast("B")[:100]])
        one.detector.frames(scan, [4])
        eventually(lambda: all(4 in shard.disk.frames for shard in shards), "the next one arrives")
        if what == "too few rows":  # of the right kind, but of another detector: whoever holds the spec refuses it
            assert all(shard.sink.headers[0].shape == (40, scan.spec.columns) for shard in shards)
        else:
            assert all(len(shard.sink.bad) == 1 for shard in shards)
        assert one.status().frames == 2


def test_frames_of_a_scan_that_is_announced_wait_until_it_is_armed(scan: Scan) -> None:
    with bench() as one:
        other = Scan("before")
        shards = one.receiver(), one.receiver()
        one.attach(other, *shards)
        one.detector.begin(scan)
        one.detector.frames(scan, FEW)
        eventually(lambda: one.scout.sink.starts == [scan.spec.scan_id], "the scout hears of it")
        time.sleep(0.1)
        assert (one.status().frames, one.status().stale) == (0, 0)
        one.attach(scan, *shards)
        eventually(lambda: all(len(shard.disk.frames) == len(FEW) for shard in shards), "none is lost")
        assert one.status().stale == 0


def test_frames_of_a_scan_that_nobody_arms_are_counted_and_dropped(scan: Scan) -> None:
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(Scan("armed"), *shards)
        one.detector.frames(scan, FEW)
        eventually(lambda: one.status().stale == len(FEW), "they are counted")
        assert not any(receiver.disk.frames for receiver in (*shards, one.scout))


def test_what_a_shard_had_not_written_its_successor_gets(scan: Scan) -> None:
    with bench() as one:
        first, second, successor = one.receiver(), one.receiver(), one.receiver()
        second.sink.flushing = False  # takes frames, and never has them on the disk
        one.attach(scan, first, second)
        one.detector.begin(scan)
        one.detector.frames(scan, FEW)
        eventually(lambda: second.sink.count == len(FEW), "they are there, in memory")
        assert one.status().waiting[1] == len(FEW)
        second.close()
        one.ask(Redirect(1, successor.endpoint))
        one.detector.end(scan)
        eventually(lambda: successor.sink.ends and len(successor.disk.frames) == len(FEW), "it has all of them")
        assert successor.pixels() == rows(scan, CUTS[1])
        assert first.pixels() == rows(scan, CUTS[0])
        assert not first.disk.doubled


def test_the_detector_waits_for_one_that_is_behind_and_nobody_is_overtaken(
    scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = scan.pixels[0].nbytes
    monkeypatch.setattr(module, "SPOOL_BYTES", 6 * frame)
    with bench() as one:
        first, second = one.receiver(), one.receiver()
        second.sink.flushing = False
        one.attach(scan, first, second)
        one.detector.frames(scan, range(40))
        eventually(lambda: one.status().waiting[1] >= 10, "its messages fill the spool")
        time.sleep(0.2)
        held = one.status()
        assert held.frames < 40
        assert len(first.disk.frames) <= held.frames
        second.sink.flushing = True
        eventually(lambda: len(second.disk.frames) == 40, "it goes on")
        eventually(lambda: len(first.disk.frames) == 40, "the other one as well")
        assert list(first.disk.frames) == list(second.disk.frames) == list(range(40))


def test_who_wants_no_more_frames_leaves_them_to_others(scan: Scan) -> None:
    """A PUSH socket deals its messages out to all that are connected."""
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(scan, *shards)
        one.detector.frames(scan, [0])
        eventually(lambda: all(shard.disk.frames for shard in shards), "the cutter is connected")
        one.ask(Detach())
        with one.context.socket(zmq.PULL) as another:
            another.connect(one.detector.endpoint)
            time.sleep(0.3)
            one.detector.frames(scan, FEW)
            for _ in FEW:
                assert another.poll(5000)
                another.recv_multipart()
        assert one.status().stale == 0


def test_without_a_scout_it_ends_when_the_shards_have_the_scan(scan: Scan) -> None:
    with bench() as one:
        shards = one.receiver(), one.receiver()
        one.attach(scan, *shards)
        one.detector.begin(scan)
        one.detector.frames(scan, range(6))
        eventually(lambda: all(len(shard.disk.frames) == 6 for shard in shards), "it runs")
        one.lose_the_scout()
        one.detector.frames(scan, range(6, 12))
        time.sleep(0.1)
        assert one.thread.is_alive()
        one.detector.end(scan)
        eventually(lambda: not one.thread.is_alive(), "it ends")
        assert all(shard.pixels() == rows(scan, cut) for shard, cut in zip(shards, CUTS, strict=True))
        assert all(shard.sink.ends == [scan.spec.frames] for shard in shards)


def test_without_a_scout_and_a_scan_it_ends_at_once() -> None:
    with bench() as one:
        one.lose_the_scout()
        eventually(lambda: not one.thread.is_alive(), "it ends")
