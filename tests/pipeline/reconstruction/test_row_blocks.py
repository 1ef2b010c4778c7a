"""Tomograms in blocks of rows: from the store and from the raw file, whatever of it comes back."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.core.memory import Memory
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.reconstruction import row_blocks
from streamer.pipeline.reconstruction.row_blocks import half_slices, sinograms, slices
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.store import AttenuationStore
from tests.core.plane_suite import blobs, projections

ROWS, COLUMNS, COUNT, CENTER = 21, 32, 48, 15.2
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=2, darks=1)
ANGLES = np.arange(COUNT) * np.pi / COUNT
INDEX = 3 + np.arange(COUNT)  # after a dark and two flats
ATTENUATION = 0.2 * projections(blobs(COLUMNS, ROWS), ROWS, COLUMNS, ANGLES, CENTER)
RAW = (100 + 40_000 * np.exp(-ATTENUATION)).astype("<u2")
LAYOUT = Layout(ROWS, COLUMNS, CENTER)


def stored(whole: bool, layout: Layout = LAYOUT, came: int = COUNT) -> StoredProjections:
    store = AttenuationStore(ROWS, COLUMNS, COUNT, 2**30 if whole else 1)
    preparation = Preparation(SPEC, 1, PreparationOptions(defects=False))
    preparation.dark(np.full((ROWS, COLUMNS), 100, "<u2"))
    for _ in range(2):
        preparation.flat(np.full((ROWS, COLUMNS), 40_100, "<u2"))
    for k in range(came):
        one = slice(k, k + 1)
        raw = RawProjections(RAW[one], k, ANGLES[one], np.ones(1), INDEX[one])
        preparation.prepare(raw, store.next(), np.empty((1, ROWS, 4)))
        store.add(ANGLES[one])
    return StoredProjections(store, preparation, layout, 1, RecentProjections())


def never(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    raise AssertionError("the raw file is not needed")


def raw_file(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return INDEX, ANGLES, RAW[:, first:last]


def tomogram(backend: Backend, projections_of: StoredProjections, read, memory_bytes: int = 2**30) -> np.ndarray:
    blocks = slices(backend, projections_of, read, CENTER, "ramp", memory_bytes, Memory())
    return np.concatenate([block.copy() for _, block in blocks])


def test_the_store_alone_suffices_where_it_is_whole(numba_backend: Backend) -> None:
    found = tomogram(numba_backend, stored(whole=True), never)
    weights = LAYOUT.weights(ANGLES)
    expected = reconstruct_rows_fourier(numba_backend, stored(True).span(0, COUNT), ANGLES, weights, CENTER)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layout", [LAYOUT, Layout(ROWS, COLUMNS, CENTER, tilt_rad=0.02)], ids=["plain", "tilted"])
@pytest.mark.parametrize("memory_bytes", [2**30, 60_000])
def test_blocks_change_no_number(numba_backend: Backend, layout: Layout, memory_bytes: int) -> None:
    """Read from the raw file, in blocks of any size, with the rows beside them where the axis is tilted."""
    expected = tomogram(numba_backend, stored(True, layout), never)
    found = tomogram(numba_backend, stored(False, layout), raw_file, memory_bytes)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_blocks_from_memory_are_no_larger_than_planned(numba_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 60_000)
    whole = stored(whole=True)
    blocks = [(first, len(block)) for first, block in slices(numba_backend, whole, never, CENTER, "ramp", 0, Memory())]
    assert len(blocks) > 1
    assert [first for first, _ in blocks] == np.cumsum([0, *(size for _, size in blocks[:-1])]).tolist()
    assert sum(size for _, size in blocks) == ROWS


def test_too_little_memory_for_a_row_is_refused(numba_backend: Backend) -> None:
    with pytest.raises(BadInput, match="one detector row needs"):
        tomogram(numba_backend, stored(whole=False), raw_file, 100)


def test_frames_come_in_the_order_of_the_file_and_strangers_are_left_out(numba_backend: Backend) -> None:
    """The file may hold frames that never reached the pipeline, and lie in another order."""
    some = stored(whole=False, came=40)
    order = np.random.default_rng(0).permutation(COUNT)

    def shuffled(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return INDEX[order], ANGLES[order], RAW[order][:, first:last]

    rows, angles = sinograms(some, shuffled, 5, 9, Memory())
    kept = order[order < 40]
    np.testing.assert_array_equal(angles, ANGLES[kept])
    expected = stored(whole=True).block(5, 9)
    np.testing.assert_allclose(rows, expected[kept], atol=1e-6)


def test_halves_are_what_is_marked_and_the_rest(numba_backend: Backend) -> None:
    some = stored(whole=False)
    first = np.arange(len(ANGLES)) % 3 == 0
    halves = half_slices(some, first, CENTER, "ramp", numba_backend)
    assert halves is not None
    rows = some.block(*some.middle_rows)
    flats = some.preparation.flat_halves(*some.middle_rows)
    for chosen, own, half in zip((first, ~first), flats, halves, strict=True):
        weights = LAYOUT.weights(ANGLES[chosen])
        expected = reconstruct_rows_fourier(numba_backend, rows[chosen] + own, ANGLES[chosen], weights, CENTER)
        np.testing.assert_allclose(half, expected, atol=1e-6)
    assert half_slices(stored(whole=True, came=3), np.ones(3, bool), CENTER, "ramp", numba_backend) is None
