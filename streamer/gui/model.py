"""Everything a viewer knows and says, without Qt and without sockets. Time is an argument (seconds, monotonic).

Messages come from the network and may be anything: each is checked as a whole before any of it is believed. One that
cannot be true is counted in ``broken`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from streamer.flow.scan import FINAL_STATES
from streamer.flow.wire import WireError
from streamer.frames import ReasonCode
from streamer.gui.plane import AXES, Plane, decode, mapping, real, robust_levels, text
from streamer.gui.scan import (
    CLOSING_STATES,
    RUNNING_STATES,
    WAITING_STATES,
    Scan,
    known,
    read_scan_id,
    read_state,
    with_quality,
    with_report,
    with_verdict,
)

SILENT_S = 5.0
"""So long without any word of the daemon, and the viewer says that it waits for it."""

STALLED_S = 2.0
"""So long without a new frame in a running scan, and the viewer says so."""

MAX_PLANES = 12
MAX_HISTORY = 200


class Link(Enum):
    """How things stand between this viewer and the daemon."""

    WAITING = "waiting"  # nothing heard of the daemon
    NO_SCAN = "no scan"  # the daemon answers, nothing is being scanned
    LIVE = "live"  # frames are coming
    STALLED = "stalled"  # a scan is running and no frame comes
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
        self.scan = Scan()
        self.planes: dict[str, Plane] = {}
        self.history: dict[str, Scan] = {}
        self.revisions: dict[str, int] = {}
        self.broken = 0
        self.stale = 0
        self.version = ""
        self.linked = False
        self._manual: dict[str, tuple[float, float]] = {}
        self._auto: dict[str, tuple[float, float]] = {}
        self._heard_s: float | None = None
        self._data_s: float | None = None

    # What arrives. Each returns whether the message was believed.

    def plane(self, entries: Mapping[str, Any], payload: bytes | memoryview, now: float) -> bool:
        """A preview message: ``[b"plane", map, payload]``."""
        try:
            plane = decode(entries, payload)
            if plane.name not in self.planes and plane.scan_id == self.scan.scan_id and len(self.planes) >= MAX_PLANES:
                raise WireError("header", f"more than {MAX_PLANES} planes")
            scan = self._of(plane.scan_id)
            scan = replace(
                scan,
                sample=plane.sample or scan.sample,
                angles=max(plane.angles, scan.angles),
                of=plane.of,
                center_px=known(real(entries, "center_px"), scan.center_px),
                frame_rate_hz=known(real(entries, "frame_rate_hz"), scan.frame_rate_hz),
                state="acquiring" if scan.state in {"idle", "armed"} else scan.state,
            )
            if not scan.final:  # a preview may be overtaken by the event with the last word
                scan = with_verdict(scan, entries)
        except Exception:
            return self._refuse()
        if self._is_past(plane.scan_id):
            self.stale += 1
            return True
        self._show(scan, now)
        self._data_s = now
        self.planes[plane.name] = plane
        self._auto[plane.name] = robust_levels(plane.image)
        self.revisions[plane.name] = self.revisions.get(plane.name, 0) + 1
        return True

    def event(self, topic: str, entries: Mapping[str, Any], now: float) -> bool:
        """An event: ``[topic, map]`` with topic scan, progress or verdict."""
        try:
            scan = self._of(read_scan_id(entries))
            if topic == "scan":
                scan = scan.moved_to(read_state(entries, scan.state))
                scan = with_report(scan, mapping(entries, "report"))
            elif topic == "progress":
                scan = with_report(scan, mapping(entries, "report"))
            elif topic == "verdict":
                scan = with_quality(with_verdict(scan, entries), mapping(entries, "quality"))
            else:
                raise WireError("unknown_kind", "event of an unknown topic")
        except Exception:
            return self._refuse()
        self._accept(scan, now)
        return True

    def status(self, reply: Mapping[str, Any], now: float) -> bool:
        """The daemon's answer to the verb ``status``."""
        try:
            version = text(reply, "version", default="")
            report = mapping(reply, "scan")
            scan = with_report(self._of(read_scan_id(report)), report) if report else None
        except Exception:
            return self._refuse()
        self._heard_s = now
        self.version = version
        if scan is not None:
            if self._is_past(scan.scan_id) and scan.state not in FINAL_STATES:
                self._show(scan, now)  # the daemon's word on what runs now counts more than the order of arrival
            self._accept(scan, now)
        return True

    def _refuse(self) -> bool:
        self.broken += 1
        return False

    def _of(self, scan_id: str) -> Scan:
        """What is known so far of a scan, be it on show, past or new."""
        if scan_id == self.scan.scan_id:
            return self.scan
        return self.history.get(scan_id, Scan(scan_id=scan_id))

    def _is_past(self, scan_id: str) -> bool:
        return scan_id != self.scan.scan_id and scan_id in self.history

    def _accept(self, scan: Scan, now: float) -> None:
        if self._is_past(scan.scan_id):
            self.history[scan.scan_id] = scan
            self._heard_s = now
            return
        if scan.received != self.scan.received or scan.scan_id != self.scan.scan_id:
            self._data_s = now
        self._show(scan, now)

    def _show(self, scan: Scan, now: float) -> None:
        self._heard_s = now
        again = self.scan.state in FINAL_STATES and scan.state not in FINAL_STATES
        if scan.scan_id != self.scan.scan_id or again:
            # Never a picture of one sample under the name of another.
            self.planes = {}
            self._auto = {}
        self.scan = scan
        self.history[scan.scan_id] = scan
        while len(self.history) > MAX_HISTORY:
            self.history.pop(next(iter(self.history)))

    # Contrast.

    def levels(self, name: str) -> Levels:
        """How the plane is to be shown. Linked planes share one range that suits them all."""
        if name in self._manual:
            return Levels(*self._manual[name], auto=False)
        auto = list(self._auto.values()) if self.linked else [self._auto.get(name, (0.0, 1.0))]
        if not auto:
            return Levels(0.0, 1.0)
        return Levels(min(low for low, _ in auto), max(high for _, high in auto))

    def set_levels(self, name: str, low: float, high: float) -> None:
        """Contrast by hand, kept until auto_levels. An empty or endless range is ignored."""
        if -1e30 < low < high < 1e30:
            for each in self.planes if self.linked else (name,):
                self._manual[each] = (low, high)

    def auto_levels(self, name: str | None = None) -> None:
        """Back to automatic contrast, of one plane or of all."""
        if name is None:
            self._manual.clear()
        else:
            self._manual.pop(name, None)

    @property
    def manual(self) -> bool:
        return any(name in self._manual for name in self.planes)

    # What there is to say.

    def link(self, now: float) -> Link:
        if self._heard_s is None or now - self._heard_s > SILENT_S:
            return Link.WAITING
        if self.scan.state in FINAL_STATES:
            return Link.FINISHED
        if self.scan.state in RUNNING_STATES:
            return Link.STALLED if self._silence(now) > STALLED_S else Link.LIVE
        return Link.LIVE if self.scan.state in CLOSING_STATES else Link.NO_SCAN

    def _silence(self, now: float) -> float:
        return 0.0 if self._data_s is None else max(0.0, now - self._data_s)

    def link_text(self, now: float) -> str:
        link = self.link(now)
        if link is Link.WAITING:
            since = "" if self._heard_s is None else f" (silent for {now - self._heard_s:.0f} s)"
            return f"waiting for the daemon at {self.endpoint}{since}"
        if link is Link.STALLED:
            return f"no data for {self._silence(now):.0f} s"
        if link is Link.FINISHED:
            return f"scan {self.scan.state}"
        if link is Link.NO_SCAN:
            return "connected, scan armed" if self.scan.state in WAITING_STATES else "connected, no scan"
        return "live" if self.scan.state in RUNNING_STATES else f"live, {self.scan.state}"

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
        if rate is None or self.link(now) is not Link.LIVE:
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
        told = [str(reason) for reason in self.scan.verdict.reasons]
        # One line for each, as long as the banner has room for them.
        short = len(told) <= 3 and all(len(reason) <= 90 for reason in told)
        reasons = ("\n" if short else "; ").join(told)
        return reasons if self.scan.final or self.scan.state in FINAL_STATES else f"so far: {reasons}"

    def empty_text(self, now: float) -> str:
        """What stands where the planes will be."""
        if self.link(now) is Link.WAITING or not self.scan.scan_id:
            return self.link_text(now)
        if self.link(now) is Link.FINISHED:
            return f"{self.link_text(now)}\nno planes came of {self.scan.sample or self.scan.scan_id}"
        return f"waiting for the first planes of {self.scan.sample or self.scan.scan_id}"

    @property
    def plane_order(self) -> list[str]:
        """The planes on show: the three of every scan first, then the others by name."""
        return sorted(self.planes, key=lambda name: (list(AXES).index(name) if name in AXES else len(AXES), name))

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
