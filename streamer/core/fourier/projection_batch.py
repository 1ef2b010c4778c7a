"""Projections that are added to a Fourier volume together, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.core.arrays import Values
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.frames import BadInput


@dataclass(frozen=True)
class ProjectionBatch:
    """Attenuation (projections, rows, columns) float32 with one angle (radian) and weight for each.

    ``on_device`` is the same attenuation in the memory of the backend's device, C-contiguous, where it is there
    already: only what the CPU grids is then read from ``attenuation``, which may be a download of it. Weights are those
    of ``angular_weights``, or differences of them. Raises BadInput for shapes that do not belong together, and for
    angles and weights that are not finite.
    """

    attenuation: Projections
    angle_rad: Values
    weight: Values
    on_device: Any = None

    def __post_init__(self) -> None:
        count, there = len(self.attenuation), self.on_device
        if self.attenuation.ndim == 3 and (np.shape(self.angle_rad), np.shape(self.weight)) != ((count,), (count,)):
            angles, weights = np.size(self.angle_rad), np.size(self.weight)
            raise BadInput(f"{count} projections with {angles} angles and {weights} weights")
        if not (np.isfinite(self.angle_rad).all() and np.isfinite(self.weight).all()):
            raise BadInput("an angle or a weight is not a finite number")
        if there is not None and (there.shape, there.dtype) != (self.attenuation.shape, np.float32):
            raise BadInput(
                f"projections are float32 {self.attenuation.shape}, on the device {there.dtype} {there.shape}"
            )

    @classmethod
    def of(cls, attenuation: Projections, angle_rad: Values, weight: Values) -> ProjectionBatch:
        """From attenuation wherever it lies. Raises BadInput as above."""
        there = attenuation.array if isinstance(attenuation, OnDevice) else None
        return cls(attenuation, angle_rad, weight, there)

    def __len__(self) -> int:
        return len(self.attenuation)

    def part(self, first: int, last: int) -> ProjectionBatch:
        """Projections first … last-1 of these."""
        some, there = slice(first, last), self.on_device
        device = None if there is None else there[some]
        return ProjectionBatch(self.attenuation[some], self.angle_rad[some], self.weight[some], device)

    def check_fit(self, rows: int, columns: int, first_row: int) -> None:
        """Raises BadInput unless a volume of ``rows`` and ``columns`` can take the rows from ``first_row`` on."""
        shape = self.attenuation.shape
        if len(shape) != 3 or shape[2] != columns:
            raise BadInput(f"projections (angle, row, column) {shape} for {columns} columns")
        if not 0 <= first_row <= shape[1] - rows:
            raise BadInput(f"{shape[1]} rows for a volume of {rows} from row {first_row}")
