"""TIFF: one file a slice, with the lengths and values that ImageJ and Fiji read, or one OME-BigTIFF.

Slices are float32, or uint16 with their scaling: value = offset + scale · pixel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.export.unfinished import Tell, unfinished
from streamer.io.export.volume import Volume

LARGEST = 2**16 - 1
ABOUT = "volume.json"


@dataclass(frozen=True)
class Scaling:
    """How uint16 becomes a value: offset + scale · pixel."""

    offset: float
    scale: float

    @classmethod
    def of_range(cls, low: float, high: float) -> Scaling:
        """``low`` becomes 0, ``high`` 65535. Raises BadInput when there is nothing between them."""
        if not np.isfinite([low, high]).all() or not low < high:
            raise BadInput(
                f"the range of the values {low:g} … {high:g} cannot be shown in uint16; give --range LOW HIGH"
            )
        return cls(low, (high - low) / LARGEST)

    def pixels(self, values: NDArray[np.float32]) -> NDArray[np.uint16]:
        """The nearest of the 65536 values; those outside of the range become its ends, NaN the lower one."""
        numbers = (values.astype(np.float64) - self.offset) / self.scale
        return np.nan_to_num(np.rint(numbers), nan=0.0).clip(0, LARGEST).astype(np.uint16)


def range_of(volume: Volume, tell: Tell) -> Scaling:
    """The scaling that holds all values of a volume, which is read once for it."""
    low, high = np.inf, -np.inf
    for number in range(volume.shape[0]):
        finite = volume.data[number]
        finite = finite[np.isfinite(finite)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        tell(number + 1, volume.shape[0])
    return Scaling.of_range(low, high)


def write_tiff_stack(volume: Volume, folder: Path, scaling: Scaling | None, tell: Tell) -> None:
    """Write a folder of files ``NAME_00000.tif`` …, and ``volume.json``, which says what they hold.

    Raises BadInput when ``folder`` exists or cannot be written.
    """
    name, digits = volume.about.sample or volume.path.stem, max(5, len(str(volume.shape[0])))
    with unfinished(folder, _nbytes(volume, scaling)) as partial:
        partial.mkdir()
        for number, pixels in enumerate(_slices(volume, scaling, tell)):
            tifffile.imwrite(
                partial / f"{name}_{number:0{digits}}.tif",
                pixels,
                imagej=True,
                resolution=(1 / volume.step, 1 / volume.step),
                metadata=_imagej(volume, scaling),
            )
        (partial / ABOUT).write_text(json.dumps(_about(volume, scaling), indent=2) + "\n", encoding="utf-8")


def write_bigtiff(volume: Volume, path: Path, scaling: Scaling | None, tell: Tell) -> None:
    """Write one OME-BigTIFF. Raises BadInput when it exists or cannot be written."""
    unit = "pixel" if volume.about.pixel_size_m is None else "µm"
    lengths = {f"PhysicalSize{axis}{suffix}": content for axis in "XYZ" for suffix, content in
               (("", volume.step), ("Unit", unit))}  # fmt: skip
    with unfinished(path, _nbytes(volume, scaling)) as partial:
        tifffile.imwrite(
            partial,
            _slices(volume, scaling, tell),
            shape=volume.shape,
            dtype=np.float32 if scaling is None else np.uint16,
            photometric="minisblack",
            bigtiff=True,
            ome=True,
            metadata={"axes": "ZYX", **lengths, "Description": json.dumps(_about(volume, scaling))},
        )


def _nbytes(volume: Volume, scaling: Scaling | None) -> int:
    return math.prod(volume.shape) * (4 if scaling is None else 2)


def _slices(volume: Volume, scaling: Scaling | None, tell: Tell) -> Iterator[NDArray[Any]]:
    for number in range(volume.shape[0]):
        values = volume.data[number]
        yield values if scaling is None else scaling.pixels(values)
        tell(number + 1, volume.shape[0])


def _imagej(volume: Volume, scaling: Scaling | None) -> dict[str, Any]:
    """Lengths, and with ``c0`` and ``c1`` the straight line (``cf`` 0) by which ImageJ shows values."""
    length = {"unit": "pixel" if volume.about.pixel_size_m is None else "um", "spacing": volume.step}
    line = {} if scaling is None else {"cf": 0, "c0": scaling.offset, "c1": scaling.scale}
    return {"axes": "YX", **length, **line, "vunit": volume.about.unit}


def _about(volume: Volume, scaling: Scaling | None) -> dict[str, Any]:
    """What the pixels are, for programs and for people."""
    about = volume.about
    line = scaling or Scaling(0.0, 1.0)
    return {
        "file": volume.path.name,
        "sample": about.sample,
        "shape_zyx": list(volume.shape),
        "dtype": "float32" if scaling is None else "uint16",
        "value": "offset + scale * pixel",
        "offset": line.offset,
        "scale": line.scale,
        "unit": about.unit,
        "pixel_size_m": about.pixel_size_m,
        "parameters": about.parameters,
    }
