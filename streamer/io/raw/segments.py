"""A scan whose writer failed lies in several raw files; a master file under its own name presents them as one.

``scan.nx`` is the only file of a scan that went well. After a failure the frames go on in the segments ``scan+1.nx``,
``scan+2.nx``…; no scan id has a "+". In the end ``scan.nx`` becomes ``scan+0.nx``, and the new ``scan.nx`` is an NXtomo
whose images are virtual: each frame that its checksum confirms, once. What it lacks is listed in it.
"""

from __future__ import annotations

import glob
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.flow.codecs import decompress_into
from streamer.flow.wire import WireError, checksum
from streamer.frames import BadInput, ScanSpec
from streamer.io.archive import copy_archive
from streamer.io.direct import BulkReader, aligned_bytes
from streamer.io.place import place
from streamer.io.raw.nxtomo import (
    DETECTOR,
    LIBVER,
    LISTED,
    PER_FRAME,
    STREAMER,
    UNWRITTEN,
    conclude,
    is_filtered,
    lay_out,
)
from streamer.io.raw.pixel_mask import PixelMask, joined, read_mask
from streamer.io.raw.reserved import frame_places
from streamer.io.raw.unclosed import clear_swmr_flags, is_written

INDEX, CHECKSUM = (
    [name for name, *_ in PER_FRAME].index(name)
    for name in ("instrument/detector/sequence_number", "streamer/frame_checksum")
)
DATA = f"{DETECTOR}/data"
RUNNING = "running"
READ_BYTES = 2**24
"""Frames are read back so many bytes at once."""


def segment_path(path: Path, part: int | str) -> Path:
    """Where segment ``part`` of the scan with the raw file ``path`` lies."""
    return path.with_name(f"{path.stem}+{part}{path.suffix}")


def segments_of(path: Path) -> list[Path]:
    """The files that hold the frames of a scan, oldest first. ``path`` is one of them unless it is their master."""
    pattern = re.compile(rf"{re.escape(path.stem)}\+(\d+){re.escape(path.suffix)}")
    names = path.parent.glob(f"{glob.escape(path.stem)}+*{path.suffix}")
    numbered = sorted((int(match[1]), found) for found in names if (match := pattern.fullmatch(found.name)))
    files = [found for _, found in numbered]
    if os.path.lexists(path) and segment_path(path, 0) not in files:
        files.insert(0, path)
    return files


def next_segment(path: Path) -> Path:
    """Where the frames of a scan go on: ``path`` when it has no file yet, else a segment that does not exist."""
    files = segments_of(path)
    if not files:
        return path
    last = files[-1]
    return segment_path(path, 1 if last == path else int(last.stem.rpartition("+")[2]) + 1)


@dataclass(frozen=True)
class Account:
    """What is known of a scan at its end. ``expected`` is the number of frames issued, counted from index 0.

    ``frames``: indices of those that are listed, under the names in ``nxtomo.LISTED``.
    """

    spec: ScanSpec
    expected: int
    status: str
    frames: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    note: str = ""

    def listed(self, *names: str) -> NDArray[np.int64]:
        """Indices in these lists, sorted."""
        lists = [np.empty(0, np.int64), *(np.asarray(self.frames.get(name, ()), np.int64) for name in names)]
        return np.unique(np.concatenate(lists))


@dataclass(frozen=True)
class Segment:
    """One file, read back: the values of each dataset of ``PER_FRAME``, and which rows their checksums confirm."""

    path: Path
    account: Account | None  # None when the file cannot be read
    columns: tuple[NDArray[Any], ...]
    good: NDArray[np.bool_]
    problem: str = ""
    mask: PixelMask | None = None


@dataclass(frozen=True)
class Sealed:
    """What the files of a scan hold: frames that are right, frames that were received and are not, and why."""

    written: int
    lost: NDArray[np.int64]
    problems: tuple[str, ...]
    segments: int


def read_segment(path: Path, verify: bool = True, alive: Callable[[], None] = lambda: None) -> Segment:
    """Read a file that nobody writes any more, and compare each frame with its checksum. Does not raise.

    Without ``verify`` the frames of a file that was closed properly are taken as they are. ``alive`` is called after
    each frame.
    """
    try:
        clear_swmr_flags(path, extend=True)
        with h5py.File(path, "r") as file:
            account, mask = read_account(file), read_mask(file[DETECTOR])
            data, datasets = file[DATA], [file[f"entry/{name}"] for name, *_ in PER_FRAME]
            count = min(len(data), *map(len, datasets))
            columns = tuple(dataset[:count] for dataset in datasets)
            written = columns[INDEX] != UNWRITTEN
            good = written.copy()
            if verify or account.status == RUNNING:
                rows = np.flatnonzero(written)
                for row, intact in _verified(path, data, rows, columns[CHECKSUM][rows]):
                    good[row] = intact
                    alive()
    except Exception as error:  # h5py raises what it likes for a damaged file
        empty = tuple(np.empty(0, dtype) for _, dtype, *_ in PER_FRAME)
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        return Segment(path, None, empty, np.empty(0, bool), f"{path.name}: {' '.join(reason.split())[:120]}")
    bad = int(np.count_nonzero(written & ~good))
    return Segment(path, account, columns, good, f"{path.name}: damaged frames: {bad}" if bad else "", mask)


