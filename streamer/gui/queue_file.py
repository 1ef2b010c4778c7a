"""Follows the journal of a batch while it grows."""

from __future__ import annotations

from pathlib import Path

from streamer.gui.state.queue import Queue

EVERY_S = 1.0
JOURNAL = "journal.jsonl"


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
