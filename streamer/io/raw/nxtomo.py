"""The raw file: NXtomo, written frame by frame so that it can be read while it grows and after a crash.

The file is in HDF5's single-writer mode (SWMR) from before the first frame: every object is created first, then only
filled. Frames lie in order of arrival, one chunk each, and one after the other; ``sequence_number`` is the frame index.
What Streamer knows beyond NXtomo is in ``/entry/streamer``; its ``status`` is "running" until ``close`` was called.
Each frame has the checksum of its pixels there. A scan whose writer failed has several such files, see ``segments``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamer.flow.wire import checksum
from streamer.frames import BadInput, Frame, FrameKind, FrameMeta, ScanSpec, system_reason
from streamer.io.archive import lay_out_archive
from streamer.io.direct import ALIGNMENT, BulkWriter
from streamer.io.nexus import group, lay_out_instrument, value
from streamer.io.raw import pixel_mask
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.reserved import ReservedRows, create_rows
from streamer.io.raw.unclosed import claim, cut

LIBVER = ("v110", "v110")  # the newest that HDF5 1.10 reads, and the oldest that has SWMR
BLOCK = 64  # compressed frames by which the image dataset grows
DETECTOR = "entry/instrument/detector"
STREAMER = "entry/streamer"
WITHOUT_FILTER = 1  # mask of a chunk that the first filter has passed over
UNWRITTEN = 2**32 - 1  # sequence number of a frame that a crash left without one
LISTED = ("missing", "corrupt", "lost", "unusable")
"""Frames that the file lists: never received, received only damaged, received and not in the file, of no use."""
NO_FRAMES: Mapping[str, ArrayLike] = {}
_TEXT_LENGTHS = {"status": 16, "note": 400, "end_time": 40}

SEQUENCE_NUMBER = "instrument/detector/sequence_number"

# Path below /entry, dtype, units, value of a frame that a crash left without one.
PER_FRAME: tuple[tuple[str, str, str, Any], ...] = (
    ("instrument/detector/image_key", "u1", "", int(FrameKind.INVALID)),
    ("instrument/detector/image_key_control", "i1", "", int(FrameKind.INVALID)),
    (SEQUENCE_NUMBER, "u4", "", UNWRITTEN),
    ("instrument/detector/timestamp", "i8", "ns", 0),
    ("instrument/detector/count_time", "f8", "s", 0.0),
    ("sample/rotation_angle", "f8", "degree", 0.0),
    ("control/data", "f8", "", 1.0),
    ("streamer/frame_checksum", "u8", "", 0),
)


class NXtomoFile:
    """One raw file being written. Frames are on their way to the disk after ``flush``, and safe from our own death.

    Images and the values of ``PER_FRAME`` lie in reserved rows; only compressed frames go through the HDF5 library.
    """

    def __init__(self, file: h5py.File, path: Path, spec: ScanSpec, direct: bool = True) -> None:
        """Use ``create``."""
        self.path = path
        self.written = 0  # frames that the last flush made readable
        self._file = file
        self._shape = (spec.rows, spec.columns)
        self._data = file[f"{DETECTOR}/data"]
        self._filtered = is_filtered(self._data)
        self._columns = [ReservedRows(file[f"entry/{name}"]) for name, *_ in PER_FRAME]
        for name in LISTED:
            ReservedRows(file[f"{STREAMER}/{name}_frames"])
        # Last, so that the file can be cut behind the images.
        self._images = None if self._filtered else ReservedRows(self._data)
        self._bulk = BulkWriter(path, direct)
        self._rows: list[tuple[Any, ...]] = []  # values of the frames since the last flush, one column per dataset
        self._indices: list[int] = []
        self._room = 0  # compressed frames that the image dataset has space for

    @classmethod
    def create(
        cls, path: Path, spec: ScanSpec, started: str, keep_compressed: bool = False, direct: bool = True
    ) -> NXtomoFile:
        """A new file, ready for frames. ``started`` is a time in ISO 8601. ``keep_compressed``: see ``append``.

        ``direct``: frames of whole pages are written past the page cache, where the file system lets them.
        Raises BadInput when the file exists already or cannot be made. Nothing is ever overwritten.
        """
        try:
            file = h5py.File(path, "x", libver=LIBVER, alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT)
        except OSError as error:
            raise BadInput(f"raw file {path}: {_reason(path, error)}") from error
        lay_out(file, spec, started, lambda detector: _growing_data(detector, spec, keep_compressed))
        file.flush()  # all that describes the file has its place now, before the images
        raw = cls(file, path, spec, direct)
        file.swmr_mode = True
        claim(raw.fd)
        return raw

    @property
    def fd(self) -> int:
        """The file descriptor that HDF5 writes to."""
        return int(self._file.id.get_vfd_handle())

    @property
    def frames(self) -> int:
        """Frames appended so far."""
        return self.written + len(self._rows)

    def append(self, meta: FrameMeta, pixels: NDArray[Any], packed: NDArray[np.uint8] | None = None) -> None:
        """``extend`` by one frame."""
        self.extend([Frame(meta, pixels, packed)])

    def extend(self, frames: Sequence[Frame]) -> None:
        """Add frames (rows, columns) of the announced dtype. Raises BadInput when one is of another kind.

        Where the file keeps compressed frames, ``packed`` are the bytes that the filter would make of ``pixels``.
        """
        for frame in frames:
            if frame.pixels.shape != self._shape or frame.pixels.dtype != self._data.dtype:
                raise BadInput(
                    f"raw file {self.path}: frame {frame.meta.index} is {frame.pixels.shape} {frame.pixels.dtype}, "
                    f"the file holds {self._shape} {self._data.dtype}"
                )
        pixels = [np.ascontiguousarray(frame.pixels) for frame in frames]
        if self._images is None:
            self._add_chunks(pixels, [frame.packed for frame in frames])
        else:
            self._images.write(self._bulk, self.frames, len(pixels), pixels)
        self._rows += map(row_of, (frame.meta for frame in frames), pixels)

    def _add_chunks(self, pixels: Sequence[NDArray[Any]], packed: Sequence[NDArray[np.uint8] | None]) -> None:
        data, last = self._data, self.frames + len(pixels)
        if last > self._room:
            self._room = last + BLOCK
            data.resize(self._room, 0)
        for at, (plain, chunk) in enumerate(zip(pixels, packed, strict=True), self.frames):
            if chunk is None:
                data.id.write_direct_chunk((at, 0, 0), plain, WITHOUT_FILTER)
            else:
                data.id.write_direct_chunk((at, 0, 0), chunk)

    def mark(self, mask: PixelMask) -> None:
        """Enter which pixels of the detector are not to be used."""
        self._file[f"{DETECTOR}/{pixel_mask.NAME}"][...] = mask

    def flush(self) -> int:
        """Hand everything to the operating system, with exact sizes; gives the number of readable frames."""
        if self._rows:
            start, stop = self.written, self.frames
            if self._images is None:
                self._data.resize(stop, 0)
                self._room = stop
            for (name, dtype, *_), rows, values in zip(
                PER_FRAME, self._columns, zip(*self._rows, strict=True), strict=True
            ):
                rows.write(self._bulk, start, stop - start, [np.array(values, np.dtype(dtype).newbyteorder("<"))])
                if name == SEQUENCE_NUMBER:
                    self._indices += values
            self._file.flush()
            self.written = stop
            self._rows.clear()
        return self.written

    def sync(self) -> None:
        """Have what was flushed written to the disk, so that it survives a power cut."""
        os.fdatasync(self.fd)

    def removed(self) -> bool:
        """Whether the file has another name now, or none, so that nobody will find its frames."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return True
        ours = os.fstat(self.fd)
        return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)

    @property
    def indices(self) -> NDArray[np.int64]:
        """Indices of the frames that the last flush made readable."""
        return np.array(self._indices, np.int64)

    def close(
        self,
        status: str,
        expected: int | None = None,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
    ) -> int:
        """Finish the file; gives the number of frames in it. Arguments as for ``conclude``."""
        self.flush()
        conclude(self._file, status, expected, frames, ended, note)
        self._file.close()
        self._bulk.close()
        if self._images is not None:
            cut(self.path, self._images.end(), self._images.end(self.written))
        return self.written


