"""The life of a scan as a table, and the ledger that accounts for every one of its frames."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput, FrameKind, ScanSpec


class ScanState(StrEnum):
    IDLE = "idle"
    ARMED = "armed"
    ACQUIRING = "acquiring"
    DRAINING = "draining"
    FINALISING = "finalising"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    ABORTED = "aborted"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def final(self) -> bool:
        """The scan is over: its files are closed and its numbers no longer change."""
        return self in FINAL_STATES

    @property
    def running(self) -> bool:
        """A scan is in hand, so no other can be armed."""
        return self is not ScanState.IDLE and self not in FINAL_STATES


FINAL_STATES = frozenset(
    (ScanState.COMPLETE, ScanState.INCOMPLETE, ScanState.ABORTED, ScanState.FAILED, ScanState.REFUSED)
)


class ScanEvent(StrEnum):
    ARM = "arm"  # a scan was announced and its file is open
    REFUSE = "refuse"  # a scan was announced that cannot be taken; its frames are not kept
    DISARM = "disarm"  # the armed scan is not wanted any more
    FRAME = "frame"  # a frame was accepted
    END = "end"  # the source says that it has sent everything
    STALL = "stall"  # the source has been silent for too long
    ABORT = "abort"  # somebody ended the scan; what came is kept
    DRAINED = "drained"  # the writer and the reconstruction have seen every frame
    FINALISED_COMPLETE = "finalised_complete"  # files closed, no frame lacking
    FINALISED_INCOMPLETE = "finalised_incomplete"  # files closed, frames lacking
    FINALISED_ABORTED = "finalised_aborted"  # files of an aborted scan closed
    ERROR = "error"  # the daemon cannot go on with this scan


S, E = ScanState, ScanEvent
TRANSITIONS: Mapping[ScanState, Mapping[ScanEvent, ScanState]] = {
    S.IDLE: {E.ARM: S.ARMED, E.REFUSE: S.REFUSED},
    S.ARMED: {
        E.DISARM: S.IDLE,
        E.FRAME: S.ACQUIRING,
        E.END: S.DRAINING,
        E.STALL: S.DRAINING,
        E.ABORT: S.DRAINING,
        E.ERROR: S.FAILED,
    },
    S.ACQUIRING: {
        E.FRAME: S.ACQUIRING,
        E.END: S.DRAINING,
        E.STALL: S.DRAINING,
        E.ABORT: S.DRAINING,
        E.ERROR: S.FAILED,
    },
    S.DRAINING: {E.DRAINED: S.FINALISING, E.ERROR: S.FAILED},
    S.FINALISING: {
        E.FINALISED_COMPLETE: S.COMPLETE,
        E.FINALISED_INCOMPLETE: S.INCOMPLETE,
        E.FINALISED_ABORTED: S.ABORTED,
        E.ERROR: S.FAILED,
    },
    S.COMPLETE: {E.ARM: S.ARMED},
    S.INCOMPLETE: {E.ARM: S.ARMED},
    S.ABORTED: {E.ARM: S.ARMED},
    S.FAILED: {E.ARM: S.ARMED},
    S.REFUSED: {E.ARM: S.ARMED},
}
del S, E


class ScanStateError(BadInput):
    """Something was tried that the state of the scan does not allow."""

    def __init__(self, state: ScanState, event: ScanEvent) -> None:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        super().__init__(f"{event}: not possible while the scan is {state}; possible now: {allowed}")
        self.state, self.event = state, event


class ScanLife:
    """Where the daemon is in the life of a scan. The table above is all there is to it."""

    def __init__(self) -> None:
        self.state = ScanState.IDLE

    def fire(self, event: ScanEvent) -> ScanState:
        """Follow one transition and give the new state. Raises ScanStateError, and stays, when there is none."""
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise ScanStateError(self.state, event) from None
        return self.state


def render_mermaid() -> str:
    """The table as a mermaid state diagram, which ``docs/scan-life.md`` shows."""
    lines = ["stateDiagram-v2", f"    [*] --> {ScanState.IDLE}"]
    for state, moves in TRANSITIONS.items():
        for event, after in moves.items():
            lines.append(f"    {state} --> {after}: {event}")
    return "\n".join(lines) + "\n"


class Outcome(StrEnum):
    """What the ledger says about a frame that passed its checks."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    LATE = "late"
    BEYOND = "beyond"


_UNSEEN, _CORRUPT, _RECEIVED = 0, 1, 2  # what was received is 2 + the kind of the frame


ANNOUNCED = (FrameKind.PROJECTION, FrameKind.FLAT, FrameKind.DARK)
"""Kinds of frames that are announced."""


