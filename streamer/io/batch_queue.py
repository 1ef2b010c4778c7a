"""The samples of a batch, as its journal tells them while it grows (see ``docs/how-to/batch.md``)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

EVERY_S = 1.0
JOURNAL = "journal.jsonl"
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
    """The samples in the order of the sheet. Lines that make no sense are passed over: who only looks needs no more."""

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


class QueueFile:
    """Reads what was added to ``folder``/journal.jsonl, at most once a second; a file that is not there may come."""

    def __init__(self, folder: Path) -> None:
        self.queue = Queue()
        self._path = folder / JOURNAL
        self._at = 0
        self._next_s = -1e9

    def poll(self, now: float) -> None:
        if now < self._next_s:
            return
        self._next_s = now + EVERY_S
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                added = file.read()
        except OSError:
            return
        whole = added.rfind(b"\n") + 1  # a line that is being written is read the next time
        self._at += whole
        self.queue.read(added[:whole].decode("utf-8", "replace").splitlines())
