"""What the page knows of a daemon, and the messages that this makes. No sockets; time is an argument (s, monotonic).

Every method that takes news returns the messages for all clients, by subject; a newer message of a subject replaces
an older one. ``greeting`` is everything that a client that comes now must hear.
"""

from __future__ import annotations

import base64
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import to_builtins
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.advice import ADVICE
from streamer.flow.wire.daemon import CenterReply, DaemonStatus, PlaneSpec, PreviewHeader, Report
from streamer.flow.wire.events import Event, FaultEvent, ProgressEvent, StateEvent, VerdictEvent
from streamer.frames import ReasonCode
from streamer.io.batch_queue import Queue
from streamer.web.geometry import Place, Volume, place_of, volume_of
from streamer.web.messages import eight_bits, jpeg, plane_header, thinned, thumbnail, to_text, with_picture
from streamer.web.outbox import Message

News = Iterator[tuple[str, Message]]

SILENT_S = 5.0
"""After this time without an answer the page says that it waits for the daemon."""

RATE_OVER_S = 3.0
MAX_HISTORY = 60
MAX_PLANES = 16
PICTURES_KEPT = 20
"""Past scans whose last pictures can be opened again."""

SHOWN = (
    "frames", "written", "writer", "writer_note", "coverage", "raw_file", "tomogram_file", "last_frame_to_tomogram_s",
    "scan_s", "note", "error", "center_px", "center_confidence",
)  # fmt: skip
"""Fields of a report that go to the page as they are."""


@dataclass
class PageScan:
    """One scan: its report, and the last picture of each plane as a message."""

    report: Report
    planes: dict[str, bytes] = field(default_factory=dict)
    small: NDArray[np.uint8] | None = None  # the last picture of the level plane, thinned
    first_heard: float = 0.0

    @property
    def thumbnail(self) -> str:
        """A small picture as an address for the page, empty without one. It is made when it is asked for."""
        return (
            "" if self.small is None else "data:image/jpeg;base64," + base64.b64encode(thumbnail(self.small)).decode()
        )


