"""Raw projections that are prepared together, and what takes them while they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Values
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.frames import FrameMeta


@dataclass(frozen=True)
class RawProjections:
    """Projections that came one after the other: ``pixels`` (projections, rows, columns) as the detector sent them.

    ``number`` is that of the first, counted from 0 in the order in which they came. Of each, (projections,):
    ``angle_rad``, ``monitor`` (the beam monitor's reading), and the frame's ``index``, which shows when it was taken.
    """

    pixels: Array
    number: int
    angle_rad: Values
    monitor: Values
    index: NDArray[np.int64]

    @classmethod
    def of(cls, metas: Sequence[FrameMeta], pixels: Array, number: int) -> RawProjections:
        """From what the frames' headers say of them."""
        angles = np.deg2rad([meta.angle_deg for meta in metas])
        monitor = np.array([meta.monitor for meta in metas], np.float64)
        return cls(pixels, number, angles, monitor, np.array([meta.index for meta in metas], np.int64))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def numbers(self) -> NDArray[np.intp]:
        return np.arange(self.number, self.number + len(self))


class RawPlanes(Protocol):
    """What prepares raw projections on their way: live planes, as ``LivePlanes.add_raw`` does, or a device's store."""

    def add_raw(
        self, raw: Array, correction: FlatFieldCorrection, angle_rad: Values, attenuation: Any, moments: Values
    ) -> None:
        """Take raw projections, and fill in what ``FlatFieldCorrection.prepare`` would, wherever its place is."""
