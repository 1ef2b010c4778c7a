"""Arrays as a recorded scan: what ``streamer.reconstruct`` feeds the pipeline with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamer.core.arrays import Array, Mask, Values
from streamer.core.memory import Memory
from streamer.core.quality.angles import missing_before
from streamer.frames import BadInput, Frame, FrameKind, FrameMeta, ScanSpec, frame_dtype

NAME = "arrays"
"""Scan id and sample of a scan that has no name."""


class ArrayScan:
    """Projections (n, rows, columns), flats and darks as one scan: darks first, then flats, then projections.

    Projections (n, columns) are those of a single detector row. Flats and darks have the shape of a projection, or one
    dimension more when there are several. Pixels may be of any integer or real type. The arrays are not copied as a
    whole. Raises BadInput naming the array that does not fit.
    """

    def __init__(
        self,
        projections: ArrayLike,
        angles_deg: ArrayLike,
        flats: ArrayLike | None = None,
        darks: ArrayLike | None = None,
        **lengths: float | None,
    ) -> None:
        """``lengths`` are pixel_size_m, energy_kev and distance_m of the ``ScanSpec``, where they are known."""
        stack = _numbers("projections", projections)
        if stack.ndim not in (2, 3) or not stack.size:
            raise BadInput(
                f"projections: shape {stack.shape}; give (projections, rows, columns), or (projections, columns) for "
                "one detector row"
            )
        single = stack.ndim == 2
        self._projections = stack[:, None] if single else stack
        rows, columns = self._projections.shape[1:]
        self._flats, self._darks = (
            _field(name, frames, rows, columns, single) for name, frames in (("flats", flats), ("darks", darks))
        )
        self.angles_deg = _angles(angles_deg, len(stack))
        self._dtype = frame_dtype(*(part.dtype for part in (self._darks, self._flats, self._projections) if len(part)))
        before = len(self._darks) + len(self._flats)
        lacking = missing_before(self.angles_deg)
        self.missing = int(lacking.sum())
        self.defects: Mask | None = None
        self.usable_index = before - 1 + np.cumsum(1 + lacking)
        self.spec = ScanSpec.recorded(
            NAME,
            NAME,
            self.angles_deg,
            self._projections.dtype,
            self.missing,
            rows=rows,
            columns=columns,
            flats=len(self._flats),
            darks=len(self._darks),
            dtype=self._dtype.str,
            **lengths,
        )

    def frames(self, rows: slice = slice(None)) -> Iterator[Frame]:
        """All frames, cut to the detector rows ``rows``."""
        first = 0
        parts = (
            (FrameKind.DARK, self._darks),
            (FrameKind.FLAT, self._flats),
            (FrameKind.PROJECTION, self._projections),
        )
        for kind, stack in parts:
            projections = kind is FrameKind.PROJECTION
            angles = self.angles_deg if projections else np.zeros(len(stack))
            numbers = self.usable_index if projections else np.arange(first, first + len(stack))
            for pixels, number, angle in zip(stack, numbers.tolist(), angles.tolist(), strict=True):
                yield Frame(FrameMeta(NAME, number, kind, angle), self._converted(pixels[rows]))
            first += len(stack)

    def rows(self, first: int, last: int, memory: Memory | None = None) -> Array:
        """Detector rows [first, last) of all projections: (projections, last - first, columns)."""
        return self._converted(self._projections[:, first:last])

    def projections(
        self, block: int | None = None, rows: slice = slice(None)
    ) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Blocks of projections: their places in ``angles_deg``, and their pixels (n, rows, columns)."""
        step = block or len(self._projections)
        for first in range(0, len(self._projections), step):
            some = self._projections[first : first + step, rows]
            yield np.arange(first, first + len(some)), self._converted(some)

    def _converted(self, pixels: Array) -> Array:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is mended
            return np.ascontiguousarray(pixels, self._dtype)


def _numbers(name: str, array: ArrayLike) -> Array:
    try:
        numbers = np.asarray(array)
    except ValueError as error:  # lists of different lengths
        raise BadInput(f"{name}: not an array of one shape ({error})") from error
    if numbers.dtype.kind not in "uif":
        raise BadInput(f"{name}: dtype {numbers.dtype}; give whole or real numbers")
    return numbers


def _field(name: str, array: ArrayLike | None, rows: int, columns: int, single: bool) -> Array:
    """Flats or darks as (n, rows, columns); n is 0 where there are none. ``single``: without an axis for the rows."""
    frames = np.zeros((0, rows, columns), np.uint8) if array is None else _numbers(name, array)
    shape = frames.shape
    if single and array is not None:
        frames = frames[..., None, :]
    if frames.ndim == 2:
        frames = frames[None]
    if frames.ndim != 3 or frames.shape[1:] != (rows, columns):
        projection = (columns,) if single else (rows, columns)
        raise BadInput(f"{name}: shape {shape}; a projection is {projection}, give one frame or several")
    return frames


def _angles(angles_deg: ArrayLike, count: int) -> Values:
    angles = _numbers("angles_deg", angles_deg).astype(np.float64).reshape(-1)
    if angles.size != count:
        raise BadInput(f"angles_deg: {angles.size} angles for {count} projections; give one for each")
    if not np.isfinite(angles).all():
        raise BadInput(f"angles_deg: the angle of projection {int(np.argmin(np.isfinite(angles)))} is not a number")
    return angles
