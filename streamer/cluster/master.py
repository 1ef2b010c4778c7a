"""The raw file of a scan whose rows lie in several: an NXtomo whose images are put together from theirs.

A frame is whole only if every shard has its rows. One of which some lack is there as an invalid one (``image_key`` 3)
with zeros where they belong, and ``/entry/streamer/missing_rows`` lists them: frame, first row, row after the last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamer.flow.row_cut import ROWS_KEY, RowCut
from streamer.frames import BadInput, FrameKind
from streamer.io.place import place
from streamer.io.raw.nxtomo import LIBVER, PER_FRAME, STREAMER, conclude, lay_out
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.segments import CHECKSUM, DATA, INDEX, Account, Segment, read_account, read_segment, seal

NAME = re.compile(r"rows-(\d{5})-(\d{5})\.nx")
KEYS = ("instrument/detector/image_key", "instrument/detector/image_key_control")
MISSING_ROWS = f"{STREAMER}/missing_rows"


@dataclass(frozen=True)
class Joined:
    """What the master holds: whole frames, and the rows that lack (n, 3) as the file lists them."""

    whole: NDArray[np.int64]
    missing_rows: NDArray[np.int64]
    problems: tuple[str, ...]


def join_rows(
    path: Path, account: Account, parts: Sequence[tuple[RowCut, Path]], mask: PixelMask | None = None
) -> Joined:
    """Make the raw file ``path`` of the closed files ``parts``, each with some rows of the detector.

    ``account`` is what is known of the scan; frames that are not whole are listed as missing. Raises BadInput when the
    file exists or cannot be made.
    """
    segments = [read_segment(file, verify=False) for _, file in parts]
    rows_of = [_rows_by_index(segment, account.spec.frames) for segment in segments]
    order = _order(segments, rows_of)
    whole = np.array([index for index in order if all(index in rows for rows in rows_of)], np.int64)
    lacking = [
        (index, cut.first, cut.end)
        for index in sorted(order)
        for (cut, _), rows in zip(parts, rows_of, strict=True)
        if index not in rows
    ]
    missing_rows = np.array(lacking, np.int64).reshape(-1, 3)
    columns = _columns(segments, rows_of, order, set(missing_rows[:, 0].tolist()))
    expected = np.arange(account.expected)
    corrupt = np.setdiff1d(account.listed("corrupt"), whole)
    missing = np.setdiff1d(np.setdiff1d(expected, whole), corrupt)
    problems = tuple(segment.problem for segment in segments if segment.problem)
    status = account.status
    if status in ("running", "complete"):
        status = "complete" if len(whole) == account.expected else "incomplete"
    account = replace(account, status=status, frames={**account.frames, "missing": missing, "corrupt": corrupt})
    _write(path, account, parts, rows_of, order, columns, missing_rows, mask)
    return Joined(whole, missing_rows, problems)


def part_path(raw_file: Path, block: RowCut) -> Path:
    """Where the raw file of a shard lies: in a folder beside that of the scan."""
    return parts_folder(raw_file) / f"rows-{block.first:05d}-{block.end:05d}.nx"


def parts_folder(raw_file: Path) -> Path:
    """Where the raw files of a scan's shards are."""
    return raw_file.with_name(f"{raw_file.stem}.shards")


def recover_rows(path: Path) -> Joined:
    """Make the raw file of a scan whose scout died, of those that its shards have left; one that exists stays.

    Raises BadInput when a shard still writes, or a part cannot be read or does not belong to the others.
    """
    parts, accounts = [], []
    for file in sorted(parts_folder(path).glob("rows-*.nx")):
        if match := NAME.fullmatch(file.name):
            seal(file)
            with h5py.File(file, "r") as opened:
                accounts.append(read_account(opened))
            parts.append((RowCut(int(match[1]), int(match[2])), file))
    if not parts:
        raise BadInput(f"{path}: {parts_folder(path)} holds no rows of it")
    if path.exists():
        with h5py.File(path, "r") as opened:
            account, missing_rows = read_account(opened), opened[MISSING_ROWS][()]
        whole = np.setdiff1d(np.arange(account.expected), account.listed("missing", "corrupt"))
        return Joined(whole, missing_rows, ())
    account = accounts[0]
    metadata = {name: text for name, text in account.spec.metadata.items() if name != ROWS_KEY}
    said = account.spec.metadata.get(ROWS_KEY, "").rpartition(" of ")[2]
    rows = int(said) if said.isdecimal() else 0
    edges = [0, *(cut.end for cut, _ in parts)]
    together = edges == [*(cut.first for cut, _ in parts), rows]
    spec = structs.replace(account.spec, rows=max(rows, 1), metadata=metadata)
    if not together or any(cut.part(spec) != known.spec for (cut, _), known in zip(parts, accounts, strict=True)):
        raise BadInput(f"{path}: the files in {parts_folder(path)} are not of one scan, or rows lack between them")
    return join_rows(path, replace(account, spec=spec, frames={}), parts)


