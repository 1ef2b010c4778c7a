"""What is to be copied, what is, and with which checksum: a table on the disk, so that it survives a restart."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamer.frames import BadInput

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY,      -- below the source and below the target
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT,                -- of source and target, once both are known to be equal
    copied_s REAL,              -- UTC
    copies INTEGER NOT NULL DEFAULT 0,
    removed_s REAL,             -- when the source was removed, UTC
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
) STRICT
"""


@dataclass(frozen=True)
class Entry:
    """A file: its place, its size (bytes) and time of change, and what became of it."""

    path: str
    size: int
    mtime_ns: int
    sha256: str | None = None
    copied_s: float | None = None
    copies: int = 0
    removed_s: float | None = None
    failures: int = 0
    error: str = ""


class Queue:
    """A table in an SQLite file. Each call is on the disk when it returns. Raises BadInput when it cannot be used.

    One process at a time may ``work`` with it, until it closes it or dies; others may look meanwhile.
    """

    def __init__(self, path: Path, work: bool = True) -> None:
        self._lock = -1
        try:
            if not work and not path.exists():
                raise FileNotFoundError("there is no such file")  # SQLite would make an empty one
            if work:
                self._lock = os.open(f"{path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._table = sqlite3.connect(path, isolation_level=None, timeout=30.0)
            self._table.execute("PRAGMA journal_mode = WAL")
            self._table.execute("PRAGMA synchronous = FULL")
            self._table.execute(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            busy = isinstance(error, BlockingIOError)
            reason = "another transfer uses it" if busy else f"not a queue, or not writable ({error})"
            raise BadInput(f"--queue {path}: {reason}; name another file") from error

    def close(self) -> None:
        self._table.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def entries(self) -> Iterator[Entry]:
        """All files, the oldest ones first."""
        for row in self._table.execute("SELECT * FROM files ORDER BY mtime_ns, path").fetchall():
            yield Entry(*row)

    def waiting(self) -> list[Entry]:
        """Files that are to be copied; those that failed most come last."""
        found = [entry for entry in self.entries() if entry.copied_s is None]
        return sorted(found, key=lambda entry: entry.failures)

    def find(self, path: str) -> Entry | None:
        row = self._table.execute("SELECT * FROM files WHERE path = ?", (path,)).fetchone()
        return None if row is None else Entry(*row)

    def add(self, path: str, size: int, mtime_ns: int) -> None:
        """A file is to be copied, for the first time or because it changed."""
        self._table.execute(
            "INSERT INTO files (path, size, mtime_ns) VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, copied_s = NULL, failures = 0, error = ''",
            (path, size, mtime_ns),
        )

    def copied(self, path: str, sha256: str, now: float) -> None:
        """Source and target are equal."""
        self._table.execute(
            "UPDATE files SET sha256 = ?, copied_s = ?, copies = copies + 1, error = '' WHERE path = ?",
            (sha256, now, path),
        )

    def failed(self, path: str, error: str) -> None:
        self._table.execute("UPDATE files SET failures = failures + 1, error = ? WHERE path = ?", (error, path))

    def removed(self, path: str, now: float) -> None:
        """The source is gone, the copy stays."""
        self._table.execute("UPDATE files SET removed_s = ? WHERE path = ?", (now, path))
