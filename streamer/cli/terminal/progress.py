"""Progress of long work on stderr: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from streamer.cli.terminal.words import folded


class Progress:
    """``with Progress("reading", 100) as progress: progress.at(3)``. Without a terminal it writes a line
    whenever another of ``parts`` parts is done.
    """

    def __init__(self, label: str = "", total: int = 0, parts: int = 10) -> None:
        """Without a label, nothing is shown before ``begin``."""
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._parts = parts
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        if label:
            self.begin(label, total)

    def begin(self, label: str, total: int) -> None:
        """Show other work from now on."""
        self._label, self._total, self._part = label, max(total, 1), -1
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._task = self._bar.add_task(label, total=self._total, note="")

    def at(self, done: int, note: str = "") -> None:
        if not self._bar.disable:
            self._bar.update(self._task, completed=done, note=note)
            return
        part = self._parts * min(done, self._total) // self._total
        if part > self._part:
            self._part = part
            self.say(f"{self._label}: {done} of {self._total} {note}".rstrip())

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one."""
        columns = self._console.width if self._console.is_terminal else None
        self._console.print(folded(line, columns=columns), markup=False)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
