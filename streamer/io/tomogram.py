"""The reconstructed volume: NXtomoproc, written row by row under a temporary name until it is complete."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.archive import lay_out_archive
from streamer.io.place import place

UNITS = ("1/cm", "1/pixel")
RECONSTRUCTION = "entry/reconstruction"
DATA = f"{RECONSTRUCTION}/results/data"
PARTIAL = ".partial.h5"


class TomogramFile:
    """A volume (row, y, x) being written. As a context manager it is closed as "complete", kept partial on an error,
    and removed on Ctrl-C.

    Until ``close`` the file is called ``<name>.partial.h5``, so that no half volume looks like a whole one.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        """Use ``create``."""
        self.path = path
        self.partial = path.with_name(path.name.removesuffix(".h5") + PARTIAL)
        self._file = file
        self._data = file[DATA]

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, int, int],
        *,
        sample: str = "",
        pixel_size_m: float | None = None,
        unit: str = "1/pixel",
        raw_file: Path | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> TomogramFile:
        """A new volume. Its space on the disk is taken now: HDF5 that finds the disk full later may crash at exit.

        ``parameters`` are scalars, texts or what JSON can hold. Raises BadInput when ``path`` exists, when it cannot
        be made, or when the unit is none of ``UNITS``. A partial file of an earlier attempt is replaced.
        """
        if unit not in UNITS:
            raise BadInput(f"tomogram {path}: unit {unit!r} is not one of {', '.join(UNITS)}")
        if os.path.lexists(path):
            raise BadInput(f"tomogram {path}: exists already and is never overwritten; choose another name")
        partial = path.with_name(path.name.removesuffix(".h5") + PARTIAL)
        try:
            _check_room(path.parent, 4 * math.prod(shape))
            partial.unlink(missing_ok=True)  # the name alone: where a symbolic link leads is not ours
            file = h5py.File(partial, "x", libver=("v110", "v110"))
        except OSError as error:
            raise BadInput(f"tomogram {path}: cannot be made ({_reason(error)})") from error
        try:
            _layout(file, shape, sample, pixel_size_m, unit, raw_file, parameters or {})
            _reserve(file[DATA])
        except BaseException as error:
            with contextlib.suppress(Exception):
                file.close()
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise BadInput(f"tomogram {path}: cannot be made ({_reason(error)})") from error
            raise
        return cls(file, path)

    def write_rows(self, first: int, block: NDArray[np.float32]) -> None:
        """Write the rows from ``first`` on, (n, y, x). Raises ValueError when the block does not fit there."""
        rows, *plane = self._data.shape
        if block.ndim != 3 or list(block.shape[1:]) != plane or not 0 <= first <= rows - len(block):
            raise ValueError(f"block {block.shape} at row {first} does not fit into {self._data.shape}")
        self._data[first : first + len(block)] = block

    def close(self, status: str = "complete") -> Path:
        """Finish the file; gives its path. "complete" gives it its name, any other status leaves it partial."""
        if not self._file:
            return self.path
        self._file[f"{RECONSTRUCTION}/status"][()] = status
        self._file["entry/end_time"][()] = _now()
        self._file.close()
        if status != "complete":
            return self.partial
        try:
            return place(self.partial, self.path)
        except FileExistsError as error:
            raise BadInput(f"tomogram {self.path}: exists already; the result is in {self.partial}") from error

    def __enter__(self) -> TomogramFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(Exception):  # the error on its way out is the one that matters
            self.close("failed")
            if issubclass(kind, KeyboardInterrupt):  # whoever gives up does not want it
                self.partial.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error).split("\n")[0]


def _check_room(directory: Path, nbytes: int) -> None:
    """Before anything is made: an allocation that fails in the end has filled the disk for everybody until then."""
    stat = os.statvfs(directory)
    if nbytes > stat.f_bavail * stat.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _reserve(data: h5py.Dataset) -> None:
    """Take the blocks of the disk that the data will need. Raises OSError when there are not enough."""
    data.file.flush()
    if data.nbytes:
        os.posix_fallocate(data.file.id.get_vfd_handle(), data.id.get_offset(), data.nbytes)


def _layout(
    file: h5py.File,
    shape: tuple[int, int, int],
    sample: str,
    pixel_size_m: float | None,
    unit: str,
    raw_file: Path | None,
    parameters: Mapping[str, Any],
) -> None:
    file.attrs.update(NX_class="NXroot", default="entry")
    entry = _group(file, "entry", "NXentry", default="reconstruction")
    entry["definition"] = "NXtomoproc"
    entry["program_name"] = "Streamer"
    entry["start_time"] = _now()
    entry.create_dataset("end_time", (), h5py.string_dtype(), data="")
    _group(entry, "sample", "NXsample")["name"] = sample
    process = _group(entry, "reconstruction", "NXprocess", default="results")
    process["program"] = "Streamer"
    process.create_dataset("status", (), h5py.string_dtype(), data="running")
    if pixel_size_m is not None:
        process["pixel_size"] = pixel_size_m
        process["pixel_size"].attrs["units"] = "m"
    if raw_file is not None:
        process["raw_file"] = os.path.relpath(raw_file, Path(file.filename).parent)
    configuration = _group(process, "configuration", "NXcollection")
    for name, value in parameters.items():
        if value is not None:
            configuration[name] = value if isinstance(value, (str, int, float)) else json.dumps(value)
    _results(process, shape, pixel_size_m, unit)
    lay_out_archive(entry)


def _results(process: h5py.Group, shape: tuple[int, int, int], pixel_size_m: float | None, unit: str) -> None:
    results = _group(process, "results", "NXdata", signal="data", axes=["row", "y", "x"])
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(results.id, b"data", h5py.h5t.IEEE_F32LE, space, properties)
    results["data"].attrs.update(units=unit, long_name=f"attenuation coefficient ({unit})", interpretation="image")
    step, length = (pixel_size_m, "m") if pixel_size_m is not None else (1.0, "pixel")
    for name, n in zip(("row", "y", "x"), shape, strict=True):
        axis = results.create_dataset(name, data=(np.arange(n) - (n - 1) / 2 if name != "row" else np.arange(n)) * step)
        axis.attrs["units"] = length


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    group.attrs.update(attributes)
    return group


@dataclass(frozen=True)
class Tomogram:
    """A volume read back: ``data`` float32 (row, y, x) in ``unit``."""

    data: NDArray[np.float32]
    unit: str
    pixel_size_m: float | None
    sample: str
    status: str
    parameters: dict[str, Any]


def read_tomogram(path: Path, rows: slice = slice(None)) -> Tomogram:
    """Read a volume, or some rows of it. Raises BadInput when the file holds none."""
    try:
        with h5py.File(path, "r") as file:
            if DATA not in file:
                raise BadInput(f"{path}: no tomogram at /{DATA}")
            process, dataset = file[RECONSTRUCTION], file[DATA]
            pixel_size = process.get("pixel_size")
            return Tomogram(
                data=dataset[rows],
                unit=str(dataset.attrs.get("units", "")),
                pixel_size_m=None if pixel_size is None else float(pixel_size[()]),
                sample=_text(file, "entry/sample/name"),
                status=_text(process, "status"),
                parameters={name: _plain(value[()]) for name, value in process.get("configuration", {}).items()},
            )
    except OSError as error:
        raise BadInput(f"{path}: not a readable HDF5 file ({str(error).splitlines()[0]})") from error


def _text(group: h5py.Group, name: str) -> str:
    return str(group[name].asstr()[()]) if name in group else ""


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
