"""Boxes of the tomogram that grows, made for whoever asks and only then, when the compute thread has nothing to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from streamer.daemon.session import Session
from streamer.flow.wire.control import Busy
from streamer.flow.wire.looks import Brick, GetBrick
from streamer.frames import BadInput
from streamer.io.messaging.control import DeferredReply
from streamer.pipeline.reconstruction.brick import BrickInProgress
from streamer.pipeline.reconstruction.growing_tomogram import GROWS
from streamer.pipeline.scan_pipeline import ScanPipeline

FRESH_S = 1.0
"""A brick that is younger is sent again."""

WAIT_S = 20.0
MOST_KEPT = 4
LEVELS = (1.0, 99.9)
"""Percentiles of the values that are shown as 0 and 255."""


class Bricks:
    """``ask`` is for the control thread, ``work`` for the compute thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[GetBrick, None] = {}
        self._made: dict[GetBrick, tuple[float, Brick | BadInput]] = {}
        self._begun: tuple[GetBrick, ScanPipeline, BrickInProgress] | None = None
        self._levels: tuple[str, float, float] = ("", 0.0, 0.0)  # of the whole tomogram of a scan, per pixel

    def ask(self, request: GetBrick) -> Brick | DeferredReply:
        """The brick, now or when there was time for it."""
        now = self._clock()
        with self._lock:
            made = self._made.get(request)
            if made is not None and isinstance(made[1], Brick) and now - made[0] <= FRESH_S:
                return made[1]
            self._asked[request] = None
        return DeferredReply(now + WAIT_S, partial(self._made_since, request, now))

    def work(self, session: Session | None) -> bool:
        """Make a piece of what somebody waits for. False when nobody does."""
        with self._lock:
            request = next(iter(self._asked), None)
        if request is None:
            self._begun = None
            return False
        try:
            brick = self._piece(request, session)
        except BadInput as error:
            self._keep(request, error)
        else:
            if brick is not None:
                self._keep(request, brick)
        return True

    def _piece(self, request: GetBrick, session: Session | None) -> Brick | None:
        """The brick, None while more is to be done. Raises BadInput."""
        pipeline = _pipeline(session)
        if self._begun is None or self._begun[:2] != (request, pipeline):
            brick = pipeline.brick(request.box, request.most)
            if brick is None:
                raise Busy(f"scan {pipeline.spec.scan_id}: no tomogram grows: {_why(pipeline)}")
            self._begun = request, pipeline, brick
        if self._begun[2].work():
            return None
        brick, self._begun = self._begun[2], None
        return self._quantised(pipeline, request, brick)

    def _quantised(self, pipeline: ScanPipeline, request: GetBrick, brick: BrickInProgress) -> Brick:
        """With the levels of the whole, so that a box looks as it does there."""
        spec, voxels, count = pipeline.spec, brick.voxels, brick.count
        scan_id, lo, hi = self._levels
        if request.box is None or scan_id != spec.scan_id:
            lo, hi = (float(level) for level in np.percentile(voxels, LEVELS))
            lo, hi = (lo, hi) if lo < hi else (lo - 0.5, lo + 0.5)
            self._levels = spec.scan_id, lo, hi
        scaled = np.clip((voxels - np.float32(lo)) * np.float32(255 / (hi - lo)), 0, 255).astype(np.uint8)
        scale = 1.0 if spec.pixel_size_m is None else 1.0 / (100.0 * spec.pixel_size_m)
        depth, height, width = voxels.shape
        return Brick(
            scan_id=spec.scan_id, angles=count, of=spec.projections, whole=brick.whole, box=brick.box, step=brick.step,
            shape=(depth, height, width), lo=lo * scale, hi=hi * scale, unit=pipeline.unit,
            pixel_size_m=spec.pixel_size_m, voxels=scaled.tobytes(),
        )  # fmt: skip

    def _keep(self, request: GetBrick, made: Brick | BadInput) -> None:
        with self._lock:
            self._asked.pop(request, None)
            self._made.pop(request, None)
            self._made[request] = (self._clock(), made)
            while len(self._made) > MOST_KEPT:
                self._made.pop(next(iter(self._made)))

    def _made_since(self, request: GetBrick, since: float, expired: bool) -> Brick | None:
        with self._lock:
            made = self._made.get(request)
            if made is None or made[0] < since:
                if not expired:
                    self._asked[request] = None  # another one's wish may have been answered with what was older
                    return None
                self._asked.pop(request, None)
        if made is None or made[0] < since:
            raise Busy("no time for a brick: frames come first")
        if isinstance(made[1], BadInput):
            raise made[1]
        return made[1]


def _pipeline(session: Session | None) -> ScanPipeline:
    """Of the scan whose tomogram grows. Raises Busy."""
    if session is None:
        raise Busy("no scan has come yet")
    if session.pipeline is None or session.over or session.reconstructed or session.ending is not None:
        raise Busy(f"scan {session.spec.scan_id} does not run any more; its tomogram is a file, or will be")
    return session.pipeline


def _why(pipeline: ScanPipeline) -> str:
    if pipeline.plan.way != GROWS:
        return f"it is made {pipeline.plan.way}"
    return "the centre of rotation is not known yet"
