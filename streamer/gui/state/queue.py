"""The samples of a batch, as its journal tells them (see ``docs/how-to/batch.md``). No Qt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

OPEN, SCANNING = "waiting", "scanning"


@dataclass
class QueuedSample:
    """A sample of the batch. ``state``: waiting, scanning, or what was decided in the end."""

    name: str
    slot: int
    state: str = OPEN
    scan_id: str = ""
    attempts: int = 0
    verdict: str = ""


class Queue:
    """The samples in the order of the sheet. Lines that make no sense are passed over: a viewer needs no perfection."""

    def __init__(self) -> None:
        self.samples: dict[str, QueuedSample] = {}
        self.note = ""
        self._began: datetime | None = None
        self._last: datetime | None = None

    def read(self, lines: Iterable[str]) -> None:
        """Take further lines of the journal."""
        for text in lines:
            try:
                self._take(json.loads(text))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def _take(self, line: dict[str, Any]) -> None:
        event, now = line["event"], datetime.fromisoformat(line["time"])
        if event == "started":
            names = [(entry["scan"]["sample"], entry["slot"]) for entry in line["samples"]]
            self.samples = {str(name): QueuedSample(str(name), int(slot)) for name, slot in names}
            self._began = now
        self._last = now
        self.note = str(line.get("text", "")) if event in ("waiting", "failed") else "ended" if event == "ended" else ""
        sample = self.samples.get(line.get("sample", ""))
        if sample is None:
            return
        match event:
            case "scanning":
                sample.state, sample.scan_id = SCANNING, str(line["scan_id"])
            case "interrupted":
                sample.state = OPEN
            case "attempt":
                sample.attempts += 1
                sample.state, sample.verdict = OPEN, str(line["outcome"]["verdict"])
            case "decided":
                sample.state = str(line["decision"]["choice"])

    @property
    def done(self) -> int:
        return sum(sample.state not in (OPEN, SCANNING) for sample in self.samples.values())

    @property
    def left_s(self) -> float | None:
        """Seconds for the samples that wait, if they take as long as those before; None when nothing can be said."""
        if self._began is None or self._last is None or not self.done:
            return None
        return (self._last - self._began).total_seconds() / self.done * (len(self.samples) - self.done)
