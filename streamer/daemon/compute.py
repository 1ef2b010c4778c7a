"""The compute thread: it folds frames from the ring in, publishes planes, judges the scan and finishes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from streamer.config import Config
from streamer.core import preview
from streamer.core.arrays import Array
from streamer.daemon.finish import Finisher
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.flow.latency import LatencyHistogram
from streamer.flow.ring import Reader
from streamer.flow.wire.daemon import PreviewHeader
from streamer.flow.wire.events import ProgressEvent, VerdictEvent
from streamer.frames import BadInput, FrameKind, FrameMeta
from streamer.io.publish import Publisher
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.store import FRAMES_PER_BATCH

log = logging.getLogger(__name__)

WAIT_S = 0.005
JUDGE_EVERY_S = 0.5
JUDGE_SHARE = 0.1  # of the time, at most: a judgement of many projections takes a while, and frames wait meanwhile
PROGRESS_EVERY_S = 0.1


class Compute:
    """``run`` is the body of the thread; ``wake`` may be called from any thread."""

    def __init__(
        self,
        config: Config,
        reader: Reader,
        scans: Scans,
        finisher: Finisher,
        events: Publisher,
        previews: Publisher,
        clock: Callable[[], float],
        new_buffer: Callable[[tuple[int, ...], DTypeLike], Array] = np.empty,
    ) -> None:
        """``new_buffer`` makes the memory (shape, dtype) from which frames go to the backend."""
        self._reader, self._scans, self._finisher = reader, scans, finisher
        self._events, self._previews, self._clock = events, previews, clock
        self._new_buffer = new_buffer
        self._preview_every_s = 1.0 / config.preview.max_rate_hz
        self._max_px = config.preview.max_px
        self._pending = threading.Event()
        self._version = 0
        self._operator_revision = scans.operator_revision
        self._shown_s = self._judged_s = self._reported_s = -1e9
        self._shown_count = -1
        self._judge_every_s = JUDGE_EVERY_S
        self._batch = np.empty((0, 0, 0), np.uint8)  # copies of the frames that are folded in together
        self.latency = LatencyHistogram()  # frame received → planes updated, over all scans
        self.folded = 0
        self.torn = 0  # frames overwritten while they were read; the finisher reads them from the raw file

    @property
    def backlog(self) -> int:
        """Frames in the ring that are not folded in yet."""
        return self._reader.pending

    @property
    def skipped(self) -> int:
        """Frames that were overwritten before they were folded in."""
        return self._reader.skipped + self.torn

    def wake(self) -> None:
        self._pending.set()

    def run(self, stopped: Callable[[], bool]) -> None:
        while not stopped():
            session = self._scans.current
            if session is not None and session.over:
                session = None
            try:
                self._turn(session)
            except Exception as error:
                # A bug or a lack of memory ends this reconstruction, not the daemon; the raw file goes on.
                log.exception("the reconstruction failed")
                if session is not None:
                    self._finisher.give_up(session, f"{type(error).__name__}: {error}")
            if session is not None and session.state.final:
                # At this point no frame of the stack refers to the pipeline, so its memory is free for the next scan.
                self._scans.finished(session)

    def _turn(self, session: Session | None) -> None:
        """Fold waiting frames in; when there are none, do deferred work or sleep."""
        frame_came = self._restore(session) or self._take(session)
        if session is not None and session.pipeline is not None:
            self._follow_operator(session.pipeline)
            self._show(session, session.pipeline)
            if not frame_came:
                self._idle(session, session.pipeline)
        elif not frame_came:
            if session is not None and session.anew:
                self._finisher.begin_anew(session)
            elif session is not None and session.ending is not None:
                self._finisher.finish_raw(session)
            else:
                self._sleep()

    def _follow_operator(self, pipeline: ScanPipeline) -> None:
        if self._scans.operator_revision != self._operator_revision:
            self._operator_revision = self._scans.operator_revision
            pipeline.view.watch(self._scans.planes)
            try:
                pipeline.fix_center(self._scans.fixed_center)
            except BadInput as error:
                log.warning("scan %s goes on without it: %s", pipeline.spec.scan_id, error)

    def _sleep(self) -> None:
        self._pending.wait(WAIT_S)
        self._pending.clear()

    def _idle(self, session: Session, pipeline: ScanPipeline) -> None:
        def show() -> None:
            self._show(session, pipeline, force=True)

        if self._reader.pending:
            return
        if session.ending is not None:
            self._finisher.finish(session, pipeline, show)
        elif (
            pipeline.in_memory
            and pipeline.complete
            and not session.reconstructed
            and session.writer[0] not in ("recovering", "failed")
        ):
            # Every announced frame is folded in: the tomogram need not wait for the end message or the raw file.
            self._finisher.reconstruct(session, pipeline, show)
        elif not pipeline.work():
            self._sleep()

    @staticmethod
    def _restore(session: Session | None) -> bool:
        """Fold in frames that an earlier daemon wrote, before those in the ring. Returns False when none is left."""
        if session is None or session.pipeline is None or session.stored is None:
            return False
        try:
            batch = next(session.stored, None)
        except (OSError, RuntimeError) as problem:
            log.warning("scan %s: %s; its frames are read again at the end", session.spec.scan_id, problem)
            batch = None
        if batch is None:
            session.stored = None
            return False
        session.pipeline.push_batch(*batch)
        return True

    def _take(self, session: Session | None) -> bool:
        """Fold a batch of waiting frames in. Returns False when no frame was waiting."""
        metas: list[FrameMeta] = []
        came = False
        while len(metas) < FRAMES_PER_BATCH and (frame := self._reader.poll()) is not None:
            dtype, shape = frame.pixels.dtype, frame.pixels.shape
            if (self._batch.dtype, self._batch.shape[1:]) != (dtype, shape):
                if metas:
                    break  # a frame of the next scan; it goes into the next batch
                self._batch = self._new_buffer((FRAMES_PER_BATCH, *shape), dtype)
            # The writer may overtake a lossy reader during the copy, so the copy is checked afterwards.
            np.copyto(self._batch[len(metas)], frame.pixels)
            came = True
            if self._reader.torn():
                self.torn += 1
            elif session is not None and frame.meta.scan_id == session.spec.scan_id:
                metas.append(frame.meta)
            self._reader.release()
        if metas and session is not None and session.pipeline is not None:
            session.pipeline.push_batch(metas, self._batch[: len(metas)])
            for meta in metas:
                if meta.kind is FrameKind.PROJECTION:
                    seconds = self._clock() - meta.received_s
                    session.latency.observe(seconds)
                    self.latency.observe(seconds)
                    self.folded += 1
        return came

    def _show(self, session: Session, pipeline: ScanPipeline, force: bool = False) -> None:
        now = self._clock()
        if now - self._judged_s >= self._judge_every_s and not session.reconstructed:
            self._judged_s = now
            self._judge(session, pipeline)
            self._judge_every_s = max(JUDGE_EVERY_S, (self._clock() - now) / JUDGE_SHARE)
        if force or now - self._reported_s >= PROGRESS_EVERY_S:
            self._reported_s = now
            self._events.event(ProgressEvent(report=session.report(), scan_id=session.spec.scan_id))
        if force or (now - self._shown_s >= self._preview_every_s and pipeline.view.count != self._shown_count):
            self._shown_s, self._shown_count = now, pipeline.view.count
            if pipeline.view.count:
                self._publish_planes(session, pipeline)

    def _judge(self, session: Session, pipeline: ScanPipeline) -> None:
        pipeline.track_center()
        with session.lock:
            missing, corrupt = session.ledger.lacking(FrameKind.PROJECTION)
        if session.judge(*pipeline.judge(missing, corrupt)):
            self._events.event(VerdictEvent.of(session.report()))

    def _publish_planes(self, session: Session, pipeline: ScanPipeline) -> None:
        if session.first_preview_projections is None:
            session.first_preview_projections = pipeline.view.count
        self._version += 1
        header = self._header(session, pipeline)
        for name, image in pipeline.images().items():
            small = preview.decimate(image, self._max_px)
            factor = -(-image.shape[0] // small.shape[0])
            lo, hi = preview.contrast(small)
            self._previews.plane(
                header(plane=name, shape=(small.shape[0], small.shape[1]), lo=lo, hi=hi, bin=factor),
                preview.quantise(small, lo, hi),
            )

    def _header(self, session: Session, pipeline: ScanPipeline) -> Callable[..., PreviewHeader]:
        """What the previews of this moment have in common; the rest is for each plane to say."""
        duration = (session.last_frame_s or 0.0) - (session.first_frame_s or 0.0)
        verdict = session.verdict
        return partial(
            PreviewHeader,
            scan_id=session.spec.scan_id,
            sample=session.spec.sample,
            version=self._version,
            angles=pipeline.view.count,
            of=session.spec.projections,
            unit=pipeline.unit,
            pixel_size_m=session.spec.pixel_size_m,
            center_px=pipeline.center,
            frame_rate_hz=(session.ledger.received - 1) / duration if duration > 0 else 0.0,
            verdict=verdict.decision,
            reasons=verdict.reasons,
            final=verdict.final,
        )
