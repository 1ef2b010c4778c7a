"""The tomogram: filtered backprojection of blocks of detector rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp import kernels
from streamer.core.fbp.ramp_filter import RampFilter, angular_weights
from streamer.core.jit import as_input
from streamer.frames import BadInput

ROW_MULTIPLE = 16  # detector rows: one cache line of float32, so that blocks begin where lines do


def to_z_contiguous(backend: Backend, filtered: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Transpose one filtered projection (rows, cols) into out (cols, rows), the layout of ``backproject_rows``.

    ``out`` may be a slice of a larger array along its last axis.
    """
    if out.shape != filtered.shape[::-1]:
        raise BadInput(f"a projection of {filtered.shape} does not fit into {out.shape}")
    if out.flags.c_contiguous:
        _kernels(backend).to_z_contiguous(as_input(filtered, np.float32), out)
    else:
        out[...] = filtered.T


def backproject_rows(
    backend: Backend,
    p_zlast: NDArray[np.float32],
    angle_rad: Array,
    weights: Array,
    center: float,
    out: Image,
) -> Image:
    """Linear-interpolated backprojection of all rows of a block at once; returns ``out``, which it overwrites.

    ``p_zlast`` (angles, cols, nz) filtered projections, float32, z last; ``angle_rad``, ``weights`` (angles,);
    ``out`` (nz, ny, nx) float32, its middle on the axis of rotation at detector column ``center``.
    Raises BadInput when the shapes do not belong together or a number is not finite.
    """
    angles, cols, depth = p_zlast.shape
    theta, weight = np.asarray(angle_rad, np.float64).ravel(), np.asarray(weights, np.float64).ravel()
    if theta.size != angles or weight.size != angles:
        raise BadInput(f"{angles} projections with {theta.size} angles and {weight.size} weights")
    if out.ndim != 3 or out.shape[0] != depth or cols < 2:
        raise BadInput(f"projections (angle, column, row) {p_zlast.shape} do not fit a volume (row, y, x) {out.shape}")
    if not (np.isfinite(center) and np.isfinite(theta).all() and np.isfinite(weight).all()):
        raise BadInput("the centre, an angle or a weight is not a finite number")
    if angles == 0:
        out[...] = 0.0
        return out
    spare = (0, -angles % 4)
    _kernels(backend).backproject_rows(
        as_input(p_zlast, np.float32),
        as_input(np.pad(np.cos(theta), spare), np.float32),
        as_input(np.pad(np.sin(theta), spare), np.float32),
        as_input(np.pad(weight, spare), np.float32),
        float(center),
        backend.threads,
        out,
    )
    return out


def _kernels(backend: Backend) -> Any:
    """The device's kernels, or those of numba, which have the same names and arguments."""
    return backend.kernels if backend.on_device else kernels


def row_nbytes(angles: int, columns: int) -> int:
    """Memory that one detector row needs while its block is reconstructed: attenuation, filtered rows, image."""
    return 4 * (2 * angles * columns + columns * columns)


def plan_row_blocks(rows: int, angles: int, columns: int, memory_bytes: int) -> list[tuple[int, int]]:
    """Blocks [r0, r1) of detector rows, in order and as even as can be, that each fit into ``memory_bytes``.

    Raises BadInput when not even one row fits; the message says how much it needs.
    """
    fit = memory_bytes // row_nbytes(angles, columns)
    if fit < 1:
        need, given = row_nbytes(angles, columns) / 2**20, memory_bytes / 2**20
        raise BadInput(f"one detector row needs {need:.1f} MiB for its reconstruction, {given:.1f} are allowed")
    size = -(-rows // -(-rows // fit))
    rounded = -(-size // ROW_MULTIPLE) * ROW_MULTIPLE
    if rounded > fit:
        # Whole lines, even if there are more blocks: what is beyond a whole number of them costs as much as a line.
        rounded = fit // ROW_MULTIPLE * ROW_MULTIPLE
    size = rounded or size
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def reconstruct_block(
    backend: Backend,
    attenuation: NDArray[np.float32],
    angle_rad: Array,
    center: float,
    window: str = "ramp",
    extend: bool = False,
) -> Image:
    """Tomogram (rows, columns, columns) float32, attenuation per pixel, of projections (angles, rows, columns).

    The angles may have any order and spacing. ``window`` and ``extend`` are those of ``RampFilter``.
    Raises BadInput for shapes that do not fit, and for an unknown window.
    """
    if attenuation.ndim != 3:
        raise BadInput(f"projections must be (angles, rows, columns), not {attenuation.shape}")
    angles, rows, columns = attenuation.shape
    ramp = RampFilter(columns, window, extend)
    filtered = np.empty((angles, columns, rows), np.float32)
    for index in range(angles):
        to_z_contiguous(backend, ramp.apply(attenuation[index], backend.threads), filtered[index])
    out = np.empty((rows, columns, columns), np.float32)
    return backproject_rows(backend, filtered, angle_rad, angular_weights(angle_rad), center, out)
