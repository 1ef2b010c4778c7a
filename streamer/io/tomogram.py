"""The reconstructed volume: NXtomoproc, written row by row under a temporary name until it is complete."""

from __future__ import annotations

import contextlib
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

from streamer import __version__
from streamer.frames import BadInput, ScanSpec, system_reason
from streamer.io.archive import lay_out_archive
from streamer.io.direct import ALIGNMENT, BulkWriter
from streamer.io.nexus import group, lay_out_instrument, value
from streamer.io.place import check_room, place

VOXEL_BYTES = 4  # float32
UNITS = ("1/cm", "1/pixel")
RECONSTRUCTION = "entry/reconstruction"
DATA = "entry/data/data"
PARAMETERS = f"{RECONSTRUCTION}/parameters"
AXES = ("z", "y", "x")
PARTIAL = ".partial.h5"
_SUFFIXES = {"_px": "pixel", "_deg": "deg", "_kev": "keV", "_m": "m", "_s": "s"}
"""Units of parameters, by the end of their names."""
_OTHERS = ("raw_file", "pixel_size")
"""Parameters that are fields of ``Tomogram``, or of the file."""


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
        self._shape, self._place = file[DATA].shape, file[DATA].id.get_offset() or 0
        self._bulk = BulkWriter(self.partial)

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, int, int],
        spec: ScanSpec,
        *,
        unit: str = "1/pixel",
        raw_file: Path | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> TomogramFile:
        """A new volume. Its space on the disk is taken now: HDF5 that finds the disk full later may crash at exit.

        ``spec`` is the scan that was reconstructed; its ``pixel_size_m`` is that of the volume. ``parameters`` are
        scalars, texts or what JSON can hold. Raises BadInput when ``path`` exists, when it cannot
        be made, or when the unit is none of ``UNITS``. A partial file of an earlier attempt is replaced.
        """
        if unit not in UNITS:
            raise BadInput(f"tomogram {path}: unit {unit!r} is not one of {', '.join(UNITS)}")
        if os.path.lexists(path):
            raise BadInput(f"tomogram {path}: exists already and is never overwritten; choose another name")
        partial = path.with_name(path.name.removesuffix(".h5") + PARTIAL)
        try:
            check_room(path.parent, VOXEL_BYTES * math.prod(shape))
            partial.unlink(missing_ok=True)  # the name alone: where a symbolic link leads is not ours
            file = h5py.File(
                partial, "x", libver=("v110", "v110"), alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT
            )
        except OSError as error:
            raise BadInput(f"tomogram {path}: cannot be made ({system_reason(error)})") from error
        try:
            _layout(file, shape, spec, unit, raw_file, parameters or {})
            _reserve(file[DATA])
            return cls(file, path)
        except BaseException as error:
            with contextlib.suppress(Exception):
                file.close()
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise BadInput(f"tomogram {path}: cannot be made ({system_reason(error)})") from error
            raise

    @property
    def place(self) -> int:
        """Byte of ``partial`` at which the voxels begin, in the order (row, y, x) of float32, little-endian."""
        return self._place

    def write_rows(self, first: int, block: NDArray[np.float32]) -> None:
        """Write the rows from ``first`` on, (n, y, x). Raises ValueError when the block does not fit there."""
        rows, *plane = self._shape
        if block.ndim != 3 or list(block.shape[1:]) != plane or not 0 <= first <= rows - len(block):
            raise ValueError(f"block {block.shape} at row {first} does not fit into {self._shape}")
        if block.size:
            self._bulk.write(self._place + VOXEL_BYTES * first * math.prod(plane), np.ascontiguousarray(block, "<f4"))

    def close(self, status: str = "complete") -> Path:
        """Finish the file; gives its path. "complete" gives it its name, any other status leaves it partial."""
        if not self._file:
            return self.path
        self._bulk.close()
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


def _reserve(data: h5py.Dataset) -> None:
    """Take the blocks of the disk that the data will need. Raises OSError when there are not enough."""
    data.file.flush()
    if data.nbytes:
        os.posix_fallocate(data.file.id.get_vfd_handle(), data.id.get_offset(), data.nbytes)


