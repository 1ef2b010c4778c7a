"""The raw file: NXtomo, written frame by frame so that it can be read while it grows and after a crash.

The file is in HDF5's single-writer mode (SWMR) from before the first frame: every object is created first, then only
filled. Frames lie in order of arrival, one chunk each; ``sequence_number`` is the frame index. What Streamer knows
beyond NXtomo is in ``/entry/streamer``; its ``status`` is "running" until ``close`` was called.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec

LIBVER = ("v110", "v110")  # the newest that HDF5 1.10 reads, and the oldest that has SWMR
BLOCK = 64  # frames by which the image dataset grows
DETECTOR = "entry/instrument/detector"
STREAMER = "entry/streamer"
UNWRITTEN = 2**32 - 1  # sequence number of a frame that a crash left without one
LISTED = ("missing", "corrupt", "unusable")  # frames whose indices the file lists at the end
NO_FRAMES: Mapping[str, ArrayLike] = {}
_TEXT_LENGTHS = {"status": 16, "note": 400, "end_time": 40}

# Path below /entry, dtype, units, value of a frame that a crash left without one.
_PER_FRAME: tuple[tuple[str, str, str, Any], ...] = (
    ("instrument/detector/image_key", "u1", "", int(FrameKind.INVALID)),
    ("instrument/detector/image_key_control", "i1", "", int(FrameKind.INVALID)),
    ("instrument/detector/sequence_number", "u4", "", UNWRITTEN),
    ("instrument/detector/timestamp", "i8", "ns", 0),
    ("instrument/detector/count_time", "f8", "s", 0.0),
    ("sample/rotation_angle", "f8", "degree", 0.0),
    ("control/data", "f8", "", 1.0),
)


class NXtomoFile:
    """One raw file being written. Frames are on their way to the disk after ``flush``, and safe from our own death."""

    def __init__(self, file: h5py.File, path: Path, spec: ScanSpec) -> None:
        """Use ``create``."""
        self.path = path
        self.written = 0  # frames that the last flush made readable
        self._file = file
        self._shape = (spec.rows, spec.columns)
        self._data = file[f"{DETECTOR}/data"]
        self._columns = [file[f"entry/{name}"] for name, *_ in _PER_FRAME]
        self._rows: list[tuple[Any, ...]] = []  # values of the frames since the last flush, one column per dataset
        self._room = 0  # frames that the image dataset has space for

    @classmethod
    def create(cls, path: Path, spec: ScanSpec, started: str) -> NXtomoFile:
        """A new file, ready for frames. ``started`` is a time in ISO 8601.

        Raises BadInput when the file exists already or cannot be made. Nothing is ever overwritten.
        """
        try:
            file = h5py.File(path, "x", libver=LIBVER)
        except OSError as error:
            raise BadInput(f"raw file {path}: {_reason(path, error)}") from error
        _layout(file, spec, started)
        file.swmr_mode = True
        return cls(file, path, spec)

    @property
    def frames(self) -> int:
        """Frames appended so far."""
        return self.written + len(self._rows)

    def append(self, meta: FrameMeta, pixels: NDArray[Any]) -> None:
        """Add one frame (rows, columns) of the announced dtype. Raises BadInput when it is of another kind."""
        if pixels.shape != self._shape or pixels.dtype != self._data.dtype:
            raise BadInput(
                f"raw file {self.path}: frame {meta.index} is {pixels.shape} {pixels.dtype}, "
                f"the file holds {self._shape} {self._data.dtype}"
            )
        at = self.frames
        if at >= self._room:
            self._room = at + BLOCK
            self._data.resize(self._room, 0)
        self._data.id.write_direct_chunk((at, 0, 0), np.ascontiguousarray(pixels))
        key = int(meta.kind)
        self._rows.append((key, key, meta.index, meta.timestamp_ns, meta.exposure_s, meta.angle_deg, meta.monitor))

    def flush(self) -> int:
        """Hand everything to the operating system, with exact sizes; gives the number of readable frames."""
        if self._rows:
            start, stop = self.written, self.frames
            self._data.resize(stop, 0)
            self._room = stop
            for dataset, values in zip(self._columns, zip(*self._rows, strict=True), strict=True):
                dataset.resize(stop, 0)
                dataset[start:stop] = values
            self._file.flush()
            self.written = stop
            self._rows.clear()
        return self.written

    def close(self, status: str, frames: Mapping[str, ArrayLike] = NO_FRAMES, ended: str = "", note: str = "") -> int:
        """Finish the file; gives the number of frames in it. ``status`` is that of the scan, never "running".

        ``frames``: indices of those that are "missing", "corrupt" or "unusable".
        """
        self.flush()
        streamer = self._file[STREAMER]
        for name, indices in frames.items():
            values, listed = np.asarray(indices, np.int64), streamer[f"{name}_frames"]
            listed.resize(len(values), 0)
            listed[...] = values
        _set_text(self._file["entry/end_time"], ended)
        _set_text(streamer["note"], note)
        self._file.flush()
        # Last, so that a file that says it is complete is.
        _set_text(streamer["status"], status)
        self._file.close()
        return self.written


def _reason(path: Path, error: OSError) -> str:
    if path.exists():
        return "exists already and is never overwritten; choose another scan id"
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    return os.strerror(error.errno) if error.errno else str(error).split("\n")[0]


def _set_text(dataset: h5py.Dataset, text: str) -> None:
    """Fill a fixed-length text; cut where it is too long, between characters."""
    dataset[()] = text.encode()[: dataset.dtype.itemsize].decode(errors="ignore").encode()


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    group.attrs.update(attributes)
    return group


def _value(parent: h5py.Group, name: str, value: Any, units: str = "") -> None:
    """A scalar; nothing at all when it is not known."""
    if value is None:
        return
    parent[name] = value
    if units:
        parent[name].attrs["units"] = units


def _layout(file: h5py.File, spec: ScanSpec, started: str) -> None:
    """Everything the file will ever hold; in SWMR mode no object or attribute can be added."""
    file.attrs.update(NX_class="NXroot", default="entry")
    entry = _group(file, "entry", "NXentry", default="data", version=2.1)
    _value(entry, "definition", "NXtomo")
    entry["definition"].attrs["version"] = "2.1"
    _value(entry, "title", spec.scan_id)
    _value(entry, "start_time", started)
    _text(entry, "end_time")
    _value(entry, "program_name", "Streamer")
    _instrument(entry, spec)
    sample = _group(entry, "sample", "NXsample")
    _value(sample, "name", spec.sample)
    _group(entry, "control", "NXmonitor")
    for name, dtype, units, empty in _PER_FRAME:
        dataset = entry.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(4096,), fillvalue=empty)
        if units:
            dataset.attrs["units"] = units
    _plot(entry)
    _account(entry, spec)


def _instrument(entry: h5py.Group, spec: ScanSpec) -> None:
    instrument = _group(entry, "instrument", "NXinstrument")
    source = _group(instrument, "source", "NXsource")
    _value(source, "type", "Synchrotron X-ray Source")
    _value(source, "probe", "x-ray")
    beam = _group(instrument, "beam", "NXbeam")
    _value(beam, "incident_energy", spec.energy_kev, "keV")
    detector = _group(instrument, "detector", "NXdetector")
    shape = (spec.rows, spec.columns)
    data = detector.create_dataset("data", (0, *shape), spec.dtype, maxshape=(None, *shape), chunks=(1, *shape))
    data.attrs.update(interpretation="image", long_name="raw counts")
    _value(detector, "x_pixel_size", spec.pixel_size_m, "m")
    _value(detector, "y_pixel_size", spec.pixel_size_m, "m")
    _value(detector, "distance", spec.distance_m, "m")
    _value(detector, "field_of_view", "Full")


def _plot(entry: h5py.Group) -> None:
    """The default plot, and the short paths that some programs look for."""
    plot = _group(entry, "data", "NXdata", signal="data")
    for name, target in (("data", "data"), ("image_key", "image_key"), ("image_key_control", "image_key_control")):
        plot[name] = h5py.SoftLink(f"/{DETECTOR}/{target}")
    plot["rotation_angle"] = h5py.SoftLink("/entry/sample/rotation_angle")


def _account(entry: h5py.Group, spec: ScanSpec) -> None:
    """What Streamer knows beyond NXtomo: how the scan ended and which frames it lacks."""
    streamer = _group(entry, "streamer", "NXcollection")
    _text(streamer, "status", "running")
    _text(streamer, "note")
    _value(streamer, "expected_frames", np.int64(spec.frames))
    _value(streamer, "spec", json.dumps(spec.to_dict()))
    for name in LISTED:
        streamer.create_dataset(f"{name}_frames", (0,), "i8", maxshape=(None,), chunks=(1024,))


def _text(parent: h5py.Group, name: str, value: str = "") -> None:
    """A text that can be filled later: only those of fixed length can be changed in SWMR mode."""
    dtype = h5py.string_dtype("utf-8", _TEXT_LENGTHS[name])
    parent.create_dataset(name, (), dtype, data=value.encode())


def open_raw(path: Path) -> h5py.File:
    """Open a raw file to read: finished, still growing, or left behind by a crash. Raises BadInput, one line."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        # Only then: of a file that is merely damaged, HDF5 would wait minutes for a writer to mend it.
        if _in_swmr_mode(path):
            with suppress(OSError):
                return h5py.File(path, "r", swmr=True)
        reason = os.strerror(error.errno).lower() if error.errno else str(error).split("\n")[0]
        if not path.exists():
            reason = "no such file"
        elif "truncated file" in reason:
            reason = "its end is missing; copy it again"
        raise BadInput(f"{path}: not a readable HDF5 file ({reason})") from error


