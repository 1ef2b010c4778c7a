from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from streamer.flow.ring.layout import CONTROL, bytes_needed, packed_room
from streamer.flow.ring.ring import Reader, Ring
from streamer.frames import BadInput, FrameKind, FrameMeta

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
