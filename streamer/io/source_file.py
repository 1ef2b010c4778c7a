"""A recorded scan as a source: NXtomo, DXchange, and NeXus files like those of Diamond's DIAD beamline.

What differs between the layouts is found in ``layouts``; here is one way to read them all, in blocks of bounded size.
Files that a crash left behind, or that are still being written, are read as far as they go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamer.core.memory import Memory
from streamer.frames import NAME, BadInput, Frame, FrameKind, FrameMeta, ScanSpec, frame_dtype
from streamer.io.layouts.find import find_layout
from streamer.io.layouts.layout import Layout, ReadOptions
from streamer.io.layouts.numbering import Numbering
from streamer.io.layouts.plain_stack import PlainStack
from streamer.io.raw.unclosed import open_raw

MAX_READ = 8 * 2**20
"""Bytes that one read takes at most, unless a single frame is larger."""


@dataclass(frozen=True)
class ScanInfo:
    """What a file says about its scan. None means "the file does not say". ``notes`` are for people, a line each."""

    layout: str  # "NXtomo", "DXchange" or "NeXus"
    sample: str
    rows: int
    columns: int
    dtype: str  # as delivered; other types than frames.DTYPES are converted to <f4
    projections: int
    flats: int
    darks: int
    pixel_size_m: float | None
    energy_kev: float | None
    distance_m: float | None
    status: str | None  # of files that Streamer wrote: "running" when its writer was killed, or still writes
    missing_files: tuple[str, ...]  # targets of links that are not there
    notes: tuple[str, ...]


class ScanFile:
    """One recorded scan, open for reading. ``angles_deg`` are those of the projections, in the order of the file;
    ``index`` those of their frames as ``frames`` has them, ``usable_index`` as ``usable`` has them. ``missing``
    projections lack: their angles, their files, or all but their numbers.
    """

    def __init__(self, files: ExitStack, path: Path, layout: Layout) -> None:
        """Use ``open``."""
        self.path = path
        self._files, self._layout, self._numbering = files, layout, Numbering.of(layout)
        self._plain: dict[int, PlainStack | None] = {}  # of the datasets that were read
        self._dtype = frame_dtype(*(dataset.dtype for dataset in layout.datasets))
        kinds = np.where(layout.lost, np.uint8(FrameKind.INVALID), layout.kinds)
        self._projections = np.flatnonzero(kinds == FrameKind.PROJECTION)
        self.angles_deg: NDArray[np.float64] = layout.angles_deg[self._projections]
        self.index = layout.index[self._projections]
        self.usable_index: NDArray[np.int64] = self._numbering.index[self._projections]
        self.missing = self._numbering.missing
        self.mask = layout.mask
        """Pixels (rows, columns) uint32 of the detector that are not to be used are not 0; None: the file says none."""
        self.defects = None if layout.mask is None else layout.mask != 0
        rows, columns = layout.shape
        self.info = ScanInfo(
            layout=layout.name,
            sample=as_name(layout.sample or path.stem),
            rows=rows,
            columns=columns,
            dtype=self._dtype.str,
            projections=len(self._projections),
            flats=int(np.count_nonzero(kinds == FrameKind.FLAT)),
            darks=int(np.count_nonzero(kinds == FrameKind.DARK)),
            pixel_size_m=layout.pixel_size_m,
            energy_kev=layout.energy_kev,
            distance_m=layout.distance_m,
            status=layout.status,
            missing_files=layout.missing_files,
            notes=layout.notes,
        )

    @classmethod
    def open(cls, path: Path, options: ReadOptions | None = None) -> ScanFile:
        """Raises BadInput, one line, for what is not a scan: no such file, no images, no angles, angles ≠ images."""
        with ExitStack() as opening:
            file = opening.enter_context(open_raw(path))
            layout = find_layout(file, path, options or ReadOptions(), opening)
            scan = cls(ExitStack(), path, layout)
            scan._check()
            scan._files = opening.pop_all()
        return scan

    def _check(self) -> None:
        if not len(self._projections):
            gone = "; ".join(self.info.notes) if self._layout.lost.any() else ""
            raise BadInput(f"{self.path}: holds no projections" + (f" ({gone})" if gone else ""))
        if not np.isfinite(self.angles_deg).all():
            first = int(np.flatnonzero(~np.isfinite(self.angles_deg))[0])
            raise BadInput(f"{self.path}: the angle of projection {first} is not a number")

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> ScanFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spec(self, scan_id: str | None = None) -> ScanSpec:
        """The scan as it would be announced: as it was, when the file says so, else with the projections that lack."""
        info, layout, count = self.info, self._layout, self._numbering.projections
        if layout.spec is not None:
            held = {} if self._numbering.announced else {"flats": info.flats, "darks": info.darks}
            return structs.replace(layout.spec, scan_id=scan_id or layout.spec.scan_id, projections=count, **held)
        angles = layout.angles_deg[layout.kinds == FrameKind.PROJECTION]
        first = layout.source[self._projections[0]]
        return ScanSpec.recorded(
            scan_id or as_name(self.path.stem),
            info.sample,
            angles,
            layout.datasets[first].dtype,
            count - len(angles),
            rows=info.rows,
            columns=info.columns,
            flats=info.flats,
            darks=info.darks,
            dtype=info.dtype,
            pixel_size_m=info.pixel_size_m,
            energy_kev=info.energy_kev,
            distance_m=info.distance_m,
        )

    def darks(self, max_bytes: int = MAX_READ) -> Iterator[NDArray[Any]]:
        """Blocks (n, rows, columns) of the frames taken with the shutter closed."""
        yield from (block for _, block in self._blocks(FrameKind.DARK, slice(None), max_bytes))

    def flats(self, max_bytes: int = MAX_READ) -> Iterator[NDArray[Any]]:
        """Blocks (n, rows, columns) of the frames of the beam alone."""
        yield from (block for _, block in self._blocks(FrameKind.FLAT, slice(None), max_bytes))

    def projections(
        self, block: int | None = None, rows: slice = slice(None), max_bytes: int = MAX_READ
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Blocks of projections: their places in ``angles_deg``, and the pixels (n, rows, columns).

        A block has at most ``block`` frames and ``max_bytes`` bytes, but at least one frame.
        """
        yield from self._blocks(FrameKind.PROJECTION, rows, max_bytes, block)

    def rows(
        self, first: int, last: int, memory: Memory | None = None, places: NDArray[np.intp] | None = None
    ) -> NDArray[Any]:
        """Detector rows ``first`` to ``last`` (exclusive) of all projections: (projections, last − first, columns).

        ``places`` in ``angles_deg``: of those only.
        """
        numbers = self._projections if places is None else self._projections[places]
        stack, _ = (memory or Memory()).array((len(numbers), last - first, self.info.columns), self._dtype)
        done, part = 0, slice(first, last)
        for run in _runs(self._layout.source[numbers], self._layout.place[numbers], len(numbers)):
            some = numbers[run]
            out = stack[done : done + len(some)]
            source, at = int(self._layout.source[some[0]]), int(self._layout.place[some[0]])
            plain = self._plain_stack(source, at, len(some))
            if plain is not None and self._layout.datasets[source].dtype == self._dtype:
                with self._named(at):
                    plain.read(at, part, out)
            else:
                filled = 0
                for _, block in self._read(some, part, MAX_READ, None):
                    out[filled : filled + len(block)] = block
                    filled += len(block)
            done += len(some)
        return stack

    def frames(
        self, scan_id: str | None = None, rows: slice = slice(None), max_bytes: int = MAX_READ
    ) -> Iterator[Frame]:
        """Every frame as a detector would send it, in the order of the file; darks and flats first in DXchange.

        ``rows`` (start:stop) cuts all frames to some detector rows.
        """
        name, present = scan_id or self.spec().scan_id, np.flatnonzero(~self._layout.lost)
        for numbers, block in self._read(present, rows, max_bytes, None):
            for number, pixels in zip(numbers.tolist(), block, strict=True):
                yield Frame(self._meta(name, number), pixels)

    def usable(self, rows: slice = slice(None), by_index: bool = False) -> Iterator[Frame]:
        """The frames that show something, cut to some detector rows: darks first, and flats where all come late.

        Their indices have a gap for each projection that lacks. ``by_index``: in the order of the indices instead.
        """
        name, index, order = self.spec().scan_id, self._numbering.index, self._numbering.order
        if by_index:
            order = order[np.argsort(index[order], kind="stable")]
        for numbers, block in self._read(order, rows, MAX_READ, None):
            for number, pixels in zip(numbers.tolist(), block, strict=True):
                yield Frame(structs.replace(self._meta(name, number), index=int(index[number])), pixels)

    def kinds_by_index(self) -> list[FrameKind]:
        """The kind of each frame of the scan in the order of the indices; one that lacks is like that before it."""
        index, order = self._numbering.index, self._numbering.order
        order = order[np.argsort(index[order], kind="stable")]
        times = np.diff(np.append(index[order], self.spec().frames))
        times[0] += index[order[0]]
        return [FrameKind(int(kind)) for kind in np.repeat(self._layout.kinds[order], times)]

    def some(self, wanted: Callable[[int], bool], most: int) -> Iterator[tuple[list[FrameMeta], NDArray[Any]]]:
        """The frames whose ``index`` is wanted, at most ``most`` at once: what ``frames`` says of them, and the pixels
        (n, rows, columns).
        """
        name = self.spec().scan_id
        present = np.flatnonzero(~self._layout.lost)
        numbers = present[[wanted(index) for index in self._layout.index[present].tolist()]]
        for some, block in self._read(numbers, slice(None), MAX_READ, most):
            yield [self._meta(name, number) for number in some.tolist()], block

    @property
    def timed(self) -> bool:
        """Whether the file says when each frame was taken."""
        return bool(self._layout.timestamp_ns[self._numbering.order].all())

    def _meta(self, scan_id: str, number: int) -> FrameMeta:
        layout = self._layout
        return FrameMeta(
            scan_id=scan_id,
            index=int(layout.index[number]),
            kind=FrameKind(int(layout.kinds[number])),
            angle_deg=float(layout.angles_deg[number]),
            seq=number,
            timestamp_ns=int(layout.timestamp_ns[number]),
            exposure_s=float(layout.exposure_s[number]),
            monitor=float(layout.monitor[number]),
        )

    def _blocks(
        self, kind: FrameKind, rows: slice, max_bytes: int, block: int | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        numbers = np.flatnonzero((self._layout.kinds == kind) & ~self._layout.lost)
        done = 0
        for some, pixels in self._read(numbers, rows, max_bytes, block):
            yield np.arange(done, done + len(some)), pixels
            done += len(some)

    def _read(
        self, numbers: NDArray[np.int64], rows: slice, max_bytes: int, block: int | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Frames of the given numbers, in runs that lie together in one dataset."""
        layout = self._layout
        first, last, step = rows.indices(self.info.rows)
        if step != 1 or last <= first:
            raise BadInput(f"{self.path}: rows {rows.start}:{rows.stop} of {self.info.rows}: nothing to read")
        stored = max(dataset.dtype.itemsize for dataset in layout.datasets)
        # Converting makes a second copy of the block.
        frame_bytes = (last - first) * self.info.columns * max(stored, self._dtype.itemsize)
        limit = max(1, max_bytes // frame_bytes)
        if block is not None:
            limit = max(1, min(limit, block))
        for run in _runs(layout.source[numbers], layout.place[numbers], limit):
            some = numbers[run]
            source, at = int(layout.source[some[0]]), int(layout.place[some[0]])
            with self._named(at):
                pixels = self._pixels(source, at, len(some), slice(first, last))
            yield some, pixels.astype(self._dtype, copy=False)

    @contextmanager
    def _named(self, at: int) -> Iterator[None]:
        """Errors say which frames cannot be read."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise BadInput(f"{self.path}: frames from {at} on cannot be read: {error}") from error

    def _pixels(self, source: int, first: int, count: int, rows: slice) -> NDArray[Any]:
        """Rows of neighbouring frames in a dataset."""
        dataset = self._layout.datasets[source]
        plain = self._plain_stack(source, first, count)
        if plain is None:
            return np.asarray(dataset[first : first + count, rows])
        pixels = np.empty((count, rows.stop - rows.start, self.info.columns), dataset.dtype)
        plain.read(first, rows, pixels)
        return pixels

    def _plain_stack(self, source: int, first: int, count: int) -> PlainStack | None:
        """A way to these frames past the library, if there is one."""
        if source not in self._plain:
            plain = PlainStack.of(self._layout.datasets[source])
            self._plain[source] = None if plain is None else self._files.enter_context(plain)
        plain = self._plain[source]
        return plain if plain is not None and plain.holds(first, count) else None


def _runs(source: NDArray[Any], place: NDArray[Any], limit: int) -> Iterator[slice]:
    """Cut a list of frames where they are not neighbours in the same dataset, and after ``limit`` frames."""
    breaks = np.flatnonzero((np.diff(place) != 1) | (np.diff(source) != 0)) + 1
    edges = [0, *breaks.tolist(), len(place)]
    for start, stop in pairwise(edges):
        for at in range(start, stop, limit):
            yield slice(at, min(at + limit, stop))


def as_name(text: str) -> str:
    """Any text as a scan id or sample name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return name if NAME.fullmatch(name) else "unnamed"
