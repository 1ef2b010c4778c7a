"""Attenuation that stays on a device: what is read of it there, against the same on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.alignment.gpu_layout import straighten, widen
from streamer.core.alignment.half_acquisition import OffsetWeights
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.row_binning import add_binned_rows, band_means, bin_rows, binned_rows
from streamer.core.alignment.tilt import Straighten, Tilt, find_tilt
from streamer.core.backend.on_device import OnDevice, add_late, fill_dead
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.flat_pair import add_late as add_late_on_host
from streamer.core.quality.signal import sample_signal
from tests.core.shim import ShimEngine, both_orders, shim_backend

N, ROWS, COLUMNS = 5, 230, 300


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(1, 1, shape).astype(np.float32)


FRAMES = noise(N, ROWS, COLUMNS)


class StoredSuite:
    """Needs the fixtures ``backend`` and ``numba_backend``."""

    @pytest.fixture
    def images(self, backend: Backend) -> OnDevice:
        engine = backend.kernels.engine
        return OnDevice(engine, engine.upload(FRAMES))

    def test_numpy_reads_it(self, images: OnDevice) -> None:
        assert (images.shape, images.ndim, images.size, len(images)) == (FRAMES.shape, 3, FRAMES.size, N)
        np.testing.assert_array_equal(images, FRAMES)
        np.testing.assert_array_equal(images[1:4][1], FRAMES[2])
        np.testing.assert_array_equal(images[2][None], FRAMES[2:3])
        np.testing.assert_array_equal(np.asarray(images[4], np.float64), FRAMES[4].astype(np.float64))
        assert [np.asarray(image)[3, 4] for image in images] == FRAMES[:, 3, 4].tolist()
        assert np.asarray(images[2:2]).shape == (0, ROWS, COLUMNS)
        with pytest.raises(TypeError, match="steps"):
            images[::2]

    def test_lines_are_picked(self, images: OnDevice) -> None:
        numbers, rows = np.array([3, 0, 3, 1]), np.array([229, 0, 17])
        np.testing.assert_array_equal(images.lines(numbers, rows), FRAMES[numbers[:, None], rows])
        np.testing.assert_array_equal(images[1].lines(np.zeros(1, np.intp), rows)[0], FRAMES[1, rows])
        assert np.asarray(images.lines(numbers[:0], rows)).shape == (0, 3, COLUMNS)

    def test_rows_are_binned(self, images: OnDevice) -> None:
        np.testing.assert_allclose(bin_rows(images[3]), bin_rows(FRAMES[3]), atol=1e-6)
        for every in (1, 2, 3):
            found, expected = np.zeros((2, binned_rows(ROWS), COLUMNS))
            add_binned_rows(images[1:], found, every)
            add_binned_rows(FRAMES[1:], expected, every)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        add_binned_rows(images[5:], found)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        bands = np.array([0, 100, 214])
        means, wanted = np.empty((2, N, 3, COLUMNS), np.float32)
        band_means(images, bands, 16, means)
        band_means(FRAMES, bands, 16, wanted)
        np.testing.assert_allclose(means, wanted, atol=2e-6)
        small = images[0].lines(np.zeros(1, np.intp), np.arange(50))[0]
        np.testing.assert_array_equal(bin_rows(small), FRAMES[0, :50])

    def test_signal_opposites_and_tilt(self, images: OnDevice) -> None:
        assert sample_signal(images[2]) == sample_signal(FRAMES[2])
        angles = np.array([0.0, 1.0, 2.0, np.pi, np.pi + 1])
        assert find_tilt(images, angles) == find_tilt(FRAMES, angles)
        found, expected = (center_from_opposites(source, angles) for source in (images, FRAMES))
        assert (found.center is None) == (expected.center is None)

    @pytest.mark.parametrize("terms", ["fixed", "pattern", "both", "neither"])
    def test_late_corrections_are_added(self, backend: Backend, images: OnDevice, terms: str) -> None:
        engine, top, rows = backend.kernels.engine, 20, 50
        fixed, pattern = noise(ROWS, COLUMNS), np.clip(0.2 * noise(ROWS, COLUMNS), -0.5, 0.5)
        base, share = noise(N), np.linspace(0, 0.9, N).astype(np.float32)
        source = FRAMES[:, top : top + rows]
        use = {"fixed": (True, False), "pattern": (False, True), "both": (True, True), "neither": (False, False)}[terms]
        there = [
            OnDevice(engine, engine.upload(part)) if on else None
            for part, on in zip((fixed, pattern), use, strict=True)
        ]
        picked = images.lines(np.arange(N), np.arange(top, top + rows))
        assert isinstance(picked, OnDevice)
        found = np.asarray(add_late(picked, top, *there, base, share))
        for image, b, s, result in zip(source, base, share, found, strict=True):
            expected, part = np.empty_like(image), slice(top, top + rows)
            add_late_on_host(image, fixed[part], use[0], pattern[part], float(s) * use[1], float(b), 0.0, 1, expected)
            np.testing.assert_allclose(result, expected, atol=2e-5)

    def test_dead_pixels_are_filled(self, backend: Backend) -> None:
        alive = np.random.default_rng(1).uniform(size=(ROWS, COLUMNS)) > 0.1
        alive[7], alive[9, :40], alive[11, -3:] = False, False, False
        dead, engine = DeadPixels.of(alive), backend.kernels.engine
        images, expected = OnDevice(engine, engine.upload(FRAMES)), FRAMES.copy()
        fill_dead(images, np.repeat(np.arange(ROWS), np.diff(dead.first)), dead.places, dead.share)
        for image in expected:
            dead.fill(image)
        np.testing.assert_allclose(images, expected, atol=1e-6)

    @pytest.mark.parametrize("first", [0, 90])
    def test_a_tilted_axis_is_straightened(self, images: OnDevice, first: int) -> None:
        tilt = Tilt(140.3, 0.03, 0.0, 1.0)
        part = images.lines(np.arange(N), np.arange(first, 130))
        assert isinstance(part, OnDevice)
        found = straighten(part, tilt.tilt_rad, tilt.center, (ROWS - 1) / 2 - first)
        for image, source in zip(np.asarray(found), FRAMES, strict=True):
            expected = Straighten(ROWS, COLUMNS, tilt).apply(source[first:130], None, first)
            np.testing.assert_allclose(image, expected, atol=2e-5)

    @pytest.mark.parametrize("center", [40.3, 250.0])
    def test_half_acquisition_is_laid_out(self, images: OnDevice, center: float) -> None:
        wide = OffsetWeights(COLUMNS, center)
        np.testing.assert_array_equal(widen(images, wide), wide.place(FRAMES))


class TestStoredOnTheShim(StoredSuite):
    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)


@pytest.mark.gpu
class TestStoredOnCupy(StoredSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


def test_the_order_of_threads_does_not_matter(engine: ShimEngine) -> None:
    images = OnDevice(engine, engine.upload(FRAMES))
    wide = OffsetWeights(COLUMNS, 50.0)

    def work() -> NDArray[Any]:
        lines = images.lines(np.array([1, 2]), np.arange(0, ROWS, 7))
        assert isinstance(lines, OnDevice)
        turned = widen(straighten(lines, 0.02, 150.0, 16.0), wide)
        return np.concatenate([np.asarray(turned).ravel(), images.band_means(np.array([3, 9]), 5).ravel()])

    both_orders(engine, work)


def test_without_memory_the_host_does_it(engine: ShimEngine) -> None:
    images = OnDevice(engine, engine.upload(FRAMES))
    engine.capacity = engine.used
    numbers, rows = np.array([3, 1]), np.array([0, 99])
    picked = images.lines(numbers, rows)
    assert isinstance(picked, np.ndarray)
    np.testing.assert_array_equal(picked, FRAMES[numbers[:, None], rows])
    np.testing.assert_allclose(bin_rows(images[3]), bin_rows(FRAMES[3]), atol=1e-6)
    total, expected = np.zeros((2, binned_rows(ROWS), COLUMNS))
    add_binned_rows(images, total, 2)
    add_binned_rows(FRAMES, expected, 2)
    np.testing.assert_array_equal(total, expected)
    means, wanted = np.empty((2, N, 1, COLUMNS), np.float32)
    band_means(images, rows[:1], 16, means)
    band_means(FRAMES, rows[:1], 16, wanted)
    np.testing.assert_array_equal(means, wanted)
    assert not engine.launched
