"""The compute thread: it folds frames from the ring in and finishes the scan. Pictures and looks are made beside it."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from streamer.config import Config
from streamer.core.arrays import Array
from streamer.daemon.compute.aside import Aside, Threads, one_thread
from streamer.daemon.compute.bricks import Bricks
from streamer.daemon.compute.finish import Finisher
from streamer.daemon.compute.growth import Growth
from streamer.daemon.compute.idle_moments import IdleMoments
from streamer.daemon.compute.looks import Looks
from streamer.daemon.compute.pictures import Pictures
from streamer.daemon.compute.preview_headers import PreviewHeaders
from streamer.daemon.compute.steering import Steering
from streamer.daemon.compute.waiting_frames import WaitingFrames
from streamer.daemon.elsewhere import Elsewhere
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.flow.latency import LatencyHistogram
from streamer.flow.ring.ring import Reader
from streamer.flow.wire.events import ProgressEvent, VerdictEvent
from streamer.flow.wire.looks import LatestPlane
from streamer.frames import FrameKind
from streamer.io.messaging.publish import Publisher
from streamer.pipeline.judgement import Look
from streamer.pipeline.scan_pipeline import ScanPipeline

log = logging.getLogger(__name__)

WAIT_S = 0.005
JUDGE_EVERY_S = 0.5
JUDGE_SHARE = 0.5  # of the time, at most: a look at many projections takes a while, and a core
PROGRESS_EVERY_S = 0.1
SOON_PIXELS = 2**23  # of frames that take some 50 ms to be seen in the planes
BEHIND = 5.0
"""How many times as rare pictures of all planes and judgements are while a batch of frames waits to be folded in, or
somebody moves planes."""

SQUEEZE_EVERY_S = 0.1
"""While a batch of frames waits, somebody who moves planes sees a picture this often, for a tenth of the time or so."""


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
        threads: Threads = one_thread,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """``new_buffer`` makes the memory (shape, dtype) from which frames go to the backend; ``threads`` do what is
        done beside it."""
        self._waiting = WaitingFrames(reader, new_buffer)
        self._scans, self._finisher, self._elsewhere = scans, finisher, elsewhere
        self._events, self._clock = events, clock
        self._preview_every_s = 1.0 / config.preview.max_rate_hz
        self._pictures = Pictures(previews, config.preview.max_px, threads)
        self._look: Aside[tuple[Look, float]] = Aside("look", threads)  # what was found, and how long it took
        self._growth = Growth(lambda: self._waiting.many or self._steering.hurried, threads)
        self._steering = Steering(scans, self._pictures, self._growth, clock, elsewhere)
        self._pending, self._moments = threading.Event(), IdleMoments(clock)
        self._headers = PreviewHeaders()
        self._squeezed_s = -1e9  # when a picture of what is moved was made although frames waited
        self.detector, self.bricks = Looks(clock), Bricks(clock)
        self._past: tuple[Session, ScanPipeline] | None = None  # the last scan, until memory is needed for another one
        self._unshown = False  # its planes have changed, and nobody has seen it
        self._keeping = threading.Lock()  # held while something is done with it
        scans.opening.make_room = self.make_room
        self._shown_s = self._judged_s = self._reported_s = -1e9
        self._shown_count, self._judge_every_s = -1, JUDGE_EVERY_S
        self._judged: tuple[object, ...] = ()  # what the last look was made of
        self._unseen: list[float] = []  # when projections came that are stored, and in no planes yet
        self.latency = LatencyHistogram()  # frame received → planes updated, over all scans
        self.folded = 0

    @property
    def backlog(self) -> int:
        """Frames in the ring that are not folded in yet."""
        return self._waiting.number

    @property
    def skipped(self) -> int:
        """Frames that were overwritten before they were folded in."""
        return self._waiting.skipped

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
                self._look.drop()
                self._growth.drop()
                if session is not None:
                    self._finisher.give_up(session, f"{type(error).__name__}: {error}")
            if session is not None and session.state.final:
                # At this point no frame of the stack refers to the pipeline: ``make_room`` frees its memory.
                self._unseen = []
                with self._keeping:
                    self._past = None if session.pipeline is None else (session, session.pipeline)
                self._scans.finished(session)
        self._pictures.rest()

    def make_room(self) -> None:
        """Give the memory of the last scan back, whose planes could be moved until now. From any thread."""
        with self._keeping:
            past, self._past = self._past, None
        if past is not None:
            del past
            gc.collect()  # a pipeline is part of reference cycles

    def _turn(self, session: Session | None) -> None:
        """Fold waiting frames in; when there are none, do deferred work or sleep."""
        frame_came = self._restore(session) or self._take(session)
        if self.detector.wanted and session is not None and not self._waiting.many:
            self.detector.serve(session, session.pipeline, self._waiting.newest)
        if session is not None and session.pipeline is not None:
            self._steering.follow(session.pipeline)
            if self._elsewhere is None:
                self._move(session, session.pipeline)
            else:
                self._elsewhere.follow(session.pipeline)
            self._show(session, session.pipeline)
            if not session.reconstructed and self._elsewhere is None:
                self._growth.go_on(session.pipeline)
            if not frame_came:
                self._idle(session, session.pipeline)
        elif not frame_came:
            if session is not None and session.anew:
                self._finisher.begin_anew(session)
            elif session is not None and session.ending is not None:
                self._finisher.finish_raw(session)
            elif session is not None or not self._browse():
                self._sleep()

    def _browse(self) -> bool:
        """Let the last scan be looked at. False when there was nothing to do."""
        with self._keeping:
            if self._past is None:
                self.detector.serve(self._scans.current, None, self._waiting.newest)
                return False
            session, pipeline = self._past
            self.detector.serve(session, pipeline, self._waiting.newest)
            asked = self._steering.follow(pipeline)
            if self._elsewhere is not None:
                return asked
            moved, worked = self._move(session, pipeline), pipeline.planes.browse()
            self._unshown = self._unshown or worked
            if self._unshown and not pipeline.view.building and not self._pictures.busy:
                self._unshown = False
                self._publish_planes(session, pipeline)
            return asked or moved or worked

    def _move(self, session: Session, pipeline: ScanPipeline) -> bool:
        """Fill planes that somebody moves; while a batch of frames waits, only a first picture now and then.

        False when there is nothing to do.
        """
        if not pipeline.view.moving:
            return False
        going, shown = True, False
        many, now = self._waiting.many, self._clock()
        if many and not (pipeline.view.unseen and now - self._squeezed_s >= SQUEEZE_EVERY_S):
            return False
        self._squeezed_s = now if many else self._squeezed_s
        while going:
            going = pipeline.planes.move(self._steering.rests and not many)
            if (moved := pipeline.planes.moved(coarse=self._pictures.busy)) is not None:
                header = partial(self._headers.next(session, pipeline), angles=moved.count, coarse=moved.factor > 1)
                self._pictures.send(header, moved.images, [moved.plane], moved.factor, at_once=moved.factor > 1)
                shown = True
            # What was set meanwhile comes after the first pictures of what is moved now: else a hand that moves faster
            # than they are made would never see one.
            going = going and not self._waiting.many and (pipeline.view.unseen or not self._steering.changed)
        return going or shown or any(part.ready for part in pipeline.view.moving)

    @property
    def latest(self) -> dict[str, LatestPlane]:
        """The last picture of each plane, for those who come late. Of any thread."""
        return self._pictures.latest

    def _sleep(self) -> None:
        """There is nothing to do, but for those who look."""
        if not (self._growth.idle and self.bricks.work(self._scans.current)):
            self._pending.wait(WAIT_S)
            self._pending.clear()

    def _idle(self, session: Session, pipeline: ScanPipeline) -> None:
        def show() -> None:
            self._show(session, pipeline, force=True)

        if self._waiting.number:
            return
        if session.ending is not None:
            self._follow_look(session, pipeline)  # the final verdict comes after the others
            self._growth.pause()
            self._finisher.finish(session, pipeline, show)
        elif (
            pipeline.store.whole
            and pipeline.arrivals.complete
            and not session.reconstructed
            and session.writer[0] not in ("recovering", "failed")
        ):
            # Every announced frame is folded in: the tomogram need not wait for the end message or the raw file.
            self._follow_look(session, pipeline)
            self._growth.pause()
            self._finisher.reconstruct(session, pipeline, show)
        elif self._steering.hurried or self._elsewhere is not None:
            if not pipeline.planes.browse():  # which is brief: the next move does not wait for it
                self._sleep()
        elif not self._finisher.follow(session, pipeline) and not self._moments.work(pipeline):
            self._sleep()

    def _restore(self, session: Session | None) -> bool:
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
        with self._finisher.stages.time("fold"):
            session.pipeline.push_batch(*batch)
        return True

    def _take(self, session: Session | None) -> bool:
        """Fold a batch of waiting frames in. Returns False when no frame was waiting."""
        taken = self._waiting.take(None if session is None else session.spec.scan_id)
        if taken is None:
            return False
        metas, pixels = taken
        self._moments.came(metas)
        if metas and session is not None and session.pipeline is not None:
            # Planes that will be cut out of the tomogram need not follow what waits for it at the end.
            pipeline = session.pipeline
            late = session.all_came and self._waiting.many and self._waiting.pixels > SOON_PIXELS
            shown = not (late and self._finisher.makes_tomogram and pipeline.view.lies_in(pipeline.shape))
            with self._finisher.stages.time("fold"):
                pipeline.push_batch(metas, pixels, shown)
            received = [meta.received_s for meta in metas if meta.kind is FrameKind.PROJECTION]
            self.folded += len(received)
            if shown:
                self._observe(session, received)
            else:
                self._unseen += received
        return True

    def _observe(self, session: Session, received_s: list[float]) -> None:
        """Projections that were received at these times are in the planes now."""
        for moment in received_s:
            seconds = self._clock() - moment
            session.latency.observe(seconds)
            self.latency.observe(seconds)

    def _show(self, session: Session, pipeline: ScanPipeline, force: bool = False) -> None:
        now, rare = self._clock(), BEHIND if self._waiting.many or self._steering.hurried else 1.0
        # Once all has come, the final judgement is near: it would wait for another look.
        ending = session.reconstructed or (session.all_came and pipeline.store.whole)
        if self._look.idle and now - self._judged_s >= rare * self._judge_every_s and not ending:
            self._judged_s = now
            self._begin_look(session, pipeline)
        if self._look.done:
            self._follow_look(session, pipeline)
        if force or now - self._reported_s >= PROGRESS_EVERY_S:
            self._reported_s = now
            self._events.event(ProgressEvent(report=session.report(), scan_id=session.spec.scan_id))
        changed = pipeline.view.count != self._shown_count
        due = not self._pictures.busy and changed and now - self._shown_s >= rare * self._preview_every_s
        if force or due:
            self._shown_s, self._shown_count = now, pipeline.view.count
            if pipeline.view.count:
                with self._finisher.stages.time("publish"):
                    self._publish_planes(session, pipeline)
        if force:  # what is told of the scan after this comes after its pictures
            self._pictures.wait()
            self._observe(session, self._unseen)
            self._unseen = []

    def _begin_look(self, session: Session, pipeline: ScanPipeline) -> None:
        with session.lock:
            missing, corrupt = session.ledger.lacking(FrameKind.PROJECTION)
        seen, axis = pipeline.arrivals.seen, (pipeline.center, pipeline.axis)
        made_of = (session.spec.scan_id, seen, pipeline.count, axis, missing, corrupt)
        if made_of == self._judged:
            return  # where nothing comes, another look finds the same, and takes a core from those who look at planes
        self._judged = made_of
        look = pipeline.look(missing, corrupt)

        def timed() -> tuple[Look, float]:
            began = self._clock()
            with self._finisher.stages.time("judge"):
                return look(), self._clock() - began

        self._look.begin(timed)

    def _follow_look(self, session: Session, pipeline: ScanPipeline) -> None:
        """Use what the look that was begun has found, once it has."""
        found = self._look.take()
        if found is None:
            return
        look, seconds = found
        self._growth.pause()
        self._judge_every_s = max(JUDGE_EVERY_S, seconds / JUDGE_SHARE)
        pipeline.follow(look)
        if session.judge(look.quality, look.verdict):
            self._events.event(VerdictEvent.of(session.report()))

    def _publish_planes(self, session: Session, pipeline: ScanPipeline) -> None:
        if session.first_preview_projections is None:
            session.first_preview_projections = pipeline.view.count
        header = self._headers.next(session, pipeline)
        if self._elsewhere is None:
            self._pictures.send(header, pipeline.planes.snapshot(), pipeline.view.shown)
        else:
            self._pictures.send_gathered(header, self._elsewhere.gather, self._elsewhere.planes)