class Ledger:
    """Accounts for every frame of one scan, in constant time per frame. Used under the caller's lock.

    At all times, and with ``pending`` 0 once the ledger is closed:

        expected = received + missing + corrupt_unreplaced + pending
        messages = received + duplicate + late + corrupt
    """

    def __init__(self, expected: int, kinds: Mapping[FrameKind, int] | None = None) -> None:
        """``expected`` frames were announced, of which ``kinds`` (for reports; default: all are projections)."""
        self.announced = expected
        self.expected = expected
        self.kinds = dict(kinds) if kinds is not None else {FrameKind.PROJECTION: expected}
        self.received_of = dict.fromkeys(FrameKind, 0)
        self.messages = 0
        self.received = 0
        self.duplicate = 0
        self.late = 0  # after the end, or beyond the announced number
        self.beyond = 0  # the part of ``late`` whose index was never announced
        self.corrupt = 0  # messages that failed their check
        self.corrupt_unreplaced = 0  # frames of which only corrupt copies came
        self.disordered = 0  # accepted after a frame of a higher index
        self.closed = False
        self.status = ""
        self._next = 0  # one more than the highest index seen
        self._seen = bytearray(expected)

    @classmethod
    def of(cls, spec: ScanSpec) -> Ledger:
        kinds = {FrameKind.PROJECTION: spec.projections, FrameKind.FLAT: spec.flats, FrameKind.DARK: spec.darks}
        return cls(spec.frames, kinds)

    def frame(self, index: int, kind: FrameKind = FrameKind.PROJECTION) -> Outcome:
        """Enter a frame that passed its checks; only an accepted one may go into the ring."""
        self.messages += 1
        if self.closed:
            self.late += 1
            return Outcome.LATE
        if not 0 <= index < self.announced:
            self.late += 1
            self.beyond += 1
            return Outcome.BEYOND
        before = self._seen[index]
        if before >= _RECEIVED:
            self.duplicate += 1
            return Outcome.DUPLICATE
        if before == _CORRUPT:
            self.corrupt_unreplaced -= 1
        self._seen[index] = _RECEIVED + kind
        self.received += 1
        self.received_of[kind] += 1
        if index < self._next:
            self.disordered += 1
        else:
            self._next = index + 1
        return Outcome.ACCEPT

    def corrupt_frame(self, index: int | None) -> None:
        """Enter a message that failed its check; ``index`` is None when not even that could be read."""
        self.messages += 1
        self.corrupt += 1
        if index is None or self.closed or not 0 <= index < self.announced or self._seen[index] != _UNSEEN:
            return
        self._seen[index] = _CORRUPT
        self.corrupt_unreplaced += 1
        self._next = max(self._next, index + 1)

    def close(self, frames_issued: int | None, status: str) -> None:
        """The scan is over; what has not come is missing. A second close changes nothing.

        ``frames_issued`` is what the source says it has issued, None when it said nothing. Frames that were never
        issued are not missing when the scan was "stopped" or "aborted"; with any other status ("ok", "stalled")
        all announced frames are expected.
        """
        if self.closed:
            return
        self.closed, self.status = True, status
        if status in ("stopped", "aborted"):
            self.expected = min(max(frames_issued or 0, self._next), self.announced)

    @property
    def seen(self) -> int:
        """Distinct frames of which something came, good or corrupt."""
        return self.received + self.corrupt_unreplaced

    @property
    def pending(self) -> int:
        """Frames that may still come."""
        return 0 if self.closed else self.expected - self._next

    @property
    def missing(self) -> int:
        """Frames that never came; before the end, the gaps below the highest index so far."""
        return self.expected - self.pending - self.received - self.corrupt_unreplaced

    def lacking(self, kind: FrameKind) -> tuple[int, int]:
        """Frames of one kind that are missing, and of which only corrupt copies came."""
        return self.missing_of().get(kind, 0), self.corrupt_of().get(kind, 0)

    def missing_of(self) -> dict[FrameKind, int]:
        """Projections, flats and darks among the missing frames, by what their neighbours are."""
        return self._of(_UNSEEN)

    def corrupt_of(self) -> dict[FrameKind, int]:
        """Projections, flats and darks among the frames of which only corrupt copies came."""
        return self._of(_CORRUPT)

    def _of(self, state: int) -> dict[FrameKind, int]:
        counts = dict.fromkeys(self.kinds, 0)
        indices = self._indices(state)
        if not len(indices):
            return counts
        seen = np.frombuffer(self._seen, np.uint8)
        received = np.flatnonzero(seen >= _RECEIVED)
        lacking = {kind: max(0, count - self.received_of[kind]) for kind, count in self.kinds.items()}
        after = np.searchsorted(received, indices)
        for place, number in zip(*np.unique(after, return_counts=True), strict=True):
            neighbours = [FrameKind(int(seen[at]) - _RECEIVED) for at in received[max(0, place - 1) : place + 1]]
            # Between frames of two kinds, and at an end, the announced numbers say how many there are of which.
            for kind in dict.fromkeys([*neighbours, *self.kinds]):
                taken = min(int(number), lacking.get(kind, 0))
                number -= taken
                if taken:
                    lacking[kind] -= taken
                    counts[kind] += taken
            counts[FrameKind.PROJECTION] = counts.get(FrameKind.PROJECTION, 0) + int(number)
        return counts

    def missing_indices(self) -> NDArray[np.int64]:
        return self._indices(_UNSEEN)

    def corrupt_indices(self) -> NDArray[np.int64]:
        """Frames of which only corrupt copies came."""
        return self._indices(_CORRUPT)

    def _indices(self, state: int) -> NDArray[np.int64]:
        known = np.frombuffer(self._seen, np.uint8)[: self.expected - self.pending]
        return np.flatnonzero(known == state)

    def to_dict(self) -> dict[str, Any]:
        """The ``frames`` map of a report."""
        names = ("expected", "received", "missing", "duplicate", "late", "corrupt")
        counts = {name: getattr(self, name) for name in names}
        missing = self.missing_of()
        return counts | {f"missing_{kind.name.lower()}s": missing.get(kind, 0) for kind in ANNOUNCED}