def row_of(meta: FrameMeta, pixels: NDArray[Any]) -> tuple[Any, ...]:
    """The values of a frame in the datasets of ``PER_FRAME``."""
    key = int(meta.kind)
    check = meta.checksum or checksum(pixels.data.cast("B"))
    return key, key, meta.index, meta.timestamp_ns, meta.exposure_s, meta.angle_deg, meta.monitor, check


def conclude(
    file: h5py.File,
    status: str,
    expected: int | None = None,
    frames: Mapping[str, ArrayLike] = NO_FRAMES,
    ended: str = "",
    note: str = "",
) -> None:
    """Enter how a scan ended. ``status`` is that of the scan, never "running"; ``ended`` is a time in ISO 8601.

    ``expected`` is the number of frames that were issued, None for all that were announced. ``frames``: indices of
    those that are listed, under the names in ``LISTED``.
    """
    streamer = file[STREAMER]
    if expected is not None:
        streamer["expected_frames"][()] = expected
    for name, indices in frames.items():
        values, place = np.asarray(indices, np.int64), f"{name}_frames"
        if len(values) > (streamer[place].maxshape[0] or math.inf):  # more were issued than announced
            del streamer[place]
            streamer[place] = values
            continue
        streamer[place].resize(len(values), 0)
        streamer[place][...] = values
    _set_text(file["entry/end_time"], ended)
    _set_text(streamer["note"], note)
    file.flush()
    # Last, so that a file that says it is complete is.
    _set_text(streamer["status"], status)


