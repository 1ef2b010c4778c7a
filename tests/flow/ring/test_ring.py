from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamer.flow.ring.layout import CONTROL, bytes_needed, packed_room
from streamer.flow.ring.ring import Reader, Ring
from streamer.frames import BadInput, FrameKind, FrameMeta
from streamer.io.shared import SharedBuffer

SHAPE = (2, 3)


def ring_of(slots: int, shape: tuple[int, int] = SHAPE, dtype: str = "<u4") -> Ring:
    ring = Ring(bytearray(bytes_needed(shape, dtype, slots)))
    assert ring.format(shape, dtype, slots) == slots
    return ring


def meta(position: int) -> FrameMeta:
    return FrameMeta(
        scan_id=f"scan-{position % 5}",
        index=position,
        kind=FrameKind(position % 4),
        angle_deg=position / 7,
        seq=position + 10,
        timestamp_ns=2**62 + position,
        exposure_s=position / 3,
        monitor=position / 9,
        received_s=position / 11,
        checksum=2**64 - 1 - position,
    )


def fill(slot: memoryview, value: int) -> None:
    np.frombuffer(slot, "<u4")[:] = value


def commit(ring: Ring, position: int) -> bool:
    slot = ring.acquire()
    if slot is None:
        return False
    fill(slot, position)
    ring.commit(meta(position))
    return True


def test_a_frame_comes_out_as_it_went_in() -> None:
    ring = ring_of(4)
    reader = ring.reader(0, lossless=True)
    assert reader.poll() is None
    commit(ring, 3)
    frame = reader.poll()
    assert frame is not None
    assert frame.meta == meta(3)
    np.testing.assert_array_equal(frame.pixels, np.full(SHAPE, 3, "<u4"))
    reader.release()
    assert reader.poll() is None


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_every_dtype_keeps_its_type(dtype: str) -> None:
    ring = ring_of(4, (3, 5), dtype)
    reader = ring.reader(2, lossless=True)
    slot = ring.acquire()
    assert slot is not None
    assert slot.nbytes == 15 * np.dtype(dtype).itemsize
    pixels = np.frombuffer(slot, dtype).reshape(3, 5)
    pixels[...] = np.arange(15).reshape(3, 5)
    ring.commit(meta(0))
    frame = reader.poll()
    assert frame is not None
    assert frame.pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frame.pixels, np.arange(15).reshape(3, 5))


def test_pixels_are_a_view_of_the_slot_and_cannot_be_written() -> None:
    ring = ring_of(4)
    reader = ring.reader(0, lossless=True)
    slot = ring.acquire()
    assert slot is not None
    ring.commit(meta(0))
    frame = reader.poll()
    assert frame is not None
    fill(slot, 9)
    assert frame.pixels[0, 0] == 9
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0] = 1


def test_a_slot_that_is_not_committed_is_used_again() -> None:
    ring = ring_of(4)
    reader = ring.reader(0, lossless=True)
    slot = ring.acquire()
    assert slot is not None
    fill(slot, 99)
    assert reader.poll() is None
    commit(ring, 0)
    frame = reader.poll()
    assert frame is not None
    assert frame.pixels[0, 0] == 0
    assert ring.committed == 1


def test_a_lossless_reader_holds_the_ring_back() -> None:
    ring = ring_of(4)
    slow, quick = ring.reader(0, lossless=True), ring.reader(1, lossless=True)
    for position in range(4):
        assert commit(ring, position)
        assert quick.poll() is not None
        quick.release()
    assert ring.acquire() is None
    assert (ring.occupied, ring.high_water, slow.pending, quick.pending) == (4, 4, 4, 0)
    slow.poll()
    assert ring.acquire() is None, "polling does not give the slot back"
    slow.release()
    assert commit(ring, 4)
    slow.detach()
    assert ring.occupied == 1, "what the other reader has not released"
    quick.detach()
    assert ring.occupied == 0


def test_a_lossless_reader_that_looks_ahead_leaves_the_frames_to_its_successor() -> None:
    ring = ring_of(4)
    reader = ring.reader(0, lossless=True)
    for position in range(4):
        commit(ring, position)
    ahead = [reader.poll(k) for k in range(5)]
    assert [frame and frame.meta.index for frame in ahead] == [0, 1, 2, 3, None]
    assert ring.acquire() is None, "looking ahead gives nothing back"
    reader.release_to(2)
    assert (ring.occupied, reader.position) == (2, 2)
    successor = ring.reader(0, lossless=True)
    frame = successor.poll()
    assert frame is not None
    assert frame.meta == meta(2)


