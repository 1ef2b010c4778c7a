"""Maps of the defects of a detector, as files of many kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamer.frames import BadInput

IN_FILE = "::"
"""Between the name of an HDF5 file and that of the dataset in it."""


def read_defect_map(place: str) -> NDArray[np.bool_]:
    """True (rows, columns) for pixels not to be used: those that are not 0 in the file.

    ``place`` is a .npy, .tif or .png file, or ``FILE.h5::/dataset``. Raises BadInput when there is no such map.
    """
    try:
        values = _values(place)
    except (OSError, KeyError, ValueError, EOFError) as error:  # the readers raise what they like for what is no image
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(f"map of defects {place}: cannot be read ({reason})") from error
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise BadInput(f"map of defects {place}: {values.ndim} dimensions of {values.dtype}, expected an image")
    return np.asarray(values != 0)


def _values(place: str) -> NDArray[Any]:
    file, separator, name = place.partition(IN_FILE)
    if separator:
        with h5py.File(file, "r") as stored:
            return np.asarray(stored[name][()])
    if Path(file).suffix == ".npy":
        return np.asarray(np.load(file, allow_pickle=False))
    with Image.open(file) as image:
        return np.asarray(image)
