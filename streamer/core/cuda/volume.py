"""The tomogram while the scan runs, on a device: a Fourier volume into which every projection is gridded as it comes.

Two detector rows make one complex plane, so the volume of r rows with an n-point grid takes r·n²·4 bytes. Any order of
angles; a sample is spread over 4 x 4 points by a Kaiser-Bessel kernel (Jackson et al., Selection of a convolution
function for Fourier inversion using gridding, IEEE Trans. Med. Imaging 10, 1991), whose envelope the end undoes. Its
shape parameter for an oversampling below 2 is that of Beatty et al., IEEE Trans. Med. Imaging 24, 2005, eq. 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from streamer.core.filters import RampFilter
from streamer.core.kernels_cuda import PACK, Kernels
from streamer.frames import BadInput

Series = NDArray[np.float64]

WIDTH = 4  # grid points that a sample is spread over, along either axis
TERMS = 9
OVERSAMPLING = 1.5
MIN_SIZE = 32  # points; no tile of the gridding kernel then lies at two edges of the grid


class Gridding:
    """Numbers of a Fourier volume that do not depend on the data: sizes, kernel, ramp, correction. Pure."""

    def __init__(self, columns: int, window: str = "ramp", extend: bool = False) -> None:
        ramp = RampFilter(columns, window, extend)
        self.columns, self.length = columns, ramp.length
        self.size = max(MIN_SIZE, 2 * int(scipy.fft.next_fast_len(int(np.ceil(OVERSAMPLING * columns / 2)))))
        self.step = self.size / self.length  # radial step in grid points
        ratio = self.size / columns
        self.beta = float(np.pi * np.sqrt((WIDTH / ratio) ** 2 * (ratio - 0.5) ** 2 - 0.8))
        # The transform of the spatial ramp, and the 1/length of the discrete integral over the radius.
        self.ramp = (ramp.gain / self.length).astype(np.float32)
        side = (columns + 1) // 2 if extend else 0
        fade = np.arange(1, side + 1) / (side + 1)
        self.taper = (0.5 + 0.5 * np.cos(np.pi * fade)).astype(np.float32) if side else None

    def coefficients(self) -> NDArray[np.float32]:
        """The interpolation kernel as a polynomial in the squared distance (grid points), peak 1."""

        def kernel(square: Series) -> Series:
            return np.asarray(scipy.special.i0(self.beta * np.sqrt(1 - square)) / scipy.special.i0(self.beta))

        fit = Chebyshev.interpolate(kernel, TERMS - 1, domain=[0, 1])
        power = np.asarray(fit.convert(kind=Polynomial, domain=[0, 1], window=[0, 1]).coef, np.float64)
        return np.asarray(power * (WIDTH / 2) ** (-2.0 * np.arange(TERMS)), np.float32)

    def correction(self) -> NDArray[np.float32]:
        """One over the kernel's transform at the image's pixels (columns,), with the sign of the origin's shift."""
        x = np.arange(self.columns) - self.columns // 2
        root = np.sqrt((self.beta**2 - (np.pi * WIDTH * x / self.size) ** 2).astype(np.complex128))
        envelope = WIDTH * np.real(np.sinh(root) / root) / scipy.special.i0(self.beta)
        return np.asarray(np.where(x % 2, -1.0, 1.0) / envelope, np.float32)

    def direction(self, angle_rad: Series) -> NDArray[np.float32]:
        """(2, angles): cosine and sine times the radial step."""
        return np.asarray(np.stack([np.cos(angle_rad), np.sin(angle_rad)]) * self.step, np.float32)

    def shift(self, angle_rad: Series, center: float) -> Series:
        """Columns by which each projection is moved: axis to the origin, and the image's half pixel for even widths."""
        half = self.columns // 2 - (self.columns - 1) / 2
        return np.asarray(center + half * (np.cos(angle_rad) + np.sin(angle_rad)))


