"""Scans that a daemon left behind when it died: what their files hold, so that the next daemon can go on with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.flow.wire.control import Busy
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.raw.nxtomo import PER_FRAME
from streamer.io.raw.pixel_mask import PixelMask, joined
from streamer.io.raw.segments import DATA, RUNNING, Segment, read_segment, segments_of
from streamer.io.raw.unclosed import is_written
from streamer.io.raw.writer_process import ORPHANED, TERMINATED

_KEY, _INDEX, _TIMESTAMP, _EXPOSURE, _ANGLE, _MONITOR = (
    [name for name, *_ in PER_FRAME].index(f"{place}")
    for place in (
        "instrument/detector/image_key",
        "instrument/detector/sequence_number",
        "instrument/detector/timestamp",
        "instrument/detector/count_time",
        "sample/rotation_angle",
        "control/data",
    )
)

SIGNATURE = b"\x89HDF\r\n\x1a\n"
Batch = tuple[list[FrameMeta], NDArray[Any]]


@dataclass(frozen=True)
class UnfinishedScan:
    """A scan whose daemon died. ``kinds``: the frames that are on the disk, by index."""

    spec: ScanSpec
    kinds: dict[int, FrameKind]
    segments: tuple[Segment, ...]

    @property
    def mask(self) -> PixelMask | None:
        """Which pixels (rows, columns) its files say are not to be used; None when they say nothing."""
        return joined(*(segment.mask for segment in self.segments))

    def batches(self, wanted: Callable[[int], bool], most: int) -> Iterator[Batch]:
        """The frames whose index is wanted, each once and at most ``most`` together: metadata and pixels (n, rows,
        columns). Raises OSError when they cannot be read.
        """
        given: set[int] = set()
        for segment in self.segments:
            rows = [row for row in np.flatnonzero(segment.good).tolist() if wanted(int(segment.columns[_INDEX][row]))]
            with h5py.File(segment.path, "r") as file:
                for run in _runs(rows, most):
                    metas = [self._meta(segment, row) for row in run]
                    fresh = [place for place, meta in enumerate(metas) if meta.index not in given]
                    given.update(meta.index for meta in metas)
                    pixels = file[DATA][run[0] : run[-1] + 1]
                    if fresh:
                        yield [metas[place] for place in fresh], pixels[fresh]

    def _meta(self, segment: Segment, row: int) -> FrameMeta:
        columns = segment.columns
        return FrameMeta(
            scan_id=self.spec.scan_id,
            index=int(columns[_INDEX][row]),
            kind=FrameKind(int(columns[_KEY][row])),
            angle_deg=float(columns[_ANGLE][row]),
            timestamp_ns=int(columns[_TIMESTAMP][row]),
            exposure_s=float(columns[_EXPOSURE][row]),
            monitor=float(columns[_MONITOR][row]),
        )


def find_unfinished(path: Path, tomogram: Path | None, spec: ScanSpec | None = None) -> UnfinishedScan | None:
    """What a daemon that died left of the scan with the raw file ``path``; None when nothing, or when it is over.

    A scan is over when its file says how it ended and ``tomogram`` exists (None: no tomogram is wanted). Frames of
    files that were not closed are compared with their checksums. With a ``spec``, a file whose writer was killed while
    it was made is a scan without frames. Raises Busy while a writer still closes a file, BadInput for such a file
    without a ``spec``.
    """
    files = segments_of(path)
    if any(map(is_written, files)):
        raise Busy(f"{path} is still being written by the writer of a daemon that died")
    segments = tuple(segment for segment in (read_segment(file, verify=False) for file in files) if segment.account)
    if not segments:
        if not any(map(_was_begun, files)):
            return None
        if spec is None:
            raise BadInput(f"{path} cannot be read: its writer was killed while it was made")
        return UnfinishedScan(spec, {}, ())
    account = segments[-1].account
    assert account is not None
    unclosed = account.status == RUNNING or account.note.startswith((ORPHANED, TERMINATED))
    unmade = account.status in ("complete", "incomplete") and tomogram is not None and not tomogram.exists()
    if not unclosed and not unmade:
        return None
    kinds: dict[int, FrameKind] = {}
    for segment in segments:
        index, key = segment.columns[_INDEX][segment.good], segment.columns[_KEY][segment.good]
        kinds.update((int(i), FrameKind(int(k))) for i, k in zip(index, key, strict=True) if i < account.spec.frames)
    return UnfinishedScan(account.spec, kinds, segments)


def _was_begun(path: Path) -> bool:
    """Whether a file is empty, or HDF5: what a writer that is killed at the beginning may leave."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(SIGNATURE)) in (b"", SIGNATURE)
    return False


def newest_scan(files: Iterable[Path], after: float) -> str | None:
    """Id of the scan whose raw file was changed last; None when that was before ``after`` (s since 1970 UTC)."""
    newest, scan_id = after, None
    for path in files:
        with suppress(OSError):  # renamed at this moment
            changed = path.lstat().st_mtime
            if changed > newest:
                newest, scan_id = changed, scan_of(path)
    return scan_id


def scan_of(path: Path) -> str:
    """Id of the scan that a raw file, or a segment of one, belongs to."""
    return path.stem.partition("+")[0]


def _runs(rows: list[int], most: int) -> Iterator[list[int]]:
    """Neighbouring rows, at most ``most`` together."""
    run: list[int] = []
    for row in rows:
        if run and (row != run[-1] + 1 or len(run) == most):
            yield run
            run = []
        run.append(row)
    if run:
        yield run
