"""The program of a shard: receiver, ring, raw writer and pipeline of some rows of the detector.

It knows nothing of the detector's other rows, nor of who started it. The scout arms it and tells it the geometry; when
the scout dies, it goes on to the end of the scan, and closes its file.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import zmq

from streamer.cluster.calls import CallServer, Wake
from streamer.cluster.child import begin, end_with
from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.intake import Intake, Part
from streamer.cluster.messages import (
    Answer,
    Arm,
    Armed,
    Ask,
    Done,
    Finish,
    Finished,
    Gather,
    Geometry,
    PartStatus,
    Pictures,
    Ready,
    Setup,
    Stop,
    Watch,
    WriteRows,
)
from streamer.cluster.tomogram_rows import TomogramRows
from streamer.config import Config
from streamer.core.backend.selection import select_backend
from streamer.core.backend.staging import upload_buffer
from streamer.core.memory import Memory
from streamer.daemon.compute.finish import write_blocks
from streamer.daemon.compute.read_back import raw_rows
from streamer.daemon.compute.waiting_frames import WaitingFrames
from streamer.daemon.supervision import show_name
from streamer.daemon.writer_options import writer_options
from streamer.flow.ring.ring import Ring
from streamer.flow.row_cut import ROWS_KEY
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput
from streamer.io.messaging.sockets import keep_message_memory
from streamer.io.nexus import now
from streamer.io.raw.pixel_mask import unpack
from streamer.io.raw.unfinished import Batch, find_unfinished
from streamer.io.raw.writer import WriterError, WriterProcess
from streamer.io.shared import SharedBuffer
from streamer.io.source_file import ScanFile
from streamer.io.sources.acknowledged import AcknowledgingReceiver
from streamer.pipeline.rehearsal import rehearse_part
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.store import FRAMES_PER_BATCH

log = logging.getLogger(__name__)

COMPUTE_READER = 1
LOOK_S = 0.02
"""How often it looks after its raw writer, and whether the scout is there."""

OPEN_TIMEOUT_S = 10.0
DYING_WRITER_S = 30.0
"""For which the raw writer of a shard that is gone may take to close its file."""


class Shard:
    """One thread works: on frames, and on what the scout asks, between them. Another one receives."""

    def __init__(self, setup: Setup, config: Config, context: zmq.Context[Any], scout: ToScout) -> None:
        self._scout, self._config, self._clock = scout, config, time.monotonic
        self.backend, why = select_backend(config.reconstruction.backend, setup.threads)
        log.info(why)
        self._shared = SharedBuffer.create(int(setup.ring_mb * 2**20))
        self._ring = Ring(self._shared.memory)
        self._waiting = WaitingFrames(
            self._ring.reader(COMPUTE_READER, lossless=False), partial(upload_buffer, self.backend)
        )
        self._writer = self._new_writer()
        self._stopped = threading.Event()
        self._wake, self._looked_s = Wake(), 0.0
        self._intake = Intake(self._ring, self._writer, self._stopped, self._clock, self._wake.call)
        self._server = CallServer(context, f"tcp://{setup.host}:*", self._wake)
        source = config.source
        self._receiver = AcknowledgingReceiver(
            context,
            f"tcp://{setup.host}:*",
            True,
            source.high_water_mark,
            int(source.max_frame_mb * 2**20),
            daemon=time.time_ns(),
            clock=self._clock,
        )
        self.ready = Ready(self._server.endpoint, self._receiver.endpoint)
        self._memory = Memory()
        self._pipeline: ScanPipeline | None = None
        self._stored: Iterator[Batch] | None = None  # frames of a shard that is gone
        self._version = self._shown = 0  # of the geometry, and of that of the planes

    def _new_writer(self) -> WriterProcess:
        options = writer_options(self._config, source_keeps=True)
        return WriterProcess(self._shared, self._config.writer.directory, options, self._clock)

    def _begin_writer(self) -> None:
        """Another raw writer, for one that tries to go on with a file that is gone."""
        self._writer.stop(0.0)
        self._writer = self._intake.writer = self._new_writer()

    def run(self) -> None:
        """Until the scout says ``Stop``, or is gone and the scan is over."""
        receiving = threading.Thread(target=self._receive, name="receive")
        receiving.start()
        try:
            while not self._stopped.is_set():
                self._turn()
        finally:
            self._stopped.set()
            receiving.join()
            self._writer.stop()
            self._server.close()
            self._wake.close()

    def _receive(self) -> None:
        show_name("receive")
        self._receiver.run(self._intake, self._stopped.is_set)

    def _turn(self) -> None:
        """Fold frames in; when none wait, do what can be done beforehand; when that is nothing, wait for either."""
        pipeline = self._pipeline
        worked = self._restore() or self._take() or (pipeline is not None and pipeline.work())
        if pipeline is not None and not pipeline.view.building:
            self._shown = self._version
        if not worked:
            self._wake.want()
        rests = not worked and not self._waiting.number
        self._server.serve(self._answer, int(1000 * LOOK_S) if rests else 0)
        now = self._clock()
        if now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._look()

    def _look(self) -> None:
        self._intake.have_written()
        for event in self._writer.poll_events():
            if event.kind != "written":
                log.warning("raw writer: %s", event.text)
        if self._scout.gone:
            self._leave()

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _restore(self) -> bool:
        """Fold in what another shard wrote, before what comes: the order of the projections is the same then."""
        if self._stored is None or self._pipeline is None:
            return False
        batch = next(self._stored, None)
        if batch is None:
            self._stored = None
            return False
        self._pipeline.push_batch(*batch)
        return True

    def _take(self) -> bool:
        part = self._intake.part
        taken = self._waiting.take(None if part is None else part.spec.scan_id)
        if taken is None:
            return False
        metas, pixels = taken
        if metas and self._pipeline is not None:
            self._pipeline.push_batch(metas, pixels)
        return True

    def _fold_all(self, part: Part, pipeline: ScanPipeline) -> None:
        """Everything that came; what the ring has lost is read back from the file."""
        while self._restore() or self._take():
            pass
        if part.ledger.received <= pipeline.arrivals.seen:
            return
        if not part.over:
            self._writer.await_written()
        with ScanFile.open(part.path) as scan:
            for metas, pixels in scan.some(lambda index: not pipeline.arrivals.has(index), FRAMES_PER_BATCH):
                pipeline.push_batch(metas, pixels, shown=False)

    # ── what the scout asks ─────────────────────────────────────────────────────────────────────────────────────
    def _answer(self, request: Any) -> Answer | tuple[Answer, list[Any]]:
        if isinstance(request, Arm):
            return self._arm(request)
        if isinstance(request, Stop):
            self._stopped.set()
            return Done()
        part, pipeline = self._intake.part, self._pipeline
        if isinstance(request, Ask):
            if part is None or pipeline is None:
                return PartStatus("", 0, 0, 0, 0)
            written = part.restored + self._writer.written
            return PartStatus(part.spec.scan_id, part.ledger.received, written, pipeline.arrivals.seen, self._shown)
        if part is None or pipeline is None:
            raise Busy("no scan is armed")
        if isinstance(request, Geometry):
            self._use(pipeline, request)
        elif isinstance(request, Watch):
            pipeline.view.watch(request.planes)
            self._shown = self._version if not pipeline.view.building else self._shown
        elif isinstance(request, Gather):
            return self._pictures(pipeline)
        elif isinstance(request, WriteRows):
            self._write_rows(part, pipeline, request)
        elif isinstance(request, Finish):
            return self._finish(part, pipeline, request)
        return Done()

    def _arm(self, request: Arm) -> Armed:
        spec, path = request.spec, Path(request.path)
        part = self._intake.part
        if part is not None and not part.over:
            if part.path.exists():
                self._finish_raw(part, "aborted", part.spec.frames, note="another scan was armed")
            else:  # not all shards could arm, and the scout had removed the file before this one was done
                part.over = True
                self._begin_writer()
        self._pipeline = self._stored = None
        gc.collect()  # a pipeline is part of reference cycles, and the next scan needs its gigabytes
        unfinished = self._left_by_another(request) if request.resume else None
        try:
            pipeline = ScanPipeline(
                spec, self.backend, self._config, request.planes, memory=self._memory, part_of=request.of_rows
            )
        except MemoryError as error:
            raise BadInput(f"a shard has no memory for {spec.rows} rows ({error}); take more shards, or bin") from error
        if request.mask:
            pipeline.know_detector(unpack(request.mask, (spec.rows, spec.columns)) != 0)
        self._use(pipeline, request.geometry)
        self._ring.format((spec.rows, spec.columns), spec.dtype, self._config.ring.max_slots)
        part = Part(spec, path, self._clock())
        try:
            self._writer.open(
                spec, path, request.started, OPEN_TIMEOUT_S, None if unfinished is None else len(unfinished.kinds)
            )
        except WriterError as error:
            raise BadInput(str(error)) from error
        if unfinished is not None:
            part.restore(unfinished.kinds)
            self._stored = unfinished.batches(lambda index: not pipeline.arrivals.has(index), FRAMES_PER_BATCH)
        self._pipeline, self._shown = pipeline, self._version
        self._intake.part = part
        show_name(f"shard {spec.metadata[ROWS_KEY].partition(':')[0]}")  # its first row; a spare has none
        return Armed(pipeline.plan.to_dict())

    def _left_by_another(self, request: Arm) -> Any:
        """What the file of a shard that is gone holds, once its writer has closed it."""
        deadline = self._clock() + DYING_WRITER_S
        path = Path(request.path)
        while True:
            try:
                return find_unfinished(path, path.with_suffix(".none"), request.spec)
            except Busy:
                if self._clock() > deadline:
                    raise
                time.sleep(0.005)

    def _use(self, pipeline: ScanPipeline, geometry: Geometry) -> None:
        layout = replace(geometry.layout, rows=pipeline.spec.rows)
        pipeline.use(layout, geometry.known, geometry.final)
        self._version = geometry.version
        self._shown = geometry.version if not pipeline.view.building else self._shown

    def _pictures(self, pipeline: ScanPipeline) -> tuple[Answer, list[Any]]:
        images = {name: np.ascontiguousarray(image, np.float32) for name, image in pipeline.planes.snapshot()().items()}
        shapes = tuple((image.shape[0], image.shape[1]) for image in images.values())
        said = Pictures(self._shown, pipeline.view.count, tuple(images), shapes)
        return said, [image.data for image in images.values()]

    def _write_rows(self, part: Part, pipeline: ScanPipeline, request: WriteRows) -> None:
        self._fold_all(part, pipeline)
        rows = TomogramRows(Path(request.path), request.place, request.first, pipeline.shape[1:])
        try:
            if pipeline.count:
                write_blocks(rows, pipeline.tomogram(raw_rows(part.path, self._memory)))
        finally:
            rows.close()
        pipeline.view.catch_up()
        self._shown = self._version

    def _finish(self, part: Part, pipeline: ScanPipeline, request: Finish) -> Finished:
        while self._restore() or self._take():
            pass
        return self._finish_raw(part, request.status, request.expected, request.ended, request.note, request.unusable)

    def _finish_raw(
        self, part: Part, status: str, expected: int, ended: str = "", note: str = "", unusable: tuple[int, ...] = ()
    ) -> Finished:
        with part.lock:
            part.over = True
            part.ledger.close(expected, "aborted" if expected < part.spec.frames else "ok")
            lacks = part.ledger.received < part.ledger.expected
            lists = {
                "missing": part.ledger.missing_indices(),
                "corrupt": part.ledger.corrupt_indices(),
                "unusable": np.asarray(unusable, np.int64),
            }
        status = "incomplete" if status == "complete" and lacks else status
        result = self._writer.finish(status, lists, ended=ended or now(), note=note, expected=part.ledger.expected)
        return Finished(result.written, result.lost, result.error)

    def _leave(self) -> None:
        """The scout is gone: end when the scan is over, or nothing of it comes any more."""
        part = self._intake.part
        if part is not None and not part.over:
            ended = part.end is not None and part.ledger.seen >= min(part.end.frames, part.ledger.announced)
            if not ended and self._clock() - part.heard_s < self._config.scan.stall_timeout_s:
                return
            expected = part.spec.frames if part.end is None else part.end.frames
            self._finish_raw(part, "complete", expected, note="the scout died before the end of the scan")
        self._stopped.set()


def run(scout: ToScout) -> None:
    setup, config = begin("shard", scout)
    keep_message_memory()
    context: zmq.Context[Any] = zmq.Context()
    shard = Shard(setup, config, context, scout)
    if not setup.awaited:
        rehearse_part(shard.backend)
    gc.freeze()  # what is there now stays: looking through it again costs each scan some tenths of a second
    scout.say_ready(shard.ready)
    shard.run()
    context.destroy(linger=200)


def start(scout: ToScout) -> NoReturn:
    end_with(partial(run, scout), "shard")