def packs_of(rows: int) -> int:
    """Complex planes for so many detector rows, rounded up to what one thread carries."""
    return -(-rows // PACK) * PACK // 2


def resident_nbytes(rows: int, columns: int) -> int:
    """Device memory that the Fourier volume of so many detector rows takes for the whole scan."""
    return packs_of(rows) * Gridding(columns).size ** 2 * 8


def batch_nbytes(rows: int, columns: int, angles: int) -> int:
    """Device memory that adding ``angles`` projections at once needs beside it (with the transform's work area)."""
    return angles * (4 * rows * columns + 4 * 8 * packs_of(rows) * RampFilter(columns).length)


class FourierVolume:
    """Resident Fourier volume of ``rows`` detector rows; ``add`` while the scan runs, ``finish`` at any time."""

    def __init__(
        self, kernels: Kernels, rows: int, columns: int, center: float, window: str = "ramp", extend: bool = False
    ) -> None:
        """``center`` in columns; ``window``, ``extend`` as in RampFilter. Raises BadInput, DeviceOutOfMemory."""
        if rows < 1 or not np.isfinite(center):
            raise BadInput(f"a tomogram of {rows} rows around column {center} makes no sense")
        self._kernels, self._engine = kernels, kernels.engine
        self.rows, self.center = rows, float(center)
        self.plan = Gridding(columns, window, extend)
        upload = self._engine.upload
        self._ramp = upload(self.plan.ramp)
        self._coefficient = upload(self.plan.coefficients())
        self._correction = upload(self.plan.correction())
        self._taper = None if self.plan.taper is None else upload(self.plan.taper)
        self._grid = self._engine.zeros((packs_of(rows), self.plan.size, self.plan.size), np.complex64)
        self.count = 0

    def add(self, attenuation: Any, angle_rad: NDArray[Any], weights: NDArray[Any]) -> None:
        """Grid projections (angles, rows, columns) float32, on the host or the device, with their angular weights.

        Raises BadInput when shapes do not belong together or a number is not finite.
        """
        theta, weight = np.asarray(angle_rad, np.float64).ravel(), np.asarray(weights, np.float64).ravel()
        shape = (theta.size, self.rows, self.plan.columns)
        if attenuation.shape != shape or weight.size != theta.size:
            raise BadInput(f"projections {attenuation.shape} with {weight.size} weights; {shape} were expected")
        if not (np.isfinite(theta).all() and np.isfinite(weight).all()):
            raise BadInput("an angle or a weight is not a finite number")
        if not theta.size:
            return
        engine, kernels = self._engine, self._kernels
        source = attenuation if engine.resident(attenuation) else engine.upload(attenuation)
        packed = engine.empty((theta.size, packs_of(self.rows), self.plan.length), np.complex64)
        kernels.pack_lines(source, self._taper, packed)
        spectrum = engine.transform_lines(packed)
        samples = engine.empty((theta.size, self.plan.length, packs_of(self.rows)), np.complex64)
        shift, share = engine.upload(self.plan.shift(theta, self.center)), engine.upload(weight.astype(np.float32))
        kernels.weigh_samples(spectrum, self._ramp, shift, share, samples)
        kernels.grid_samples(samples, engine.upload(self.plan.direction(theta)), self._coefficient, self._grid)
        self.count += theta.size

    def finish(self, first: int, last: int, out: Any | None = None) -> Any:
        """Tomogram of rows [first, last), float32 (last - first, columns, columns), attenuation per pixel.

        The Fourier volume stays as it is, so this shows the scan so far. ``first`` must be even (rows go in pairs).
        Writes into ``out``, on the host or the device, or returns a new array on the device.
        """
        if first % 2 or not 0 <= first < last <= self.rows:
            raise BadInput(f"rows {first} to {last} of {self.rows}; the first must be even")
        shape = (last - first, self.plan.columns, self.plan.columns)
        if out is not None and out.shape != shape:
            raise BadInput(f"a tomogram of {shape} does not fit into {out.shape}")
        direct = out is not None and self._engine.resident(out)
        result = out if direct else self._engine.empty(shape, np.float32)
        planes = self._engine.transform_planes(self._grid[first // 2 : (last + 1) // 2])
        self._kernels.unpack_slices(planes, self._correction, result)
        if out is None or direct:
            return result
        self._engine.download(result, out)
        return out