def _rows_by_index(segment: Segment, frames: int) -> dict[int, int]:
    """Where each frame lies in a file; the first of several."""
    index = segment.columns[INDEX].astype(np.int64)
    found: dict[int, int] = {}
    for row in np.flatnonzero(segment.good & (index < frames)).tolist():
        found.setdefault(int(index[row]), row)
    return found


def _order(segments: Sequence[Segment], rows_of: Sequence[dict[int, int]]) -> list[int]:
    """Frames of which some rows are there, as they came to the shard that has most of them; then the others."""
    most = max(range(len(segments)), key=lambda number: len(rows_of[number]))
    known = rows_of[most]
    others = sorted({index for rows in rows_of for index in rows} - set(known))
    return [*sorted(known, key=lambda index: known[index]), *others]


def _columns(
    segments: Sequence[Segment], rows_of: Sequence[dict[int, int]], order: Sequence[int], torn: set[int]
) -> dict[str, NDArray[Any]]:
    """The values of the frames; those of one that is not whole say that it is invalid."""
    columns: dict[str, NDArray[Any]] = {}
    holder = [next(k for k, rows in enumerate(rows_of) if index in rows) for index in order]
    for number, (name, dtype, *_) in enumerate(PER_FRAME):
        values = np.empty(len(order), dtype)
        for place_, (index, part) in enumerate(zip(order, holder, strict=True)):
            values[place_] = segments[part].columns[number][rows_of[part][index]]
        if number == CHECKSUM:
            values[...] = 0  # each part has checksums of its own
        if name in KEYS:
            values[[index in torn for index in order]] = int(FrameKind.INVALID)
        columns[name] = values
    return columns


def _write(
    path: Path,
    account: Account,
    parts: Sequence[tuple[RowCut, Path]],
    rows_of: Sequence[dict[int, int]],
    order: Sequence[int],
    columns: dict[str, NDArray[Any]],
    missing_rows: NDArray[np.int64],
    mask: PixelMask | None,
) -> None:
    temporary = path.with_name(f"{path.stem}+new{path.suffix}")
    spec = account.spec

    def images(detector: h5py.Group) -> h5py.Dataset:
        shape = (len(order), spec.rows, spec.columns)
        if not order:
            return detector.create_dataset("data", shape, spec.dtype)
        layout = h5py.VirtualLayout(shape, spec.dtype)
        for (cut, file), rows in zip(parts, rows_of, strict=True):
            held = max(rows.values(), default=-1) + 1
            source = h5py.VirtualSource(
                str(file.relative_to(path.parent)), DATA, (held, cut.rows, spec.columns), spec.dtype
            )
            places = np.array([at for at, index in enumerate(order) if index in rows], np.int64)
            there = np.array([rows[order[at]] for at in places], np.int64)
            for run in np.split(
                np.arange(len(places)), np.flatnonzero((np.diff(places) != 1) | (np.diff(there) != 1)) + 1
            ):
                if len(run):
                    at, row = int(places[run[0]]), int(there[run[0]])
                    layout[at : at + len(run), cut.first : cut.end] = source[row : row + len(run)]
        return detector.create_virtual_dataset("data", layout, fillvalue=0)

    try:
        temporary.unlink(missing_ok=True)
        with h5py.File(temporary, "x", libver=LIBVER) as file:
            lay_out(file, spec, account.started, images, columns, mask)
            file[MISSING_ROWS] = missing_rows
            file[MISSING_ROWS].attrs["columns"] = ["frame", "first_row", "end_row"]
            conclude(file, account.status, account.expected, account.frames, account.ended, account.note)
        place(temporary, path)
    except FileExistsError as error:
        raise BadInput(f"{path}: something else has this name; the scan is in {temporary.name}") from error
    except (OSError, RuntimeError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        raise BadInput(
            f"{path}: the file that joins the rows cannot be made: {' '.join(str(error).split())}"
        ) from error
