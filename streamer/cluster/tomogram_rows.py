"""The part of a tomogram's file that is a shard's: the scout has laid the file out, each shard writes its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.io.direct import BulkWriter
from streamer.io.tomogram import VOXEL_BYTES


class TomogramRows:
    """Rows from ``first`` on of float32 voxels (row, y, x) that begin at the byte ``place``; ``plane`` is (y, x)."""

    def __init__(self, path: Path, place: int, first: int, plane: tuple[int, int]) -> None:
        self._plane_bytes = VOXEL_BYTES * plane[0] * plane[1]
        self._bulk, self._place = BulkWriter(path), place + first * self._plane_bytes

    def write_rows(self, first: int, block: NDArray[np.float32]) -> None:
        self._bulk.write(self._place + first * self._plane_bytes, np.ascontiguousarray(block, "<f4"))

    def close(self) -> None:
        self._bulk.close()
