"""One watched plane as a viewer knows it: pixels, scale on the axes, contrast, cursor. No Qt.

``decode`` turns a preview message into a Plane, or raises ``wire.WireError`` when anything about it cannot be true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.flow.wire import WireError
from streamer.frames import MAX_FRAMES, NAME

Image = NDArray[np.float32]

MAX_PLANE_SIDE = 16_384
MAX_VALUE = 1e30
"""Beyond this a value is not an attenuation, and float32 arithmetic overflows."""

MAX_TEXT = 300
CONTRAST_SAMPLES = 60_000
CONTRAST_PERCENTILES = (0.5, 99.7)

AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}
"""Names of the (horizontal, vertical) axis of the planes that every scan has; rows grow downwards."""


@dataclass(frozen=True)
class Plane:
    """The newest picture of one plane. ``pixel_m`` is the size of one pixel *of this picture*, None when not known."""

    name: str
    scan_id: str
    sample: str
    image: Image
    unit: str
    angles: int
    of: int
    bin: int = 1
    pixel_m: float | None = None
    version: int = 0

    @property
    def axis_names(self) -> tuple[str, str]:
        return AXES.get(self.name, ("column", "row"))

    @property
    def axis_unit(self) -> str:
        return "px" if self.pixel_m is None else "mm"

    @property
    def rect(self) -> tuple[float, float, float, float]:
        """Left, top, width, height of the picture on its axes.

        In mm the origin is the middle of the picture; in px it is the centre of the first detector pixel.
        """
        rows, columns = self.image.shape
        if self.pixel_m is None:
            return -0.5, -0.5, float(columns * self.bin), float(rows * self.bin)
        step = self.pixel_m * 1e3
        return -columns * step / 2, -rows * step / 2, columns * step, rows * step

    def pixel_at(self, x: float, y: float) -> tuple[int, int] | None:
        """(row, column) of this picture under a position on its axes, None outside."""
        left, top, width, height = self.rect
        rows, columns = self.image.shape
        column, row = (x - left) / width * columns, (y - top) / height * rows
        if 0 <= column < columns and 0 <= row < rows:
            return int(row), int(column)
        return None

    def readout(self, x: float, y: float) -> str:
        """What is under the cursor, in words; empty outside the picture."""
        if (pixel := self.pixel_at(x, y)) is None:
            return ""
        row, column = pixel
        across, down = self.axis_names
        value = f"{float(self.image[row, column]):.4g} {self.unit}"
        if self.pixel_m is None:
            return f"{self.name}   {across} {column * self.bin} px   {down} {row * self.bin} px   {value}"
        digits = max(2, 1 - math.floor(math.log10(self.pixel_m * 1e3)))
        place = f"{across} {x:+.{digits}f} mm   {down} {y:+.{digits}f} mm".replace("-", "−")
        return f"{self.name}   {place}   pixel [{row}, {column}]   {value}"


def robust_levels(image: Image) -> tuple[float, float]:
    """Contrast that a few bright or dark pixels cannot spoil; always finite and never empty."""
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


def decode(entries: Mapping[str, Any], payload: bytes | memoryview) -> Plane:
    """Check everything that a preview message claims, then turn its 16-bit pixels into values."""
    name, scan_id = text(entries, "plane"), text(entries, "scan_id")
    if not NAME.fullmatch(name) or not NAME.fullmatch(scan_id):
        raise WireError("header", f"plane {name!r} of scan {scan_id!r}: not a name")
    shape = entries.get("shape")
    if not isinstance(shape, (list, tuple)) or len(shape) != 2:
        raise WireError("shape", f"plane of shape {shape!r}, expected [rows, columns]")
    rows, columns = (whole({"shape": side}, "shape", 1, MAX_PLANE_SIDE) for side in shape)
    with memoryview(payload) as view:
        if view.nbytes != 2 * rows * columns:
            raise WireError("truncated", f"plane of {rows}×{columns} pixels with {view.nbytes} bytes")
    low, high = real(entries, "lo"), real(entries, "hi")
    if low is None or high is None or low > high:
        raise WireError("header", f"plane with the range {low!r} to {high!r}")
    bin_ = whole(entries, "bin", 1, 1024, default=1)
    pixel = real(entries, "pixel_size_m")
    if pixel is not None and not 1e-12 <= pixel <= 1.0:
        raise WireError("header", f"plane with a pixel size of {pixel!r} m")
    image = np.frombuffer(payload, dtype="<u2").reshape(rows, columns).astype(np.float32)
    image *= np.float32((high - low) / 65535)
    image += np.float32(low)
    return Plane(
        name=name,
        scan_id=scan_id,
        sample=text(entries, "sample", default=""),
        image=image,
        unit=text(entries, "unit", default=""),
        angles=whole(entries, "angles", 0, MAX_FRAMES),
        of=whole(entries, "of", 0, MAX_FRAMES),
        bin=bin_,
        pixel_m=None if pixel is None else pixel * bin_,
        version=whole(entries, "version", 0, 2**63, default=0),
    )


def text(entries: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A text of a peer, cut to a length and stripped of what could disturb a label."""
    value = entries.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise WireError("header", f"{key!r} is not a text")
    return clean(value)


def clean(value: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in value[:MAX_TEXT])


def mapping(entries: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A map within a map; what is not there is empty."""
    value = entries.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WireError("header", f"{key!r} is not a map")
    return value


def whole(entries: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    value = entries.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise WireError("header", f"{key!r} is not a whole number from {low} to {high}")
    return value


def real(entries: Mapping[str, Any], key: str) -> float | None:
    """A finite number, or None when it is left out or nil."""
    value = entries.get(key)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -MAX_VALUE <= value <= MAX_VALUE:
        raise WireError("header", f"{key!r} is not a number within ±{MAX_VALUE:g}")
    return float(value)
