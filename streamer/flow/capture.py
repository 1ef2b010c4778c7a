"""Capture on demand: which projections are kept of a scan that turns on and on until somebody triggers.

Before that nothing is kept but a window of the latest projections, in memory. The trigger keeps the last turns of it,
and the turns that follow. They are numbered as if the scan had begun with the first of them, so that whatever comes
after this sees a scan like any other. What was let go is no missing frame: it was never to be kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamer.frames import FrameKind, FrameMeta, ScanSpec


class CaptureState(StrEnum):
    WAITING = "waiting"  # for the trigger
    TRIGGERED = "triggered"  # what is wanted is taken
    DONE = "done"  # the last wanted projection has come, or nothing is wanted any more


class Held(NamedTuple):
    """A projection that is kept after all: its number in the scan is in ``meta``."""

    meta: FrameMeta
    pixels: NDArray[np.uint8]
    packed: bytes | None


class Capture:
    """One scan whose spec says ``before_trigger``. Not thread-safe, but for ``trigger``.

    ``place`` numbers each frame of the source. One without a number goes into the window while this ``holds`` (``room``
    for its pixels, then ``hold``), else it is ``let_go``. ``opened`` gives, once, what the trigger keeps of the window.
    """

    def __init__(self, spec: ScanSpec) -> None:
        assert spec.before_trigger is not None
        self._first, self._end = spec.flats + spec.darks, spec.frames
        self._turn = spec.projections_per_tomogram
        self._before = spec.before_trigger
        self._memory = np.empty((window_frames(spec), spec.frame_nbytes), np.uint8)
        self._window: deque[tuple[FrameMeta, int, bytes | None]] = deque()
        self._next = 0  # slot that is filled next
        self._latest = self._first - 1  # highest index of the source
        self._offset = 0  # numbers of the source minus those of the scan
        self._asked = self._given_up = False
        self.state = CaptureState.WAITING
        self.seen = 0
        """Projections that came and were not entered into the scan, those in the window among them."""

    def trigger(self) -> None:
        """Keep the window, from the next frame on. May be called from any thread, and again."""
        self._asked = True

    @property
    def from_index(self) -> int:
        """Number, of the rotation on and on, of the first projection that is kept."""
        return self._offset

    def place(self, index: int, kind: FrameKind) -> int | None:
        """Number in the scan of the source's frame ``index``; None where it is not kept, or not yet."""
        if kind is not FrameKind.PROJECTION or index < self._first:
            return index
        if self.state is CaptureState.WAITING or self._given_up:
            return None
        number = index - self._offset
        return number if self._first <= number < self._end else None

    def issued(self, frames: int) -> int:
        """Frames of the scan, when the source says that it has issued so many."""
        if self.state is CaptureState.WAITING:
            return min(frames, self._first)
        if self._given_up:
            return self._end
        return min(max(frames - self._offset, self._first), self._end)

    @property
    def holds(self) -> bool:
        """Whether projections go into the window."""
        return self.state is CaptureState.WAITING

    def room(self) -> memoryview:
        """Bytes for the next projection; the oldest of a full window is gone from here on."""
        if len(self._window) == len(self._memory):
            self._window.popleft()
        slot: memoryview = self._memory[self._next].data
        return slot

    def hold(self, meta: FrameMeta, packed: bytes | None = None) -> None:
        """The room asked for last is filled."""
        self._window.append((meta, self._next, packed))
        self._next = (self._next + 1) % len(self._memory)
        self._latest = max(self._latest, meta.index)
        self.seen += 1

    def let_go(self, index: int) -> None:
        """A projection came that is not kept."""
        self.seen += 1
        if self.state is CaptureState.TRIGGERED and index >= self._end + self._offset:
            self.state = CaptureState.DONE

    def entered(self, number: int) -> None:
        """A projection was entered into the scan as ``number``."""
        if number == self._end - 1 and self.state is CaptureState.TRIGGERED:
            self.state = CaptureState.DONE

    def opened(self) -> Iterator[Held]:
        """What the trigger keeps of the window, oldest first. Nothing without a trigger, or the second time."""
        if not self._asked or self.state is not CaptureState.WAITING:
            return
        whole = (self._latest + 1 - self._first) // self._turn * self._turn  # projections of turns that are over
        self._offset = max(0, whole - self._before)
        self.state = CaptureState.TRIGGERED
        while self._window:
            meta, slot, packed = self._window.popleft()
            if (number := self.place(meta.index, meta.kind)) is not None:
                self.seen -= 1
                yield Held(structs.replace(meta, index=number), self._memory[slot], packed)

    def give_up(self) -> None:
        """Nothing more is kept: how an earlier process numbered the frames is not known."""
        self.state, self._given_up = CaptureState.DONE, True


def window_frames(spec: ScanSpec) -> int:
    """Projections that the window holds: those wanted from before the trigger, and those of the turn that it is in."""
    return (spec.before_trigger or 0) + spec.projections_per_tomogram
