"""The ring under any interleaving of writer and readers."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamer.flow.ring.layout import bytes_needed
from streamer.flow.ring.ring import Reader, Ring
from tests.flow.ring.test_ring import SHAPE, fill, meta


class RingMachine(RuleBasedStateMachine):
    """The ring against a plain list of what was committed."""

    SLOTS = 5
    MODES = (True, False, True, False)

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(bytearray(bytes_needed(SHAPE, "<u4", self.SLOTS)))
        self.ring.format(SHAPE, "<u4", self.SLOTS)
        self.committed = 0
        self.filling = False
        self.base = 0
        self.readers: dict[int, Reader] = {}
        self.cursor: dict[int, int] = {}
        self.skipped: dict[int, int] = {}
        self.held: dict[int, int] = {}
        self.torn_by_format: set[int] = set()

    def lossless_cursors(self) -> list[int]:
        return [self.cursor[i] for i in self.readers if self.MODES[i]]

    def is_full(self) -> bool:
        return any(self.committed - cursor >= self.SLOTS for cursor in self.lossless_cursors())

    @rule(keep=st.booleans())
    def write(self, keep: bool) -> None:
        slot = self.ring.acquire()
        assert (slot is None) == self.is_full()
        if slot is None:
            return
        fill(slot, self.committed if keep else 2**32 - 1)
        self.filling = not keep
        if keep:
            self.ring.commit(meta(self.committed))
            self.committed += 1

    @rule(i=st.integers(0, 3))
    def attach_or_detach(self, i: int) -> None:
        if i in self.readers:
            self.readers.pop(i).detach()
            self.held.pop(i, None)
        else:
            self.readers[i] = self.ring.reader(i, self.MODES[i])
            self.cursor[i], self.skipped[i] = self.committed, 0

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.readers)))
        frame = self.readers[i].poll()
        if not self.MODES[i]:
            oldest = max(self.base, self.committed - self.SLOTS + 1)
            if self.cursor[i] < oldest and self.cursor[i] < self.committed:
                self.skipped[i] += oldest - self.cursor[i]
                self.cursor[i] = oldest
        self.held.pop(i, None)
        if self.cursor[i] == self.committed:
            assert frame is None
            return
        assert frame is not None
        assert frame.meta == meta(self.cursor[i])
        assert (frame.pixels == self.cursor[i]).all()
        self.held[i] = self.cursor[i]
        self.torn_by_format.discard(i)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        i = data.draw(st.sampled_from(sorted(self.held)))
        self.readers[i].release()
        self.cursor[i] = self.held.pop(i) + 1

    @precondition(lambda self: all(cursor == self.committed for cursor in self.lossless_cursors()))
    @rule()
    def format(self) -> None:
        self.ring.format(SHAPE, "<u4", self.SLOTS)
        self.base, self.filling = self.committed, False
        self.torn_by_format |= set(self.held)

    @invariant()
    def counters_agree(self) -> None:
        assert self.ring.committed == self.committed
        slowest = min([self.committed, *self.lossless_cursors()])
        assert self.ring.occupied == self.committed - slowest <= self.ring.slots
        assert self.ring.high_water >= self.ring.occupied
        for i, reader in self.readers.items():
            assert reader.pending == self.committed - self.cursor[i]
            assert reader.skipped == self.skipped[i]
            assert reader.position == self.cursor[i]

    @invariant()
    def torn_exactly_when_overwritten(self) -> None:
        newest = self.committed if self.filling else self.committed - 1
        for i, position in self.held.items():
            torn = newest - position >= self.SLOTS or i in self.torn_by_format
            assert self.readers[i].torn() == torn
            assert not (torn and self.MODES[i])


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
