"""Ramp filter of filtered backprojection, and the weights of the angles in its integral."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image, Values
from streamer.core.fbp.window import window_gain
from streamer.core.jit import as_input
from streamer.frames import BadInput


def ramp_kernel(lags: Array) -> Values:
    """Band-limited ramp filter at integer ``lags`` of any shape, for a pixel spacing of one; float64.

    h(0) = 1/4, h(odd n) = -1/(π n)², h(even n) = 0 (Kak and Slaney, Principles of Computerized Tomographic Imaging,
    1988, eq. 3.61). Sampling |frequency| instead sets the mean to zero and makes every reconstruction too low by an
    offset.
    """
    lags = np.asarray(lags)
    odd = lags % 2 == 1
    kernel = np.where(lags == 0, 0.25, 0.0)
    kernel[odd] = -1.0 / (np.pi * lags[odd]) ** 2
    return kernel


def ramp_gain(length: int, window: str) -> Values:
    """Gain of ``ramp_kernel`` times ``window`` over a period of ``length`` columns: (length // 2 + 1,) float64.

    Real, as the kernel is symmetric. Raises BadInput for an unknown window.
    """
    lags = np.minimum(np.arange(length), length - np.arange(length))
    return np.asarray(scipy.fft.rfft(ramp_kernel(lags)).real * window_gain(window, np.fft.rfftfreq(length)))


def edge_taper(columns: int, extend: bool) -> Image:
    """Factors by which the outermost value of a row fades out beyond the edge: a cosine over half a width, float32.

    Empty unless ``extend``.
    """
    side = (columns + 1) // 2 if extend else 0
    return as_input(0.5 + 0.5 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)), np.float32)


class RampFilter:
    """Convolution of detector rows with ``ramp_kernel``. The padding is long enough for it to be linear.

    ``extend`` is for samples that are wider than the detector: the outermost values are carried on beyond both edges
    over half a width and taper off as a cosine, instead of dropping to zero at the edge, which would cup the image.
    """

    def __init__(self, columns: int, window: str = "ramp", extend: bool = False) -> None:
        if columns < 2:
            raise BadInput(f"a ramp filter needs at least 2 columns, not {columns}")
        self.columns = columns
        self.window = window
        self._taper = edge_taper(columns, extend)
        self._side = self._taper.size
        # Lags from an extended end to the far edge of the detector reach 1.5 widths, without extension one width.
        self.length = int(scipy.fft.next_fast_len((3 if extend else 2) * columns + 2, real=True))
        self.gain: Image = ramp_gain(self.length, window).astype(np.float32)

    def apply(self, rows: Array, workers: int = 1, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Filter rows (..., columns) float32 along the last axis; returns ``out`` or a new float32 array.

        ``workers`` is the number of threads of the Fourier transform. Raises BadInput on another number of columns.
        """
        spectrum = self.spectrum(rows, workers)
        full = scipy.fft.irfft(spectrum, n=self.length, axis=-1, workers=workers, overwrite_x=True)
        if out is None:
            return np.ascontiguousarray(full[..., : self.columns])
        out[...] = full[..., : self.columns]
        return out

    def spectrum(self, rows: Array, workers: int = 1) -> NDArray[np.complex64]:
        """The filtered rows before the inverse transform: complex64 (..., length // 2 + 1)."""
        if rows.shape[-1] != self.columns:
            raise BadInput(f"rows of {rows.shape[-1]} columns given to a filter for {self.columns}")
        source = np.asarray(rows, np.float32)
        if self._side:
            source = self._extended(source)
        spectrum = scipy.fft.rfft(source, n=self.length, axis=-1, workers=workers)
        spectrum *= self.gain
        return np.asarray(spectrum, np.complex64)

    def _extended(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows in a period of ``length``: the right extension follows them, the left one lies at the period's end."""
        full = np.zeros((*rows.shape[:-1], self.length), np.float32)
        full[..., : self.columns] = rows
        full[..., self.columns : self.columns + self._side] = rows[..., -1:] * self._taper
        full[..., self.length - self._side :] = rows[..., :1] * self._taper[::-1]
        return full


def angular_weights(angle_rad: Array, period: float = np.pi) -> Values:
    """Quadrature weights (radian, float64) of the measured angles, in any order; their sum is what they cover.

    Each angle owns half of the gap to its neighbour on either side, modulo ``period`` (π: opposite views are the same
    line integrals). Angles that coincide share their gap evenly. With filtered rows of the unit-spacing ramp,
    f = Σ w_i · backprojection_i; a full half circle gives Σ w = π.

    A gap wider than (5 + ln n) typical gaps was not measured, such as the rest of a running scan; its neighbours own
    only half a typical gap there. Of n angles drawn at random the widest gap exceeds this once in 150 cases, so
    golden-angle, interleaved and random scans count as complete, while in an even scan a dozen consecutive lost frames
    are recognised as a hole. A single angle says nothing about its spacing and gets all.
    """
    theta = np.asarray(angle_rad, np.float64).ravel()
    if theta.size == 0:
        return np.zeros(0)
    if not np.all(np.isfinite(theta)):
        raise BadInput("an angle is not a finite number")
    folded = np.mod(theta, period)
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    gap = np.diff(ordered, append=ordered[0] + period)  # gap[i] lies after ordered[i]; the last one wraps around
    distinct = gap > 1e-3 * float(period) / theta.size * min(1.0, _spread(gap, float(period)))
    groups = int(np.count_nonzero(distinct))
    if groups <= 1:
        return np.full(theta.size, period / theta.size)
    # Start the count behind a true gap, so that a cluster across the end of the period stays one cluster.
    shift = int(np.argmax(distinct)) + 1
    gap, distinct, order = np.roll(gap, -shift), np.roll(distinct, -shift), np.roll(order, -shift)
    group = np.concatenate(([0], np.cumsum(distinct)[:-1]))
    after = gap[distinct]
    # A cluster may be a little wide; what lies inside it is added to the gap behind it, so that nothing gets lost.
    after = after + np.bincount(group, np.where(distinct, 0.0, gap), groups)
    typical = (after.sum() - after.max()) / (groups - 1)
    measured = after <= (5.0 + np.log(groups)) * typical
    if measured.any():
        typical = float(after[measured].mean())
    after = np.where(measured, after, typical)
    owned = 0.5 * (after + np.roll(after, 1)) / np.bincount(group, minlength=groups)
    weights = np.empty(theta.size)
    weights[order] = owned[group]
    return weights


def _spread(gap: Values, period: float) -> float:
    """Share of the period that the angles span: a short prefix of a fine scan must not count as one angle."""
    return max(1e-6, 1.0 - float(gap.max()) / period)
