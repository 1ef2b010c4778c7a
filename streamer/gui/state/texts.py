"""All texts of a viewer, from the state of its model. No Qt."""

from __future__ import annotations

from enum import Enum

from streamer.advice import advice
from streamer.flow.scan import ScanState
from streamer.frames import ReasonCode
from streamer.gui.state.figures import CENTRE_DECIMALS, number_text
from streamer.gui.state.model import ViewModel
from streamer.gui.state.scan import CLOSING_STATES, ShownScan

SILENT_S = 5.0
"""After this time without a message the viewer says that it waits for the daemon."""

STALLED_S = 2.0
"""After this time without a new frame, while projections come, the viewer says so."""

SLOW_FRAMES = 5.0
"""The same in times from frame to frame, where these are long."""


class Connection(Enum):
    """The connection between this viewer and the daemon."""

    WAITING = "waiting"  # no message for a while
    NO_SCAN = "no scan"  # the daemon answers, and no scan runs
    LIVE = "live"  # frames are coming, or are not due
    STALLED = "stalled"  # projections were coming, and do not any more
    FINISHED = "finished"  # the scan on show has ended


class Texts:
    """What the window, the log and a terminal say about a model."""

    def __init__(self, model: ViewModel) -> None:
        self.model = model

    @property
    def _scan(self) -> ShownScan:
        return self.model.scan

    def link(self, now: float) -> Connection:
        heard, scan = self.model.heard_s, self._scan
        if heard is None or now - heard > SILENT_S:
            return Connection.WAITING
        if scan.state.final:
            return Connection.FINISHED
        if scan.state is ScanState.ACQUIRING:
            return Connection.STALLED if self._stalls(now) else Connection.LIVE
        return Connection.LIVE if scan.state in CLOSING_STATES else Connection.NO_SCAN

    def _stalls(self, now: float) -> bool:
        """Whether a frame is due. Between darks, flats and projections something moves, and none is."""
        scan, rate = self._scan, self._scan.frame_rate_hz
        due = max(STALLED_S, SLOW_FRAMES / rate if rate else 0.0)
        return 0 < scan.angles < scan.of and self._silence(now) > due

    def _silence(self, now: float) -> float:
        return 0.0 if self.model.data_s is None else max(0.0, now - self.model.data_s)

    def link_text(self, now: float) -> str:
        link, scan = self.link(now), self._scan
        if link is Connection.WAITING:
            heard = self.model.heard_s
            since = "" if heard is None else f" (silent for {now - heard:.0f} s)"
            return f"waiting for the daemon at {self.model.endpoint}{since}"
        if link is Connection.STALLED:
            return f"no frame for {self._silence(now):.0f} s"
        if link is Connection.FINISHED:
            return f"scan {scan.state}"
        if link is Connection.NO_SCAN:
            return "connected, scan armed" if scan.state is ScanState.ARMED else "connected, no scan"
        if scan.state is not ScanState.ACQUIRING:
            return f"live, {scan.state}"
        return "live" if scan.angles else "live, darks and flats"

    @property
    def title(self) -> str:
        if not self._scan.scan_id:
            return "no scan yet"
        return f"{self._scan.sample or 'sample'}   ·   scan {self._scan.scan_id}"

    @property
    def past(self) -> str:
        """Whose pictures these are, where they are not those of the running scan; empty otherwise."""
        if not self.model.shows_past:
            return ""
        shown = self.model.shown_scan
        name = shown.sample or shown.scan_id
        return f"{name}, opened again" if self.model.opened else f"{name}, the last one"

    @property
    def angles(self) -> str:
        return f"{self._scan.angles} of {self._scan.of} angles" if self._scan.of else "no angles yet"

    @property
    def fraction(self) -> float:
        return min(1.0, self._scan.angles / self._scan.of) if self._scan.of else 0.0

    def rate(self, now: float) -> str:
        rate = self._scan.frame_rate_hz
        if rate is None or self.link(now) is not Connection.LIVE:
            return "–"
        return f"{rate:.0f} frames/s" if rate >= 10 else f"{rate:.1f} frames/s"

    def left(self, now: float) -> str:
        """Time until the last projection; empty when nothing can be said."""
        scan, rate = self._scan, self._scan.frame_rate_hz
        if self.link(now) is not Connection.LIVE or not rate or not 0 < scan.angles < scan.of:
            return ""
        return f"{duration((scan.of - scan.angles) / rate)} left"

    @property
    def center(self) -> str:
        if self._scan.center_px is None:
            return "not known yet"
        return f"{number_text(self._scan.center_px, decimals=CENTRE_DECIMALS)} px"

    @property
    def confidence(self) -> str:
        if self.model.center_fixed:
            return "held by hand"
        if self._scan.center_px is None or self._scan.center_confidence is None:
            return ""
        return f"confidence {100 * self._scan.center_confidence:.0f} %"

    @property
    def resolution(self) -> str:
        pixels = self._scan.resolution_px
        return "–" if pixels is None else f"{pixels:.1f} px"

    @property
    def resolution_length(self) -> str:
        """The same in µm; empty when the size of a pixel is not known."""
        picture = next(iter(self.model.planes.values()), None)
        if self._scan.resolution_px is None or picture is None or picture.voxel_m is None:
            return ""
        return f"{number_text(1e6 * picture.voxel_m * self._scan.resolution_px, 3)} µm"

    @property
    def lost(self) -> str:
        if not self._scan.corrupt:
            return f"{self._scan.missing} missing"
        return f"{self._scan.missing} missing, {self._scan.corrupt} corrupt"

    @property
    def verdict(self) -> str:
        return "NO VERDICT" if self._scan.decision is None else self._scan.decision.value

    @property
    def reasons(self) -> str:
        if self._scan.error:
            return self._scan.error
        if self._scan.verdict is None:
            return ReasonCode.NOT_JUDGED.meaning
        lines = [str(reason) for reason in self._scan.verdict.reasons]
        # One line each if they fit into the banner.
        short = len(lines) <= 2 and all(len(line) <= 90 for line in lines)
        reasons = ("\n" if short else "; ").join(lines)
        return reasons if self._scan.final or self._scan.state.final else f"so far: {reasons}"

    @property
    def advice(self) -> str:
        """What to do; empty when nothing is to be said."""
        words = advice(self._scan.verdict)
        return f"→ {words}" if words else ""

    def empty(self, now: float) -> str:
        """The text in place of the planes before the first one."""
        if self.link(now) is Connection.WAITING or not self._scan.scan_id:
            return self.link_text(now)
        name = self._scan.sample or self._scan.scan_id
        if self.link(now) is Connection.FINISHED:
            return f"{self.link_text(now)}\nno planes came of {name}"
        return f"waiting for the first planes of {name}"

    @property
    def files(self) -> list[tuple[str, str]]:
        """What lies where, on the machine of the daemon."""
        shown = self.model.shown_scan
        found = [("raw frames", shown.raw_file), ("tomogram", shown.tomogram_file)]
        return [(what, path) for what, path in found if path]

    @property
    def disk(self) -> str:
        free = self.model.disk_free_bytes
        return "" if free is None else f"{free / 1e9:.0f} GB free"

    @property
    def snapshot_name(self) -> str:
        return f"streamer_{self._scan.scan_id or 'no-scan'}_{self._scan.angles}of{self._scan.of}.png"

    def status_line(self, now: float) -> str:
        """The whole state in one line: the log, a terminal."""
        parts = [self.link_text(now)]
        if self._scan.scan_id:
            center = " ".join(part for part in (self.center, self.confidence) if part)
            parts += [self.angles, self.rate(now), self.left(now), f"centre {center}", self.lost, self.verdict]
        if self.model.broken:
            parts.append(f"{self.model.broken} unreadable messages")
        return "  ·  ".join(part for part in parts if part not in ("", "–"))


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