def _in_swmr_mode(path: Path) -> bool:
    """Whether a writer has the file open, or was killed while it had."""
    try:
        with path.open("rb") as file:
            block = file.read(_SUPERBLOCK)
    except OSError:
        return False
    return len(block) == _SUPERBLOCK and block[:8] == _SIGNATURE and block[8] == 3 and block[_FLAGS] != 0


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = 48  # bytes of a version 2 or 3 superblock with 8-byte addresses
_FLAGS, _END, _CHECKSUM = 11, 28, 44  # where in it: marks of an open file, length of the file, checksum


def clear_swmr_flags(path: Path) -> bool:
    """Make a raw file whose writer was killed open like any other; True if something had to be changed.

    Only for files that nobody writes any more. Raises BadInput, and changes nothing, when it is not a file of the kind
    we write, or its end is missing: that one can be read in SWMR mode alone.
    """
    with path.open("r+b") as file:
        block = bytearray(file.read(_SUPERBLOCK))
        if len(block) < _SUPERBLOCK or block[:8] != _SIGNATURE or block[8] != 3 or block[9] != 8:
            raise BadInput(f"{path}: not an HDF5 file with a superblock of version 3")
        if int.from_bytes(block[_CHECKSUM:], "little") != lookup3(bytes(block[:_CHECKSUM])):
            raise BadInput(f"{path}: the checksum of the superblock is wrong, the file is damaged")
        if block[_FLAGS] == 0:
            return False
        if file.seek(0, os.SEEK_END) < int.from_bytes(block[_END : _END + 8], "little"):
            raise BadInput(f"{path}: its end is missing")
        block[_FLAGS] = 0
        block[_CHECKSUM:] = lookup3(bytes(block[:_CHECKSUM])).to_bytes(4, "little")
        file.seek(0)
        file.write(block)
    return True


_WORD = 0xFFFFFFFF


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _WORD


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 hash (hashlittle, start value 0), HDF5's checksum of metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    if not data:
        return c
    blocks = [data[i : i + 12].ljust(12, b"\0") for i in range(0, len(data), 12)]
    for block in blocks[:-1]:
        a, b, c = _mix(*_added(a, b, c, block))
    return _final(*_added(a, b, c, blocks[-1]))


def _added(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    x, y, z = (int.from_bytes(block[i : i + 4], "little") for i in (0, 4, 8))
    return (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _WORD) ^ _rotated(c, bits)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _WORD
        a, b, c = b, c, a
    # The rotation of names above ends one step late: the last word mixed is now called b.
    return b
