"""Draws the progress of ``python -m streamer_plans.demo``: a bar for the present scan, a line for each decision."""

from __future__ import annotations

import json
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from streamer.frames import Verdict


class RunLog:
    """``line`` takes one line of the plans' output at a time; what is not JSON is shown as it is."""

    def __init__(self, samples: int) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._samples = samples
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._tenth = -1
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:32}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("frames"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )

    def line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", errors="replace").strip()
        try:
            entries = json.loads(text)
        except ValueError:
            entries = None
        if not isinstance(entries, dict):
            if text:
                self._console.print(text, markup=False)
            return
        event = entries.get("event")
        if event == "scan":
            self._begin(f"{entries.get('sample')} scan {entries.get('attempt', 1)}", int(entries.get("total", 0)))
        elif event == "progress":
            self._advance(
                int(entries.get("written", 0)), int(entries.get("total", 0)), str(entries.get("verdict") or "")
            )
        elif event == "verdict":
            verdict = Verdict.from_dict(entries)
            self._console.print(f"{entries.get('sample')} → {entries.get('action')}: {verdict}", markup=False)
        elif event == "sample":
            place = int(entries.get("number", 0))
            self._console.print(f"sample {place} of {self._samples}: {entries.get('sample')}", markup=False)

    def _begin(self, label: str, total: int) -> None:
        self._label, self._tenth = label, -1
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=total, note="")

    def _advance(self, done: int, total: int, note: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif total and 4 * done // total > self._tenth:
            self._tenth = 4 * done // total
            self._console.print(f"{self._label}: {done} of {total} frames {note}".rstrip(), markup=False)

    def __enter__(self) -> RunLog:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
