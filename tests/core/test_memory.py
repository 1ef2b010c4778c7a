"""Memory that is lent, comes back, and is lent again."""

from __future__ import annotations

import gc
import mmap

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume
from streamer.core.memory import Memory

MIB = 2**20


def test_an_array_is_zero_at_first_and_begins_with_a_page() -> None:
    array, zero = Memory().floats(3, 5, 7)

    assert zero
    assert not array.any()
    assert array.shape == (3, 5, 7)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % mmap.PAGESIZE == 0


def test_memory_comes_back_with_the_last_view_and_is_lent_again() -> None:
    memory = Memory()
    array, _ = memory.floats(MIB)
    array[:] = 3.0
    view, place = array[10:20].reshape(2, 5), array.ctypes.data

    del array
    assert memory.kept_bytes == 0
    assert (view == 3.0).all()
    del view
    assert memory.kept_bytes == 4 * MIB

    again, zero = memory.floats(1000, 1000)
    assert again.ctypes.data == place
    assert not zero
    assert memory.kept_bytes == 0


def test_the_smallest_piece_that_suffices_is_taken() -> None:
    memory = Memory()
    large, small = memory.floats(2 * MIB)[0], memory.floats(MIB)[0]
    place = small.ctypes.data
    del large, small

    assert memory.floats(MIB // 2)[0].ctypes.data == place


def test_memory_that_does_not_suffice_goes_back_to_the_system() -> None:
    memory = Memory()
    del_me = [memory.floats(MIB)[0] for _ in range(3)]
    del del_me
    assert memory.kept_bytes == 12 * MIB

    array, zero = memory.floats(2 * MIB)

    assert zero
    assert memory.kept_bytes == 0
    del array
    assert memory.kept_bytes == 8 * MIB


def test_arrays_of_nothing_and_of_too_much() -> None:
    memory = Memory()

    assert memory.floats(0, 4)[0].shape == (0, 4)
    with pytest.raises(MemoryError, match="MiB"):
        memory.floats(2**60)


def test_what_is_in_a_circle_comes_back_with_it() -> None:
    memory = Memory()
    circle: list[object] = [memory.floats(MIB)[0]]
    circle.append(circle)
    del circle
    gc.collect()

    assert memory.kept_bytes == 4 * MIB


def test_a_volume_in_used_memory_is_that_in_new_memory(numba_backend: Backend) -> None:
    """The second scan of a day finds the first one's numbers in its memory."""
    rng, memory = np.random.default_rng(1), Memory()
    frames, angles = rng.normal(size=(9, 40, 24)).astype(np.float32), rng.uniform(0, np.pi, 9)
    weights = np.ones(9)
    first = FourierVolume(numba_backend, 40, 24, memory=memory)
    first.add(ProjectionBatch(1e6 * frames, angles, weights))
    first.rows_of(0, first.blocks)
    del first
    assert memory.kept_bytes

    second, fresh = FourierVolume(numba_backend, 40, 24, memory=memory), FourierVolume(numba_backend, 40, 24)
    for volume in (second, fresh):
        volume.add(ProjectionBatch(frames, angles, weights), blocks=(1, 2))
        volume.add(ProjectionBatch(frames, angles, weights), blocks=(0, 1))

    expected = fresh.rows_of(0, fresh.blocks)
    assert expected.any()
    np.testing.assert_array_equal(second.rows_of(0, second.blocks), expected)


def test_a_block_without_projections_is_empty_in_used_memory(numba_backend: Backend) -> None:
    memory = Memory()
    first = FourierVolume(numba_backend, 40, 24, memory=memory)
    first.add(ProjectionBatch(np.ones((1, 40, 24), np.float32), np.zeros(1), np.ones(1)))
    del first

    assert not FourierVolume(numba_backend, 40, 24, memory=memory).rows_of(0, 3).any()
