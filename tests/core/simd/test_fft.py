"""The Fourier transform of 16 rows at once against numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.simd.fft import fast_length, fft_tables, transform
from streamer.core.simd.row_vectors import LANES

HALF = LANES // 2


def transformed(values: np.ndarray, sign: int, in_place: bool = False) -> np.ndarray:
    """Transform of complex (points, 8), by way of the layout of the kernels."""
    n = len(values)
    tables = fft_tables(n, sign)
    x = np.concatenate([values.real, values.imag], axis=1).astype(np.float32).ravel()
    y, work = (x if in_place else np.full_like(x, np.nan)), np.full(2 * x.size, np.nan, np.float32)
    before = x.copy()
    transform(x, 0, y, 0, work, tables.stages, tables.factors)
    assert in_place or np.array_equal(x, before)
    result = y.reshape(n, LANES)
    return np.asarray(result[:, :HALF] + 1j * result[:, HALF:])


LENGTHS = sorted({fast_length(least) for least in range(1, 601)} | {1280, 1536, 2560, 2592, 3072, 5120, 6250})


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("n", LENGTHS)
def test_is_numpys_transform(n: int, sign: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.standard_normal((n, HALF)) + 1j * rng.standard_normal((n, HALF))
    wanted = np.fft.fft(values, axis=0) if sign < 0 else np.fft.ifft(values, axis=0) * n
    error = np.abs(transformed(values, sign) - wanted).max() / np.abs(wanted).max()
    assert error < 1e-6
    assert np.array_equal(transformed(values, sign), transformed(values, sign, in_place=True))


def test_reads_and_writes_only_its_own_points() -> None:
    n, rng = 20, np.random.default_rng(0)
    tables = fft_tables(n, -1)
    x = rng.standard_normal(3 * n * LANES).astype(np.float32)
    y = np.full(3 * n * LANES, 7.0, np.float32)
    transform(x, n * LANES, y, n * LANES, np.empty(2 * n * LANES, np.float32), tables.stages, tables.factors)
    middle = x[n * LANES : 2 * n * LANES].reshape(n, LANES)
    wanted = np.fft.fft(middle[:, :HALF] + 1j * middle[:, HALF:], axis=0)
    found = y[n * LANES : 2 * n * LANES].reshape(n, LANES)
    assert np.abs(found[:, :HALF] + 1j * found[:, HALF:] - wanted).max() < 1e-5
    assert np.all(y[: n * LANES] == 7.0)
    assert np.all(y[2 * n * LANES :] == 7.0)


def test_fast_lengths_are_even_and_the_next_product_of_small_primes() -> None:
    products = {2**a * 3**b * 5**c for a in range(1, 13) for b in range(8) for c in range(6)}
    for least in range(1, 3000):
        assert fast_length(least) == min(p for p in products if p >= least)


@pytest.mark.parametrize("n", [0, 1, 7, 22])
def test_other_lengths_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} points cannot be transformed"):
        fft_tables(n, -1)


@pytest.mark.parametrize("n", [16, 60, 250])
def test_an_impulse_becomes_a_wave_and_a_constant_an_impulse(n: int) -> None:
    impulse = np.zeros((n, HALF), complex)
    impulse[3] = 1j
    wave = 1j * np.exp(-2j * np.pi * 3 * np.arange(n) / n)
    np.testing.assert_allclose(transformed(impulse, -1), np.repeat(wave[:, None], HALF, axis=1), atol=1e-6)
    found = transformed(np.ones((n, HALF), complex), 1)
    assert np.abs(found[0] - n).max() < 1e-5 * n
    assert np.abs(found[1:]).max() < 1e-5 * n


@pytest.mark.parametrize("n", [2, 24, 90, 400])
def test_there_and_back_is_the_length_times_the_same(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.standard_normal((n, HALF)) + 1j * rng.standard_normal((n, HALF))
    np.testing.assert_allclose(transformed(transformed(values, -1), 1) / n, values, atol=3e-6)


def test_lanes_are_transformed_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((40, HALF)) + 1j * rng.standard_normal((40, HALF))
    alone = np.zeros_like(values)
    alone[:, 5] = values[:, 5]
    found = transformed(alone, -1)
    np.testing.assert_array_equal(found[:, 5], transformed(values, -1)[:, 5])
    assert not np.delete(found, 5, axis=1).any()


@pytest.mark.parametrize("n", [2, 8, 16, 30, 64, 600, 1024])
def test_stages_multiply_to_the_length_and_each_has_its_factors(n: int) -> None:
    tables = fft_tables(n, 1)
    radix, start, size, block = tables.stages.T
    assert np.prod(radix) == n == tables.length
    assert (radix * size * block == n).all()
    assert size[-1] == 1
    assert list(start) == [0, *np.cumsum(2 * size * (radix - 1))[:-1]]
    assert tables.factors.size == np.sum(2 * size * (radix - 1))
    np.testing.assert_allclose(np.hypot(*tables.factors.reshape(-1, 2).T), 1, atol=1e-6)
    np.testing.assert_array_equal(fft_tables(n, -1).stages[:, 0], -radix)
