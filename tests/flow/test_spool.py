from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.spool import ALIGNMENT, HeldMessages, Spool, record_bytes
from streamer.frames import BadInput

CAPACITY = 20 * ALIGNMENT
RUN = 77


def new_buffer() -> bytearray:
    return bytearray(CAPACITY + ALIGNMENT)


def message(number: int, length: int) -> list[bytes]:
    return [b"%d" % number, bytes([number % 251]) * length]


def contents(spool: Spool) -> list[list[bytes]]:
    return [[bytes(part) for part in spool.parts(number)] for number in range(spool.first, spool.end)]


def test_messages_come_back_in_order_until_they_are_released() -> None:
    spool = Spool(new_buffer(), RUN)
    assert [spool.append(message(n, 10)) for n in range(3)] == [0, 1, 2]
    spool.release(1)
    assert (spool.first, spool.end) == (1, 3)
    assert contents(spool) == [message(1, 10), message(2, 10)]
    assert spool.used == 2 * record_bytes([1, 10])


def test_a_full_spool_takes_nothing_until_something_is_released() -> None:
    spool = Spool(new_buffer(), RUN)
    count = CAPACITY // record_bytes([1, 100])
    assert [spool.append(message(n, 100)) for n in range(count + 1)] == [*range(count), None]
    spool.release(1)
    assert spool.append(message(count, 100)) == count


def test_held_messages_are_those_that_came_until_they_are_released() -> None:
    held, pixels = HeldMessages(CAPACITY, RUN), np.arange(40, dtype=np.uint8)
    assert held.last() is None
    assert held.append([b"header", pixels.data]) == 0
    pixels[3] = 77  # nothing was copied
    assert bytes(held.parts(0)[1])[3] == 77
    size = record_bytes([6, 40])
    assert held.used == size
    count = CAPACITY // size
    assert [held.append([b"header", pixels.data]) for _ in range(count)] == [*range(1, count), None]
    held.release(2)
    assert (held.first, held.end, held.used) == (2, count, (count - 2) * size)
    held.release(count + 5)
    assert (held.first, held.used) == (count, 0)
    assert held.last() == [b"header", pixels.data]
    with pytest.raises(BadInput, match="make it larger"):
        held.append([b"", bytes(CAPACITY)])


def test_a_message_that_never_fits_is_refused() -> None:
    spool = Spool(new_buffer(), RUN)
    with pytest.raises(BadInput, match="make it larger"):
        spool.append([b"", bytes(CAPACITY)])
    with pytest.raises(BadInput, match="hold no message"):
        Spool(bytearray(ALIGNMENT), RUN)


def test_the_largest_message_fits_wherever_the_log_stands() -> None:
    spool = Spool(new_buffer(), RUN)
    for number in range(7):
        length = 100 if number % 2 else CAPACITY - 2 * ALIGNMENT
        assert spool.append(message(number, length)) == number
        assert contents(spool) == [message(number, length)]
        spool.release(number + 1)


def test_a_second_life_finds_run_messages_and_the_last_one() -> None:
    buffer = new_buffer()
    spool = Spool(buffer, RUN)
    for number in range(3):
        spool.append(message(number, 10))
    spool.release(2)
    again = Spool(buffer, RUN + 1)
    assert (again.run, again.first, again.end) == (RUN, 2, 3)
    assert contents(again) == [message(2, 10)]
    again.release(3)
    last = Spool(buffer, RUN + 1).last()
    assert last is not None
    assert [bytes(part) for part in last] == message(2, 10)
    assert Spool(new_buffer(), RUN).last() is None


def test_a_record_that_was_not_finished_does_not_count() -> None:
    buffer = new_buffer()
    spool = Spool(buffer, RUN)
    spool.append(message(0, 10))
    before = bytes(buffer)
    spool.append(message(1, 10))
    torn = bytearray(buffer)
    torn[:ALIGNMENT] = before[:ALIGNMENT]  # killed before the last word was written
    again = Spool(torn, RUN)
    assert contents(again) == [message(0, 10)]
    assert again.append(message(1, 20)) == 1
    assert contents(again) == [message(0, 10), message(1, 20)]


@given(st.lists(st.one_of(st.integers(0, 500), st.just("release"), st.just("restart")), max_size=60))
def test_it_holds_what_a_queue_would_hold(steps: list[int | str]) -> None:
    buffer, held, end = new_buffer(), deque[list[bytes]](), 0
    spool = Spool(buffer, RUN)
    for step in steps:
        if step == "restart":
            spool = Spool(buffer, 0)
        elif step == "release":
            spool.release(spool.first + 1)
            held = deque(list(held)[1:])
        else:
            assert isinstance(step, int)
            if spool.append(message(end, step)) is not None:
                held.append(message(end, step))
                end += 1
            else:
                assert held  # an empty spool takes everything that ever fits
        assert contents(spool) == list(held)
        assert 0 <= spool.used <= CAPACITY
