"""Resolution from the data themselves: Fourier ring correlation of two independent halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.frames import BadInput

TAPER = 0.5  # outer share of the radius over which the window falls to zero; steeper ones smear strong rings outwards

FEW_SAMPLES = 8  # rings of fewer are judged together


@dataclass(frozen=True)
class RingCorrelation:
    """``correlation`` of the Fourier rings at ``frequency`` (cycles per pixel), and the half-bit ``threshold``.

    ``samples`` is the number of independent coefficients in each ring.
    """

    frequency: Values
    correlation: Values
    threshold: Values
    samples: Values


def fourier_ring_correlation(a: NDArray[Any], b: NDArray[Any]) -> RingCorrelation:
    """Correlation, ring by ring, of the Fourier transforms of two square images of the same thing.

    They are (n, n), or several slices (k, n, n) that make one curve, with the threshold of a single one. They should be
    independent but for their object: reconstructions from different projections and flats. Only the inscribed circle
    counts, with a soft edge, since a sharp one would correlate with itself. The threshold is the half-bit curve (van
    Heel and Schatz, J. Struct. Biol. 151, 250, 2005, eq. 17) for the number of independent samples: half the ring, as
    the images are real, times the share of the area that the window leaves.
    Raises BadInput unless both are square, of one shape and at least 16 wide.
    """
    if a.shape != b.shape or a.ndim not in (2, 3) or a.shape[-2] != a.shape[-1] or a.shape[-1] < 16:
        raise BadInput(f"ring correlation needs two square images of 16 pixels or more, not {a.shape} and {b.shape}")
    n = a.shape[-1]
    window = _round_window(n)
    spectra = []
    for image in (a, b):
        values = np.nan_to_num(np.asarray(image, np.float64).reshape(-1, n, n))
        # Without the mean, the window itself would not show up as common structure.
        mean = (values * window).sum(axis=(1, 2), keepdims=True) / window.sum()
        spectra.append(scipy.fft.fft2((values - mean) * window))
    k = scipy.fft.fftfreq(n, 1.0 / n)
    ring = np.rint(np.hypot(k[:, None], k[None, :])).astype(int).ravel()
    count = n // 2

    def per_ring(values: Values) -> Values:
        return np.asarray(np.bincount(ring, values.mean(axis=0).ravel())[1:count], np.float64)

    cross = per_ring((spectra[0] * np.conj(spectra[1])).real)
    power = np.sqrt(per_ring(np.abs(spectra[0]) ** 2) * per_ring(np.abs(spectra[1]) ** 2))
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    samples = np.maximum(per_ring(np.ones((1, n, n))) * 0.5 * float((window**2).mean()), 1.0)
    return RingCorrelation(np.arange(1, count) / n, correlation, _half_bit(samples), samples)


def frc_resolution(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Resolution in pixels, the period at which the correlation falls below half a bit per sample.

    2.0 when it never does (all that the grid can hold); None when the images do not even agree coarsely.
    """
    curve = fourier_ring_correlation(a, b)
    # The innermost rings hold a handful of samples each. Together they tell whether there is anything in common.
    start = min(int(np.searchsorted(curve.samples, FEW_SAMPLES)), curve.samples.size - 1)
    inner = curve.samples[: start + 1]
    if float(inner @ curve.correlation[: start + 1] / inner.sum()) < float(_half_bit(inner.sum())):
        return None
    smooth = np.convolve(np.pad(curve.correlation - curve.threshold, 1, mode="edge"), np.full(3, 1 / 3), "valid")
    below = np.flatnonzero(smooth[start:] < 0)
    if below.size == 0:
        return 2.0
    i = start + int(below[0])
    if i == start:
        return float(1.0 / curve.frequency[start])
    share = smooth[i - 1] / (smooth[i - 1] - smooth[i])
    return float(1.0 / (curve.frequency[i - 1] + share * (curve.frequency[i] - curve.frequency[i - 1])))


def _half_bit(samples: Any) -> Any:
    """Correlation at which each of that many samples carries half a bit."""
    root = np.sqrt(samples)
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def _round_window(n: int) -> Values:
    offset = np.arange(n) - (n - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :]) / (n / 2)
    fall = np.clip((radius - (1 - TAPER)) / TAPER, 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * fall))
