"""What clients set while a scan runs or is looked at: the planes that are watched, and the centre of rotation."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamer.daemon.compute.growth import Growth
from streamer.daemon.compute.pictures import Pictures
from streamer.daemon.elsewhere import Elsewhere
from streamer.daemon.scans import Scans
from streamer.frames import BadInput
from streamer.pipeline.scan_pipeline import ScanPipeline

log = logging.getLogger(__name__)

HURRIED_S = 0.3
"""So long after planes were moved they are probably moved again."""

RESTS_S = 0.05
"""So long after planes were moved the hand rests: a mouse moves 60 times a second. Then they come in full detail."""


class Steering:
    """Belongs to the compute thread; ``scans`` knows what clients have set."""

    def __init__(
        self,
        scans: Scans,
        pictures: Pictures,
        growth: Growth,
        clock: Callable[[], float],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """``elsewhere``: who shows the planes, if not this daemon."""
        self._elsewhere = elsewhere
        self._scans, self._pictures, self._growth, self._clock = scans, pictures, growth, clock
        self._revision = scans.operator_revision
        self._planes, self._center = scans.planes, scans.fixed_center  # as they were applied last
        self._moved_s = -1e9

    @property
    def changed(self) -> bool:
        """Whether something was set that is not applied yet."""
        return self._scans.operator_revision != self._revision

    @property
    def hurried(self) -> bool:
        """Whether somebody moves planes just now."""
        return self._clock() - self._moved_s < HURRIED_S

    @property
    def rests(self) -> bool:
        """Whether the hand that moved planes rests."""
        return self._clock() - self._moved_s >= RESTS_S

    def follow(self, pipeline: ScanPipeline) -> bool:
        """Apply what a client has set. False when that is nothing new."""
        pipeline.view.held = self.hurried
        if not self.changed:
            return False
        # Without the lock of the scans, whose holder may wait for ``make_room``: what changes now has a later revision.
        self._revision = self._scans.operator_revision
        planes, center = self._scans.planes, self._scans.fixed_center
        self._moved_s = self._clock()
        pipeline.view.held = True
        if planes != self._planes:
            self._planes = planes
            if self._elsewhere is None:
                pipeline.view.watch(planes)
            else:
                self._elsewhere.watch(planes)
            shown = pipeline.view.wanted if self._elsewhere is None else self._elsewhere.planes
            self._pictures.keep({plane.name for plane in shown})
        try:
            if center != self._center:
                self._center = center
                self._growth.pause()
                pipeline.fix_center(center)
        except BadInput as error:
            log.warning("scan %s goes on without it: %s", pipeline.spec.scan_id, error)
        return True
