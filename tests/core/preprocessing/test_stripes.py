from __future__ import annotations

from pathlib import Path

import algotom.prep.removal as algotom
import numpy as np
import pytest
from PIL import Image

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.jit import as_input
from streamer.core.preprocessing.stripes import (
    StripeCount,
    column_flicker,
    fill_columns,
    remove_stripes,
    sort_stripes,
)
from streamer.core.quality.artefacts import ring_index, stripe_index
from streamer.core.running_median import median_rows
from streamer.frames import BadInput
from streamer.phantoms import random_body, sinogram
from tests.core.alignment.recorded import find_center

AIR = 46_900.0


@pytest.fixture(scope="module")
def neutrons(data: Path) -> np.ndarray:
    """Attenuation (459, 503) of the measured neutron sinogram."""
    counts = np.asarray(Image.open(data / "neutron_sinogram_360.tif")).astype(np.float32)
    return -np.log(np.maximum(counts, 1) / AIR).astype(np.float32)


def striped(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sinogram (360, 320) with noise, and with all kinds of stripes as well as the noise."""
    rng = np.random.default_rng(seed)
    angles, columns = 360, 320
    clean = sinogram(random_body(rng, columns), columns, np.arange(angles) * np.pi / angles)
    clean = (clean + rng.normal(0, 0.01, clean.shape)).astype(np.float32)
    bad = clean.copy()
    for c in rng.integers(0, columns, 14):
        bad[:, c] += rng.normal(0, 0.06)
    for c in rng.integers(0, columns, 6):
        bad[:, c] *= 1 + rng.normal(0, 0.06)
    for c in rng.integers(30, columns - 30, 2):
        bad[:, c : c + int(rng.integers(4, 9))] += rng.choice([-0.1, 0.1])
    bad[:, rng.integers(30, columns - 30)] = 0.8
    bad[:, rng.integers(30, columns - 30)] = rng.normal(0.5, 0.3, angles)
    return clean, bad.astype(np.float32)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def cleaned(sinogram: np.ndarray) -> np.ndarray:
    block = sinogram[:, None].copy()  # it is cleaned in place
    remove_stripes(block, threads=2)
    return block[:, 0]


def test_running_median_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 9, (5, 40)).astype(np.float32)
    for window in (1, 3, 7, 21):
        padded = np.pad(image, ((0, 0), (window // 2, window // 2)), mode="symmetric")
        wanted = np.median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=1), axis=-1)
        assert np.array_equal(median_rows(image, window, 2), wanted)
    assert np.array_equal(median_rows(image[:, :4], 21), median_rows(image[:, :4], 7))
    with pytest.raises(BadInput, match="odd"):
        median_rows(image, 4)


@pytest.mark.parametrize("seed", range(4))
def test_all_kinds_of_stripes_better_than_algotom(seed: int) -> None:
    clean, bad = striped(seed)
    ours, theirs = cleaned(bad), algotom.remove_all_stripe(bad.copy())
    assert rms(ours - clean) < 0.5 * rms(bad - clean)
    assert rms(ours - clean) < 0.8 * rms(theirs - clean)


@pytest.mark.parametrize("seed", range(4))
def test_a_good_detector_is_hardly_touched(seed: int) -> None:
    clean, _ = striped(seed)
    block = clean[:, None].copy()
    assert remove_stripes(block) == StripeCount(0, 0)
    assert rms(block[:, 0] - clean) < 0.025 * float(clean.max())


def test_order_of_the_angles_and_threads_do_not_matter() -> None:
    _, bad = striped(5)
    block = np.stack([bad, np.roll(bad, 3, axis=1), bad[:, ::-1]], axis=1)
    shuffle = np.random.default_rng(0).permutation(len(bad))
    moved = np.ascontiguousarray(block[shuffle])
    count = remove_stripes(block, threads=1)
    assert remove_stripes(moved, order=np.argsort(shuffle), threads=2) == count
    assert count.dead > 0
    assert count.large > 0
    np.testing.assert_allclose(moved, block[shuffle], atol=1e-6)


def test_sorting_gives_back_equal_and_negative_values() -> None:
    rng = np.random.default_rng(3)
    block = np.repeat(rng.integers(-3, 4, (50, 2, 1)), 30, axis=2).astype(np.float32)
    before = block.copy()
    remove_stripes(block)
    assert np.array_equal(block, before)


def test_neutron_sinogram(numba_backend: Backend, neutrons: np.ndarray) -> None:
    angles = np.linspace(0, 2 * np.pi, 459)
    ours = cleaned(neutrons)
    assert stripe_index(neutrons) > 0.03
    assert stripe_index(ours) < 0.001
    before, after = (
        reconstruct_block(numba_backend, rows[:, None].copy(), angles, 245.1)[0] for rows in (neutrons, ours)
    )
    assert ring_index(before, (251.0, 251.0)) > 0.04
    assert ring_index(after, (251.0, 251.0)) < 0.003
    found = find_center(numba_backend, ours[:, None].copy(), angles)
    assert found.center == pytest.approx(245.1, abs=0.5)
    assert found.confidence > 0.5


def test_bad_input_is_refused() -> None:
    with pytest.raises(BadInput, match="float32"):
        remove_stripes(np.zeros((3, 4), np.float32))
    with pytest.raises(BadInput, match="order"):
        remove_stripes(np.zeros((3, 4, 5), np.float32), order=np.arange(2))


def test_flicker_is_the_distance_from_the_mean_of_the_neighbours_in_angle() -> None:
    block = np.random.default_rng(6).normal(size=(30, 2, 5)).astype(np.float32)
    order = np.random.default_rng(7).permutation(30)
    ordered, reach = block[order].astype(np.float64), 4
    windows = np.lib.stride_tricks.sliding_window_view(ordered, 2 * reach + 1, axis=0).mean(axis=-1)
    wanted = np.abs(ordered[reach:-reach] - windows).mean(axis=0)
    found = np.empty((2, 5), np.float32)
    column_flicker(as_input(block), as_input(order), reach, 2, found)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_bad_columns_are_interpolated_projection_by_projection() -> None:
    block = np.random.default_rng(8).normal(size=(6, 2, 9)).astype(np.float32)
    bad = np.zeros((2, 9), bool)
    bad[0, [0, 3, 4]] = bad[1, 8] = True
    wanted = block.copy()
    for image in wanted:
        for row, mask in zip(image, bad, strict=True):
            row[mask] = np.interp(np.flatnonzero(mask), np.flatnonzero(~mask), row[~mask])
    fill_columns(block, as_input(bad), 2)
    np.testing.assert_allclose(block, wanted, atol=1e-6)


def test_columns_are_equalised_rank_by_rank() -> None:
    """A column that is another one's values plus an offset, in another order, takes on the ranks of its neighbours."""
    rng = np.random.default_rng(9)
    values = rng.normal(size=41).astype(np.float32)
    block = np.stack([rng.permutation(values) for _ in range(30)], axis=1)[:, None].copy()
    wanted = block.copy()
    block[:, 0, 13] = 3.0 + 2.0 * block[:, 0, 13]
    sort_stripes(block, as_input(np.zeros((1, 30), bool)), 5, 1)
    np.testing.assert_array_equal(block, wanted)


def test_only_narrow_frames_and_dead_rows_are_no_trouble() -> None:
    block = np.zeros((30, 2, 1), np.float32)
    assert remove_stripes(block) == StripeCount(0, 0)
    assert not block.any()
    all_bad = np.random.default_rng(0).normal(size=(3, 1, 4)).astype(np.float32)
    before = all_bad.copy()
    fill_columns(all_bad, as_input(np.ones((1, 4), bool)), 1)
    np.testing.assert_array_equal(all_bad, before)