def test_without_a_lossless_reader_the_ring_is_never_full() -> None:
    ring = ring_of(4)
    ring.reader(0, lossless=False)
    assert all(commit(ring, position) for position in range(50))
    assert ring.occupied == 0


def test_an_overtaken_reader_jumps_to_the_oldest_safe_slot_and_counts() -> None:
    ring = ring_of(4)
    reader = ring.reader(1, lossless=False)
    for position in range(10):
        commit(ring, position)
    assert reader.pending == 10
    frame = reader.poll()
    assert frame is not None
    assert frame.meta.index == 7, "position 6 lies in the slot that the writer fills next"
    assert reader.skipped == 7


def test_torn_is_true_from_the_moment_the_slot_is_taken() -> None:
    ring = ring_of(4)
    reader = ring.reader(1, lossless=False)
    commit(ring, 0)
    reader.poll()
    for position in range(1, 4):
        commit(ring, position)
        assert not reader.torn()
    ring.acquire()
    assert reader.torn()
    reader.release()
    assert not reader.torn(), "nothing is held"


def test_commit_needs_an_acquired_slot() -> None:
    ring = ring_of(4)
    with pytest.raises(RuntimeError, match="without acquire"):
        ring.commit(meta(0))
    commit(ring, 0)
    with pytest.raises(RuntimeError, match="without acquire"):
        ring.commit(meta(1))


def test_a_ring_without_a_format_has_nothing() -> None:
    ring = Ring(bytearray(4096))
    assert ring.acquire() is None
    assert ring.reader(0, lossless=True).poll() is None
    assert (ring.slots, ring.occupied, ring.generation) == (0, 0, 0)


def test_a_second_format_keeps_positions_and_drops_what_a_lossy_reader_had_not_read() -> None:
    ring = Ring(bytearray(100_000))
    ring.format(SHAPE, "<u4", 8)
    lossy, lossless = ring.reader(1, lossless=False), ring.reader(0, lossless=True)
    for position in range(3):
        commit(ring, position)
    with pytest.raises(BadInput, match="3 frames wait for a lossless reader"):
        ring.format((4, 4), "<u2", 8)
    for _ in range(3):
        lossless.poll()
        lossless.release()
    lossy.poll()
    before = ring.generation
    assert ring.format((4, 4), "<u2", 16) == 16
    assert ring.generation != before
    assert lossy.torn()
    lossy.release()
    assert (lossy.poll(), lossless.poll(), ring.high_water) == (None, None, 0)
    slot = ring.acquire()
    assert slot is not None
    slot[:] = bytes(len(slot))
    ring.commit(meta(3))
    for reader in (lossy, lossless):
        frame = reader.poll()
        assert frame is not None
        assert (frame.pixels.shape, frame.meta.index) == ((4, 4), 3)
    assert lossy.skipped == 2, "the frame that was polled does not count"


def test_too_small_a_buffer_names_the_bytes_needed() -> None:
    needed = bytes_needed((100, 100), "<u2", 4)
    with pytest.raises(BadInput, match=rf"100×100 <u2 need {needed} bytes, the ring has {needed - 1} bytes"):
        Ring(bytearray(needed - 1)).format((100, 100), "<u2", 64)
    assert Ring(bytearray(needed)).format((100, 100), "<u2", 64) == 4
    with pytest.raises(BadInput, match="may use 3 slots"):
        Ring(bytearray(needed)).format((100, 100), "<u2", 3)
    with pytest.raises(BadInput, match="at least"):
        Ring(bytearray(CONTROL.itemsize - 1))
    with pytest.raises(BadInput, match="dtype '<f8'"):
        Ring(bytearray(needed)).format((100, 100), "<f8", 4)


def test_as_many_slots_as_fit_are_used() -> None:
    for slots in range(4, 40):
        spare = bytes_needed((7, 9), "|u1", slots + 1) - 1
        assert Ring(bytearray(spare)).format((7, 9), "|u1", 1000) == slots


def test_a_reader_goes_on_where_it_was_and_keeps_its_mode() -> None:
    ring = ring_of(4)
    first = ring.reader(0, lossless=True)
    commit(ring, 0)
    again = ring.reader(0, lossless=True)
    assert again.pending == 1
    with pytest.raises(BadInput, match="attached already"):
        ring.reader(0, lossless=False)
    with pytest.raises(BadInput, match="there are 4"):
        ring.reader(4, lossless=True)
    first.detach()
    assert ring.reader(0, lossless=False).pending == 0


