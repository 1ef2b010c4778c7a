"""Each stage of the Fourier transform against the sum that defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from streamer.core.simd import fft_butterflies
from streamer.core.simd.row_vectors import HALF_LANES, LANES

RADICES = (2, 3, 4, 5, 8)
SIGNS = {"forward": -1, "backward": 1}


def compiled(name: str) -> Any:
    """The intrinsic of this name as a function that can be called from here."""
    stage = getattr(fft_butterflies, name)

    @njit
    def call(x, at, y, to, size, block, factors, start):
        stage(x, at, y, to, size, block, factors, start)

    return call


def as_points(values: np.ndarray) -> np.ndarray:
    """Complex numbers (points, 8) in the layout of the kernels: flat float32, real parts before imaginary ones."""
    return np.concatenate([values.real, values.imag], axis=1).astype(np.float32).ravel()


def as_complex(points: np.ndarray) -> np.ndarray:
    pairs = points.reshape(-1, LANES)
    return pairs[:, :HALF_LANES] + 1j * pairs[:, HALF_LANES:]


def by_definition(values: np.ndarray, radix: int, sign: int, factors: np.ndarray) -> np.ndarray:
    """One stage of Stockham's transform of values (points, 8); factors (size, radix), the first of each 1."""
    size = len(factors)
    block = len(values) // (radix * size)
    groups = values.reshape(radix, size, block, HALF_LANES)
    wave = np.exp(sign * 2j * np.pi * np.outer(np.arange(radix), np.arange(radix)) / radix)
    found = np.einsum("kr,rpql->pkql", wave, groups) * factors[:, :, None, None]
    return found.reshape(len(values), HALF_LANES)


@pytest.mark.parametrize("direction", SIGNS)
@pytest.mark.parametrize("radix", RADICES)
def test_a_stage_with_its_factors(direction: str, radix: int) -> None:
    rng, call = np.random.default_rng(radix), compiled(f"{direction}_{radix}")
    for size, block in ((2, 1), (3, 4), (5, 2)):
        count = radix * size * block
        values = rng.standard_normal((count, HALF_LANES)) + 1j * rng.standard_normal((count, HALF_LANES))
        factors = np.exp(2j * np.pi * rng.uniform(size=(size, radix)))
        factors[:, 0] = 1
        table = np.stack([factors[:, 1:].real, factors[:, 1:].imag], -1).ravel().astype(np.float32)
        before, after = 3, 5  # what lies before the points of x and of y, and before the factors
        x = np.concatenate([np.zeros(before * LANES, np.float32), as_points(values)])
        y = np.full((after + count + 1) * LANES, 7.0, np.float32)
        padded = np.concatenate([np.zeros(4, np.float32), table])
        call(x, before * LANES, y, after * LANES, size, block, padded, 4)
        found = as_complex(y[after * LANES : (after + count) * LANES])
        np.testing.assert_allclose(found, by_definition(values, radix, SIGNS[direction], factors), atol=5e-6)
        assert (y[: after * LANES] == 7).all()
        assert (y[(after + count) * LANES :] == 7).all()


@pytest.mark.parametrize("direction", SIGNS)
@pytest.mark.parametrize("radix", RADICES)
def test_the_last_stage_needs_no_factors(direction: str, radix: int) -> None:
    rng, call = np.random.default_rng(radix), compiled(f"{direction}_last_{radix}")
    nothing = np.full(2, np.nan, np.float32)
    for block in (1, 6):
        count = radix * block
        values = rng.standard_normal((count, HALF_LANES)) + 1j * rng.standard_normal((count, HALF_LANES))
        y = np.empty(count * LANES, np.float32)
        call(as_points(values), 0, y, 0, 1, block, nothing, 0)
        wanted = by_definition(values, radix, SIGNS[direction], np.ones((1, radix)))
        np.testing.assert_allclose(as_complex(y), wanted, atol=5e-6)


@pytest.mark.parametrize("radix", RADICES)
def test_backward_undoes_forward(radix: int) -> None:
    values = np.arange(radix)[:, None] + 1j * np.arange(HALF_LANES)
    there, back = np.empty(radix * LANES, np.float32), np.empty(radix * LANES, np.float32)
    compiled(f"forward_last_{radix}")(as_points(values), 0, there, 0, 1, 1, np.ones(1, np.float32), 0)
    compiled(f"backward_last_{radix}")(there, 0, back, 0, 1, 1, np.ones(1, np.float32), 0)
    np.testing.assert_allclose(as_complex(back) / radix, values, atol=2e-6)
