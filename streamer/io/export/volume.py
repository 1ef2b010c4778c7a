"""A tomogram's file as what is exported: opened, not loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from streamer.frames import BadInput, system_reason
from streamer.io.tomogram import AXES, DATA, Tomogram, tomogram_of

MICROMETRES = 1e6


@dataclass(frozen=True)
class Volume:
    """``data`` is a dataset of float32 (z, y, x) on the disk; ``about`` what its file says of it, without the data.

    ``step`` is the distance of two voxels and ``origin`` the position (z, y, x) of the first, in micrometres, or in
    pixels without a pixel size.
    """

    path: Path
    data: h5py.Dataset
    about: Tomogram
    step: float
    origin: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = self.data.shape
        return z, y, x

    @property
    def length_unit(self) -> str:
        return "pixel" if self.about.pixel_size_m is None else "micrometer"


@contextmanager
def open_volume(path: Path) -> Iterator[Volume]:
    """Open a tomogram. Raises BadInput, one line, when the file holds none, or an unfinished one."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadInput(f"{path}: not a readable HDF5 file ({system_reason(error).lower()})") from error
    with file:
        about = tomogram_of(file, path, slice(0))
        if about.status != "complete":
            raise BadInput(f"{path}: the tomogram is {about.status or 'not complete'}; only whole ones are exported")
        plot = file[DATA].parent
        scale = 1.0 if about.pixel_size_m is None else MICROMETRES
        z, y, x = (float(plot[name][0]) * scale for name in AXES)
        step = 1.0 if about.pixel_size_m is None else about.pixel_size_m * MICROMETRES
        yield Volume(path, file[DATA], about, step, (z, y, x))
