"""Reports of the scans that are over or were refused, the newest of them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from streamer.flow.scan import Ledger, ScanEvent, ScanLife
from streamer.flow.wire.daemon import FrameCounts, ProjectionCounts, Report
from streamer.frames import Reason, ReasonCode, ScanSpec

REPORTS_KEPT = 1000
REFUSED_KEPT = 100


class Reports:
    """By scan id. Every method is safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._refused: OrderedDict[str, Report] = OrderedDict()
        self._older: OrderedDict[str, None] = OrderedDict()  # scans of an earlier daemon of which messages came

    def keep(self, report: Report) -> None:
        """A scan is over."""
        with self._lock:
            self._reports[report.scan_id] = report
            _forget(self._reports, REPORTS_KEPT)

    def keep_older(self, scan_id: str) -> None:
        """A scan was over before this daemon began; there is no report of it."""
        with self._lock:
            self._older[scan_id] = None
            _forget(self._older, REPORTS_KEPT)

    def keep_refused(self, report: Report) -> None:
        """A scan was not taken, unless one of this id was."""
        with self._lock:
            if report.scan_id not in self._reports:
                self._refused[report.scan_id] = report
                _forget(self._refused, REFUSED_KEPT)

    def taken(self, scan_id: str) -> None:
        """A scan that was refused is taken now."""
        with self._lock:
            self._refused.pop(scan_id, None)

    def has(self, scan_id: str) -> bool:
        """Whether there is a report of a scan that was taken."""
        return scan_id in self._reports

    def is_over(self, scan_id: str) -> bool:
        """Whether a scan was taken and is over, by this daemon or an earlier one."""
        return scan_id in self._reports or scan_id in self._older

    def was_refused(self, scan_id: str) -> bool:
        return scan_id in self._refused

    def find(self, scan_id: str) -> Report | None:
        """Of a scan that is over or was refused."""
        with self._lock:
            return self._reports.get(scan_id) or self._refused.get(scan_id)

    def newest(self, most: int) -> list[Report]:
        """Of the newest scans that are over, the oldest first."""
        with self._lock:
            return list(self._reports.values())[-most:] if most else []


def _forget(kept: OrderedDict[str, Report] | OrderedDict[str, None], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def refusal(spec: ScanSpec, ledger: Ledger, source: str, why: str) -> Report:
    """The report of a scan that its source announced and that cannot be taken."""
    reason = Reason(ReasonCode.REFUSED, f"the daemon did not take the scan: {why}")
    return Report(
        scan_id=spec.scan_id,
        sample=spec.sample,
        state=ScanLife().fire(ScanEvent.REFUSE),
        frames=FrameCounts(**ledger.to_dict()),
        projections=ProjectionCounts(0, spec.projections),
        reasons=(reason,),
        final=True,
        source=source,
        error=why,
    )