def _verified(
    path: Path, data: h5py.Dataset, rows: NDArray[np.intp], expected: NDArray[np.uint64]
) -> Iterator[tuple[int, bool]]:
    """For each of these rows whether its pixels have the checksum that is expected."""
    nbytes = data.dtype.itemsize * math.prod(data.shape[1:])
    places = None if is_filtered(data) else frame_places(data)
    if places is None:
        buffers = np.empty((2, nbytes), np.uint8)
        for row, check in zip(rows.tolist(), expected.tolist(), strict=True):
            yield row, _intact_chunk(data, row, buffers, check)
        return
    # What is compared comes from the disk, and takes no pages away from what is needed.
    together = max(1, READ_BYTES // nbytes)
    buffer = aligned_bytes(together * nbytes)
    with closing(BulkReader(path)) as file:
        for run in np.split(rows, np.flatnonzero((np.diff(places[rows]) != nbytes) | (places[rows[:-1]] < 0)) + 1):
            for some in (run[at : at + together] for at in range(0, len(run), together)):
                checks = expected[np.searchsorted(rows, some)].tolist()
                whole = _checksums(file, int(places[some[0]]), len(some), nbytes, buffer)
                yield from ((int(row), found == check) for row, found, check in zip(some, whole, checks, strict=True))


def _checksums(file: BulkReader, place: int, frames: int, nbytes: int, buffer: NDArray[np.uint8]) -> list[int | None]:
    """Checksums of frames that lie one after the other; None for each that cannot be read."""
    part = buffer[: frames * nbytes]
    try:
        if place < 0:
            raise OSError("it was never written")
        file.read(place, part)
    except OSError:
        if frames == 1:
            return [None]
        return [_checksums(file, place + k * nbytes, 1, nbytes, buffer)[0] for k in range(frames)]
    return [checksum(part[k * nbytes : (k + 1) * nbytes].data) for k in range(frames)]


def _intact_chunk(data: h5py.Dataset, row: int, buffers: NDArray[np.uint8], expected: int) -> bool:
    """The same for one frame by means of the library."""
    stored, pixels = buffers
    try:
        passed_over, chunk = data.id.read_direct_chunk((row, 0, 0), out=stored)
        if is_filtered(data) and not passed_over:
            decompress_into("bslz4-h5", chunk, pixels.data, data.dtype.itemsize)
            chunk = pixels.data
    except (OSError, RuntimeError, ValueError, WireError):
        return False
    return checksum(chunk) == expected


def read_account(file: h5py.File) -> Account:
    """What a raw file or a master says of its scan."""
    streamer = file[STREAMER]

    def text(name: str) -> str:
        return str(file[name].asstr()[()])

    return Account(
        spec=ScanSpec.from_dict(json.loads(text(f"{STREAMER}/spec"))),
        expected=int(streamer["expected_frames"][()]),
        status=text(f"{STREAMER}/status"),
        frames={name: streamer[f"{name}_frames"][()] for name in LISTED},
        started=text("entry/start_time"),
        ended=text("entry/end_time"),
        note=text(f"{STREAMER}/note"),
    )


def seal(
    path: Path, account: Account | None = None, verify: bool = True, alive: Callable[[], None] = lambda: None
) -> Sealed:
    """Compare the files of a scan with their checksums; unless one file holds and lists it all, make the master file.

    ``account``: None reads it from the files, as after a crash. Frames that are not in the files are lost when they
    were received, else missing. It may be done again at any time. ``verify`` and ``alive`` as for ``read_segment``.
    Raises BadInput when a living process writes one of the files, when none can be read, or when the master cannot be
    made.
    """
    files = segments_of(path)
    for file in files:
        if is_written(file):
            raise BadInput(f"{file}: is still being written; wait for the end of its scan")
    segments = [read_segment(file, verify, alive) for file in files]
    known = [segment.account for segment in segments if segment.account is not None]
    scan = _Scan(segments, account or _derived(path, known), received=account is not None)
    account = scan.account
    problems = tuple(segment.problem for segment in segments if segment.problem)
    if not scan.is_presented(path):
        status = account.status
        if status in (RUNNING, "complete"):
            status = "incomplete" if len(scan.lacking) else "complete"
        frames = {**account.frames, "missing": scan.missing, "lost": scan.lost}
        note = "; ".join(dict.fromkeys(filter(None, (account.note, *problems))))
        _make_master(path, replace(account, frames=frames, status=status, note=note), scan)
    return Sealed(scan.written, scan.lost, problems, len(segments))


def _derived(path: Path, known: Sequence[Account]) -> Account:
    """The account of a scan whose daemon died: that of its master, or of its last file."""
    if not known:
        raise BadInput(f"{path}: neither it nor a segment of it can be read")
    if _is_master(path):
        with h5py.File(path, "r") as file:
            return read_account(file)
    return known[-1]


class _Scan:
    """Which rows of which segment make up the scan, each frame once; and the frames that are in none, sorted."""

    def __init__(self, segments: Sequence[Segment], account: Account, received: bool) -> None:
        """``received``: the account lists all missing frames, so that the others were received."""
        self.segments, self.account = segments, account
        self.rows: list[NDArray[np.int64]] = []
        seen = np.zeros(max(account.expected, account.spec.frames), bool)
        damaged = [account.listed("lost")]
        for segment in segments:
            index = segment.columns[INDEX].astype(np.int64)
            damaged.append(index[~segment.good])
            rows = np.flatnonzero(segment.good & (index < len(seen)))
            rows = rows[np.sort(np.unique(index[rows], return_index=True)[1])]
            rows = rows[~seen[index[rows]]]
            seen[index[rows]] = True
            self.rows.append(rows)
        self.written = int(seen.sum())
        self.lacking = np.flatnonzero(~seen[: account.expected])
        lost = np.setdiff1d(self.lacking, account.listed("missing", "corrupt"))
        self.lost = lost if received else np.intersect1d(lost, np.concatenate(damaged))
        self.missing = np.setdiff1d(self.lacking, np.concatenate([self.lost, account.listed("corrupt")]))

    def is_presented(self, path: Path) -> bool:
        """Whether the file ``path`` has these frames, says how the scan ended, and lists what it lacks."""
        only = len(self.segments) == 1 and self.segments[0].path == path and not self.segments[0].problem
        if not only and not _is_master(path):
            return False
        with h5py.File(path, "r") as file:
            said, index = read_account(file), file[f"entry/{PER_FRAME[INDEX][0]}"][()]
        listed = np.array_equal(said.listed("missing", "corrupt", "lost"), self.lacking)
        return said.status != RUNNING and listed and np.array_equal(index, self.column(INDEX))

    def column(self, place: int) -> NDArray[Any]:
        """One value of ``PER_FRAME`` for each frame."""
        dtype = PER_FRAME[place][1]
        parts = [segment.columns[place][rows] for segment, rows in zip(self.segments, self.rows, strict=True)]
        return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)

    def images(self, detector: h5py.Group, path: Path) -> h5py.Dataset:
        """The images of the segments as one dataset of the master ``path``, each where it lies."""
        spec = self.account.spec
        shape = (spec.rows, spec.columns)
        if not self.written:
            return detector.create_dataset("data", (0, *shape), spec.dtype)
        layout = h5py.VirtualLayout((self.written, *shape), spec.dtype)
        at = 0
        for segment, rows in zip(self.segments, self.rows, strict=True):
            name = (segment_path(path, 0) if segment.path == path else segment.path).name
            source = h5py.VirtualSource(name, DATA, (len(segment.good), *shape), spec.dtype)
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
                if len(run):
                    layout[at : at + len(run)] = source[run[0] : run[-1] + 1]
                    at += len(run)
        return detector.create_virtual_dataset("data", layout)


