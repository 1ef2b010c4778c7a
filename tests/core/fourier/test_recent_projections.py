"""The newest projections on a device, against a list of all projections."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_volume import MAX_PROJECTIONS, GpuFourierVolume
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.recent_projections import RecentProjections, recent_projections
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.frames import BadInput
from tests.core.shim import ShimEngine, shim_backend


def new(engine: ShimEngine, slots: int) -> RecentProjections:
    return RecentProjections(engine.empty((slots, 2, 3), np.float32))


def filled(recent: RecentProjections, first: int, count: int) -> bool:
    """Projection k is k everywhere."""
    slot = recent.slot(first, count)
    if slot is None:
        return False
    slot._values[...] = np.arange(first, first + count)[:, None, None]
    return True


class TestProjections:
    @given(
        slots=st.integers(1, 12),
        steps=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=30),
        asked=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=20),
    )
    def test_what_is_given_out_is_what_came(
        self, library: ctypes.CDLL, slots: int, steps: list[tuple[int, int]], asked: list[tuple[int, int]]
    ) -> None:
        recent, came, most = new(ShimEngine(library), slots), set[int](), 1
        for chance, count in steps:
            first = recent.next
            if chance and count <= slots:
                assert filled(recent, first, count)
                assert recent.get(first, first + count) is not None
                came |= set(range(first, first + count))
                most = max(most, count)
            else:
                assert not chance or recent.slot(first, count) is None
                recent.arrived(first + count)
            assert recent.next == first + count
        newest = sorted(came)[-(slots - most + 1) :]
        assert all(recent.get(k, k + 1) is not None for k in newest), "a jump costs less than what came together"
        for first, count in asked:
            given_out = recent.get(first, first + count)
            here = [recent.get(k, k + 1) for k in range(first, first + count)]
            assert recent.contiguous_count(first, count) == max(
                [n for n in range(1, count + 1) if recent.get(first, first + n)], default=0
            )
            assert given_out is None or all(one is not None for one in here)
            assert all(k in came for k, one in enumerate(here, first) if one is not None)
            if given_out is not None:
                assert given_out.shape == (count, 2, 3)
                assert given_out._values.flags.c_contiguous
                assert (given_out._values == np.arange(first, first + count)[:, None, None]).all()

    def test_all_lie_side_by_side_but_for_the_jump(self, engine: ShimEngine) -> None:
        recent = new(engine, 8)
        for first in range(0, 12, 3):
            assert filled(recent, first, 3)
        assert [recent.contiguous_count(k, 100) for k in (2, 3, 6, 7, 11, 12)] == [0, 0, 6, 5, 1, 0]
        assert recent.contiguous_count(6, 4) == 4
        assert filled(recent, 12, 3)
        assert [recent.contiguous_count(k, 100) for k in (8, 9, 12)] == [0, 3, 3]

    def test_neither_gaps_nor_the_past_are_filled(self, engine: ShimEngine) -> None:
        recent = new(engine, 8)
        assert filled(recent, 0, 4)
        assert recent.slot(5, 1) is None
        assert recent.slot(3, 1) is None
        assert recent.slot(4, 0) is None
        recent.arrived(2)
        assert recent.next == 4, "they were here already"
        assert recent.get(2, 2) is None

    def test_batches_are_what_lies_side_by_side(self, engine: ShimEngine) -> None:
        recent = new(engine, 8)
        for first in range(0, 12, 3):
            assert filled(recent, first, 3)
        assert recent.batch_size(6) == 6
        assert recent.batch_size(11) == 1
        assert recent.batch_size(0) == MAX_PROJECTIONS, "overwritten: it comes from the host, which may as well be much"

    def test_without_a_device_there_is_none(self) -> None:
        recent = RecentProjections()
        assert recent.slot(0, 1) is None
        recent.arrived(7)
        assert recent.next == 7
        assert recent.get(0, 1) is None
        assert recent.batch_size(0) == PROJECTIONS_PER_BATCH


class TestRoom:
    rows, columns = 20, 32

    def recent(self, engine: ShimEngine, projections: int = 1000) -> RecentProjections:
        return recent_projections(shim_backend(engine), self.rows, self.columns, projections)

    def least(self, engine: ShimEngine) -> int:
        """The smallest memory (MiB) in which projections of a long scan are kept."""
        for mebibytes in range(1, 64):
            engine.claims = mebibytes * 2**20
            if self.recent(engine).capacity:
                return mebibytes
        raise AssertionError("never")

    def test_whole_batches_and_no_more_than_the_scan_has(self, engine: ShimEngine) -> None:
        many = -(-1000 // MAX_PROJECTIONS)
        for projections, batches in ((1, 1), (MAX_PROJECTIONS, 1), (MAX_PROJECTIONS + 1, 2), (1000, many)):
            assert self.recent(engine, projections).capacity == batches * MAX_PROJECTIONS

    def test_none_for_the_cpu_and_for_no_projections(self, engine: ShimEngine, numba_backend: Backend) -> None:
        assert recent_projections(numba_backend, self.rows, self.columns, 1000).capacity == 0
        assert self.recent(engine, 0).capacity == 0
        assert engine.allocations == 0

    def test_a_detector_without_a_tomogram_is_refused(self, engine: ShimEngine) -> None:
        with pytest.raises(BadInput, match="2 columns"):
            recent_projections(shim_backend(engine), self.rows, 1, 1000)

    def test_the_tomogram_comes_first(self, engine: ShimEngine) -> None:
        """Where projections are kept, all rows of the tomogram and a batch of projections find room beside them."""
        engine.capacity = self.least(engine) * 2**20
        engine.claims = None
        recent, count = self.recent(engine), MAX_PROJECTIONS
        assert recent.capacity >= 2 * count
        backend = shim_backend(engine)
        volume = GpuFourierVolume(backend, self.rows, self.columns)
        attenuation = np.zeros((count, self.rows, self.columns), np.float32)
        assert filled(recent, 0, count)
        angles = np.linspace(0, np.pi, count)
        volume.add(ProjectionBatch(attenuation, angles, np.ones(count), recent.get(0, count)))
        volume.rows_of(0, volume.blocks)
        assert not any(backend.fallbacks.events.values())

    def test_too_little_memory_is_no_error(self, engine: ShimEngine) -> None:
        engine.claims = (self.least(engine) - 1) * 2**20
        before = engine.allocations
        assert self.recent(engine).capacity == 0
        assert engine.allocations == before, "it does not try in vain"
        engine.claims, engine.memory = None, 1000
        assert self.recent(engine).capacity == 0
        engine.claims = 2**40
        assert self.recent(engine).capacity == 0