def _reason(path: Path, error: OSError) -> str:
    if path.exists():
        return "exists already and is never overwritten; choose another scan id"
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    return system_reason(error)


def _set_text(dataset: h5py.Dataset, text: str) -> None:
    """Fill a fixed-length text; cut where it is too long, between characters."""
    dataset[()] = text.encode()[: dataset.dtype.itemsize].decode(errors="ignore").encode()


def lay_out(
    file: h5py.File,
    spec: ScanSpec,
    started: str,
    data: Callable[[h5py.Group], h5py.Dataset],
    columns: Mapping[str, ArrayLike] | None = None,
    mask: PixelMask | None = None,
) -> None:
    """Everything the file will ever hold; in SWMR mode no object or attribute can be added.

    ``data`` makes the dataset of the images in the group of the detector. ``columns`` are the values of the frames in
    the datasets of ``PER_FRAME``; None: they are still to come, as ``mask``, which pixels are not to be used, may.
    """
    file.attrs.update(NX_class="NXroot", default="entry")
    entry = group(file, "entry", "NXentry", default="data", version=2.1)
    value(entry, "definition", "NXtomo")
    entry["definition"].attrs["version"] = "2.1"
    value(entry, "title", spec.scan_id)
    value(entry, "start_time", started)
    _text(entry, "end_time")
    value(entry, "program_name", "Streamer")
    detector = lay_out_instrument(entry, spec)
    _detector(detector, spec, data)
    pixel_mask.make_room(detector, (spec.rows, spec.columns), mask)
    sample = group(entry, "sample", "NXsample")
    value(sample, "name", spec.sample)
    group(entry, "control", "NXmonitor")
    _account(entry, spec)
    for name, dtype, units, empty in PER_FRAME:
        if columns is None:
            dataset = create_rows(entry, name, spec.frames, (), dtype, empty)
        else:
            dataset = entry.create_dataset(name, data=columns[name])
        if units:
            dataset.attrs["units"] = units
    entry["streamer/frame_checksum"].attrs["algorithm"] = "xxh3_64 of the pixels, row-major, little-endian"
    _rotation(sample)
    _plot(entry)
    lay_out_archive(entry)


def _growing_data(detector: h5py.Group, spec: ScanSpec, filtered: bool) -> h5py.Dataset:
    shape = (spec.rows, spec.columns)
    if not filtered:
        return create_rows(detector, "data", spec.frames, shape, spec.dtype)
    limits = {"maxshape": (None, *shape), "chunks": (1, *shape)}
    return detector.create_dataset(
        "data", (0, *shape), spec.dtype, **limits, **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
    )


def is_filtered(data: h5py.Dataset) -> bool:
    """Whether frames of the raw file may be compressed."""
    return bool(data.id.get_create_plist().get_nfilters())


def _detector(detector: h5py.Group, spec: ScanSpec, data: Callable[[h5py.Group], h5py.Dataset]) -> None:
    data(detector).attrs.update(units="counts", interpretation="image", long_name="raw counts")
    value(detector, "x_pixel_size", spec.pixel_size_m, "m")
    value(detector, "y_pixel_size", spec.pixel_size_m, "m")
    value(detector, "field_of_view", "Full")


def _rotation(sample: h5py.Group) -> None:
    """Say that the sample turns by ``rotation_angle`` about the vertical axis of NeXus."""
    axes = group(sample, "transformations", "NXtransformations")
    axes["rotation_angle"] = sample["rotation_angle"]
    axes["rotation_angle"].attrs.update(transformation_type="rotation", vector=[0.0, 1.0, 0.0], depends_on=".")
    sample["depends_on"] = axes["rotation_angle"].name


def _plot(entry: h5py.Group) -> None:
    """The default plot, and the short paths that some programs look for."""
    plot = group(entry, "data", "NXdata", signal="data")
    for name, target in (("data", "data"), ("image_key", "image_key"), ("image_key_control", "image_key_control")):
        plot[name] = h5py.SoftLink(f"/{DETECTOR}/{target}")
    plot["rotation_angle"] = h5py.SoftLink("/entry/sample/rotation_angle")


def _account(entry: h5py.Group, spec: ScanSpec) -> None:
    """What Streamer knows beyond NXtomo: how the scan ended and which frames it lacks."""
    streamer = group(entry, "streamer", "NXcollection")
    _text(streamer, "status", "running")
    _text(streamer, "note")
    value(streamer, "expected_frames", np.int64(spec.frames))
    value(streamer, "spec", json.dumps(spec.to_dict()))
    for name in LISTED:
        create_rows(streamer, f"{name}_frames", spec.frames, (), "i8")


def _text(parent: h5py.Group, name: str, value: str = "") -> None:
    """A text that can be filled later: only those of fixed length can be changed in SWMR mode."""
    dtype = h5py.string_dtype("utf-8", _TEXT_LENGTHS[name])
    parent.create_dataset(name, (), dtype, data=value.encode())
