"""The picture of one watched plane: pixels, scale on the axes, contrast, cursor. No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.flow.wire.daemon import PlaneSpec, PreviewHeader
from streamer.flow.wire.looks import Looked
from streamer.gui.state.figures import number_text

Image = NDArray[np.float32]
Rect = tuple[float, float, float, float]

CONTRAST_SAMPLES = 60_000
CONTRAST_PERCENTILES = (0.5, 99.7)

PLANE_AXES = {
    "xy": ("x", "y"),
    "xz": ("x", "z"),
    "yz": ("y", "z"),
    "sinogram": ("column", "projection"),
}
"""Names of the (horizontal, vertical) axis of the planes that every scan has; rows grow downwards."""

KINDS = {0: "projection", 1: "flat", 2: "dark", 3: "invalid frame"}


@dataclass(frozen=True)
class PlanePicture:
    """``image`` in ``unit``, from ``angles`` of ``of`` projections.

    ``pixel_m`` is the size of one pixel *of this picture*, None when not known.
    """

    name: str
    scan_id: str
    sample: str
    image: Image
    unit: str
    angles: int
    of: int
    bin: int = 1
    pixel_m: float | None = None
    place: PlaneSpec | None = None
    volume: tuple[int, int, int] | None = None
    caption: str = ""

    @classmethod
    def of_preview(cls, preview: PreviewHeader, payload: bytes | memoryview) -> PlanePicture:
        """The picture in a preview message that was read and checked."""
        pixel = preview.pixel_size_m
        return cls(
            name=preview.plane,
            scan_id=preview.scan_id,
            sample=preview.sample,
            image=preview.values(payload),
            unit=preview.unit,
            angles=preview.angles,
            of=preview.of,
            bin=preview.bin,
            # A plane that was set with another step than a voxel has pixels of another size.
            pixel_m=None if pixel is None else pixel * preview.bin * _step(preview.place),
            place=preview.place,
            volume=preview.volume,
            caption=f"{preview.angles} of {preview.of} angles{', coarse' if preview.coarse else ''}",
        )

    @classmethod
    def of_look(cls, looked: Looked) -> PlanePicture:
        """What the detector sees, in pixels of the detector."""
        match looked.subject:
            case "raw":
                kind = KINDS.get(-1 if looked.kind is None else int(looked.kind), "frame")
                caption = f"{kind}, frame {looked.index}"
            case "projection":
                caption = "prepared: darks, flats, logarithm"
            case _:
                row = "" if looked.row is None else f"detector row {looked.row}, "
                caption = f"{row}{looked.count} projections"
        if looked.angle_deg is not None and (looked.subject != "raw" or looked.kind == 0):
            caption += f", {looked.angle_deg:.1f}°"
        return cls(
            looked.subject, looked.scan_id, looked.sample, looked.image, looked.unit, looked.count, 0, looked.bin,
            caption=caption,
        )  # fmt: skip

    def full_pixel(self, x: float, y: float) -> tuple[float, float]:
        """(row, column) of the plane in full detail under a position on its axes."""
        left, top, width, height = self.rect
        rows, columns = self.image.shape
        row = (y - top) / height * rows * self.bin - 0.5
        return row, (x - left) / width * columns * self.bin - 0.5

    def on_axes(self, row: float, column: float) -> tuple[float, float]:
        """(x, y) on the axes of a pixel of the plane in full detail; the inverse of ``full_pixel``."""
        left, top, width, height = self.rect
        rows, columns = self.image.shape
        return left + (column + 0.5) / (columns * self.bin) * width, top + (row + 0.5) / (rows * self.bin) * height

    @property
    def voxel_m(self) -> float | None:
        """Size of a pixel of the detector, and of a voxel."""
        return None if self.pixel_m is None else self.pixel_m / (self.bin * _step(self.place))

    @property
    def axis_names(self) -> tuple[str, str]:
        return PLANE_AXES.get(self.name, ("column", "row"))

    @property
    def axis_unit(self) -> str:
        return "px" if self.pixel_m is None else "mm"

    @property
    def rect(self) -> Rect:
        """Left, top, width, height of the picture on its axes.

        In mm the origin is the middle of the plane; in px it is the centre of the first detector pixel.
        """
        left, top, _, _ = self.extent
        rows, columns = self.image.shape
        step = self._unit * self.bin
        return left, top, columns * step, rows * step

    @property
    def extent(self) -> Rect:
        """The same of the whole plane, whatever the detail: the last pixels of the picture may reach beyond it."""
        rows, columns = (side * self.bin for side in self.image.shape) if self.place is None else self.place.shape
        step = self._unit
        left, top = (-0.5, -0.5) if self.pixel_m is None else (-columns * step / 2, -rows * step / 2)
        return left, top, columns * step, rows * step

    @property
    def _unit(self) -> float:
        """Of the axes, for a pixel of the plane in full detail."""
        return 1.0 if self.pixel_m is None else self.pixel_m * 1e3 / self.bin

    def pixel_at(self, x: float, y: float) -> tuple[int, int] | None:
        """(row, column) of this picture under a position on its axes, None outside."""
        left, top, width, height = self.rect
        rows, columns = self.image.shape
        column, row = (x - left) / width * columns, (y - top) / height * rows
        if 0 <= column < columns and 0 <= row < rows:
            return int(row), int(column)
        return None

    def readout(self, x: float, y: float) -> str:
        """Position and value under the cursor, in words; empty outside the picture."""
        if (pixel := self.pixel_at(x, y)) is None:
            return ""
        row, column = pixel
        across, down = self.axis_names
        value = f"{number_text(float(self.image[row, column]))} {self.unit}"
        if self.pixel_m is None:
            return f"{self.name}   {across} {column * self.bin} px   {down} {row * self.bin} px   {value}"
        digits = max(2, 1 - math.floor(math.log10(self.pixel_m * 1e3)))
        place = f"{across} {x:+.{digits}f} mm   {down} {y:+.{digits}f} mm".replace("-", "−")
        return f"{self.name}   {place}   pixel [{row}, {column}]   {value}"


def _step(place: PlaneSpec | None) -> float:
    """Voxels from pixel to pixel of a plane in full detail."""
    return 1.0 if place is None else float(np.linalg.norm(place.u))


def robust_levels(image: Image) -> tuple[float, float]:
    """Contrast that ignores a few bright or dark pixels; finite, and never empty."""
    rows, columns = image.shape
    step = max(1, math.isqrt(max(1, rows * columns // CONTRAST_SAMPLES)))
    # A thinned regular grid: cheap, and without randomness the contrast does not flicker.
    sample = image[::step, ::step]
    low, high = (float(level) for level in np.percentile(sample, CONTRAST_PERCENTILES))
    if not low < high:
        low, high = float(image.min()), float(image.max())
    if not low < high:
        low, high = low - max(0.5, abs(low) / 2), high + max(0.5, abs(high) / 2)
    return low, high
