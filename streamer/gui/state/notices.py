"""What a person should be told who does not look at the window. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.advice import advice
from streamer.flow.scan import ScanState
from streamer.frames import Decision
from streamer.gui.state.scan import ShownScan

ALARMING = {Decision.RETAKE, Decision.REALIGN, Decision.EMPTY}
MOST_KNOWN = 500


@dataclass(frozen=True)
class Notice:
    """A line for the desktop: who it is about, and what is to be done."""

    title: str
    text: str


class Notices:
    """Says each thing once: a sample to be taken again or realigned, a scan that failed."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], None] = {}

    def of(self, scan: ShownScan) -> Notice | None:
        """What is to be told of a scan, if it is something new."""
        if scan.state is ScanState.FAILED:
            what, text = "failed", scan.error
        elif scan.verdict is not None and scan.verdict.decision in ALARMING:
            reasons = [reason.text for reason in scan.verdict.reasons[:1]]
            what, text = scan.verdict.decision.value, " ".join([*reasons, advice(scan.verdict)])
        else:
            return None
        if (scan.scan_id, what) in self._said:
            return None
        self._said[scan.scan_id, what] = None
        while len(self._said) > MOST_KNOWN:
            self._said.pop(next(iter(self._said)))
        return Notice(f"{scan.sample or scan.scan_id}: {what}", text)
