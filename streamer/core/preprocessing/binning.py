"""Binning of the detector: several pixels become one, before the logarithm."""

from __future__ import annotations

import numpy as np
from msgspec import structs
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput, ScanSpec


def binned(center: float, factor: int) -> float:
    """Column of the axis after ``factor`` columns were made one; the same for rows."""
    return (center - (factor - 1) / 2) / factor


def unbinned(center: float, factor: int) -> float:
    """Column on the full detector of a column found on binned frames."""
    return center * factor + (factor - 1) / 2


def bin_frame(frame: Array, rows: int, columns: int, threads: int = 1, out: Image | None = None) -> Image:
    """Mean over blocks of ``rows`` × ``columns`` pixels of a frame (rows, columns) of any real type; float32.

    The remainder at the right and lower end is left out, so that column c of the result covers c·columns …
    and ``binned`` holds. Darks, flats and projections must be binned alike, and before the logarithm.
    """
    if frame.ndim != 2 or rows < 1 or columns < 1 or frame.shape[0] < rows or frame.shape[1] < columns:
        raise BadInput(f"a frame of {frame.shape} cannot be binned by {rows} × {columns}")
    if out is None:
        out = np.empty((frame.shape[0] // rows, frame.shape[1] // columns), np.float32)
    bin_mean(as_input(frame), rows, columns, threads, out)
    return out


def binned_spec(spec: ScanSpec, factor: int) -> ScanSpec:
    """What the scan would have announced with ``factor`` × ``factor`` pixels as one, float32 beyond a factor of 1.

    Raises BadInput when nothing is left of the detector.
    """
    return structs.replace(
        spec,
        rows=spec.rows // factor,
        columns=spec.columns // factor,
        dtype=spec.dtype if factor == 1 else "<f4",
        pixel_size_m=None if spec.pixel_size_m is None else spec.pixel_size_m * factor,
        center_px=None if spec.center_px is None else binned(spec.center_px, factor),
    )


@kernel(parallel=True)
def bin_mean(frame: Array, down: int, across: int, threads: int, out: Array) -> None:
    """out[r, c] = mean of frame[r·down … , c·across …], summed in float64."""
    rows, cols = out.shape
    for thread in prange(threads):
        total = np.empty(cols, np.float64)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            total[:] = 0.0
            for k in range(r * down, (r + 1) * down):
                for c in range(cols):
                    for i in range(across):
                        total[c] += frame[k, c * across + i]
            for c in range(cols):
                out[r, c] = np.float32(total[c] / (down * across))