def test_a_format_that_is_half_written_is_nothing_to_a_reader() -> None:
    """Its words change one by one; a process that looks in between may see a layout that cannot be."""
    buffer = bytearray(10_000)
    Ring(buffer).format(SHAPE, "<u4", 8)
    control = np.frombuffer(buffer, CONTROL, 1)
    reader = Ring(bytearray(buffer)).reader(1, lossless=False)
    assert reader.poll() is None
    for changes in ({"rows": 60_000}, {"slots": 10**9}, {"rows": 2**62}, {"generation": 3}):
        before = control.copy()
        for name, number in changes.items():
            control[name] = number
        control["head"] = 5
        words = np.frombuffer(buffer, np.uint8)
        assert Reader(words, 2, 1).poll() is None
        control[:] = before


def test_a_format_while_readers_look_is_nothing_to_them() -> None:
    ring = Ring(bytearray(100_000))
    formats = [((50, 60), "<f4", 8), ((3, 4), "|u1", 200)]
    done = threading.Event()
    problems: list[BaseException] = []

    def look() -> None:
        reader = ring.reader(1, lossless=False)
        try:
            while not done.is_set():
                frame = reader.poll()
                if frame is not None:
                    copy, index = frame.pixels.copy(), frame.meta.index
                    if not reader.torn():
                        assert copy.shape == formats[index % 2][0]
                    reader.release()
        except BaseException as problem:
            problems.append(problem)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=look)
        thread.start()
        for turn in range(1500):
            ring.format(*formats[turn % 2])
            for _ in range(2):
                ring.acquire()
                ring.commit(meta(turn))
        done.set()
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not problems


class RingMachine(RuleBasedStateMachine):
    """The ring against a plain list of what was committed, under any interleaving of writer and readers."""

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


CHILD = """
import sys, time
import numpy as np
from streamer.flow.ring.ring import Ring
from streamer.io.shared import SharedBuffer
fd, index, lossless, until = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "lossless", int(sys.argv[4])
reader = Ring(SharedBuffer.open(fd).memory).reader(index, lossless)
seen, torn, wrong, last = 0, 0, 0, -1
while reader.position < until:
    frame = reader.poll()
    if frame is None:
        time.sleep(0.0001)
        continue
    copy, index = frame.pixels.copy(), frame.meta.index
    if reader.torn():
        torn += 1
    else:
        seen += 1
        wrong += bool((copy != index).any()) or index <= last or frame.meta.angle_deg != index / 7
        last = index
    reader.release()
print(seen, torn, wrong, reader.skipped, last)
"""


def test_readers_in_other_processes_see_every_frame_whole() -> None:
    frames, shape = 4000, (64, 64)
    with SharedBuffer.create(bytes_needed(shape, "<u4", 8)) as shared:
        ring = Ring(shared.memory)
        ring.format(shape, "<u4", 8)
        children = []
        for index, mode in ((0, "lossless"), (3, "lossy")):
            ring.reader(index, mode == "lossless")
            command = [sys.executable, "-c", CHILD, str(shared.fd), str(index), mode, str(frames)]
            children.append(subprocess.Popen(command, pass_fds=(shared.fd,), stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 60
        position = 0
        while position < frames and time.monotonic() < deadline:
            if commit(ring, position):
                position += 1
            else:
                time.sleep(0.0001)
        outputs = [[int(word) for word in child.communicate(timeout=60)[0].split()] for child in children]
        assert position == frames
        assert outputs[0] == [frames, 0, 0, 0, frames - 1]
        seen, torn, wrong, skipped, _ = outputs[1]
        assert wrong == 0
        assert seen + torn + skipped == frames
        del ring


def test_a_compressed_frame_is_kept_beside_its_pixels_where_it_has_room() -> None:
    shape = (8, 16)
    room = packed_room(shape, "<u4")
    ring = Ring(bytearray(bytes_needed(shape, "<u4", 5, room)))
    assert ring.format(shape, "<u4", 100, keep_packed=True) == 5
    reader = ring.reader(0, lossless=True)
    for position, size in enumerate([10, 0, room, room + 1, 7]):
        slot = ring.acquire()
        assert slot is not None
        fill(slot, position)
        ring.commit(meta(position), memoryview(bytes([position + 1] * size)) if size else None)
    for position, kept in enumerate([10, 0, room, 0, 7]):
        frame = reader.poll(position)
        assert frame is not None
        assert (frame.pixels == position).all()
        assert (b"" if frame.packed is None else frame.packed.tobytes()) == bytes([position + 1] * kept)


def test_a_ring_without_room_for_compressed_frames_keeps_none() -> None:
    ring = ring_of(4)
    reader = ring.reader(0, lossless=True)
    ring.acquire()
    ring.commit(meta(0), memoryview(b"x"))
    frame = reader.poll()
    assert frame is not None
    assert frame.packed is None
