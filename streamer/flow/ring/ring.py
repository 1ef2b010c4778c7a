"""The frame buffer: one writer, up to four readers with cursors, over any writable buffer. No files, threads or clocks.

The buffer may be shared memory: cursors, counters and frame headers lie in it, so a reader can be another process.

Positions count committed frames from the creation of the ring and never go back, not even when it is re-formatted:
position p lies in slot ``p % slots``. So no two processes ever write the same word, and a cursor written late does
no harm. A slot's ``sequence`` is ``p + 1`` while it holds the frame of position p, and 0 while it is being filled;
whoever reads compares it before and after, which is what ``torn`` means.

Words are written by plain aligned 8-byte stores. Their order is that of the program on x86-64, where this is used;
on weaker machines a fence would be needed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamer.flow.ring.layout import (
    BASE,
    COLUMNS,
    CONTROL,
    CURSOR,
    DTYPE,
    FIRST_READER,
    GENERATION,
    HEAD,
    HEADER,
    HIGH_WATER,
    IDLE,
    LOSSLESS,
    LOSSY,
    MAGIC,
    MAGIC_AT,
    MIN_SLOTS,
    MODE,
    PACKED,
    READER_WORDS,
    READERS,
    ROWS,
    SKIPPED,
    SLOTS,
    Layout,
    bytes_needed,
    packed_room,
    slot_nbytes,
)
from streamer.frames import DTYPES, BadInput, Frame, FrameKind, FrameMeta

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Ring:
    """The writer's side, and the way to a Reader. Attaches to a ring that the buffer holds, else makes an empty one.

    A ring without a format has no slots: ``acquire`` gives None and readers find nothing.
    Raises BadInput when the buffer cannot even hold the control block. One thread at a time may be the writer.
    """

    def __init__(self, buffer: WriteableBuffer) -> None:
        self._memory = np.frombuffer(memoryview(buffer), np.uint8)
        if self._memory.nbytes < CONTROL.itemsize or not self._memory.flags.writeable:
            raise BadInput(f"ring: a writable buffer of at least {CONTROL.itemsize} bytes is needed")
        self._words = self._memory[: CONTROL.itemsize].data.cast("q")
        if self._words[MAGIC_AT] != MAGIC:
            self._memory[: CONTROL.itemsize] = 0
            self._words[MAGIC_AT] = MAGIC
        self._layout: Layout | None = Layout(self._memory, self._words) if self._words[SLOTS] else None
        self._acquired = False

    def format(self, shape: tuple[int, int], dtype: str, max_slots: int, keep_packed: bool = False) -> int:
        """Lay out slots for frames of (rows, columns); gives their number, as many as fit up to ``max_slots``.

        With ``keep_packed`` a slot has room for the compressed frame, too. Raises BadInput when a lossless reader has
        frames to read, or when fewer than 4 slots fit.
        """
        if waiting := self.occupied:
            raise BadInput(f"ring: {waiting} frames wait for a lossless reader; its format cannot change now")
        if dtype not in DTYPES:
            raise BadInput(f"ring: dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        packed = packed_room(shape, dtype) if keep_packed else 0
        slots = self._fitting(shape, dtype, max_slots, packed)
        words = self._words
        words[GENERATION] += 1
        words[SLOTS], words[ROWS], words[COLUMNS], words[DTYPE] = slots, shape[0], shape[1], DTYPES.index(dtype)
        words[PACKED], words[BASE], words[HIGH_WATER] = packed, words[HEAD], 0
        layout = Layout(self._memory, words)
        words[GENERATION] += 1
        layout.generation = words[GENERATION]
        self._layout, self._acquired = layout, False
        return slots

    def _fitting(self, shape: tuple[int, int], dtype: str, max_slots: int, packed: int) -> int:
        slots = min(max_slots, self._memory.nbytes // (slot_nbytes(shape, dtype, packed) + HEADER.itemsize))
        while slots >= MIN_SLOTS and bytes_needed(shape, dtype, slots, packed) > self._memory.nbytes:
            slots -= 1
        if slots < MIN_SLOTS:
            raise BadInput(
                f"ring: {MIN_SLOTS} slots of {shape[0]}×{shape[1]} {dtype} need "
                f"{bytes_needed(shape, dtype, MIN_SLOTS, packed)} bytes, "
                f"the ring has {self._memory.nbytes} bytes and may use {max_slots} slots; make the ring larger"
            )
        return slots

    def acquire(self) -> memoryview | None:
        """The bytes of the next slot, to be filled; None while a lossless reader holds the ring back (it is full).

        The oldest frame is gone from here on. Acquiring again without a commit gives the same slot.
        """
        layout, words = self._layout, self._words
        if layout is None:
            return None
        head = words[HEAD]
        if head - self._slowest() >= layout.slots:
            return None
        slot = head % layout.slots
        layout.sequence[slot] = 0
        self._acquired = True
        pixels: memoryview = layout.pixels[slot].data
        return pixels.cast("B")

    def commit(self, meta: FrameMeta, packed: memoryview | None = None) -> None:
        """Make the acquired slot a frame that readers see. ``packed``: the same frame compressed, kept if it has room.

        Raises RuntimeError when no slot was acquired.
        """
        layout, words = self._layout, self._words
        if layout is None or not self._acquired:
            raise RuntimeError("ring: commit without acquire")
        head = words[HEAD]
        slot = head % layout.slots
        room = layout.packed[slot]
        kept = packed.nbytes if packed is not None and packed.nbytes <= room.size else 0
        if packed is not None and kept:
            room[:kept] = packed
        layout.headers[slot] = (
            0,
            meta.index,
            meta.kind,
            meta.seq,
            meta.timestamp_ns,
            meta.angle_deg,
            meta.exposure_s,
            meta.monitor,
            meta.received_s,
            meta.checksum,
            meta.scan_id.encode(),
            kept,
            b"",
        )
        layout.sequence[slot] = head + 1
        words[HEAD] = head + 1
        self._acquired = False
        words[HIGH_WATER] = max(words[HIGH_WATER], self.occupied)

    def reader(self, i: int, lossless: bool) -> Reader:
        """Reader ``i`` (0…3), for frames committed from now on.

        A reader that is attached already, by whatever process, goes on where it was.
        Raises BadInput when it is attached in the other mode.
        """
        if not 0 <= i < READERS:
            raise BadInput(f"ring: reader {i}, there are {READERS}, counted from 0")
        return Reader(self._memory, i, LOSSLESS if lossless else LOSSY)

    def _slowest(self) -> int:
        """Cursor of the slowest lossless reader; head when there is none."""
        words = self._words
        slowest = words[HEAD]
        for at in range(FIRST_READER, FIRST_READER + READERS * READER_WORDS, READER_WORDS):
            if words[at + MODE] == LOSSLESS and words[at + CURSOR] < slowest:
                slowest = words[at + CURSOR]
        return slowest

    @property
    def slots(self) -> int:
        return self._words[SLOTS]

    @property
    def occupied(self) -> int:
        """Frames that some lossless reader has not released."""
        return self._words[HEAD] - self._slowest()

    @property
    def high_water(self) -> int:
        """Most frames occupied at once since the last format."""
        return self._words[HIGH_WATER]

    @property
    def committed(self) -> int:
        """Frames committed since the ring exists: the position that the next frame gets."""
        return self._words[HEAD]

    @property
    def generation(self) -> int:
        """Changes with every format."""
        return self._words[GENERATION]


class Reader:
    """One cursor. ``poll`` gives the frame under it without moving; ``release`` moves on. Made by ``Ring.reader``.

    A lossless reader may look ahead, and gives frames back when it is done with them (``release_to``). What it has not
    given back its successor finds again, so that the death of its process costs no frame.
    """

    def __init__(self, memory: NDArray[np.uint8], i: int, mode: int) -> None:
        self._memory = memory
        self._words = memory[: CONTROL.itemsize].data.cast("q")
        self._at = FIRST_READER + i * READER_WORDS
        self._layout: Layout | None = None
        self._lossless = mode == LOSSLESS
        self._held = -1  # position of the frame that poll gave out
        words, at = self._words, self._at
        if words[at + MODE] not in (IDLE, mode):
            raise BadInput(f"ring: reader {i} is attached already, as {'lossy' if self._lossless else 'lossless'}")
        if words[at + MODE] == IDLE:
            words[at + CURSOR], words[at + SKIPPED] = words[HEAD], 0
            words[at + MODE] = mode

    def poll(self, ahead: int = 0) -> Frame | None:
        """The oldest frame not yet released, or the one ``ahead`` places behind it, as a read-only view of its slot.

        None when there is none. Only a lossless reader may look ahead.

        The view is valid until ``release`` or the next ``poll``; of a lossy reader only while ``torn()`` is False.
        """
        words, at = self._words, self._at
        self._held = -1
        layout = self._current_layout()
        if layout is None:
            return None
        while (position := words[at + CURSOR] + ahead) < words[HEAD]:
            if not self._lossless:
                position = self._catch_up(position, layout)
                if position >= words[HEAD]:
                    return None
            slot = position % layout.slots
            meta, packed = _meta(layout.headers[slot])
            self._held = position
            if not self.torn():
                return Frame(meta, layout.readable[slot], layout.packed[slot, :packed] if packed else None)
            self._held = -1  # torn before it could be given out
            if self._lossless or words[GENERATION] != layout.generation:
                return None  # only while the writer formats the ring: look again later
        return None

    def _current_layout(self) -> Layout | None:
        generation = self._words[GENERATION]
        if generation & 1 or generation == 0:
            return None
        if self._layout is None or self._layout.generation != generation:
            self._layout = None
            # A format may begin while this reads: its half-changed words may describe no possible layout at all.
            with contextlib.suppress(TypeError, ValueError):
                layout = Layout(self._memory, self._words)
                if layout.generation == generation == self._words[GENERATION]:
                    self._layout = layout
        return self._layout

    def _catch_up(self, position: int, layout: Layout) -> int:
        """Move an overtaken cursor to the oldest slot that the writer does not fill now; count what was skipped."""
        words, at = self._words, self._at
        oldest = max(words[BASE], words[HEAD] - layout.slots + 1)
        if position < oldest:
            words[at + SKIPPED] += oldest - position
            words[at + CURSOR] = position = oldest
        return position

    def release(self) -> None:
        """Give the polled frame back and move to the next. Does nothing when no frame is held."""
        if self._held >= 0:
            self._words[self._at + CURSOR] = self._held + 1
            self._held = -1

    def release_to(self, position: int) -> None:
        """Give all frames before ``position`` back."""
        self._words[self._at + CURSOR] = position
        self._held = -1

    def torn(self) -> bool:
        """True if the polled frame was overwritten since, so that what was read of it must not be used."""
        layout = self._layout
        if layout is None or self._held < 0:
            return False
        intact = layout.sequence[self._held % layout.slots] == self._held + 1
        return not intact or self._words[GENERATION] != layout.generation

    def detach(self) -> None:
        """Forget this reader: it no longer holds the ring back. Also the way to drop a reader whose process died."""
        self._words[self._at + MODE] = IDLE
        self._held = -1

    @property
    def pending(self) -> int:
        """Frames committed and not released, for a lossy reader including those it was overtaken by."""
        return self._words[HEAD] - self._words[self._at + CURSOR]

    @property
    def skipped(self) -> int:
        """Frames of a lossy reader that were overwritten before poll could give them out."""
        return self._words[self._at + SKIPPED]

    @property
    def position(self) -> int:
        """Position of the next frame to release; frames of smaller positions are done with."""
        return self._words[self._at + CURSOR]


def _meta(header: Any) -> tuple[FrameMeta, int]:
    """What a slot's header says of its frame, and the bytes of the compressed frame."""
    _, index, kind, seq, timestamp_ns, angle_deg, exposure_s, monitor, received_s, check, scan_id, packed, _ = (
        header.item()
    )
    name = scan_id.decode("ascii", "replace")
    return FrameMeta(
        name, index, FrameKind(kind & 3), angle_deg, seq, timestamp_ns, exposure_s, monitor, received_s, check
    ), packed
