"""The kernels of Fourier gridding, each against its definition: a scatter of samples, an inverse transform."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from streamer.core.fourier import kernels
from streamer.core.fourier.kaiser_bessel import WINDOW_WIDTH, window_correction, window_polynomials, window_shape
from streamer.core.memory import Memory
from streamer.core.simd.fft import fft_tables
from streamer.core.simd.row_vectors import LANES

COLUMNS, LENGTH, SIZE = 24, 40, 32
PITCH, RADII = SIZE + 1, -((WINDOW_WIDTH - SIZE) * LENGTH // (2 * SIZE))
BETA = window_shape(SIZE / COLUMNS)
NO_TAPER = np.zeros(0, np.float32)


def window(distance: np.ndarray) -> np.ndarray:
    root = np.sqrt(np.maximum(1 - (2 * distance / WINDOW_WIDTH) ** 2, 0))
    return np.where(2 * abs(distance) < WINDOW_WIDTH, scipy.special.i0(BETA * root) / scipy.special.i0(BETA), 0)


def gridded(rows: np.ndarray, theta: np.ndarray, weight: np.ndarray, turn: np.ndarray, gain: np.ndarray, **how):
    """The grids (blocks, SIZE, SIZE, 16) complex, of which point p holds rows p and, imaginary, p + 8."""
    count, depth, _ = rows.shape
    blocks = -(-depth // LANES)
    tables, threads = fft_tables(LENGTH, -1), how.get("threads", 1)
    work, _ = Memory().floats(threads, (16 + 3) * LENGTH * LANES + 32 * RADII)
    grid, _ = Memory().floats(blocks * SIZE * PITCH * LANES)
    step = SIZE / LENGTH
    kernels.add_projections(
        rows.reshape(-1), rows.shape, 0, depth, how.get("order", np.arange(count)), 16, weight, turn, gain,
        np.cos(theta) * step, np.sin(theta) * step, window_polynomials(BETA), NO_TAPER, tables.stages, tables.factors,
        SIZE, PITCH, *how.get("blocks", (0, blocks)), work, grid,
    )  # fmt: skip
    return grid.reshape(blocks, SIZE, PITCH, LANES)[:, :, :SIZE]


@pytest.fixture
def scan() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    theta = np.concatenate([rng.uniform(-4, 4, 17), [0.0, np.pi / 2, np.pi / 4]])
    rows = rng.normal(size=(20, 16, COLUMNS)).astype(np.float32)
    return rows, theta, rng.uniform(-1, 1, 20), rng.uniform(0, 1, 20), rng.uniform(0, 1, RADII)


def test_projections_are_scattered_over_the_grid(scan: tuple[np.ndarray, ...]) -> None:
    """Each sample of each row's spectrum, times gain, weight and phase, over 4 x 4 points of the window."""
    rows, theta, weight, turn, gain = scan
    found = gridded(*scan)[0]
    expected = np.zeros((SIZE, SIZE, 16), np.complex128)
    axis, step = np.arange(SIZE) - SIZE // 2, SIZE / LENGTH
    for a in range(len(theta)):
        spectrum = np.fft.fft(rows[a].astype(float), LENGTH, axis=1)
        for j in range(-RADII + 1, RADII):
            sample = weight[a] * gain[abs(j)] * np.exp(1j * j * turn[a]) * spectrum[:, j]
            sides = (-1, 1) if j == 0 else (np.sign(j),)  # radius 0 is added by half to either side of the middle
            for side in sides:
                u, v = j * step * np.cos(theta[a]), j * step * np.sin(theta[a])
                nudge = side * kernels.OUTWARD_NUDGE
                spread = np.outer(window(axis - v - nudge), window(axis - u - nudge))
                expected += spread[..., None] * sample / len(sides)
    pairs = expected[..., :8] + 1j * expected[..., 8:]
    np.testing.assert_allclose(found[..., :8], pairs.real, atol=2e-2)
    np.testing.assert_allclose(found[..., 8:], pairs.imag, atol=2e-2)
    assert np.median(np.abs(found[..., :8] - pairs.real)) < 1e-4


def test_order_threads_and_blocks_change_no_bit(scan: tuple[np.ndarray, ...]) -> None:
    rows, *rest = scan
    many = np.concatenate([rows, rows[:, ::-1], rows[:, :5]], axis=1)
    whole = gridded(many, *rest)
    for threads in (2, 3):
        np.testing.assert_array_equal(gridded(many, *rest, threads=threads), whole)
    np.testing.assert_array_equal(whole[0], gridded(rows, *rest)[0])
    part = gridded(many, *rest, blocks=(1, 3))
    assert not part[0].any()
    np.testing.assert_array_equal(part[1:], whole[1:])
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_allclose(gridded(many, *rest, order=order), whole, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 8, 16])
@pytest.mark.parametrize("columns", [24, 23, 16])
def test_slices_are_the_inverse_transform(rows: int, columns: int) -> None:
    """Of a grid within a radius: unscaled transform, sign and correction, real and imaginary parts as rows."""
    rng = np.random.default_rng(5)
    radius = 9.0
    v, u = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    values = rng.normal(size=(SIZE, SIZE, 16)) * (np.hypot(u, v) <= radius - 1)[..., None]
    grid, _ = Memory().floats(SIZE, PITCH, LANES)
    grid[:, :SIZE] = values
    scale = window_correction(columns, SIZE, BETA)
    tables = fft_tables(SIZE, 1)
    work, _ = Memory().floats(2, (kernels.COLUMNS_PER_PASS + 2) * SIZE * LANES)
    temporary, _ = Memory().floats(columns * PITCH * LANES)
    out = np.full((rows, columns, columns), np.nan, np.float32)
    empty = np.zeros(0, np.float32)
    kernels.finish_block(
        grid.reshape(-1), 0, SIZE, PITCH, radius, tables.stages, tables.factors, scale, 1.0, 0.0, empty, empty,
        temporary, work, out, 0, rows, False,
    )  # fmt: skip
    points = (values[..., :8] + 1j * values[..., 8:]).astype(np.complex128)
    # The grid's middle is frequency 0; the sign of the shift is in the correction.
    planes = np.fft.ifft2(points, axes=(0, 1)) * SIZE**2
    planes = np.roll(planes, columns // 2, axis=(0, 1))[:columns, :columns] * np.outer(scale, scale)[..., None]
    expected = np.concatenate([planes.real, planes.imag], axis=2).transpose(2, 0, 1)[:rows]
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("threads", [1, 4])
def test_clearing_leaves_nothing(threads: int) -> None:
    grid, _ = Memory().floats(16 * 37)
    grid.fill(np.nan)
    kernels.clear(grid, threads)
    assert not grid.any()
