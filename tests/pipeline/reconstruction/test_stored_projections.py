"""What the reconstruction reads of the store, against the same done to one projection after the other."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.frames import ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.store import AttenuationStore

ROWS, COLUMNS, COUNT, CENTER = 18, 30, 40, 16.2
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=4, darks=1)
ANGLES = np.arange(COUNT) * 0.1
LAYOUTS = {
    "plain": Layout(ROWS, COLUMNS, CENTER),
    "extended": Layout(ROWS, COLUMNS, CENTER, extend=True),
    "half": Layout(ROWS, COLUMNS, 22.0, half=True),
    "tilted": Layout(ROWS, COLUMNS, CENTER, tilt_rad=0.03),
    "half, tilted": Layout(ROWS, COLUMNS, 22.0, half=True, tilt_rad=-0.02),
}


def prepared(late: bool, stripes: str = "off") -> tuple[Preparation, np.ndarray]:
    """A scan whose beam has changed, and, when ``late``, flats after it; the attenuation as it was stored."""
    rng = np.random.default_rng(0)
    preparation = Preparation(SPEC, 1, PreparationOptions(defects=False, stripes=stripes))
    preparation.dark(np.full((ROWS, COLUMNS), 100, "<u2"))
    beam = 20_000 * (1 + 0.2 * np.sin(np.arange(COLUMNS) / 5))
    for _ in range(4):
        preparation.flat(np.tile(beam, (ROWS, 1)).astype("<u2"))
    seen = rng.uniform(0.3, 0.9, (COUNT, ROWS, COLUMNS))
    if stripes != "off":
        seen[:, 5, 11] *= 0.7  # a column that sees less than the flats say
    raw = (100 + beam * seen).astype("<u2")
    stored, moments = np.empty(raw.shape, np.float32), np.empty((COUNT, ROWS, 4))
    preparation.prepare(RawProjections(raw, 0, ANGLES, np.ones(COUNT), np.arange(COUNT)), stored, moments)
    if late:
        for k in range(4):
            moved = np.tile(beam * (1 + 0.1 * np.cos(np.arange(COLUMNS) / 3)), (ROWS, 1))
            preparation.flat(moved.astype("<u2"), 1.0, COUNT + k)
    changed = preparation.refresh(final=True)
    assert changed or not late
    return preparation, stored


def new(
    layout: Layout,
    late: bool = False,
    rows: int = ROWS,
    recent: RecentProjections | None = None,
    stripes: str = "off",
) -> tuple[StoredProjections, np.ndarray]:
    """The projections and the attenuation that is in their store, of all rows or of some in the middle."""
    preparation, attenuation = prepared(late, stripes)
    store = AttenuationStore(ROWS, COLUMNS, COUNT, 2**30 if rows == ROWS else 1)
    for k in range(0, COUNT, 8):
        store.next(8)[...] = attenuation[k : k + 8]
        store.add(ANGLES[k : k + 8])
    return StoredProjections(store, preparation, layout, 1, recent or RecentProjections()), attenuation


def one_by_one(stored: StoredProjections, attenuation: np.ndarray, numbers: list[int]) -> np.ndarray:
    done = []
    for number in numbers:
        projection = attenuation[number].copy()
        if stored.preparation.late:
            projection = stored.preparation.apply_late(projection, number)
        done.append(stored.layout.place(projection).copy())
    return np.stack(done)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_batches_are_their_projections_one_by_one(name: str, late: bool) -> None:
    """To the bit, whatever becomes known late and however they are laid out."""
    stored, attenuation = new(LAYOUTS[name], late)
    assert stored.as_stored == (not late and not LAYOUTS[name].changes)
    expected = one_by_one(stored, attenuation, list(range(COUNT)))
    weights = np.linspace(0.5, 1.5, COUNT)
    batch = stored.batch(3, 11, weights[3:11])
    np.testing.assert_array_equal(batch.attenuation, expected[3:11])
    np.testing.assert_array_equal(batch.angle_rad, ANGLES[3:11])
    np.testing.assert_array_equal(batch.weight, weights[3:11])
    numbers = np.array([30, 2, 17])
    picked = stored.picked(numbers, weights[numbers])
    np.testing.assert_array_equal(picked.attenuation, expected[numbers])
    np.testing.assert_array_equal(picked.angle_rad, ANGLES[numbers])
    np.testing.assert_array_equal(stored.one(5), expected[5])
    np.testing.assert_array_equal(stored.laid_out(attenuation[7:9], np.array([7, 8])), expected[7:9])
    np.testing.assert_array_equal(stored.span(4, 4), expected[4:4])


def test_nothing_is_copied_where_nothing_changes() -> None:
    stored, _ = new(LAYOUTS["plain"])
    assert np.shares_memory(stored.span(0, 8), stored.span(4, 6))
    assert np.shares_memory(stored.one(3), stored.span(0, 8))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_of_rows_are_those_of_whole_projections(name: str, late: bool) -> None:
    stored, attenuation = new(LAYOUTS[name], late)
    expected = one_by_one(stored, attenuation, list(range(COUNT)))
    for first, last in ((0, ROWS), (0, 3), (7, 8), (15, 18)):
        np.testing.assert_allclose(stored.block(first, last), expected[:, first:last], atol=1e-5)


def test_stripes_of_whole_sinograms_are_removed_in_blocks() -> None:
    stored, attenuation = new(LAYOUTS["plain"], stripes="full")
    block = stored.block(4, 6)
    offset = [rows[:, 1].mean(axis=0)[11] - np.median(rows[:, 1].mean(axis=0)) for rows in (attenuation[:, 4:6], block)]
    assert offset[0] > 0.25
    assert abs(offset[1]) < 0.3 * offset[0]


def test_the_rows_about_the_middle_are_always_stored() -> None:
    whole, attenuation = new(LAYOUTS["plain"])
    some, _ = new(LAYOUTS["plain"], rows=8)
    assert (whole.whole, some.whole) == (True, False)
    assert whole.middle_rows == some.middle_rows == (ROWS // 2 - 4, ROWS // 2 + 4)
    assert some.nbytes == 4 * 8 * COLUMNS * COUNT < whole.nbytes
    np.testing.assert_array_equal(some.block(*some.middle_rows), attenuation[:, 5:13])


def test_another_layout_is_another_view_of_the_same() -> None:
    stored, _ = new(LAYOUTS["plain"], late=True)
    wide = stored.with_layout(LAYOUTS["half"])
    assert (stored.span(0, 2).shape[2], wide.span(0, 2).shape[2]) == (COLUMNS, LAYOUTS["half"].width)
    assert (wide.count, wide.preparation, wide.recent) == (COUNT, stored.preparation, stored.recent)
    np.testing.assert_array_equal(wide.angles_rad, stored.angles_rad)


class Recent(RecentProjections):
    """Stands for a device that holds all projections, and says so."""

    def get(self, first: int, last: int) -> np.ndarray:
        return np.full((last - first, ROWS, COLUMNS), 7, np.float32)

    def batch_size(self, first: int) -> int:
        return 5


@pytest.mark.parametrize(
    ("name", "late", "there"), [("plain", False, True), ("plain", True, False), ("half", False, False)]
)
def test_what_a_device_holds_is_used_only_as_it_was_stored(name: str, late: bool, there: bool) -> None:
    stored, _ = new(LAYOUTS[name], late, recent=Recent())
    batch = stored.batch(0, 4, np.ones(4))
    assert (batch.on_device is not None) == there
    assert stored.batch_size(0) == (5 if there else PROJECTIONS_PER_BATCH)
    assert stored.picked(np.arange(2), np.ones(2)).on_device is None
