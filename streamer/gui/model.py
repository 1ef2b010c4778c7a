"""The state of a viewer and all its texts, without Qt and without sockets. Time is an argument (seconds, monotonic).

Messages are structs that were checked as a whole; those that could not be read are counted in ``broken``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import DaemonStatus, PreviewHeader
from streamer.flow.wire.events import Event, ProgressEvent, StateEvent, VerdictEvent
from streamer.frames import ReasonCode
from streamer.gui.plane import PLANE_AXES, PlanePicture, robust_levels
from streamer.gui.scan import CLOSING_STATES, ShownScan, clean, known

SILENT_S = 5.0
"""After this time without a message the viewer says that it waits for the daemon."""

STALLED_S = 2.0
"""After this time without a new frame in a running scan the viewer says so."""

MAX_PLANES = 12
MAX_HISTORY = 200


class Connection(Enum):
    """The connection between this viewer and the daemon."""

    WAITING = "waiting"  # no message for a while
    NO_SCAN = "no scan"  # the daemon answers, and no scan runs
    LIVE = "live"  # frames are coming
    STALLED = "stalled"  # a scan runs, and no frame arrives
    FINISHED = "finished"  # the scan on show has ended


@dataclass(frozen=True)
class Levels:
    """The contrast of one plane."""

    low: float
    high: float
    auto: bool = True


class ViewModel:
    """The state behind a viewer's window.

    ``planes`` holds the newest picture of each plane in the order in which they appeared, ``revision`` grows whenever
    one of them changes.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.scan = ShownScan()
        self.planes: dict[str, PlanePicture] = {}
        self.history: dict[str, ShownScan] = {}
        self.revisions: dict[str, int] = {}
        self.broken = 0
        self.stale = 0
        self.version = ""
        self.linked = False
        self._manual: dict[str, tuple[float, float]] = {}
        self._auto: dict[str, tuple[float, float]] = {}
        self._heard_s: float | None = None
        self._data_s: float | None = None

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
        self._data_s = now
        picture = PlanePicture.of_preview(preview, payload)
        self.planes[picture.name] = picture
        self._auto[picture.name] = robust_levels(picture.image)
        self.revisions[picture.name] = self.revisions.get(picture.name, 0) + 1

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

    def status(self, status: DaemonStatus, now: float) -> None:
        """The daemon's answer to "how is the running or last scan?"."""
        self._heard_s = now
        self.version = clean(status.version)
        if status.scan is not None:
            scan = self._of(status.scan.scan_id).with_report(status.scan)
            if self._is_past(scan.scan_id) and not scan.state.final:
                self._show(scan, now)  # the daemon decides which scan runs, not the order of arrival
            self._accept(scan, now)

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
            self._heard_s = now
            return
        if scan.received != self.scan.received or scan.scan_id != self.scan.scan_id:
            self._data_s = now
        self._show(scan, now)

    def _show(self, scan: ShownScan, now: float) -> None:
        self._heard_s = now
        again = self.scan.state.final and not scan.state.final
        if scan.scan_id != self.scan.scan_id or again:
            # A picture of one sample must never appear under the name of another.
            self.planes = {}
            self._auto = {}
        self.scan = scan
        self._remember(scan)

    def _remember(self, scan: ShownScan) -> None:
        self.history[scan.scan_id] = scan
        while len(self.history) > MAX_HISTORY:
            self.history.pop(next(iter(self.history)))

    # Contrast.

    def levels(self, name: str) -> Levels:
        """The contrast of a plane. Linked planes share the range that covers all of them."""
        if name in self._manual:
            return Levels(*self._manual[name], auto=False)
        auto = list(self._auto.values()) if self.linked else [self._auto.get(name, (0.0, 1.0))]
        if not auto:
            return Levels(0.0, 1.0)
        return Levels(min(low for low, _ in auto), max(high for _, high in auto))

    def set_levels(self, name: str, low: float, high: float) -> None:
        """Set the contrast by hand until ``auto_levels``. An empty or infinite range is ignored."""
        if -1e30 < low < high < 1e30:
            for each in self.planes if self.linked else (name,):
                self._manual[each] = (low, high)

    def auto_levels(self, name: str | None = None) -> None:
        """Return to automatic contrast, of one plane or of all."""
        if name is None:
            self._manual.clear()
        else:
            self._manual.pop(name, None)

    @property
    def manual(self) -> bool:
        return any(name in self._manual for name in self.planes)

    # Texts.

    def link(self, now: float) -> Connection:
        if self._heard_s is None or now - self._heard_s > SILENT_S:
            return Connection.WAITING
        if self.scan.state.final:
            return Connection.FINISHED
        if self.scan.state is ScanState.ACQUIRING:
            return Connection.STALLED if self._silence(now) > STALLED_S else Connection.LIVE
        return Connection.LIVE if self.scan.state in CLOSING_STATES else Connection.NO_SCAN

    def _silence(self, now: float) -> float:
        return 0.0 if self._data_s is None else max(0.0, now - self._data_s)

    def link_text(self, now: float) -> str:
        link = self.link(now)
        if link is Connection.WAITING:
            since = "" if self._heard_s is None else f" (silent for {now - self._heard_s:.0f} s)"
            return f"waiting for the daemon at {self.endpoint}{since}"
        if link is Connection.STALLED:
            return f"no data for {self._silence(now):.0f} s"
        if link is Connection.FINISHED:
            return f"scan {self.scan.state}"
        if link is Connection.NO_SCAN:
            return "connected, scan armed" if self.scan.state is ScanState.ARMED else "connected, no scan"
        return "live" if self.scan.state is ScanState.ACQUIRING else f"live, {self.scan.state}"

    @property
    def title_text(self) -> str:
        if not self.scan.scan_id:
            return "no scan yet"
        return f"{self.scan.sample or 'sample'}   ·   scan {self.scan.scan_id}"

    @property
    def angles_text(self) -> str:
        return f"{self.scan.angles} of {self.scan.of} angles" if self.scan.of else "no angles yet"

    @property
    def fraction(self) -> float:
        return min(1.0, self.scan.angles / self.scan.of) if self.scan.of else 0.0

    def rate_text(self, now: float) -> str:
        rate = self.scan.frame_rate_hz
        if rate is None or self.link(now) is not Connection.LIVE:
            return "–"
        return f"{rate:.0f} frames/s" if rate >= 10 else f"{rate:.1f} frames/s"

    @property
    def center_text(self) -> str:
        if self.scan.center_px is None:
            return "not known yet"
        return f"{self.scan.center_px:.2f} px".replace("-", "−")

    @property
    def confidence_text(self) -> str:
        if self.scan.center_px is None or self.scan.center_confidence is None:
            return ""
        return f"confidence {100 * self.scan.center_confidence:.0f} %"

    @property
    def resolution_text(self) -> str:
        return "–" if self.scan.resolution_px is None else f"{self.scan.resolution_px:.1f} px"

    @property
    def lost_text(self) -> str:
        if not self.scan.corrupt:
            return f"{self.scan.missing} missing"
        return f"{self.scan.missing} missing, {self.scan.corrupt} corrupt"

    @property
    def verdict_text(self) -> str:
        return "NO VERDICT" if self.scan.decision is None else self.scan.decision.value

    @property
    def reasons_text(self) -> str:
        if self.scan.error:
            return self.scan.error
        if self.scan.verdict is None:
            return ReasonCode.NOT_JUDGED.meaning
        lines = [str(reason) for reason in self.scan.verdict.reasons]
        # One line each if they fit into the banner.
        short = len(lines) <= 3 and all(len(line) <= 90 for line in lines)
        reasons = ("\n" if short else "; ").join(lines)
        return reasons if self.scan.final or self.scan.state.final else f"so far: {reasons}"

    def empty_text(self, now: float) -> str:
        """The text in place of the planes before the first one."""
        if self.link(now) is Connection.WAITING or not self.scan.scan_id:
            return self.link_text(now)
        if self.link(now) is Connection.FINISHED:
            return f"{self.link_text(now)}\nno planes came of {self.scan.sample or self.scan.scan_id}"
        return f"waiting for the first planes of {self.scan.sample or self.scan.scan_id}"

    @property
    def plane_order(self) -> list[str]:
        """The planes on show: the three of every scan first, then the others by name."""
        return sorted(
            self.planes,
            key=lambda name: (list(PLANE_AXES).index(name) if name in PLANE_AXES else len(PLANE_AXES), name),
        )

    @property
    def snapshot_name(self) -> str:
        return f"streamer_{self.scan.scan_id or 'no-scan'}_{self.scan.angles}of{self.scan.of}.png"

    def status_line(self, now: float) -> str:
        """The whole state in one line: the window's foot, the log, a terminal."""
        parts = [self.link_text(now)]
        if self.scan.scan_id:
            center = " ".join(part for part in (self.center_text, self.confidence_text) if part)
            parts += [self.angles_text, self.rate_text(now), f"centre {center}", self.lost_text, self.verdict_text]
        if self.broken:
            parts.append(f"{self.broken} unreadable messages")
        return "  ·  ".join(part for part in parts if part != "–")
