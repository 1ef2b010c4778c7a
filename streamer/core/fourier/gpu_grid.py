"""The tomogram while the scan runs, on a device: a Fourier volume into which every projection is gridded as it comes.

The arithmetic is that of ``volume``, with the same sizes, ramp and window (Jackson et al., IEEE Trans. Med. Imaging
10, 473, 1991), so that both give the same numbers. Here two neighbouring detector rows make one complex plane, and the
volume of r rows with a grid of n x n points takes r·n²·4 bytes.

``gpu_volume`` decides what to do if the memory does not suffice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.core.backend.gpu_kernels import ROWS_PER_PACK, Kernels
from streamer.core.backend.staging import UploadQueue
from streamer.core.fbp.ramp_filter import edge_taper, ramp_gain
from streamer.core.fourier.kaiser_bessel import WINDOW_WIDTH, window_correction, window_shape
from streamer.core.fourier.kernels import SEAM_POINTS
from streamer.core.fourier.volume import grid_sizes
from streamer.core.jit import as_input
from streamer.frames import BadInput

Move = tuple[float, float]

WINDOW_TERMS = 9
"""Coefficients of the window as a polynomial in the squared distance."""

QUEUED_PROJECTIONS = 8
"""Projections on their way to the device at once."""


class Gridding:
    """Numbers of a Fourier volume that do not depend on the data: sizes, window, ramp, correction. Pure."""

    def __init__(self, columns: int, center: float | None = None, window: str = "ramp", extend: bool = False) -> None:
        """Arguments as for ``volume.FourierVolume``. Raises BadInput."""
        self.center = (columns - 1) / 2 if center is None else float(center)
        sizes = grid_sizes(1, columns, self.center, extend)
        self.columns, self.length, self.size, self.radii = columns, sizes.length, sizes.size, sizes.radii
        self.step = self.size / self.length  # radial step in grid points
        self.beta = window_shape(self.size / columns)
        # Nothing from the radius on whose samples would reach beyond the grid.
        self.ramp = np.zeros(self.length // 2 + 1, np.float32)
        self.ramp[: self.radii] = ramp_gain(self.length, window)[: self.radii] / self.length
        taper = edge_taper(columns, extend)
        self.taper = taper if taper.size else None

    def coefficients(self) -> NDArray[np.float32]:
        """The gridding window as a polynomial in the squared distance (grid points), peak 1."""

        def kernel(square: Values) -> Values:
            return np.asarray(scipy.special.i0(self.beta * np.sqrt(1 - square)) / scipy.special.i0(self.beta))

        fit = Chebyshev.interpolate(kernel, WINDOW_TERMS - 1, domain=[0, 1])
        power = np.asarray(fit.convert(kind=Polynomial, domain=[0, 1], window=[0, 1]).coef, np.float64)
        return np.asarray(power * (WINDOW_WIDTH / 2) ** (-2.0 * np.arange(WINDOW_TERMS)), np.float32)

    def correction(self) -> NDArray[np.float32]:
        """One over the window's transform at the image's pixels (columns,), with the sign of the origin's shift."""
        return window_correction(self.columns, self.size, self.beta)

    def direction(self, angle_rad: Values) -> NDArray[np.float32]:
        """(2, angles): cosine and sine times the radial step."""
        return np.asarray(np.stack([np.cos(angle_rad), np.sin(angle_rad)]) * self.step, np.float32)

    def shift(self, angle_rad: Values) -> Values:
        """Columns by which each projection is moved: axis to the origin, and the image's half pixel for even widths."""
        half = self.columns // 2 - (self.columns - 1) / 2
        return np.asarray(self.center + half * (np.cos(angle_rad) + np.sin(angle_rad)))

    def moved(self, planes: NDArray[np.complex64], move: Move) -> NDArray[np.complex64]:
        """Planes (packs, size, size) on the host after a move of the axis: what ``shift_planes`` does on the device."""
        distance, seam = move
        place = np.arange(self.size) - self.size // 2
        x, y = place[None, :], place[:, None]
        angle = 2 * np.pi / self.size * distance * np.hypot(x, y)
        side = np.clip((y * np.cos(seam) - x * np.sin(seam)) / SEAM_POINTS, -1, 1)
        return np.asarray(planes * (np.cos(angle) + 1j * side * np.sin(angle)).astype(np.complex64))

    def row_nbytes(self) -> int:
        """Device memory of one detector row of the grid, for the whole scan; rows come in eights."""
        return 4 * self.size**2

    def add_row_nbytes(self, angles: int) -> int:
        """Device memory of one row while ``angles`` projections are added, and of the queue through which they come."""
        return 12 * angles * self.length + 4 * QUEUED_PROJECTIONS * self.columns

    def pair_nbytes(self) -> int:
        """Device memory of two rows while slices are made of them: moved, transformed, the transform's work, result."""
        return 24 * self.size**2 + 8 * self.columns**2