class PageModel:
    """The state behind the page. Not thread-safe."""

    def __init__(self) -> None:
        self.status_reply: DaemonStatus | None = None
        self.volume: Volume | None = None
        self.place: Place | None = None
        self.others: list[PlaneSpec] = []  # planes that are watched and are none of the page's
        self.center: CenterReply | None = None
        self.fault = ""
        self.broken = 0
        self.scans: OrderedDict[str, PageScan] = OrderedDict()
        self.current = ""  # id of the scan on show
        self.shown: dict[str, bytes] = {}  # newest picture of each plane, of this scan or still of the last one
        self.batch = ""  # the message on the samples of a batch, if there is one
        self._shown_of = ""
        self._heard_s: float | None = None
        self._counts: deque[tuple[float, int]] = deque()
        self._rate_hz: float | None = None

    # News.

    def status(self, status: DaemonStatus, now: float) -> News:
        self._heard_s, self.status_reply = now, status
        if status.scan is not None:
            self.current = status.scan.scan_id
            yield from self._take(status.scan, now)
        yield "state", self.state(now)

    def event(self, event: Event, now: float) -> News:
        self._heard_s = now
        report: Report | None = None
        if isinstance(event, FaultEvent):
            self.fault = f"{event.part}: {event.text}"
        elif isinstance(event, (ProgressEvent, StateEvent)):
            report = event.report
        elif isinstance(event, VerdictEvent) and event.scan_id in self.scans:
            known = self.scans[event.scan_id].report
            report = _with_verdict(known, event)
        if report is not None:
            if not report.state.final or report.scan_id not in self.scans:
                self.current = report.scan_id
            yield from self._take(report, now)
        yield "state", self.state(now)

    def preview(self, preview: PreviewHeader, payload: bytes, now: float) -> News:
        self._heard_s = now
        scan = self.scans.get(preview.scan_id)
        if scan is None or (len(scan.planes) >= MAX_PLANES and preview.plane not in scan.planes):
            self.broken += scan is not None
            return
        if scan.report.state.final and preview.scan_id != self.current:
            return
        grey = eight_bits(payload, preview.shape)
        message = with_picture(plane_header(preview), jpeg(grey))
        if preview.scan_id != self._shown_of:
            # The last result stays until the first picture of the next scan comes.
            self.shown, self._shown_of = {}, preview.scan_id
        self.shown[preview.plane] = scan.planes[preview.plane] = message
        if preview.plane == "xy":
            scan.small = thinned(grey)
        yield f"plane {preview.plane}", message
        if scan.report.state.final:
            yield self._past(preview.scan_id)

    def past(self, reports: Iterable[Report], now: float) -> News:
        """Scans of the daemon that were over before this page's server came."""
        known = list(reports)
        for report in known:
            yield from self._take(report, now)
        for report in reversed(known):  # the status told of the last one first; pages list scans as they come
            if report.scan_id in self.scans:
                self.scans.move_to_end(report.scan_id, last=False)

    def planes(self, watched: list[PlaneSpec], now: float) -> News:
        """The daemon watches these planes."""
        self.volume = volume_of(watched) or self.volume
        self.place = place_of(watched) or self.place
        self.others = [plane for plane in watched if plane.name not in ("xy", "xz", "yz", "free")]
        yield "state", self.state(now)

    def fixed(self, center: CenterReply, now: float) -> News:
        """The daemon uses this centre."""
        self.center = center
        yield "state", self.state(now)

    def queue(self, queue: Queue) -> News:
        """The samples of the batch that runs."""
        batch = to_text(
            "queue", samples=[asdict(sample) for sample in queue.samples.values()], done=queue.done,
            left_s=queue.left_s, note=queue.note,
        )  # fmt: skip
        if queue.samples and batch != self.batch:
            self.batch = batch
            yield "queue", batch

    def _take(self, report: Report, now: float) -> News:
        known = self.scans.get(report.scan_id)
        if known is None:
            known = self.scans[report.scan_id] = PageScan(report, first_heard=now)
            self._counts.clear()
            self._rate_hz = None
            while len(self.scans) > MAX_HISTORY:
                self.scans.popitem(last=False)
        was_final, known.report = known.report.state.final, report
        if report.scan_id == self.current:
            self._follow_rate(report, now)
        if report.state.final:
            if not was_final:
                self._forget_pictures()
            yield self._past(report.scan_id)

    def _follow_rate(self, report: Report, now: float) -> None:
        self._counts.append((now, report.frames.received))
        while len(self._counts) > 2 and now - self._counts[0][0] > RATE_OVER_S:
            self._counts.popleft()
        (since, before), (until, after) = self._counts[0], self._counts[-1]
        self._rate_hz = (after - before) / (until - since) if until - since > 0.2 else self._rate_hz

    def _forget_pictures(self) -> None:
        with_pictures = [scan_id for scan_id, scan in self.scans.items() if scan.planes]
        for scan_id in with_pictures[:-PICTURES_KEPT]:
            self.scans[scan_id].planes = {}

    # Messages.

    def greeting(self, now: float) -> News:
        yield "state", self.state(now)
        for scan_id, scan in self.scans.items():
            if scan.report.state.final:
                yield self._past(scan_id)
        if self.batch:
            yield "queue", self.batch
        for plane, message in self.shown.items():
            yield f"plane {plane}", message

    def state(self, now: float) -> str:
        status = self.status_reply
        return to_text(
            "state",
            connected=self.connected(now),
            silent_s=None if self._heard_s is None else now - self._heard_s,
            daemon=None if status is None else {
                "version": status.version, "backend": status.backend, "uptime_s": status.uptime_s,
                "source_connected": status.source_connected, "disk_free_bytes": status.disk_free_bytes,
                "ring": to_builtins(status.ring),
            },
            scan=self._scan(self.current),
            rate_hz=self._rate_hz,
            left_s=self.left_s(),
            volume=None if self.volume is None else {"rows": self.volume.rows, "columns": self.volume.columns},
            place=None if self.place is None else to_builtins(self.place),
            center_fixed=self.center is not None and self.center.fixed,
            pictures_of=self._shown_of,
            fault=self.fault,
        )  # fmt: skip

    def connected(self, now: float) -> bool:
        """Whether the daemon was heard of lately."""
        return self._heard_s is not None and now - self._heard_s <= SILENT_S

    def grows(self, scan_id: str) -> bool:
        """Whether a scan runs, so that its tomogram may be had of the daemon only."""
        scan = self.scans.get(scan_id)
        return scan is not None and scan_id == self.current and not scan.report.state.final

    def left_s(self) -> float | None:
        """Seconds until the last frame of the running scan; None when that cannot be said."""
        scan = self.scans.get(self.current)
        if scan is None or scan.report.state.final or not self._rate_hz or self._rate_hz <= 0:
            return None
        frames = scan.report.frames
        return max(0, frames.expected - frames.received - frames.missing) / self._rate_hz

    def pictures(self, scan_id: str) -> dict[str, bytes]:
        """The last picture of each plane of a scan, as messages."""
        scan = self.scans.get(scan_id)
        return {} if scan is None else dict(scan.planes)

    def tomogram_file(self, scan_id: str) -> Path | None:
        scan = self.scans.get(scan_id)
        name = None if scan is None else scan.report.tomogram_file
        return None if name is None else Path(name)

    def _past(self, scan_id: str) -> tuple[str, str]:
        scan = self.scans[scan_id]
        words = self._scan(scan_id) or {}
        return f"past {scan_id}", to_text("past", **words, thumbnail=scan.thumbnail, opens=bool(scan.planes))

    def _scan(self, scan_id: str) -> dict[str, Any] | None:
        known = self.scans.get(scan_id)
        if known is None:
            return None
        report = known.report
        verdict = report.judgement
        return {
            "scan_id": report.scan_id,
            "sample": report.sample,
            "state": report.state,
            "over": report.state.final,
            "verdict": verdict.decision,
            "final": report.final,
            "reasons": [
                {"code": reason.code, "text": reason.text, "advice": _advice(reason.code)} for reason in verdict.reasons
            ],
            "angles": report.projections.received,
            "of": report.projections.expected,
            "resolution_px": report.quality.resolution_px,
            **{name: to_builtins(getattr(report, name)) for name in SHOWN},
        }


def _advice(code: ReasonCode) -> str:
    """What to do, where something is to be done."""
    sentence = ADVICE.get(code, "")
    return "" if sentence.startswith("Nothing") else sentence


def _with_verdict(report: Report, event: VerdictEvent) -> Report:
    if report.final and not event.final:
        return report
    return replace(report, verdict=event.verdict, reasons=event.reasons, final=event.final, quality=event.quality)
