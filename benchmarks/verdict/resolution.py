"""The true resolution of a tomogram: to which period it agrees with the sample, by the criterion of the product."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from benchmarks.verdict.phantoms import band_limited
from benchmarks.verdict.scans import Draft

Array = NDArray[Any]

HALF_BIT = 0.2071 / 1.2071
"""Correlation of two halves at which a coefficient carries half a bit, for many samples."""

INNERMOST = 3
"""Ring from which on a few samples say something."""


def truth_of(d: Draft, width: int) -> Array:
    """The sample (rows, width, width) in the pose of the beginning, without what no grid of pixels can hold."""
    return band_limited(d.body, d.pose.at(0), d.rows, width)


def true_resolution(volume: Array, truth: Array) -> float:
    """Period in pixels at which slices (rows, n, n) cease to correlate with the truth as well as half a bit allows.

    The half-bit threshold T for halves corresponds to √(2T / (1 + T)) for the whole against the truth (Rosenthal and
    Henderson, J. Mol. Biol. 333, 721, 2003). All rows together make one curve, and of that the closest one which never
    rises is looked at: the spectra of samples have zeros, which a scan does not resolve better or worse. 2.0 where it
    never falls below.
    """
    n = volume.shape[2]
    offset = np.arange(n) - (n - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :]) / (n / 2)
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip((radius - 0.5) / 0.5, 0, 1))
    spectra = [
        scipy.fft.fft2((x - (x * window).sum((1, 2), keepdims=True) / window.sum()) * window) for x in (volume, truth)
    ]
    k = scipy.fft.fftfreq(n, 1.0 / n)
    ring = np.rint(np.hypot(k[:, None], k[None, :])).astype(int).ravel()

    def rings(values: Array) -> Array:
        return np.asarray(np.bincount(ring, values.sum(axis=0).ravel())[INNERMOST : n // 2])

    cross = rings((spectra[0] * np.conj(spectra[1])).real)
    correlation = cross / np.sqrt(rings(np.abs(spectra[0]) ** 2) * rings(np.abs(spectra[1]) ** 2) + 1e-30)
    falling = isotonic_regression(correlation, weights=np.bincount(ring)[INNERMOST : n // 2], increasing=False).x
    above = falling - np.sqrt(2 * HALF_BIT / (1 + HALF_BIT))
    below = np.flatnonzero(above < 0)
    if not below.size:
        return 2.0
    i = int(below[0])
    share = above[i - 1] / (above[i - 1] - above[i]) - 1 if i else 0.0
    return float(n / (INNERMOST + i + share))
