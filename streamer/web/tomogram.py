"""Cuts and bricks out of a tomogram on the disk: what a page asks for once a scan is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from streamer.flow.wire.daemon import PlaneSpec
from streamer.frames import BadInput
from streamer.io.tomogram import DATA, PARAMETERS

Picture = NDArray[np.float32]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last, along z, y, x."""

READ_AT_MOST = 2**27
"""Bytes of a tomogram that are read for one brick; of a larger one, some slices are left out of each mean."""

LEVELS = (1.0, 99.9)


@dataclass(frozen=True)
class Brick:
    """Voxels (z, y, x) from 0 to 255; value = lo + (hi - lo) · n / 255. ``step`` voxels along each side are one."""

    voxels: NDArray[np.uint8]
    box: Box
    step: int
    lo: float
    hi: float


class Tomogram:
    """A volume (z, y, x) in a file. Only what is asked for is read."""

    def __init__(self, data: Picture, unit: str, pixel_size_m: float | None) -> None:
        """``data`` may be a map of a file. Use ``open`` for one."""
        self.data, self.unit, self.pixel_size_m = data, unit, pixel_size_m
        self._levels: tuple[float, float] | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises BadInput when the file holds no tomogram that can be mapped."""
        try:
            with h5py.File(path, "r", locking=False) as file:
                if DATA not in file or file[DATA].ndim != 3:
                    raise BadInput(f"{path}: no tomogram at /{DATA}")
                dataset = file[DATA]
                place, size = dataset.id.get_offset(), file.get(f"{PARAMETERS}/pixel_size")
                if place is None or dataset.dtype != np.dtype("<f4"):
                    raise BadInput(f"{path}: the tomogram is not stored as plain float32")
                data = np.memmap(path, "<f4", "r", place, dataset.shape)
                return cls(data, str(dataset.attrs.get("units", "")), None if size is None else float(size[()]))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error

    @property
    def whole(self) -> Box:
        rows, height, width = self.data.shape
        return (0, rows), (0, height), (0, width)

    def within(self, box: Box) -> Box:
        """The part of a box that lies in the tomogram. Raises BadInput when there is none."""
        cut = tuple((max(0, first), min(last, n)) for (first, last), n in zip(box, self.data.shape, strict=True))
        if any(first >= last for first, last in cut):
            raise BadInput(f"the box {box} has no voxel in the tomogram of {self.data.shape}")
        return cut  # type: ignore[return-value]  # of three

    def brick(self, box: Box, most: int) -> Brick:
        """The voxels of a box, or means of so many along each side that no side is longer than ``most``."""
        box = self.within(box)
        sides = [last - first for first, last in box]
        step = max(1, -(-max(sides) // most))
        means = _means(self.data[tuple(slice(*side) for side in box)], step)
        lo, hi = self._grey(means if box == self.whole else None)
        scaled = np.clip((means - np.float32(lo)) * np.float32(255 / (hi - lo)), 0, 255)
        return Brick(scaled.astype(np.uint8), box, step, lo, hi)

    def _grey(self, means: Picture | None) -> tuple[float, float]:
        """The same levels for all bricks of a tomogram, so that a box looks like the whole."""
        if self._levels is None:
            if means is None:
                means = _means(self.data, max(1, -(-max(self.data.shape) // 64)))
            lo, hi = (float(level) for level in np.percentile(means, LEVELS))
            self._levels = (lo, hi) if lo < hi else (lo - 0.5, lo + 0.5)
        return self._levels

    def cut(self, plane: PlaneSpec) -> Picture:
        """The picture (rows, columns) of a plane; 0 outside the tomogram."""
        (x, y, z), (rows, columns) = plane.origin, plane.shape
        depth, height, width = self.data.shape
        if (plane.name, plane.shape) == ("xy", (height, width)) and 0 <= z < depth:
            return np.array(self.data[int(z)])
        if (plane.name, plane.shape) == ("xz", (depth, width)) and 0 <= y < height:
            return np.array(self.data[:, int(y)])
        if (plane.name, plane.shape) == ("yz", (depth, height)) and 0 <= x < width:
            return np.array(self.data[:, :, int(x)])
        down, across = np.arange(rows)[:, None], np.arange(columns)[None, :]
        at = [plane.origin[i] + down * plane.v[i] + across * plane.u[i] for i in (2, 1, 0)]
        return np.asarray(map_coordinates(self.data, at, np.float32, order=1, mode="constant"), np.float32)


def _means(voxels: Picture, step: int) -> Picture:
    """Means over ``step`` voxels along each side; a last incomplete one is left out, unless it is the only one."""
    if step == 1:
        return np.asarray(voxels, np.float32)
    steps = [min(step, n) for n in voxels.shape]
    depth, height, width = (n // each for n, each in zip(voxels.shape, steps, strict=True))
    # Sums of whole slices, then of whole rows: long runs of memory first, the short sums of columns last.
    layers = max(1, min(steps[0], int(READ_AT_MOST // max(1, 4 * depth * voxels.shape[1] * voxels.shape[2]))))
    chosen = np.unique(np.linspace(0, steps[0] - 1, layers).round().astype(int))
    found = np.empty((depth, height, width), np.float32)
    for z in range(depth):
        slab = voxels[z * steps[0] + int(chosen[0])].astype(np.float32)
        for layer in chosen[1:]:
            slab += voxels[z * steps[0] + int(layer)]
        slab = slab[: height * steps[1], : width * steps[2]].reshape(height, steps[1], -1).sum(1)
        slab.reshape(height, width, steps[2]).sum(-1, out=found[z])
    found /= np.float32(len(chosen) * steps[1] * steps[2])
    return found
