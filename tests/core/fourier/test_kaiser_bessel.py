"""The gridding window, its polynomials and its correction, against the functions themselves."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from streamer.core.fourier.kaiser_bessel import WINDOW_WIDTH, window_correction, window_polynomials, window_shape
from streamer.core.fourier.kernels import POLYNOMIAL_TERMS

OVERSAMPLING = (1.25, 1.3, 2.0)


def window(distance: np.ndarray, beta: float) -> np.ndarray:
    root = np.sqrt(np.maximum(1 - (2 * distance / WINDOW_WIDTH) ** 2, 0))
    return np.where(2 * abs(distance) < WINDOW_WIDTH, scipy.special.i0(beta * root) / scipy.special.i0(beta), 0)


@pytest.mark.parametrize("oversampling", OVERSAMPLING)
def test_polynomials_are_the_window(oversampling: float) -> None:
    """At the four grid points around a sample, wherever it lies between two of them."""
    beta = window_shape(oversampling)
    even_outer, odd_outer, even_inner, odd_inner = window_polynomials(beta).reshape(4, POLYNOMIAL_TERMS).astype(float)
    fraction = np.linspace(0, 1, 101)
    x = fraction - 0.5
    powers = (x**2)[:, None] ** np.arange(POLYNOMIAL_TERMS)
    outer, inner = powers @ even_outer, powers @ even_inner
    outer_odd, inner_odd = x * (powers @ odd_outer), x * (powers @ odd_inner)
    found_at = {-1: outer + outer_odd, 0: inner + inner_odd, 1: inner - inner_odd, 2: outer - outer_odd}
    for point, found in found_at.items():
        # The window jumps by half a percent at its end.
        np.testing.assert_allclose(found, window(fraction - point, beta), atol=6e-3 if point in (-1, 2) else 1e-4)
    np.testing.assert_allclose(found_at[-1][2:-1], window(fraction + 1, beta)[2:-1], atol=2e-4)


@pytest.mark.parametrize("columns", [15, 16, 33])
@pytest.mark.parametrize("oversampling", OVERSAMPLING)
def test_the_correction_undoes_the_window(columns: int, oversampling: float) -> None:
    """One over the window's Fourier integral at each pixel, by quadrature, and the sign of the grid's middle."""
    size, beta = round(oversampling * columns), window_shape(oversampling)
    place = np.arange(columns) - columns // 2
    t = np.linspace(-WINDOW_WIDTH / 2, WINDOW_WIDTH / 2, 20001)
    waves = window(t, beta) * np.cos(2 * np.pi * t * place[:, None] / size)
    transform = np.trapezoid(waves, t, axis=1)
    np.testing.assert_allclose(window_correction(columns, size, beta) * transform, (-1.0) ** place, rtol=2e-4)


def test_a_finer_grid_has_a_narrower_window() -> None:
    shapes = [window_shape(oversampling) for oversampling in OVERSAMPLING]
    assert shapes == sorted(shapes)
    assert window(np.array(1.0), shapes[-1]) < window(np.array(1.0), shapes[0])
