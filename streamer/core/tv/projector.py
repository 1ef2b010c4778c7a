"""Matched pair of projector and backprojector: one is the exact transpose of the other.

A pixel is a square. Seen at an angle its shadow is a trapezoid, and each detector column, a box, gets the share of the
shadow's area that falls into it (the strip model; separable footprints in two dimensions: Long, Fessler and Balter,
IEEE Trans. Med. Imaging 29, 1839, 2010). Iterations need the pair to match, which the linear interpolation of the
direct reconstruction and its usual forward projectors do not.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.selection import Backend
from streamer.core.tv import kernels
from streamer.core.tv.gpu_projector import DeviceStripProjector, IterativeKernels
from streamer.frames import BadInput

POWER_STEPS = 12
NORM_MARGIN = 1.03  # the power iteration approaches the norm from below


class StripProjector(Protocol):
    """The pair for the angles of one geometry, on the CPU or on a device; arrays as in ``Projector``."""

    def project(self, volume: Any, measured: Any | None, out: Any) -> None:
        """out = A · volume, less ``measured`` unless that is None."""

    def backproject(self, projections: Any, scale: float, base: Any, out: Any) -> None:
        """out = base + scale · transpose of A · projections; ``base`` may be ``out``."""

    def subset(self, angles: slice) -> StripProjector:
        """The same for some of the angles."""


@dataclass(frozen=True)
class HostStripProjector:
    """``StripProjector`` on the CPU: cosines and sines (angles,) float64 and the table of ``_footprints``."""

    cos: Values
    sin: Values
    table: Image
    center: float
    threads: int

    def project(self, volume: Image, measured: Image | None, out: Image) -> None:
        source = np.ascontiguousarray(volume, np.float32)
        kernels.project(source, self.cos, self.sin, self.table, self.center, self.threads, out)
        if measured is not None:
            out -= measured

    def backproject(self, projections: Image, scale: float, base: Image, out: Image) -> None:
        if base is not out:
            out[...] = base
        source = np.ascontiguousarray(projections, np.float32)
        kernels.backproject(source, self.cos, self.sin, self.table, self.center, self.threads, scale, out)

    def subset(self, angles: slice) -> HostStripProjector:
        return HostStripProjector(self.cos[angles], self.sin[angles], self.table[angles], self.center, self.threads)


class Projector:
    """Line integrals of a volume (ny, nx, rows), z last, at given angles, and the transpose.

    The geometry is that of ``volume``: the middle of the volume lies on the axis at detector column ``center``, and a
    pixel (x, y) off it is seen at center + x·cos + y·sin. Columns outside of the detector count as not measured.
    Arrays may lie on the host or on the backend's device; from and to the host they are copied at each call.
    Raises BadInput for angles or a centre that are no numbers, DeviceOutOfMemory from a device.
    """

    def __init__(self, backend: Backend, angle_rad: Array, columns: int, center: float, shape: tuple[int, int]) -> None:
        """``shape`` (ny, nx) of a slice in pixels, ``columns`` of the detector, ``center`` a detector column."""
        theta = np.asarray(angle_rad, np.float64).ravel()
        if theta.size == 0 or not (np.isfinite(theta).all() and np.isfinite(center)):
            raise BadInput("the angles and the centre must be finite numbers, one angle at least")
        self.angles, self.columns, self.center, self.shape = int(theta.size), columns, float(center), shape
        cos, sin, table = np.cos(theta), np.sin(theta), _footprints(theta)
        self._strips: StripProjector
        if backend.on_device:
            device = IterativeKernels(backend.kernels.engine)
            self._strips = DeviceStripProjector.of(device, cos, sin, table, self.center, columns, shape)
        else:
            self._strips = HostStripProjector(cos, sin, table, self.center, backend.threads)

    def subset(self, angles: slice) -> Projector:
        """The same geometry with some of the angles, which ``angles`` counts with a step of 1."""
        part = copy.copy(self)
        part._strips = self._strips.subset(angles)
        part.angles = len(range(*angles.indices(self.angles)))
        return part

    def padded(self, projections: Array) -> Image:
        """Projections (angles, rows, columns) in the layout of this class: (angles, columns + 2·PAD, rows) float32."""
        inside = np.asarray(projections, np.float32).transpose(0, 2, 1)
        return np.pad(inside, ((0, 0), (kernels.EDGE_PAD, kernels.EDGE_PAD), (0, 0)))

    def forward(self, volume: Any, out: Any | None = None, measured: Any | None = None) -> Any:
        """Line integrals (angles, columns + 2·PAD, rows) of volume (ny, nx, rows), pixel spacing 1.

        Less what was ``measured``, if that is given. Writes into ``out`` or returns a new array on the host.
        """
        if out is None:
            out = np.empty((self.angles, self.columns + 2 * kernels.EDGE_PAD, volume.shape[2]), np.float32)
        self._strips.project(volume, measured, out)
        return out

    def backward(self, projections: Any, scale: float, out: Any, base: Any | None = None) -> Any:
        """``base`` plus ``scale`` times the transpose of ``forward`` into ``out`` (ny, nx, rows), which is returned.

        Without ``base`` it is added to ``out``.
        """
        self._strips.backproject(projections, scale, out if base is None else base, out)
        return out

    def norm_squared(self) -> float:
        """Largest eigenvalue of transpose · forward, by power iteration, a few per cent on the safe side.

        All weights are ≥ 0, so that a start with ones is never without a share of the leading vector.
        """
        vector = np.ones((*self.shape, 1), np.float32)
        value = 0.0
        for _ in range(POWER_STEPS):
            vector /= max(float(np.linalg.norm(vector)), 1e-30)
            image = self.backward(self.forward(vector), 1.0, np.zeros_like(vector))
            value = float(np.vdot(vector, image))
            vector = image
        if value <= 0:
            raise BadInput(f"no ray of the detector crosses the volume; centre {self.center:.1f} of {self.columns}")
        return NORM_MARGIN * value


def table_nbytes(angles: int) -> int:
    """Bytes of the tables of a projector for ``angles`` angles."""
    return angles * 4 * (3 * (kernels.FOOTPRINT_PHASES + 1) + 16)


def _footprints(theta: Values) -> Image:
    """Shares (angles, PHASES + 1, 3) float32 of a unit pixel in the nearest column and its two neighbours.

    The pixel's middle lies (phase/PHASES - 1/2) columns to the right of that of the nearest column.
    """
    long, short = np.abs(np.cos(theta)), np.abs(np.sin(theta))
    long, short = np.maximum(long, short)[:, None], np.maximum(np.minimum(long, short), 1e-6)[:, None]
    phase = np.linspace(-0.5, 0.5, kernels.FOOTPRINT_PHASES + 1)[None, :]
    # Second integral of a box of width w: the shadow is the convolution of two of them, its area up to u a sum of four.
    half_sum, half_difference = (long + short) / 2, (long - short) / 2

    def area(u: Values) -> Values:
        ramps = [np.maximum(u + s, 0.0) ** 2 for s in (half_sum, half_difference, -half_difference, -half_sum)]
        return np.asarray((ramps[0] - ramps[1] - ramps[2] + ramps[3]) / (2 * long * short))

    edges = [area(column - 0.5 - phase) for column in (-1, 0, 1, 2)]
    shares = np.stack([right - left for left, right in itertools.pairwise(edges)], axis=2)
    return shares.astype(np.float32)