def _layout(
    file: h5py.File,
    shape: tuple[int, int, int],
    spec: ScanSpec,
    unit: str,
    raw_file: Path | None,
    parameters: Mapping[str, Any],
) -> None:
    file.attrs.update(NX_class="NXroot", default="entry")
    entry = group(file, "entry", "NXentry", default="data")
    now = _now()
    for name, text in (
        ("definition", "NXtomoproc"),
        ("title", spec.scan_id),
        ("program_name", "Streamer"),
        ("start_time", now),
    ):
        entry[name] = text
    entry.create_dataset("end_time", (), h5py.string_dtype(), data="")
    lay_out_instrument(entry, spec)
    group(entry, "sample", "NXsample")["name"] = spec.sample
    process = group(entry, "reconstruction", "NXprocess")
    process["program"], process["version"], process["date"] = "Streamer", __version__, now
    process.create_dataset("status", (), h5py.string_dtype(), data="running")
    used = group(process, "parameters", "NXparameters")
    used["raw_file"] = "" if raw_file is None else os.path.relpath(raw_file, Path(file.filename).parent)
    value(used, "pixel_size", spec.pixel_size_m, "m")
    for name, content in parameters.items():
        plain = content if content is None or isinstance(content, (str, int, float)) else json.dumps(content)
        value(used, name, plain, _SUFFIXES.get("_" + name.rpartition("_")[2], ""))
    _plot(entry, shape, spec.pixel_size_m, unit)
    _for_tomoscan(process, spec.pixel_size_m)
    lay_out_archive(entry)


def _plot(entry: h5py.Group, shape: tuple[int, int, int], pixel_size_m: float | None, unit: str) -> None:
    """The volume with its axes. As in the viewer and in pictures, lengths count from the middle, pixels from 0."""
    plot = group(entry, "data", "NXdata", signal="data", axes=list(AXES))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h5py.h5d.create(plot.id, b"data", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), properties)
    plot["data"].attrs.update(units=unit, long_name=f"attenuation coefficient ({unit})", interpretation="image")
    plot["data"].attrs.update(transform="none", offset=0.0, scaling=1.0)  # NXtomoproc asks for them
    for number, (name, n) in enumerate(zip(AXES, shape, strict=True)):
        at = np.arange(n, dtype=np.float64)
        value(plot, name, at if pixel_size_m is None else (at - (n - 1) / 2) * pixel_size_m, length_unit(pixel_size_m))
        plot.attrs[f"{name}_indices"] = number


def length_unit(pixel_size_m: float | None) -> str:
    """The unit of the axes of a volume."""
    return "pixel" if pixel_size_m is None else "m"


def _for_tomoscan(process: h5py.Group, pixel_size_m: float | None) -> None:
    """The volume and the size of a voxel where tomoscan's ``HDF5Volume`` looks for them."""
    process["results"] = h5py.SoftLink("/entry/data")
    if pixel_size_m is not None:
        for name in ("configuration", "processing_options", "reconstruction"):
            process = group(process, name, "NXcollection")
        process["voxel_size_cm"] = [pixel_size_m * 100] * 3


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
            return tomogram_of(file, path, rows)
    except OSError as error:
        raise BadInput(f"{path}: not a readable HDF5 file ({system_reason(error).lower()})") from error


def tomogram_of(file: h5py.File, path: Path, rows: slice) -> Tomogram:
    """What an open file says of its volume, and some rows of it. Raises BadInput when the file holds none."""
    if DATA not in file or PARAMETERS not in file:
        raise BadInput(f"{path}: no tomogram at /{DATA}")
    process, dataset, parameters = file[RECONSTRUCTION], file[DATA], file[PARAMETERS]
    pixel_size = parameters.get("pixel_size")
    return Tomogram(
        data=dataset[rows],
        unit=str(dataset.attrs.get("units", "")),
        pixel_size_m=None if pixel_size is None else float(pixel_size[()]),
        sample=_text(file, "entry/sample/name"),
        status=_text(process, "status"),
        parameters={name: _plain(parameters[name][()]) for name in parameters if name not in _OTHERS},
    )


def _text(group: h5py.Group, name: str) -> str:
    return str(group[name].asstr()[()]) if name in group else ""


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
