"""The messages that a producer keeps until they are acknowledged. No files, threads, clocks.

``HeldMessages`` keeps them where they are. ``Spool`` copies them into any writable buffer, a log that goes round in it:
``[control][record][record]…``. A record is a header of 64 bytes and the parts of one message, each at a multiple of 64
bytes; it never wraps: a filler takes the room before the end. Positions count bytes from the beginning of the log and
never go back. In a buffer that outlives the process (a mapped file), the messages survive it: the word that makes a
record count is written last, and whoever attaches walks from the oldest record to the newest. Words are written by
plain aligned stores, in the order of the program on x86-64.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamer.frames import BadInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ALIGNMENT = 64
MAX_PARTS = 4
MAGIC = 0x314C4F4F50535253  # "SRSPOOL1" in memory
_FILLER = -1
_MAGIC, _RUN, _TAIL, _LAST, _END = range(5)  # words of the control block
_NUMBER, _POSITION, _SIZE, _PARTS = range(4)  # words of a record's header; the lengths of its parts follow


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def record_bytes(lengths: Sequence[int]) -> int:
    """What a message of parts of these lengths takes."""
    return ALIGNMENT + sum(_padded(length) for length in lengths)


def _check_fits(size: int, parts: Sequence[Any], capacity: int) -> None:
    if size > capacity or len(parts) > MAX_PARTS:
        raise BadInput(f"spool: a message of {size} bytes never fits into {capacity} bytes; make it larger")


class MessageStore(Protocol):
    """Messages ``first`` … ``end`` − 1. ``run`` is a number of the life of the store; ``capacity`` is in bytes."""

    capacity: int

    @property
    def run(self) -> int: ...

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    def append(self, parts: Sequence[Any]) -> int | None:
        """Keep a message and give its number; None when there is no room now.

        Raises BadInput for one that can never be held.
        """

    def parts(self, number: int) -> Sequence[Any]: ...

    def last(self) -> Sequence[Any] | None: ...

    def release(self, first: int) -> None:
        """Forget the messages below ``first``."""


class HeldMessages:
    """Messages by reference: nothing is copied, so whoever sends leaves the memory of a message as it is."""

    def __init__(self, capacity: int, run: int) -> None:
        self.capacity, self.run = capacity, run
        self.end = self.used = 0
        self._messages: deque[tuple[int, Sequence[Any]]] = deque()  # bytes, parts
        self._last: Sequence[Any] | None = None

    @property
    def first(self) -> int:
        return self.end - len(self._messages)

    def append(self, parts: Sequence[Any]) -> int | None:
        """Keep a message and give its number; None when there is no room now.

        Raises BadInput for one that can never be held.
        """
        size = record_bytes([memoryview(part).nbytes for part in parts])
        _check_fits(size, parts, self.capacity)
        if self.used + size > self.capacity:
            return None
        self._messages.append((size, parts))
        self._last, self.used, self.end = parts, self.used + size, self.end + 1
        return self.end - 1

    def parts(self, number: int) -> Sequence[Any]:
        return self._messages[number - self.first][1]

    def last(self) -> Sequence[Any] | None:
        return self._last

    def release(self, first: int) -> None:
        while self.first < min(first, self.end):
            self.used -= self._messages.popleft()[0]


class Spool:
    """Messages in a buffer, which copies them. Attaches to a spool that the buffer holds, else makes an empty one.

    Raises BadInput when the buffer has no room for a message at all.
    """

    def __init__(self, buffer: WriteableBuffer, run: int) -> None:
        """``run`` is kept with the messages; a spool that is attached to has the one that it was made with."""
        memory = np.frombuffer(memoryview(buffer), np.uint8)
        self.capacity = (memory.nbytes // ALIGNMENT - 1) * ALIGNMENT
        if self.capacity < 4 * ALIGNMENT:
            raise BadInput(f"spool: {memory.nbytes} bytes hold no message; make it larger")
        self._control = memory[:ALIGNMENT].data.cast("q")
        self._log = memory[ALIGNMENT : ALIGNMENT + self.capacity]
        self._words = self._log.data.cast("q")
        self._positions: deque[int] = deque()
        if self._control[_MAGIC] == MAGIC:
            self._walk()
        else:
            for word, value in ((_RUN, run), (_TAIL, 0), (_LAST, -1), (_END, 0), (_MAGIC, MAGIC)):
                self._control[word] = value
            self._head = 0

    def _walk(self) -> None:
        """Find the records of an earlier life."""
        self._head = self._control[_TAIL]
        while (header := self._header(self._head)) is not None:
            if header[_NUMBER] != _FILLER:
                self._positions.append(self._head)
            self._head += header[_SIZE]

    def _header(self, position: int) -> list[int] | None:
        """The words of the record at a position; None when there is none that counts."""
        at = position % self.capacity // 8
        words = self._words[at : at + ALIGNMENT // 8].tolist()
        sound = words[_POSITION] == position and 0 < words[_SIZE] <= self.capacity
        return words if sound and words[_NUMBER] < self.end else None

    @property
    def run(self) -> int:
        return self._control[_RUN]

    @property
    def end(self) -> int:
        """The number that the next message gets."""
        return self._control[_END]

    @property
    def first(self) -> int:
        """Number of the oldest message; ``end`` when there is none."""
        return self.end - len(self._positions)

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self._head - self._control[_TAIL]

    def append(self, parts: Sequence[Any]) -> int | None:
        """Copy a message in and give its number; None when there is no room now.

        Raises BadInput for one that can never be held.
        """
        views = [memoryview(part).cast("B") for part in parts]
        lengths = [len(view) for view in views]
        size = record_bytes(lengths)
        _check_fits(size, parts, self.capacity)
        rest = self.capacity - self._head % self.capacity
        filler = rest if rest < size else 0
        if not self._positions:
            self._control[_TAIL] = self._head = self._head + filler
            filler = 0
        if self.used + filler + size > self.capacity:
            return None
        if filler:
            self._write_header(_FILLER, filler, [])
            self._head += filler
        return self._add(views, lengths, size)

    def _add(self, views: list[memoryview], lengths: list[int], size: int) -> int:
        position, number = self._head, self.end
        self._write_header(number, size, lengths)
        at = position % self.capacity + ALIGNMENT
        for view, length in zip(views, lengths, strict=True):
            self._log[at : at + length] = view
            at += _padded(length)
        self._control[_END] = number + 1  # from here on the record counts
        self._control[_LAST] = position
        self._head = position + size
        self._positions.append(position)
        return number

    def _write_header(self, number: int, size: int, lengths: list[int]) -> None:
        at = self._head % self.capacity // 8
        words = [number, self._head, size, len(lengths), *lengths]
        for offset, word in enumerate(words):
            self._words[at + offset] = word

    def parts(self, number: int) -> list[memoryview]:
        """A message that is still held; views of the buffer, true until it is released."""
        return self._parts_at(self._positions[number - self.first])

    def last(self) -> list[memoryview] | None:
        """The newest message, though it may be acknowledged; None when there was none."""
        return self._parts_at(self._control[_LAST]) if self._control[_LAST] >= 0 else None

    def _parts_at(self, position: int) -> list[memoryview]:
        at = position % self.capacity
        words = self._words[at // 8 : (at + ALIGNMENT) // 8].tolist()
        at += ALIGNMENT
        views = []
        for length in words[_PARTS + 1 : _PARTS + 1 + words[_PARTS]]:
            views.append(self._log[at : at + length].data)
            at += _padded(length)
        return views

    def release(self, first: int) -> None:
        """Forget the messages below ``first``."""
        while self.first < min(first, self.end):
            self._positions.popleft()
        self._control[_TAIL] = self._positions[0] if self._positions else self._head