def packs_of(rows: int) -> int:
    """Complex planes for ``rows`` detector rows, rounded up to what one thread carries."""
    return -(-rows // ROWS_PER_PACK) * ROWS_PER_PACK // 2


class GpuGrid:
    """Fourier grid of ``rows`` detector rows on a device; ``add`` while the scan runs, ``finish`` at any time."""

    def __init__(
        self,
        kernels: Kernels,
        rows: int,
        columns: int,
        center: float | None = None,
        window: str = "ramp",
        extend: bool = False,
    ) -> None:
        """``center`` in columns; ``window``, ``extend`` as in RampFilter. Raises BadInput, DeviceOutOfMemory."""
        if rows < 1:
            raise BadInput(f"a tomogram of {rows} rows makes no sense")
        self._kernels, self._engine = kernels, kernels.engine
        self.rows = rows
        self.plan = Gridding(columns, center, window, extend)
        upload = self._engine.upload
        self._ramp = upload(self.plan.ramp)
        self._coefficient = upload(self.plan.coefficients())
        self._correction = upload(self.plan.correction())
        self._taper = None if self.plan.taper is None else upload(self.plan.taper)
        self._grid = self._engine.zeros((packs_of(rows), self.plan.size, self.plan.size), np.complex64)
        self._queue: UploadQueue | None = None

    def add(
        self,
        attenuation: Any,
        angle_rad: NDArray[Any],
        weights: NDArray[Any],
        first_row: int = 0,
        part: tuple[int, int] | None = None,
    ) -> None:
        """Grid projections (angles, rows, columns) float32 with their angular weights, all at once.

        They may have more rows than the volume, which begins at ``first_row``. They lie on the device, C-contiguous, or
        on the host: then those rows that are needed cross the bus, on a queue of their own while others are computed
        with. With ``part`` only the volume's rows [first, last) get them; ``first`` is a multiple of 8, and ``last``
        too or the end. Raises BadInput when shapes do not belong together, frames on the device are not float32, or a
        number is not finite. After DeviceOutOfMemory, the volume is as it was before.
        """
        begin, end = (0, self.rows) if part is None else part
        theta, weight = np.asarray(angle_rad, np.float64).ravel(), np.asarray(weights, np.float64).ravel()
        resident = self._engine.resident(attenuation)
        shape = attenuation.shape
        fits = len(shape) == 3 and (shape[0], shape[2]) == (theta.size, self.plan.columns) and weight.size == theta.size
        if not fits or not 0 <= first_row <= shape[1] - self.rows:
            wanted = f"{theta.size} of {self.rows} rows and {self.plan.columns} columns"
            raise BadInput(f"projections {shape} from row {first_row} with {weight.size} weights; expected: {wanted}")
        if begin % ROWS_PER_PACK or not 0 <= begin < end <= self.rows or (end % ROWS_PER_PACK and end < self.rows):
            raise BadInput(f"rows {begin} to {end} of {self.rows}: not whole groups of {ROWS_PER_PACK}")
        if resident and attenuation.dtype != np.float32:
            raise BadInput(f"projections on the device are {attenuation.dtype}, not float32")
        if not (np.isfinite(theta).all() and np.isfinite(weight).all()):
            raise BadInput("an angle or a weight is not a finite number")
        if not theta.size:
            return
        engine, kernels, packs = self._engine, self._kernels, packs_of(end - begin)
        packed = engine.empty((theta.size, packs, self.plan.length), np.complex64)
        rows = first_row + begin, first_row + end
        if resident:
            kernels.pack_lines(attenuation, self._taper, packed, *rows)
        else:
            self._send(attenuation[:, slice(*rows)], packed)
        spectrum = engine.transform_lines(packed)
        samples = engine.empty((theta.size, self.plan.length, packs), np.complex64)
        shift, share = engine.upload(self.plan.shift(theta)), engine.upload(weight.astype(np.float32))
        direction = engine.upload(self.plan.direction(theta))
        kernels.weigh_samples(spectrum, self._ramp, shift, share, samples)
        grid = self._grid[begin // 2 : begin // 2 + packs]
        kernels.grid_samples(samples, direction, self._coefficient, self.plan.radii, grid)

    def _send(self, frames: NDArray[np.float32], packed: Any) -> None:
        """Frames (angles, rows, columns) through the queue, each packed into packed (angles, packs, length)."""
        if self._queue is None:
            shape = self.rows, self.plan.columns
            self._queue = UploadQueue(self._engine.transfer(), QUEUED_PROJECTIONS, shape, np.float32)
        queue, sent = self._queue, 0
        for index in range(len(frames)):
            while sent < len(frames) and not queue.full:
                queue.put(as_input(frames[sent], np.float32))
                sent += 1
            self._kernels.pack_lines(queue.take()[None], self._taper, packed[index : index + 1])
            queue.done()

    def finish(self, first: int, last: int, out: Any | None = None, move: Move | None = None) -> Any:
        """Tomogram of rows [first, last), float32 (last - first, columns, columns), attenuation per pixel.

        The Fourier volume stays as it is, so this shows the scan so far. ``first`` must be even (rows go in pairs).
        Writes into ``out``, on the host or the device, or returns a new array on the device. ``move``: columns by which
        the axis is moved after the fact, and the direction of the seam in rad (see "Late centre" in ``volume``).
        """
        shape = self._check(first, last, out)
        direct = out is not None and self._engine.resident(out)
        result = out if direct else self._engine.empty(shape, np.float32)
        planes = self._grid[first // 2 : (last + 1) // 2]
        if move is not None:
            shifted = self._engine.empty(planes.shape, np.complex64)
            self._kernels.shift_planes(planes, *move, shifted)
            planes = shifted
        self._kernels.unpack_slices(self._engine.transform_planes(planes), self._correction, result)
        if out is None or direct:
            return result
        self._engine.download(result, out)
        return out

    def finish_on_host(
        self, first: int, last: int, out: NDArray[np.float32], move: Move | None = None, threads: int = 1
    ) -> None:
        """As ``finish`` into ``out`` on the host, with no other memory of the device than the volume's own."""
        self._check(first, last, out)
        size, half, correction = self.plan.size, self.plan.columns // 2, self.plan.correction()
        kept = np.r_[size - half : size, : self.plan.columns - half]
        plane = np.empty((1, size, size), np.complex64)
        for row in range(first, last, 2):
            self._engine.download(self._grid[row // 2 : row // 2 + 1], plane)
            lines = plane if move is None else self.plan.moved(plane, move)
            image = scipy.fft.ifft2(lines[0], norm="forward", workers=threads)[np.ix_(kept, kept)]
            image *= correction[:, None] * correction
            out[row - first] = image.real
            if row + 1 < last:
                out[row + 1 - first] = image.imag

    def _check(self, first: int, last: int, out: Any | None) -> tuple[int, int, int]:
        if first % 2 or not 0 <= first < last <= self.rows:
            raise BadInput(f"rows {first} to {last} of {self.rows}; the first must be even")
        shape = (last - first, self.plan.columns, self.plan.columns)
        if out is not None and out.shape != shape:
            raise BadInput(f"a tomogram of {shape} does not fit into {out.shape}")
        return shape
