"""The shards as the scout has them: armed together, told the geometry, replaced when one dies."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from streamer.cluster.calls import Caller, HelperLost
from streamer.cluster.child import as_json
from streamer.cluster.engines.engine import Engine, Helper
from streamer.cluster.master import part_path
from streamer.cluster.messages import (
    Arm,
    Armed,
    Ask,
    Attach,
    CutterStatus,
    Detach,
    Done,
    Finish,
    Finished,
    Geometry,
    PartStatus,
    Redirect,
    Request,
    Setup,
    Stop,
    Watch,
    WriteRows,
)
from streamer.cluster.rows import Strips, row_blocks, scout_rows
from streamer.cluster.spares import Spares
from streamer.config import Config
from streamer.core.planes.plane import Plane
from streamer.flow.row_cut import RowCut
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io.messaging.sockets import Context
from streamer.io.raw.pixel_mask import PixelMask, pack
from streamer.pipeline.layout.layout import Layout

log = logging.getLogger(__name__)

SHARD, CUTTER = "streamer.cluster.shard", "streamer.cluster.cutter"
WATCH_S = 0.02
ARM_S = 2.0
"""Within which the shards have what a scan needs, or the scan is refused and it is said what to do."""

TELL_S, STOP_S, LOOK_S = 5.0, 10.0, 0.1
RESUME_S = 120.0
START_AGAIN_S = 1.0
"""Until a process is started again for a shard, after the system refused to start one."""

REPLACED_S = 300.0
"""For which somebody who asks a shard that died waits for another one."""

A = TypeVar("A")


class Worker:
    """A process, and the way to ask it."""

    def __init__(self, context: Context, helper: Helper, name: str) -> None:
        """Waits until it is ready. Raises BadInput when it cannot start."""
        ready = helper.ready()
        self.helper, self.frames = helper, ready.frames
        self.work = Caller(context, ready.calls, name, lambda: helper.alive)

    def close(self) -> None:
        self.work.close()


@dataclass
class ScanInHand:
    """The scan that the shards hold."""

    spec: ScanSpec
    blocks: tuple[RowCut, ...]
    parts: tuple[ScanSpec, ...]
    paths: tuple[Path, ...]
    started: str
    strips: Strips
    mask: PixelMask | None
    finish: Finish | None = None  # the scan is over, and this was said to all


class Shards:
    """Any thread may call. A shard that dies is replaced by a spare, which another process then succeeds."""

    def __init__(self, config: Config, count: int, engine: Engine, context: Context, scout: str) -> None:
        """``scout`` is where its frames go. Starts the processes and waits for them; raises BadInput."""
        self._engine, self._context = engine, context
        threads = max(1, (config.reconstruction.threads or len(os.sched_getaffinity(0))) // count)
        self._setup = Setup(as_json(config), "127.0.0.1", threads, config.ring.memory_mb / count, scout)
        self._lock = threading.RLock()  # of the scan in hand and of who holds its rows
        self._scan: ScanInHand | None = None
        self._geometry: Geometry | None = None
        self.lost = self.replaced = 0
        self.back_s: float | None = None  # how long the last replacement took, from the death that was seen on
        self._closing = threading.Event()
        engine.reserve(count, config.compute.spares, config.reconstruction.threads)
        started = [engine.start(SHARD, self._setup, self._gpu(number)) for number in range(count)]
        self._spares = Spares(config.compute.spares, lambda: engine.start(SHARD, self._setup, self._gpu(count)))
        cutter = engine.start(CUTTER, self._setup, here=True)
        self.cutter = Worker(context, cutter, "the cutter")
        self.source = self.cutter.frames
        self.workers = [Worker(context, helper, f"shard {number}") for number, helper in enumerate(started)]
        self._spares.await_ready()
        self._asking, self._telling = ThreadPoolExecutor(count, "ask"), ThreadPoolExecutor(count, "tell")
        self._watching = threading.Thread(target=self._watch, name="shards")
        self._watching.start()

    def _gpu(self, number: int) -> int | None:
        return number % self._engine.gpus if self._engine.gpus else None

    @property
    def pids(self) -> list[int]:
        """Processes of the shards, in the order of their rows."""
        return [worker.helper.pid for worker in self.workers]

    @property
    def armed(self) -> ScanInHand | None:
        return self._scan

    # ── a scan ──────────────────────────────────────────────────────────────────────────────────────────────────
    def arm(self, spec: ScanSpec, path: Path, started: str, layout: Layout, known: bool, planes: Sequence[Plane],
            mask: PixelMask | None) -> tuple[Armed, ...]:  # fmt: skip
        """Have every shard take the memory for its rows and open its file, then let frames through.

        Raises BadInput or Busy, with the way out, when one of them cannot within two seconds; nothing is armed then.
        """
        blocks = row_blocks(spec.rows, len(self.workers))
        paths = tuple(part_path(path, block) for block in blocks)
        if paths[0].parent.exists():
            raise BadInput(f"{paths[0].parent} exists already; every scan needs its own scan id")
        parts = tuple(block.part(spec) for block in blocks)
        scan = ScanInHand(spec, blocks, parts, paths, started, Strips.of(planes, blocks, spec.rows), mask)
        if not self._lock.acquire(timeout=ARM_S):
            raise Busy(f"a shard is being replaced: scan {spec.scan_id} is not armed; try again in some seconds")
        try:
            self._scan, self._geometry = None, Geometry(1, layout, known)
            armed = self._arm_all(scan)
            self._scan = scan
        finally:
            self._lock.release()
        return armed

    def _arm_all(self, scan: ScanInHand) -> tuple[Armed, ...]:
        """Nothing is left of what could not be done for all."""
        folder = scan.paths[0].parent
        folder.mkdir()
        try:
            armed = self._each_now(lambda number: self._arm(self.workers[number], scan, number, False, ARM_S))
            rows = tuple((cut.first, cut.end) for cut in (*scan.blocks, scout_rows(scan.spec.rows)))
            endpoints = tuple(worker.frames for worker in self.workers)
            self.cutter.work.ask(Attach(scan.spec.scan_id, endpoints, rows), Done, ARM_S)
        except Exception as error:
            self._each_now(lambda number: self._disarm(number, scan.spec.frames))
            shutil.rmtree(folder)
            if isinstance(error, Busy | HelperLost):
                raise Busy(f"{error}: the scan is not armed; try again, or see `streamer cluster check`") from error
            raise
        return armed

    def _disarm(self, number: int, frames: int) -> None:
        """Have a shard close the file that it has opened; one that could not arm, or does not answer, has none."""
        with suppress(StreamerError):
            self.workers[number].work.ask(Finish("aborted", frames, "", "not all shards could arm"), Finished, LOOK_S)

    def _arm(self, worker: Worker, scan: ScanInHand, number: int, resume: bool, timeout_s: float) -> Armed:
        assert self._geometry is not None
        block = scan.blocks[number]
        mask = b"" if scan.mask is None else pack(scan.mask[block.first : block.end])
        request = Arm(scan.parts[number], scan.spec.rows, str(scan.paths[number]), scan.started, self._geometry,
                      scan.strips.watched(number), resume, mask)  # fmt: skip
        return worker.work.ask(request, Armed, timeout_s)[0]

    def tell(self, layout: Layout, known: bool, final: bool) -> None:
        """Bring all shards to the same geometry, if it is another one: they cannot know more than the scout."""
        with self._lock:
            before = self._geometry
            if self._scan is None or before is None:
                return
            if (layout, known, final) == (before.layout, before.known, before.final):
                return
            self._geometry = Geometry(before.version + 1, layout, known, final)
            geometry = self._geometry
            self._each_now(lambda number: self._tell_one(number, geometry))

    def watch(self, planes: Sequence[Plane]) -> None:
        """Show other planes, which are given in rows of the detector."""
        with self._lock:
            scan = self._scan
            if scan is not None:
                scan.strips = Strips.of(planes, scan.blocks, scan.spec.rows)
                self._each_now(lambda number: self._tell_one(number, Watch(scan.strips.watched(number))))

    def _tell_one(self, number: int, request: Request) -> None:
        """One that does not hear it is dead, and its successor is armed with the newest."""
        try:
            self.workers[number].work.ask(request, Done, TELL_S)
        except (HelperLost, Busy) as error:
            log.warning("shard %d was not told: %s", number, error)

    def status(self) -> list[PartStatus]:
        """How the shards are. Raises HelperLost or Busy at once when one has better to do than to answer."""
        return [worker.work.ask(Ask(), PartStatus, LOOK_S)[0] for worker in self.workers]

    def drain(self, timeout_s: float) -> bool:
        """Wait until every shard has all that the cutter holds for it. False when that takes too long."""
        deadline = time.monotonic() + timeout_s
        while any(self.cutter.work.ask(Ask(), CutterStatus, TELL_S)[0].waiting):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def detach(self) -> None:
        """No more frames of the scan are wanted."""
        self.cutter.work.ask(Detach(), Done, TELL_S)

    def forget(self) -> None:
        """The scan is over: shards that die now need not be replaced for it."""
        with self._lock:
            self._scan = None

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────
    def ask(self, number: int, request: Request, kind: type[A], timeout_s: float) -> tuple[A, list[memoryview]]:
        """Ask whoever has the rows of a shard; when it dies, its successor. Raises BadInput or Busy."""
        while True:
            worker = self.workers[number]
            try:
                return worker.work.ask(request, kind, timeout_s)
            except HelperLost:
                self._await_successor(number, worker)

    def ask_all(self, request: Request, kind: type[A], timeout_s: float) -> list[tuple[A, list[memoryview]]]:
        return list(self._each(lambda number: self.ask(number, request, kind, timeout_s)))

    def finish(self, request: Finish, timeout_s: float) -> list[Finished]:
        """Have all raw files closed."""
        with self._lock:
            assert self._scan is not None
            self._scan.finish = request
        return [finished for finished, _ in self.ask_all(request, Finished, timeout_s)]

    def write_rows(self, path: Path, place: int, timeout_s: float) -> None:
        """Have all rows of the tomogram written into a file whose voxels begin at the byte ``place``."""
        scan = self._scan
        assert scan is not None
        firsts = [block.first for block in scan.blocks]
        self._each(lambda number: self.ask(number, WriteRows(str(path), place, firsts[number]), Done, timeout_s))

    def _await_successor(self, number: int, dead: Worker) -> None:
        deadline = time.monotonic() + REPLACED_S
        while self.workers[number] is dead:
            if time.monotonic() > deadline or self._closing.is_set():
                raise Busy(f"shard {number} is gone, and no other could take its rows")
            time.sleep(WATCH_S)

    def _each(self, do: Callable[[int], A]) -> tuple[A, ...]:
        """For each shard at the same time; raises what went wrong with the first one. It may wait for a successor."""
        return tuple(self._asking.map(do, range(len(self.workers))))

    def _each_now(self, do: Callable[[int], A]) -> tuple[A, ...]:
        """The same for what waits for nobody else, as whoever holds the lock must not: successors need it."""
        return tuple(self._telling.map(do, range(len(self.workers))))

    # ── death ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _watch(self) -> None:
        while not self._closing.wait(WATCH_S):
            for number, worker in enumerate(self.workers):
                if not worker.helper.alive:
                    self._replace(number, worker)
            self._spares.keep()
            if not self.cutter.helper.alive:
                log.critical("the cutter is gone: no frames come any more; restart the daemon")
                return

    def _replace(self, number: int, dead: Worker) -> None:
        began = time.monotonic()
        self.lost += 1
        log.error("shard %d (process %d) is gone; another process takes its rows", number, dead.helper.pid)
        try:
            helper = self._spares.take()
            if helper is None:
                helper = self._engine.start(SHARD, structs.replace(self._setup, awaited=True), self._gpu(number))
        except OSError as error:
            log.error("shard %d: no process can be started: %s; it is tried again", number, error)
            self._closing.wait(START_AGAIN_S)
            return
        try:
            worker = Worker(self._context, helper, f"shard {number}")
            works_s = time.monotonic() - began
            with self._lock:
                if self._scan is not None:
                    self._arm(worker, self._scan, number, True, RESUME_S)
                    self.cutter.work.ask(Redirect(number, worker.frames), Done, TELL_S)
                    if self._scan.finish is not None:
                        worker.work.ask(self._scan.finish, Finished, RESUME_S)
                self.workers[number] = worker
        except (BadInput, HelperLost) as error:
            log.error("shard %d: %s; it is tried again", number, error)
            helper.end(0.0)
            return
        dead.close()
        dead.helper.end(0.0)
        self.replaced = self.lost  # attempts that failed are over
        self.back_s = time.monotonic() - began
        log.warning("shard %d is back after %.2f s, of which %.2f s for a process", number, self.back_s, works_s)

    def close(self) -> None:
        """End all processes."""
        self._closing.set()
        self._watching.join()
        for worker in (self.cutter, *self.workers):
            try:
                worker.work.ask(Stop(), Done, TELL_S)
            except (HelperLost, BadInput):
                log.warning("process %d is gone or does not answer", worker.helper.pid)
            worker.close()
        for helper in (self.cutter.helper, *(worker.helper for worker in self.workers)):
            helper.end(STOP_S)
        self._spares.close()
        self._engine.close()
        self._asking.shutdown()
        self._telling.shutdown()
