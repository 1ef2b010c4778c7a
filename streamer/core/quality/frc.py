"""Resolution from the data themselves: Fourier ring correlation of two independent halves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.core.fbp.window import window_gain
from streamer.frames import BadInput

TAPER = 0.5  # outer share of the radius over which the window falls to zero; steeper ones smear strong rings outwards

FEW_SAMPLES = 8  # rings of fewer are judged together

EDGE_POWER = 5
"""Power of the frequency with which the spectrum of sharp edges falls, seen by square pixels: 3 for a slice with edges,
2 for a pixel's own transform."""

CALIBRATED = 0.5
"""Share of the frequencies without gaps from which on the noise of a projection is measured."""

SURE_SAMPLES = 32.0
"""Independent coefficients that are enough to measure it."""


@dataclass(frozen=True)
class RingCorrelation:
    """``correlation`` of the Fourier rings at ``frequency`` (cycles per pixel), and the half-bit ``threshold``.

    ``samples`` is the number of independent coefficients in each ring. ``mean`` and ``apart`` are the power of a
    coefficient in the mean of the two images, and in half of their difference.
    """

    frequency: Values
    correlation: Values
    threshold: Values
    samples: Values
    mean: Values
    apart: Values


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
    window, ring, twice = _layout(n)
    # Cross-spectrum and powers, summed over the slices one by one: a few of them fit into a cache.
    sums = np.zeros((3, n, 2 * (n // 2 + 1)))
    for one, other in zip(a.reshape(-1, n, n), b.reshape(-1, n, n), strict=True):
        first, second = _spectrum(one, window), _spectrum(other, window)
        for total, x, y in zip(sums, (first, first, second), (second, first, second), strict=True):
            total += x * y
    cross, *powers = (np.bincount(ring, (total[:, ::2] + total[:, 1::2]).ravel() * twice)[1 : n // 2] for total in sums)
    power = np.sqrt(powers[0] * powers[1])
    correlation = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    area = float(np.mean(window**2, dtype=np.float64))
    count = np.bincount(ring, twice)[1 : n // 2]
    samples = np.maximum(count * 0.5 * area, 1.0)
    mean, apart = ((sum(powers) + sign * cross) / (4 * count) for sign in (2, -2))
    return RingCorrelation(np.arange(1, n // 2) / n, correlation, _half_bit(samples), samples, mean, apart)


def _spectrum(image: NDArray[Any], window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half the transform of a slice within the window, (n, 2 · (n // 2 + 1)): real and imaginary parts in turn."""
    values = np.asarray(image, np.float32)
    # Without the mean, the window itself would not show up as common structure.
    mean = float(values.ravel() @ window.ravel()) / float(window.sum(dtype=np.float64))
    if not np.isfinite(mean):
        return _spectrum(np.nan_to_num(values, posinf=0.0, neginf=0.0), window)
    return np.asarray(scipy.fft.rfft2((values - np.float32(mean)) * window)).view(np.float32)


@lru_cache(maxsize=2)
def _layout(n: int) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """The window (n, n); the ring that each coefficient of half a transform lies in; and how often it counts there."""
    ring = np.rint(np.hypot(scipy.fft.fftfreq(n, 1.0 / n)[:, None], np.arange(n // 2 + 1))).astype(np.intp)
    # The other half of a real image's transform is the same.
    twice = np.full(ring.shape, 2.0)
    twice[:, 0] = 1.0
    if n % 2 == 0:
        twice[:, -1] = 1.0
    return _round_window(n), ring.ravel(), twice.ravel()


def frc_resolution(
    a: NDArray[Any], b: NDArray[Any], aliasing: float = 0.0, clear: float = 0.5, window: str = "ramp"
) -> float | None:
    """Resolution in pixels, the period at which the correlation falls below half a bit per sample.

    Noise alone makes it fall here and there: of the curve, the closest one that never rises is looked at (isotonic
    regression), so that the threshold may be that of a ring of many samples; with that of a few, small slices seemed a
    fifth coarser than they are. ``aliasing`` is the correlation, -1 … 1, of what the halves alias, see
    ``halves.shared_aliasing``: what they share of it is no resolution. 2.0 when the curve never falls below (all that
    the grid can hold); None when the images do not even agree coarsely. Beyond ``clear`` cycles per pixel, see
    ``halves.clear_frequency``, halves of few angles differ by streaks that the whole does not have, if they were
    reconstructed with the ``window`` of the ramp filter; there the noise is that of the clear frequencies.
    """
    curve = fourier_ring_correlation(a, b)
    # The innermost rings hold a handful of samples each. Together they tell whether there is anything in common.
    start = min(int(np.searchsorted(curve.samples, FEW_SAMPLES)), curve.samples.size - 1)
    inner = curve.samples[: start + 1]
    if float(inner @ curve.correlation[: start + 1] / inner.sum()) < float(_half_bit(inner.sum())):
        return None
    correlation, streaks = _without_streaks(curve, clear, window)
    excess = (1.0 + aliasing * _aliased(curve.frequency)) * (1.0 + streaks)
    weights, values = (curve.samples * excess**2)[start:], _without(excess, np.maximum(correlation, -0.5))[start:]
    from scipy.optimize import isotonic_regression  # half a second, which who does not judge need not wait for

    falling = isotonic_regression(values, weights=weights, increasing=False).x
    above, frequency = falling - float(_half_bit(np.inf)), curve.frequency[start:]
    below = np.flatnonzero(above < 0)
    if below.size == 0:
        return 2.0
    i = int(below[0])
    if i == 0:
        return float(1.0 / frequency[0])
    share = above[i - 1] / (above[i - 1] - above[i])
    return float(1.0 / (frequency[i - 1] + share * (frequency[i] - frequency[i - 1])))


def _aliased(frequency: Values) -> Values:
    """Power that a detector's pixels take for that of ``frequency``, over the power that is there.

    It is that of one cycle per pixel less (f - 1, folded). For sharp edges this is the most there can be: a blurred
    detector, or a smooth sample, has less, and then hardly anything is resolved where it would matter.
    """
    return np.asarray((frequency / (1.0 - frequency)) ** EDGE_POWER)


def _without_streaks(curve: RingCorrelation, clear: float, window: str) -> tuple[Values, Values]:
    """The correlation, had the halves differed by noise alone, and the power of the whole's streaks over the sample's.

    Each projection has noise of its own, which is white: in a slice its power goes as the ramp filter's, per ring. It
    is measured where the angles of a half leave no gaps, and what the halves differ by beyond it are streaks, opposite
    in the two. The whole has twice the angles, and the same streaks at twice the frequency.
    """
    frequency = curve.frequency
    calm = (frequency > CALIBRATED * clear) & (frequency <= clear)
    if clear >= frequency[-1] or curve.samples[calm].sum() < SURE_SAMPLES:
        return curve.correlation, np.zeros_like(frequency)
    shape = frequency * window_gain(window, frequency) ** 2
    level = (curve.samples @ (curve.apart * calm)) / (curve.samples @ (shape * calm))
    noise = np.where(frequency > clear, np.minimum(curve.apart, level * shape), curve.apart)
    sample = np.maximum(curve.mean - noise, 0.0)
    streaks = np.divide(curve.apart - noise, sample, out=np.zeros_like(noise), where=sample > 0)
    apart = curve.mean + noise
    alone = np.divide(curve.mean - noise, apart, out=np.zeros_like(noise), where=apart > 0)
    correlation = np.where(noise < curve.apart, alone, curve.correlation)
    return correlation, np.interp(0.5 * frequency, frequency, streaks)


def _without(excess: Values, correlation: Values) -> Values:
    """Correlation of halves, had their cross-spectrum not been ``excess`` times that of the sample.

    The whole image correlates with the sample as √(2 c / (1 + c) / excess): its power is the mean of the halves' power
    and of the cross-spectrum, whatever the latter consists of.
    """
    whole = np.minimum(2 * correlation / (1.0 + correlation) / excess, 1.0)
    return np.asarray(whole / (2.0 - whole))


def _half_bit(samples: Any) -> Any:
    """Correlation at which each of that many samples carries half a bit."""
    root = np.sqrt(samples)
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def _round_window(n: int) -> NDArray[np.float32]:
    offset = np.arange(n) - (n - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :]) / (n / 2)
    fall = np.clip((radius - (1 - TAPER)) / TAPER, 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * fall), np.float32)
