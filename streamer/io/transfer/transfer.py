"""Finds finished files, copies them one by one, and removes old ones whose copy is sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamer.frames import BadInput
from streamer.io.raw.unclosed import is_written
from streamer.io.scan_folder import remove_empty
from streamer.io.tomogram import PARTIAL as PARTIAL_TOMOGRAM
from streamer.io.transfer.copying import TransferError, checksum, copy
from streamer.io.transfer.queue import Entry, Queue

SUFFIXES = (".nx", ".h5", ".json", ".png")


@dataclass(frozen=True)
class Rules:
    """``settle_s``: how long a file must be unchanged. ``keep_s``: how long it stays at the source after it was copied;
    None: for ever.
    """

    settle_s: float = 30.0
    keep_s: float | None = None


class Transfer:
    """From the folder ``source`` to the folder ``target``, which keeps its subfolders.

    Raises BadInput when one of them is missing, or lies in the other.
    """

    def __init__(
        self, source: Path, target: Path, queue: Queue, rules: Rules, say: Callable[[str], None] = lambda _text: None
    ) -> None:
        for folder in (source, target):
            if not folder.is_dir():
                raise BadInput(f"{folder}: there is no such folder; is it mounted?")
        self._source, self._target = source.resolve(), target.resolve()
        one, other = self._source, self._target
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise BadInput(f"{target}: lies in {source}, or the other way round; name folders that do not")
        self._queue, self._rules, self._say = queue, rules, say

    def look(self, now: float) -> None:
        """Put the files into the queue that are finished (``now``: s since 1970 UTC)."""
        for path in self._files():
            found = path.stat()
            name = path.relative_to(self._source).as_posix()
            known = self._queue.find(name)
            if known is not None and (known.size, known.mtime_ns) == (found.st_size, found.st_mtime_ns):
                continue
            if now - found.st_mtime >= self._rules.settle_s and not is_written(path):
                self._queue.add(name, found.st_size, found.st_mtime_ns)

    def copy(self, clock: Callable[[], float], go_on: Callable[[], bool] = lambda: True) -> int:
        """Copy what waits; how many were copied. One that fails stays in the queue. Raises Stopped."""
        done = 0
        for entry in self._queue.waiting():
            try:
                found = copy(self._source / entry.path, self._target / entry.path, self._is_ours(entry), go_on)
            except (TransferError, OSError) as error:
                text = str(error) if isinstance(error, TransferError) else f"{entry.path}: {error.strerror or error}"
                self._queue.failed(entry.path, text)
                self._say(text)
                continue
            self._queue.copied(entry.path, found, clock())
            self._say(f"{entry.path}: copied, {entry.size / 1e6:.1f} MB, SHA-256 {found}")
            done += 1
        return done

    def remove(self, now: float, go_on: Callable[[], bool] = lambda: True) -> int:
        """Remove sources that were copied long ago, after their copy was read once more; how many. Raises Stopped."""
        done = 0
        keep_s = self._rules.keep_s
        for entry in self._queue.entries() if keep_s is not None else ():
            if entry.copied_s is None or entry.removed_s is not None or now - entry.copied_s < (keep_s or 0.0):
                continue
            source, target = self._source / entry.path, self._target / entry.path
            try:
                found = source.stat()
                if (found.st_size, found.st_mtime_ns) != (entry.size, entry.mtime_ns):
                    continue  # it changed: ``look`` will find it
                if checksum(target, go_on) != entry.sha256:
                    raise TransferError(f"{target}: is not what was copied; {source} is kept")
                source.unlink()
                remove_empty(source.parent, self._source)
            except FileNotFoundError:
                if not source.exists() and target.exists():
                    self._queue.removed(entry.path, now)
                continue
            except (TransferError, OSError) as error:
                self._queue.failed(entry.path, str(error))
                self._say(str(error))
                continue
            self._queue.removed(entry.path, now)
            self._say(f"{entry.path}: removed here, the copy is sound")
            done += 1
        return done

    def _is_ours(self, entry: Entry) -> bool:
        """Whether the target is an older copy of a file that changed since. A new file of an old name is not one."""
        return entry.copies > 0 and entry.removed_s is None

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self._source):
            for name in sorted(names):
                path = Path(folder, name)
                if name.startswith(".") or not name.endswith(SUFFIXES) or name.endswith(PARTIAL_TOMOGRAM):
                    continue
                if path.is_file() and not path.is_symlink():
                    yield path
