"""How the projections of a scan are laid out for the reconstruction.

Plain, or as parts of a field of view up to twice as wide (360° with the axis near an edge); straightened if the axis is
tilted; continued beyond the edges if the sample is cut off there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from streamer.core.alignment.gpu_layout import straighten, widen
from streamer.core.alignment.half_acquisition import OffsetWeights
from streamer.core.alignment.tilt import Straighten, Tilt
from streamer.core.arrays import Image, Values
from streamer.core.backend.on_device import OnDevice
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.frames import BadInput

MIN_TILT_RAD = float(np.deg2rad(0.05))
"""A smaller tilt is not worth turning a frame: it blurs a detector of 1000 rows by less than half a pixel at its ends,
and turning costs sharpness."""


@dataclass(frozen=True)
class Layout:
    """What is done to prepared attenuation (rows, columns) of the detector before it is reconstructed.

    It is straightened by ``tilt_rad`` and then, if ``half``, faded and laid into rows that are ``width`` wide.
    ``detector_center`` is the axis at the middle row, a detector column. ``extend`` tells the ramp filter that the
    sample is cut off at an edge of the laid-out rows. ``reason`` says in words why the layout was chosen.
    """

    rows: int
    columns: int
    detector_center: float
    half: bool = False
    extend: bool = False
    tilt_rad: float = 0.0
    reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.detector_center):
            raise BadInput(f"the axis is at column {self.detector_center}, which is no number")
        if self.half:
            OffsetWeights(self.columns, self.detector_center)
        if self.tilt_rad:
            self._straighten(1)

    @cached_property
    def _wide(self) -> OffsetWeights | None:
        return OffsetWeights(self.columns, self.detector_center) if self.half else None

    @property
    def width(self) -> int:
        """Columns of laid-out projections, and of slices."""
        return self.columns if self._wide is None else self._wide.width

    @property
    def period(self) -> float:
        """Radian after which a view repeats: π, or 2π where opposite views see different parts."""
        return 2 * np.pi if self.half else np.pi

    @property
    def needs_all_rows(self) -> bool:
        """Whether a row of the result is made from several rows of the detector, see ``source_rows``."""
        return self.tilt_rad != 0.0

    @property
    def changes(self) -> bool:
        """Whether ``place`` changes anything."""
        return self.half or self.needs_all_rows

    def center(self, detector_column: float | None = None) -> float:
        """Column of laid-out projections for a detector column; by default that of the axis.

        An axis a few tenths of a pixel from ``detector_center`` may be given here; for more, lay out anew (``at``).
        """
        column = self.detector_center if detector_column is None else detector_column
        return column if self._wide is None else self._wide.first + column

    def at(self, detector_center: float) -> Layout:
        """The same layout for another axis. Raises BadInput if half acquisition is impossible there."""
        return replace(self, detector_center=detector_center)

    def weights(self, angle_rad: Values) -> Values:
        """Quadrature weights (n,), radian, of projections laid out in this way; see ``angular_weights``."""
        return angular_weights(angle_rad, self.period)

    def density_scale(self, angle_rad: Values) -> float:
        """What a slice from these angles is to be multiplied by so that its mean density is right.

        Each projection holds all of the mass, so that a slice lacks the share of the angles that lack. 1 where less
        than 2 % of them do, or more than half.
        """
        covered = float(self.weights(angle_rad).sum()) / self.period if angle_rad.size else 0.0
        return 1.0 / covered if 0.5 < covered < 0.98 else 1.0

    def source_rows(self, first: int, last: int) -> tuple[int, int]:
        """Detector rows [a, b) that ``place`` needs so that the rows [first, last) are right."""
        return self._straighten(1).source_rows(first, last) if self.tilt_rad else (first, last)

    def place(self, attenuation: Image, out: Image | None = None, first_row: int = 0, threads: int = 1) -> Image:
        """Attenuation (rows, columns) or (projections, rows, columns) float32 laid out, ``width`` columns wide.

        The rows are those of the detector from ``first_row`` on. The result is written to ``out`` if given, which must
        not be the input; else it is a new array, or the input itself if nothing ``changes``. Raises BadInput if the
        shapes do not fit.
        """
        if attenuation.ndim not in (2, 3) or attenuation.shape[-1] != self.columns:
            raise BadInput(f"projections {attenuation.shape} given to a layout for {self.columns} columns")
        if not 0 <= first_row <= self.rows - attenuation.shape[-2]:
            raise BadInput(f"{attenuation.shape[-2]} rows from row {first_row} of a detector of {self.rows} rows")
        wanted = (*attenuation.shape[:-1], self.width)
        if out is not None and out.shape != wanted:
            raise BadInput(f"projections {attenuation.shape} become {wanted} and do not fit into {out.shape}")
        source = self._straight(attenuation, None if self.half else out, first_row, threads)
        if self._wide is not None:
            return self._wide.place(source, out)
        if out is None or source is out:
            return source
        out[...] = source
        return out

    def place_there(self, attenuation: OnDevice, first_row: int = 0) -> OnDevice:
        """``place`` for projections (projections, rows, columns) on a device, there. Raises DeviceOutOfMemory."""
        if self.tilt_rad and len(attenuation):
            middle = (self.rows - 1) / 2 - first_row
            attenuation = straighten(attenuation, self.tilt_rad, self.detector_center, middle)
        return attenuation if self._wide is None or not len(attenuation) else widen(attenuation, self._wide)

    def to_dict(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "geometry": "half acquisition" if self.half else "plain",
            "detector_center_px": self.detector_center,
            "center_in_layout_px": self.center(),
            "width_px": self.width,
            "extended_edges": self.extend,
            "axis_tilt_deg": float(np.rad2deg(self.tilt_rad)),
            "reason": self.reason,
        }

    def _straighten(self, threads: int) -> Straighten:
        return Straighten(self.rows, self.columns, Tilt(self.detector_center, self.tilt_rad, 0.0, 1.0), threads)

    def _straight(self, attenuation: Image, out: Image | None, first_row: int, threads: int) -> Image:
        if not self.tilt_rad:
            return attenuation
        straighten = self._straighten(threads)
        if attenuation.ndim == 2:
            return straighten.apply(attenuation, out, first_row)
        result = np.empty(attenuation.shape, np.float32) if out is None else out
        for frame, target in zip(attenuation, result, strict=True):
            straighten.apply(frame, target, first_row)
        return result
