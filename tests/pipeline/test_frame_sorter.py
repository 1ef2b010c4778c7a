"""Frames of all kinds on their way in: what becomes a batch of projections, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.arrivals import Arrivals
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.frame_sorter import FrameSorter
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.store import FRAMES_PER_BATCH, AttenuationStore

ROWS, COLUMNS, PROJECTIONS, FIELDS = 4, 16, 20, 3
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, PROJECTIONS, flats=FIELDS, darks=FIELDS)
LEVELS = {FrameKind.DARK: 100, FrameKind.FLAT: 1100, FrameKind.PROJECTION: 600}


class Sorting:
    """A scan whose batches go into its store, as the pipeline does it."""

    def __init__(self, backend: Backend) -> None:
        self.arrivals, self.checks = Arrivals(SPEC.frames), FrameChecks(SPEC, zingers_removed=False)
        self.preparation, self.measured = Preparation(SPEC), Measurements(SPEC, backend)
        self.store = AttenuationStore(ROWS, COLUMNS, PROJECTIONS, 2**20)
        self.sorter = FrameSorter(SPEC, self.arrivals, self.checks, self.preparation, self.measured, self.store)
        self.rng = np.random.default_rng(5)

    def take(self, metas: Sequence[FrameMeta]) -> list[list[int]]:
        """Indices of the frames of each batch."""
        levels = [LEVELS[meta.kind] for meta in metas]
        pixels = self.rng.poisson(np.multiply.outer(levels, np.ones((ROWS, COLUMNS)))).astype("<u2")
        taken = []
        for raw in self.sorter.batches(metas, pixels):
            assert raw.number == self.store.count
            self.store.next(len(raw))[...] = 0.0
            self.store.add(raw.angle_rad)
            taken.append(raw.index.tolist())
            np.testing.assert_array_equal(raw.pixels, pixels[np.searchsorted([m.index for m in metas], raw.index)])
        return taken


def frames(kind: FrameKind, indices: range) -> list[FrameMeta]:
    return [FrameMeta("scan", index, kind, 9.0 * index, seq=index) for index in indices]


@pytest.fixture
def sorting(numba_backend: Backend) -> Sorting:
    return Sorting(numba_backend)


FIRST = 2 * FIELDS
BEFORE = [*frames(FrameKind.DARK, range(FIELDS)), *frames(FrameKind.FLAT, range(FIELDS, FIRST))]


def test_darks_and_flats_are_no_batches_and_projections_come_a_few_at_a_time(sorting: Sorting) -> None:
    projections = frames(FrameKind.PROJECTION, range(FIRST, FIRST + PROJECTIONS))
    batches = sorting.take([*BEFORE, *projections])
    assert [len(batch) for batch in batches] == [FRAMES_PER_BATCH, FRAMES_PER_BATCH, PROJECTIONS - 2 * FRAMES_PER_BATCH]
    assert list(chain(*batches)) == [meta.index for meta in projections]
    assert (sorting.measured.darks, sorting.measured.flats) == (FIELDS, FIELDS)
    assert sorting.arrivals.complete


def test_a_frame_of_another_kind_ends_a_batch(sorting: Sorting) -> None:
    flat = frames(FrameKind.FLAT, range(FIRST + 2, FIRST + 3))
    some, others = frames(FrameKind.PROJECTION, range(FIRST, FIRST + 2)), frames(FrameKind.PROJECTION, range(9, 11))
    assert sorting.take([*BEFORE, *some, *flat, *others]) == [[FIRST, FIRST + 1], [9, 10]]
    assert sorting.measured.flats == FIELDS + 1


def test_what_came_before_and_what_is_too_much_is_left_out(sorting: Sorting) -> None:
    sorting.take(BEFORE[1:])
    many = frames(FrameKind.PROJECTION, range(FIRST, FIRST + PROJECTIONS))
    assert list(chain(*sorting.take(many))) == [meta.index for meta in many]
    assert sorting.take(many[:3]) == []
    assert sorting.take(frames(FrameKind.PROJECTION, range(1))) == [], "in place of a dark"
    assert sorting.store.count == PROJECTIONS


def test_a_projection_of_no_use_is_no_part_of_a_batch(sorting: Sorting) -> None:
    good = frames(FrameKind.PROJECTION, range(FIRST, FIRST + 3))
    lost = FrameMeta("scan", good[1].index, FrameKind.PROJECTION, float("nan"), seq=1)
    assert sorting.take([*BEFORE, good[0], lost, good[2]]) == [[FIRST, FIRST + 2]]
    assert sorting.checks.set_aside == [FIRST + 1]


def test_another_shape_than_announced_is_refused(sorting: Sorting) -> None:
    with pytest.raises(BadInput, match=r"^frame 0 is \(4, 15\), scan scan announced \(4, 16\)$"):
        list(sorting.sorter.batches(BEFORE[:1], np.zeros((1, ROWS, COLUMNS - 1), "<u2")))
    assert sorting.arrivals.seen == 0
