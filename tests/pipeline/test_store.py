from __future__ import annotations

import numpy as np
import pytest

from streamer.core.memory import Memory
from streamer.core.pages import PIECE_BYTES
from streamer.pipeline.store import FRAMES_PER_BATCH, QUALITY_ROWS, AttenuationStore, kept_rows, store_nbytes

WHOLE = store_nbytes(20, 30, 40)


def test_memory_decides_which_rows_are_kept() -> None:
    assert WHOLE == 4 * 20 * 30 * 40
    assert kept_rows(20, 30, 40, WHOLE) == (0, 20)
    first, last = kept_rows(20, 30, 40, WHOLE - 1)
    assert (first, last - first) == (6, QUALITY_ROWS)
    assert kept_rows(3, 30, 40, 0) == (0, 3)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 20, 21])
def test_the_middle_row_is_among_those_that_are_kept(rows: int) -> None:
    for memory in (0, store_nbytes(rows, 30, 40)):
        store = AttenuationStore(rows, 40, 30, memory)
        assert 0 <= store.first_row <= rows // 2 < store.last_row <= rows
        assert store.first_row + store.middle == rows // 2
        assert store.whole == (store.last_row - store.first_row == rows)


@pytest.mark.parametrize("memory", [WHOLE, WHOLE - 1])
def test_projections_are_kept_in_the_order_in_which_they_came(memory: int) -> None:
    frames = np.random.default_rng(0).normal(size=(30, 20, 40)).astype(np.float32)
    angles = np.linspace(0, np.pi, 30)
    store = AttenuationStore(20, 40, 30, memory)
    assert store.count == store.all.size == store.angles_rad.size == 0
    for first, last in ((0, 8), (8, 9), (9, 16), (16, 24), (24, 30)):
        store.next(last - first)[...] = frames[first:last]
        assert store.count == first, "they count once they were added"
        store.add(angles[first:last])
    np.testing.assert_array_equal(store.all, frames[:, store.first_row : store.last_row])
    np.testing.assert_array_equal(store.angles_rad, angles)
    assert store.nbytes == store.all.nbytes


def test_a_store_of_all_rows_is_written_to_directly() -> None:
    store = AttenuationStore(20, 40, 30, WHOLE)
    assert np.shares_memory(store.next(FRAMES_PER_BATCH), store.all.base)
    assert store.next(FRAMES_PER_BATCH).shape == (FRAMES_PER_BATCH, 20, 40)


def test_memory_is_found_ahead_of_the_projections_and_no_further() -> None:
    rows, columns = 64, PIECE_BYTES // 4 // 64  # a projection is one piece
    store = AttenuationStore(rows, columns, 4, store_nbytes(rows, 4, columns))
    assert [store.find_memory(2) for _ in range(3)] == [True, True, False]
    store.next()[...] = 1.0
    store.add(np.zeros(1))
    assert [store.find_memory(2) for _ in range(2)] == [True, False]
    assert (store.all == 1).all()


def test_memory_that_served_before_need_not_be_found() -> None:
    memory = Memory()
    AttenuationStore(20, 40, 30, WHOLE, memory)
    assert memory.kept_bytes >= WHOLE
    assert not AttenuationStore(20, 40, 30, WHOLE, memory).find_memory(30)
