"""The state of a viewer, without Qt and without sockets. Time is an argument (seconds, monotonic).

Messages are structs that were checked as a whole; those that could not be read are counted in ``broken``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from streamer.flow.scan import ScanState
from streamer.flow.wire.control import Request
from streamer.flow.wire.daemon import CenterReply, DaemonStatus, PlaneSpec, PreviewHeader, WatchPlanes
from streamer.flow.wire.events import Event, ProgressEvent, StateEvent, VerdictEvent
from streamer.flow.wire.looks import GetLatest, LatestPlane, Look, Looked, PastScans
from streamer.gui.state.contrast import Contrast
from streamer.gui.state.notices import Notice, Notices
from streamer.gui.state.plane import PLANE_AXES, PlanePicture, robust_levels
from streamer.gui.state.results import Results
from streamer.gui.state.scan import ShownScan, clean, known
from streamer.gui.state.steering import Steering, same_place
from streamer.gui.state.trends import Trends

SETTLING_S = 3.0
"""For so long after a plane was moved, where pictures show it does not move the cross-hair."""

MAX_PLANES = 12
MAX_HISTORY = 200


class ViewModel:
    """The state behind a viewer's window.

    ``planes`` holds the newest picture of each plane of the running scan in the order in which they appeared,
    ``revisions`` grow whenever one of them changes. ``looks`` are the pictures of what the detector sees, and
    ``look_errors`` says why there is none. ``notices`` are for those who do not look; whoever shows one takes it out.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.scan = ShownScan()
        self.planes: dict[str, PlanePicture] = {}
        self.history: dict[str, ShownScan] = {}
        self.revisions: dict[str, int] = {}
        self.looks: dict[str, PlanePicture] = {}
        self.look_errors: dict[str, str] = {}
        self.contrast = Contrast()
        self.results, self.trends, self.steering = Results(), Trends(), Steering()
        self.notices: list[Notice] = []
        self.broken = 0
        self.stale = 0
        self.version = ""
        self.opened = ""  # a past scan that is shown again
        self.center_fixed = False
        self.refused = ""  # what the daemon said to the last thing that this viewer wanted
        self.disk_free_bytes: int | None = None
        self.heard_s: float | None = None
        self.data_s: float | None = None
        self._said = Notices()
        self._moved_s: dict[str, float] = {}
        self._left: dict[str, PlaneSpec] = {}  # where planes were before they were moved

    # Messages, which the reader of the socket has checked.

    def preview(self, preview: PreviewHeader, payload: bytes | memoryview, now: float) -> None:
        """The newest picture of a plane."""
        scan = self._of(preview.scan_id)
        if self._is_past(preview.scan_id):
            self.stale += 1
            return
        on_show = preview.scan_id == self.scan.scan_id
        if on_show and preview.plane not in self.planes and len(self.planes) >= MAX_PLANES:
            self.broken += 1
            return
        if preview.angles > scan.angles or not on_show:
            self.data_s = now
        waiting = scan.state in (ScanState.IDLE, ScanState.ARMED)
        scan = replace(
            scan,
            sample=preview.sample,
            angles=max(preview.angles, scan.angles),
            of=preview.of,
            center_px=known(preview.center_px, scan.center_px),
            frame_rate_hz=known(preview.frame_rate_hz, scan.frame_rate_hz),
            state=ScanState.ACQUIRING if waiting else scan.state,
        )
        if not scan.final:  # the event with the final verdict may have overtaken this preview
            scan = scan.with_verdict(preview)
        self._show(scan, now)
        self._take(PlanePicture.of_preview(preview, payload), now)

    def latest(self, plane: LatestPlane, now: float) -> None:
        """The last picture of a plane, which had been sent before this viewer came."""
        header = plane.header
        have = self.results.planes(header.scan_id).get(header.plane)
        if have is None or have.angles <= header.angles:
            self._take(PlanePicture.of_preview(header, plane.pixels), now)
            self.results.finish(header.scan_id)

    def past(self, reply: PastScans) -> None:
        """The scans that were over before this viewer came, or while it was away; the oldest first."""
        told = {report.scan_id: ShownScan(scan_id=report.scan_id).with_report(report) for report in reply.scans}
        for report in reply.scans:
            self.trends.add(report.scan_id, report.quality)
        order = [*(each for each in self.history if each not in told), *told]
        if (running := self.scan.scan_id) in order:
            order.remove(running)
            order.append(running)
        known = told | self.history
        self.history = {each: known[each] for each in order}
        self.trends.arrange(order)

    def event(self, event: Event, now: float) -> None:
        if event.scan_id is None:
            return
        scan = self._of(event.scan_id)
        if isinstance(event, StateEvent):
            scan = scan.moved_to(event.state)
            if event.report is not None:
                scan = scan.with_report(event.report)
        elif isinstance(event, ProgressEvent):
            scan = scan.with_report(event.report)
        elif isinstance(event, VerdictEvent):
            scan = scan.with_verdict(event).with_quality(event.quality)
        self._accept(scan, now)
        if scan.final or scan.state.final:
            self._notify(scan)

    def status(self, status: DaemonStatus, now: float) -> None:
        """The daemon's answer to "how is the running or last scan?"."""
        self.heard_s = now
        self.version = clean(status.version)
        self.disk_free_bytes = status.disk_free_bytes
        if status.scan is not None:
            scan = self._of(status.scan.scan_id).with_report(status.scan)
            if self._is_past(scan.scan_id) and not scan.state.final:
                self._show(scan, now)  # the daemon decides which scan runs, not the order of arrival
            self._accept(scan, now)

    def answer(self, request: Request[Any], reply: object, now: float) -> None:
        """What the daemon answered to something that this viewer asked for or wanted."""
        match reply:
            case Looked():
                picture = PlanePicture.of_look(reply)
                self.looks[picture.name] = picture
                self.look_errors.pop(picture.name, None)
                self.contrast.measured(picture.name, *robust_levels(picture.image), picture.unit)
                self.revisions[picture.name] = self.revisions.get(picture.name, 0) + 1
            case LatestPlane():
                self.latest(reply, now)
            case PastScans():
                self.past(reply)
            case CenterReply():
                self.center_fixed = reply.fixed
        if not isinstance(request, (Look, GetLatest)):
            self.refused = ""

    def refuse(self, request: Request[Any], why: str) -> None:
        """The daemon did not do what this viewer wanted."""
        if isinstance(request, Look):
            self.look_errors[request.subject] = clean(why)
        elif not isinstance(request, GetLatest):
            self.refused = clean(why)
        if isinstance(request, WatchPlanes):  # the planes are where they were
            self._moved_s.clear()
            self._left.clear()
            for picture in self.planes.values():
                if picture.place is not None:
                    self.steering.learn(picture.place, picture.volume)

    # Scans and their pictures.

    def _take(self, picture: PlanePicture, now: float) -> None:
        if picture.place is not None:
            if not self._is_expected(picture.place):
                return
            if now - self._moved_s.get(picture.name, -math.inf) > SETTLING_S:
                self.steering.learn(picture.place, picture.volume)
        self.results.add(picture)
        if picture.scan_id == self.scan.scan_id:
            self.planes = dict(self.results.planes(picture.scan_id))
        self.contrast.measured(picture.name, *robust_levels(picture.image), picture.unit)
        self.revisions[picture.name] = self.revisions.get(picture.name, 0) + 1

    def _is_expected(self, place: PlaneSpec) -> bool:
        """Whether a plane is not where it was before this viewer has moved it: that picture was on its way."""
        left = self._left.get(place.name)
        if left is None:
            return True
        wanted = any(same_place(place, plane) for plane in self.steering.wanted() if plane.name == place.name)
        if same_place(place, left) and not wanted:
            return False
        del self._left[place.name]
        return True

    def moved(self, names: Iterable[str], now: float) -> None:
        """This viewer has moved these planes."""
        for name in names:
            self._moved_s[name] = now
            picture = self.planes.get(name)
            if picture is not None and picture.place is not None:
                self._left.setdefault(name, picture.place)

    def center_wanted(self, column: float | None) -> None:
        """This viewer has asked for another centre: it is shown until the daemon says what it is."""
        self.center_fixed = column is not None
        if column is not None:
            self.scan = replace(self.scan, center_px=column)

    def remove(self, name: str) -> None:
        """A plane is not watched any more."""
        self.results.remove(self.scan.scan_id, name)
        self.planes.pop(name, None)
        self.contrast.forget(name)

    def _of(self, scan_id: str) -> ShownScan:
        """What is known of a scan: the one on show, a past one or a new one."""
        if scan_id == self.scan.scan_id:
            return self.scan
        return self.history.get(scan_id, ShownScan(scan_id=scan_id))

    def _is_past(self, scan_id: str) -> bool:
        return scan_id != self.scan.scan_id and scan_id in self.history

    def _accept(self, scan: ShownScan, now: float) -> None:
        if self._is_past(scan.scan_id) or scan.state is ScanState.REFUSED:
            self._remember(scan)
            self.heard_s = now
            return
        if scan.received != self.scan.received or scan.scan_id != self.scan.scan_id:
            self.data_s = now
        self._show(scan, now)

    def _show(self, scan: ShownScan, now: float) -> None:
        self.heard_s = now
        again = self.scan.state.final and not scan.state.final
        if scan.scan_id != self.scan.scan_id or again:
            # A picture of one sample must never appear under the name of another.
            self.results.finish(self.scan.scan_id)
            if scan.scan_id == self.scan.scan_id:
                self.results.forget(scan.scan_id)
            self.planes = {}
            self._left.clear()
        elif scan.state.final and not self.scan.state.final:
            self.results.finish(scan.scan_id)
        self.scan = scan
        if scan.quality.projections:
            self.trends.add(scan.scan_id, scan.quality)
        self._remember(scan)

    def _remember(self, scan: ShownScan) -> None:
        self.history[scan.scan_id] = scan
        while len(self.history) > MAX_HISTORY:
            self.history.pop(next(iter(self.history)))

    def _notify(self, scan: ShownScan) -> None:
        if (notice := self._said.of(scan)) is not None:
            self.notices.append(notice)

    # What is on the screen.

    @property
    def _shown_id(self) -> str:
        if self.opened and self.results.planes(self.opened):
            return self.opened
        return self.scan.scan_id if self.planes else self.results.newest

    @property
    def shown_scan(self) -> ShownScan:
        """The scan whose pictures are on the screen: one that was opened again, the running one, or the last one."""
        return self.history.get(self._shown_id, self.scan)

    @property
    def shown_planes(self) -> Mapping[str, PlanePicture]:
        return self.results.planes(self._shown_id)

    @property
    def shows_past(self) -> bool:
        """Whether the pictures are of another scan than the running one."""
        return bool(self.shown_planes) and self._shown_id != self.scan.scan_id

    def open(self, scan_id: str) -> bool:
        """Show a past scan again; the running one or none: what comes. False when its pictures are gone."""
        runs = scan_id in ("", self.scan.scan_id)
        if not runs and not self.results.planes(scan_id):
            return False
        self.opened = "" if runs else scan_id
        return True

    @property
    def plane_order(self) -> list[str]:
        """The planes on show: the three of every scan first, then the others by name."""
        return sorted(
            self.shown_planes,
            key=lambda name: (list(PLANE_AXES).index(name) if name in PLANE_AXES else len(PLANE_AXES), name),
        )
