"""The newest frames on a device, against a list of all frames."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.fourier.gpu_volume import MOST_ANGLES, DeviceVolume
from streamer.core.fourier.resident_frames import ResidentFrames, resident_frames
from streamer.frames import BadInput
from tests.core.shim import ShimEngine, shim_backend


def filled(frames: ResidentFrames, first: int, count: int) -> bool:
    """Frame k is k everywhere."""
    slot = frames.slot(first, count)
    if slot is None:
        return False
    slot._values[...] = np.arange(first, first + count)[:, None, None]
    return True


class TestFrames:
    @given(
        slots=st.integers(1, 12),
        steps=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=30),
        asked=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=20),
    )
    def test_what_is_given_out_is_what_came(
        self, library: ctypes.CDLL, slots: int, steps: list[tuple[int, int]], asked: list[tuple[int, int]]
    ) -> None:
        frames, came, most = ResidentFrames(ShimEngine(library), 2, 3, slots), set[int](), 1
        for chance, count in steps:
            first = frames.next
            if chance and count <= slots:
                assert filled(frames, first, count)
                assert frames.of(first, first + count) is not None
                came |= set(range(first, first + count))
                most = max(most, count)
            else:
                assert not chance or frames.slot(first, count) is None
                frames.skip(count)
            assert frames.next == first + count
        newest = sorted(came)[-(slots - most + 1) :]
        assert all(frames.of(k, k + 1) is not None for k in newest), "a jump costs less than what came together"
        for first, count in asked:
            given_out, here = (
                frames.of(first, first + count),
                [frames.of(k, k + 1) for k in range(first, first + count)],
            )
            assert frames.together(first, count) == max(
                [n for n in range(1, count + 1) if frames.of(first, first + n)], default=0
            )
            assert given_out is None or all(frame is not None for frame in here)
            assert all(k in came for k, frame in enumerate(here, first) if frame is not None)
            if given_out is not None:
                assert given_out.shape == (count, 2, 3)
                assert given_out._values.flags.c_contiguous
                assert (given_out._values == np.arange(first, first + count)[:, None, None]).all()

    def test_all_lie_side_by_side_but_for_the_jump(self, engine: ShimEngine) -> None:
        frames = ResidentFrames(engine, 2, 3, 8)
        for first in range(0, 12, 3):
            assert filled(frames, first, 3)
        assert [frames.together(k, 100) for k in (2, 3, 6, 7, 11, 12)] == [0, 0, 6, 5, 1, 0]
        assert frames.together(6, 4) == 4
        assert filled(frames, 12, 3)
        assert [frames.together(k, 100) for k in (8, 9, 12)] == [0, 3, 3]

    def test_neither_gaps_nor_the_past_are_filled(self, engine: ShimEngine) -> None:
        frames = ResidentFrames(engine, 2, 3, 8)
        assert filled(frames, 0, 4)
        assert frames.slot(5, 1) is None
        assert frames.slot(3, 1) is None
        assert frames.slot(4, 0) is None
        frames.skip(0)
        assert frames.next == 4
        assert frames.of(2, 2) is None

    def test_refuses_nonsense(self, engine: ShimEngine) -> None:
        for sizes in ((0, 3, 8), (2, 0, 8), (2, 3, 0)):
            with pytest.raises(BadInput, match="make no sense"):
                ResidentFrames(engine, *sizes)
        with pytest.raises(BadInput, match="left out"):
            ResidentFrames(engine, 2, 3, 8).skip(-1)


class TestRoom:
    rows, columns = 20, 32

    def least(self, engine: ShimEngine) -> int:
        """The smallest memory (MiB) in which frames of a long scan are kept."""
        for mebibytes in range(1, 64):
            engine.claims = mebibytes * 2**20
            if resident_frames(engine, self.rows, self.columns, 1000) is not None:
                return mebibytes
        raise AssertionError("never")

    def test_whole_batches_and_no_more_than_the_scan_has(self, engine: ShimEngine) -> None:
        for projections, slots in ((1, 1), (MOST_ANGLES, 1), (MOST_ANGLES + 1, 2), (1000, -(-1000 // MOST_ANGLES))):
            frames = resident_frames(engine, self.rows, self.columns, projections)
            assert frames is not None
            assert frames.slots == slots * MOST_ANGLES

    def test_the_tomogram_comes_first(self, engine: ShimEngine) -> None:
        """Where frames are kept, all rows of the tomogram and a batch of projections find room beside them."""
        engine.capacity = self.least(engine) * 2**20
        engine.claims = None
        frames = resident_frames(engine, self.rows, self.columns, 1000)
        assert frames is not None
        assert frames.slots >= 2 * MOST_ANGLES
        backend = shim_backend(engine)
        volume = DeviceVolume(backend, self.rows, self.columns)
        angles = np.linspace(0, np.pi, MOST_ANGLES)
        batch = np.zeros((MOST_ANGLES, self.rows, self.columns), np.float32)
        assert filled(frames, 0, MOST_ANGLES)
        volume.add(batch, angles, np.ones(MOST_ANGLES), resident=frames.of(0, MOST_ANGLES))
        volume.rows_of(0, volume.blocks)
        assert not any(backend.fallbacks.events.values())

    def test_too_little_memory_is_no_error(self, engine: ShimEngine) -> None:
        engine.claims = (self.least(engine) - 1) * 2**20
        assert resident_frames(engine, self.rows, self.columns, 1000) is None
        assert engine.allocations == 1, "it does not try in vain"
        engine.claims, engine.memory = None, 1000
        assert resident_frames(engine, self.rows, self.columns, 1000) is None
        engine.claims = 2**40
        assert resident_frames(engine, self.rows, self.columns, 1000) is None
