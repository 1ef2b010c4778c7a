"""Small scans in the layouts that people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

SHAPE = (3, 4)  # of a frame
ANGLES = np.arange(20) * 9.0


def images(count: int, level: int = 0) -> NDArray[np.uint16]:
    """Frames that say which one they are: frame k is ``level`` + k."""
    return np.broadcast_to((level + np.arange(count, dtype="<u2"))[:, None, None], (count, *SHAPE)).copy()


PROJECTIONS, FLATS, DARKS = images(20, 100), images(3, 900), images(2, 1)


def dxchange(path: Path, **changes: Any) -> Path:
    """A DXchange file; a change of None leaves that member out."""
    members = {"data": PROJECTIONS, "data_white": FLATS, "data_dark": DARKS, "theta": ANGLES}
    with h5py.File(path, "a") as file:
        for name, value in {**members, **changes}.items():
            if value is not None:
                file[f"exchange/{name}"] = value
        if "theta" in file["exchange"] and "theta" not in changes:
            file["exchange/theta"].attrs["units"] = "deg"
    return path


def nxtomo(path: Path, entry: str = "entry", order: str = "dfp", detector: str = "detector", level: int = 0) -> Path:
    """An NXtomo entry; ``order`` of darks, flats and projections; ``level`` is added to all pixels."""
    parts = {"d": (DARKS, 2, np.zeros(2)), "f": (FLATS, 1, np.zeros(3)), "p": (PROJECTIONS, 0, ANGLES)}
    chosen = [parts[letter] for letter in order]
    with h5py.File(path, "a") as file:
        group = file.require_group(entry)
        if "definition" not in group:
            group["definition"] = "NXtomo"
            group["sample/rotation_angle"] = np.concatenate([angles for *_, angles in chosen])
            group["sample/rotation_angle"].attrs["units"] = "degree"
        group[f"instrument/{detector}/data"] = np.concatenate([frames for frames, *_ in chosen]) + level
        keys = np.concatenate([np.full(len(frames), key) for frames, key, _ in chosen])
        group[f"instrument/{detector}/image_key"] = keys
    return path
