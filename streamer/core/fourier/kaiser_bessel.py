"""The window that spreads a sample over a Fourier grid, and the correction that undoes it in the image.

Kaiser-Bessel window of 4 points along each axis (Jackson et al., IEEE Trans. Med. Imaging 10, 473, 1991).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamer.core.fourier.kernels import POLYNOMIAL_TERMS
from streamer.core.jit import as_input

WINDOW_WIDTH = 4
"""Grid points over which the window spreads a sample along each axis."""

BETA_STRETCH = 1.15
"""Factor on the β of Beatty et al. (IEEE Trans. Med. Imaging 24, 799, 2005, eq. 5).

Theirs makes the worst alias smallest, which lies in the corners. With 1.15 the corners stay as they are and the error
of smooth objects within the circle falls to a third (docs/decisions/0005)."""


def window_shape(oversampling: float) -> float:
    """Parameter β of the Kaiser-Bessel window for a grid that is ``oversampling`` times as fine as the image."""
    return float(BETA_STRETCH * np.pi * np.sqrt((WINDOW_WIDTH / oversampling) ** 2 * (oversampling - 0.5) ** 2 - 0.8))


@lru_cache(maxsize=8)
def window_polynomials(beta: float) -> NDArray[np.float32]:
    """(16,) float32: polynomials of the window's 4 values around a sample.

    In x = fraction - 1/2 of the way from one grid point to the next: even and odd part of the outermost value on the
    left, then of the inner one; those on the right mirror them.
    """
    x = 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    parts = []
    for center in (1.5, 0.5):

        def value(shift: NDArray[np.float64], center: float = center) -> NDArray[np.float64]:
            inside = np.maximum(1 - (2 * (center + shift) / WINDOW_WIDTH) ** 2, 0)
            return np.asarray(np.i0(beta * np.sqrt(inside)) / np.i0(beta))

        even, odd = (value(x) + value(-x)) / 2, (value(x) - value(-x)) / 2
        powers = (x**2)[:, None] ** np.arange(POLYNOMIAL_TERMS)
        parts += [
            np.linalg.lstsq(powers, even, rcond=None)[0],
            np.linalg.lstsq(powers * x[:, None], odd, rcond=None)[0],
        ]
    return as_input(np.concatenate(parts), np.float32)


def window_correction(columns: int, size: int, beta: float) -> NDArray[np.float32]:
    """(columns,) float32: 1 / Fourier transform of the window at each pixel.

    ``size``: grid points along one axis. The sign moves the middle of the grid to frequency 0.
    """
    place = np.arange(columns) - columns // 2
    root = np.sqrt((beta**2 - (np.pi * WINDOW_WIDTH * place / size) ** 2).astype(np.complex128))
    transform = WINDOW_WIDTH * np.real(np.sinh(root) / root) / np.i0(beta)
    return as_input(np.where(place % 2, -1, 1) / transform, np.float32)