def _make_master(path: Path, account: Account, scan: _Scan) -> None:
    """Write the master under a name of its own, then give it the name of the scan. Nothing is overwritten."""
    temporary = segment_path(path, "new")
    try:
        temporary.unlink(missing_ok=True)
        with h5py.File(temporary, "x", libver=LIBVER) as file:
            mask = joined(*(segment.mask for segment in scan.segments))
            columns = {name: scan.column(number) for number, (name, *_) in enumerate(PER_FRAME)}
            lay_out(file, account.spec, account.started, lambda detector: scan.images(detector, path), columns, mask)
            conclude(file, account.status, account.expected, account.frames, account.ended, account.note)
            copy_archive(path, file)
        if scan.segments and scan.segments[0].path == path:
            place(path, segment_path(path, 0))
        elif _is_master(path):
            path.unlink()
        place(temporary, path)
    except FileExistsError as error:
        raise BadInput(f"{path}: something else has this name; the scan is in {temporary.name}") from error
    except (OSError, RuntimeError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise BadInput(f"{path}: the file that joins the segments cannot be made: {reason}") from error


def _is_master(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return not path.is_symlink() and STREAMER in file and (file[DATA].is_virtual or not file[DATA].chunks)
    except (OSError, KeyError, RuntimeError, ValueError):
        return False
