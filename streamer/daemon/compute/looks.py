"""Pictures of what the detector sees, made for whoever asks and only then, on the compute thread between frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from streamer.core import preview
from streamer.core.arrays import Array
from streamer.daemon.session import Session
from streamer.flow.wire.control import Busy
from streamer.flow.wire.looks import MOST_LOOK_PX, Look, Looked, Subject
from streamer.frames import BadInput, FrameKind, FrameMeta
from streamer.io.messaging.control import DeferredReply
from streamer.pipeline.scan_pipeline import ScanPipeline

FRESH_S = 0.2
"""A picture that is younger is sent again."""

WAIT_S = 2.0
MOST_KEPT = 16

Newest = tuple[FrameMeta, Array]
"""The newest frame (rows, columns), which is overwritten by later ones."""


class Looks:
    """``ask`` is for the control thread, ``serve`` for the compute thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: set[Look] = set()
        self._made: dict[Look, tuple[float, Looked | BadInput]] = {}

    def ask(self, request: Look) -> Looked | DeferredReply:
        """The picture, now or soon. Raises Busy when there is nothing to see yet."""
        now = self._clock()
        with self._lock:
            made = self._made.get(request)
            if made is None or isinstance(made[1], BadInput) or now - made[0] > FRESH_S:
                self._asked.add(request)
                return DeferredReply(now + WAIT_S, partial(self._made_since, request, now))
        return made[1]

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a picture."""
        return bool(self._asked)

    def serve(self, session: Session | None, pipeline: ScanPipeline | None, newest: Newest | None) -> None:
        """Make the pictures that are asked for, of the running scan or the last one."""
        with self._lock:
            asked, self._asked = self._asked, set()
        for request in asked:
            try:
                made: Looked | BadInput = _made(request, session, pipeline, newest)
            except BadInput as error:
                made = error
            with self._lock:
                self._made.pop(request, None)
                self._made[request] = (self._clock(), made)
                while len(self._made) > MOST_KEPT:
                    self._made.pop(next(iter(self._made)))

    def _made_since(self, request: Look, since: float, expired: bool) -> Looked | None:
        with self._lock:
            made = self._made.get(request)
        if made is not None and made[0] >= since:
            return _answer(made[1])
        if expired:
            raise Busy("no time for pictures: frames come first")
        return None


def _answer(made: Looked | BadInput) -> Looked:
    if isinstance(made, BadInput):
        raise made
    return made


def _made(request: Look, session: Session | None, pipeline: ScanPipeline | None, newest: Newest | None) -> Looked:
    """Raises Busy when there is nothing to see."""
    if session is None:
        raise Busy("no scan has come yet")
    spec = session.spec
    picture = partial(_picture, session, request.subject)
    if request.subject == "raw":
        if newest is None or newest[0].scan_id != spec.scan_id:
            raise Busy(f"no frame of scan {spec.scan_id} has come yet")
        meta, pixels = newest
        angle = meta.angle_deg if np.isfinite(meta.angle_deg) else None
        return picture(pixels, "counts", index=meta.index, kind=meta.kind, angle_deg=angle)
    if pipeline is None:
        raise Busy(f"the projections of scan {spec.scan_id} are not in memory any more")
    if pipeline.count == 0:
        raise Busy(f"no projection of scan {spec.scan_id} has come yet")
    if request.subject == "projection":
        angle_deg = float(np.rad2deg(pipeline.store.angles_rad[-1]))
        return picture(pipeline.store.newest, "attenuation", angle_deg=angle_deg, count=pipeline.count)
    row, image = pipeline.store.sinogram(request.row)
    return picture(image, "attenuation", row=row, count=pipeline.count)


def _picture(
    session: Session,
    subject: Subject,
    image: Array,
    unit: str,
    index: int | None = None,
    kind: FrameKind | None = None,
    angle_deg: float | None = None,
    row: int | None = None,
    count: int = 0,
) -> Looked:
    small = preview.decimate(image, MOST_LOOK_PX)
    finite = small[np.isfinite(small)]
    lo, hi = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if lo == hi:
        hi = lo + max(1.0, abs(lo))
    shape, factor = (small.shape[0], small.shape[1]), -(-image.shape[0] // small.shape[0])
    pixels = preview.quantise(small, lo, hi).astype("<u2").tobytes()
    return Looked(
        scan_id=session.spec.scan_id, sample=session.spec.sample, subject=subject, shape=shape, lo=lo, hi=hi, unit=unit,
        bin=factor, index=index, kind=kind, angle_deg=angle_deg, row=row, count=count, pixels=pixels,
    )  # fmt: skip
