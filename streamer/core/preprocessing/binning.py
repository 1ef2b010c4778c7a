"""Binning of the detector: several pixels become one, before the logarithm."""

from __future__ import annotations

from dataclasses import dataclass

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


def crop(frame: Array, rows: tuple[int, int] | None = None, columns: tuple[int, int] | None = None) -> Array:
    """View of the rows [a, b) and columns [a, b); the centre moves to center - columns[0]. BadInput when empty."""
    _length("rows", rows, frame.shape[-2])
    _length("columns", columns, frame.shape[-1])
    return frame[..., slice(*(rows or (None,))), slice(*(columns or (None,)))]


def _length(name: str, part: tuple[int, int] | None, size: int) -> int:
    if part is None:
        return size
    if not 0 <= part[0] < part[1] <= size:
        raise BadInput(f"{name} {part[0]} … {part[1]} do not lie within 0 … {size}")
    return part[1] - part[0]


@dataclass(frozen=True)
class Reduction:
    """Part of the detector, and how many of its pixels become one: ``rows`` [a, b), then ``columns`` [a, b), then
    blocks of ``bin`` × ``bin``. Projections, flats and darks are to pass through the same one, before the logarithm.
    """

    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    bin: int = 1

    def __post_init__(self) -> None:
        if self.bin < 1:
            raise BadInput(f"pixels are binned by 1 or more, not by {self.bin}")

    def apply(self, frame: Array, threads: int = 1, out: Image | None = None) -> Array:
        """Frame (rows, columns) of any real type reduced: a view of it without binning (``out`` is not used then),
        else means of the counts, float32. Raises BadInput when the part does not lie within the frame.
        """
        part = crop(frame, self.rows, self.columns)
        return part if self.bin == 1 else bin_frame(part, self.bin, self.bin, threads, out)

    def scan(self, spec: ScanSpec) -> ScanSpec:
        """What the reduced scan would have announced. Raises BadInput when nothing is left of the detector."""
        rows = _length("rows", self.rows, spec.rows) // self.bin
        columns = _length("columns", self.columns, spec.columns) // self.bin
        return structs.replace(
            spec,
            rows=rows,
            columns=columns,
            dtype=spec.dtype if self.bin == 1 else "<f4",
            pixel_size_m=None if spec.pixel_size_m is None else spec.pixel_size_m * self.bin,
            center_px=None if spec.center_px is None else self.reduced(spec.center_px),
        )

    def reduced(self, center: float) -> float:
        """Column of the axis on reduced frames, from that on the detector."""
        return binned(center - (self.columns[0] if self.columns else 0), self.bin)

    def detector(self, center: float) -> float:
        """Column of the axis on the detector, from that on reduced frames."""
        return unbinned(center, self.bin) + (self.columns[0] if self.columns else 0)


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
