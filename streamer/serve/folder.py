"""What a daemon's data folder holds, read anew each time, since it grows."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.archive import read_archive
from streamer.io.raw.unclosed import open_raw
from streamer.io.tomogram import AXES, DATA

RAW = {
    "raw": ("entry/instrument/detector/data", ("frame", "row", "column")),
    "rotation_angle": ("entry/sample/rotation_angle", ("frame",)),
    "image_key": ("entry/instrument/detector/image_key", ("frame",)),
    "frame_index": ("entry/instrument/detector/sequence_number", ("frame",)),
}
"""Arrays of a raw file by name: the dataset, and its dimensions. Frames lie in the order of their arrival."""

_LOCK = threading.Lock()
"""One file is open at a time: HDF5 cannot open one both as growing and as finished in the same process."""


@dataclass(frozen=True)
class Stored:
    """An array in an HDF5 file that may grow. ``shape`` is that of now."""

    path: Path
    dataset: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, where: Any = ...) -> NDArray[Any]:
        """The part ``where`` of what the file had when this was made. Raises BadInput when it cannot be read."""
        with _LOCK, open_raw(self.path) as file:
            data = file[self.dataset]
            return np.asarray(data[self._within(where if isinstance(where, tuple) else (where,))])

    def _within(self, where: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same part with an entry for each dimension, none beyond ``shape``: the file may have grown since."""
        if Ellipsis not in where:
            where = (*where, Ellipsis)
        at, lacking = where.index(Ellipsis), len(self.shape) - len(where) + 1
        full = (*where[:at], *[slice(None)] * lacking, *where[at + 1 :])
        return tuple(
            slice(*each.indices(n)) if isinstance(each, slice) else range(n)[each]
            for each, n in zip(full, self.shape, strict=True)
        )


def scans(folder: Path) -> dict[str, Path]:
    """The raw files by scan id, in folders as well, the one that was written last at the end. A scan in segments is its
    master file.
    """
    found = [path for path in folder.rglob("*.nx") if "+" not in path.stem]
    found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
    return {path.stem: path for path in found}


def arrays(raw: Path) -> dict[str, Stored]:
    """The arrays of a scan: those of its raw file, and its tomogram where it is written."""
    found = {}
    wanted = {name: (raw, *place) for name, place in RAW.items()}
    wanted["tomogram"] = raw.with_name(f"{raw.stem}.tomogram.h5"), DATA, AXES
    for name, (path, dataset, dims) in wanted.items():
        if path.exists():
            with _LOCK, open_raw(path) as file:
                data = file[dataset]
                found[name] = Stored(path, dataset, dims, data.shape, data.dtype)
    return {name: stored for name, stored in found.items() if all(stored.shape)}


def about(raw: Path) -> dict[str, Any]:
    """What the raw file says of its scan: ``spec``, ``status``, and what was judged once it was."""
    try:
        with _LOCK:
            content = read_archive(raw)
            with open_raw(raw) as file:
                content["spec"] = json.loads(file["entry/streamer/spec"].asstr()[()])
    except (BadInput, KeyError) as error:
        return {"scan_id": raw.stem, "note": str(error)}
    return {"scan_id": raw.stem, **content}
