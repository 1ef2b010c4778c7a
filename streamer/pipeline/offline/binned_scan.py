"""Some detector rows of a recorded scan, binned: what an offline reconstruction feeds the pipeline with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamer.core.arrays import Mask
from streamer.core.memory import Memory
from streamer.core.preprocessing.binning import bin_frame, binned, binned_spec, unbinned
from streamer.core.preprocessing.defects import MOST_MASKED
from streamer.core.quality.signal import saturated_share
from streamer.core.quality.verdict import Limits, judge
from streamer.frames import BadInput, Frame, FrameKind, Quality, ScanSpec, Verdict


class RecordedScan(Protocol):
    """What is read of a recording; ``io.source_file.ScanFile`` is one."""

    angles_deg: NDArray[np.float64]
    """Of the projections, in recorded order."""
    usable_index: NDArray[np.int64]
    """Of the projections, numbered with the darks and flats but without invalid frames."""
    missing: int
    """Projections that lack."""
    defects: Mask | None
    """Pixels (rows, columns) of the detector that are not to be used; None where that is not known."""

    def rows(self, first: int, last: int, memory: Memory | None = None) -> NDArray[Any]:
        """Detector rows [first, last) of all projections: (projections, last - first, columns)."""

    def projections(
        self, block: int | None = None, rows: slice = slice(None)
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Blocks of projections: their places in ``angles_deg``, and their pixels (n, rows, columns)."""


class BinnedScan:
    """The detector rows ``rows`` of a scan; of each block of ``bin`` × ``bin`` pixels, the mean of the good ones.

    ``defects`` (rows, columns) are the blocks without a good pixel; None where no defect is known.

    ``spec`` describes the binned scan, ``whole`` the recorded one. Raises BadInput when no pixel is left.
    """

    def __init__(self, scan: RecordedScan, whole: ScanSpec, rows: slice, bin_: int, threads: int) -> None:
        self._scan, self._rows, self._threads = scan, rows, threads
        self._whole, self.bin = whole, bin_
        height = rows.stop - rows.start
        for name, length, least in (("rows", height, 1), ("columns", whole.columns, 2)):
            if length // bin_ < least:
                raise BadInput(f"bin {bin_}: too much for {length} {name}")
        self.spec = binned_spec(structs.replace(whole, rows=height), bin_)
        if bin_ > 1:
            # A mean of saturated and other pixels hides both: ``frames`` counts them before it bins.
            self.spec = structs.replace(self.spec, saturation=None)
        self._saturated, self._projections = 0.0, 0
        self._always_full: Mask | None = None  # pixels that the detector masks: at their largest number without beam
        self._memory = Memory()
        self.defects = self._masked = None if scan.defects is None else scan.defects[rows]
        if self._masked is not None and bin_ > 1:
            share = bin_frame(self._masked.astype(np.float32), bin_, bin_, threads)  # of each block that is a defect
            self.defects = share >= 1.0
            self._scale = np.divide(1.0, 1.0 - share, out=np.zeros_like(share), where=~self.defects)

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Bin ``frames``, which show the chosen rows only, and count the saturated pixels of their projections."""
        for frame in frames:
            if self.bin == 1:
                yield frame
                continue
            if frame.meta.kind is FrameKind.PROJECTION:
                self._count(frame.pixels)
            elif frame.pixels.dtype.kind == "u":
                full = frame.pixels == np.iinfo(frame.pixels.dtype).max
                self._always_full = full if self._always_full is None else self._always_full & full
            yield Frame(frame.meta, self._binned(frame.pixels, slice(None)))

    def _binned(self, raw: NDArray[Any], rows: slice, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """``raw`` shows the binned ``rows`` of the chosen ones."""
        if self._masked is None:
            return bin_frame(raw, self.bin, self.bin, self._threads, out)
        first = (rows.start or 0) * self.bin
        good = np.where(self._masked[first : first + len(raw)], raw.dtype.type(0), raw)
        image = bin_frame(good, self.bin, self.bin, self._threads, out)
        image *= self._scale[rows]
        return image

    def _count(self, raw: NDArray[Any]) -> None:
        if raw.dtype.kind == "u" or self._whole.saturation is not None:
            masked = self._always_full
            if masked is not None and masked.mean() > MOST_MASKED:
                masked = None  # a beam that is too bright looks alike where there are no darks
            if self._masked is not None:
                masked = self._masked if masked is None else masked | self._masked
            self._saturated += saturated_share(raw, self._whole.saturation, masked)
            self._projections += 1

    def read(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]:
        """Rows [first, last) of the binned scan, as ``reconstruction.row_blocks.ReadRows``."""
        index, angles = self._scan.usable_index, np.deg2rad(self._scan.angles_deg)
        part = slice(self._rows.start + first * self.bin, self._rows.start + last * self.bin)
        if self.bin == 1:
            return index, angles, self._scan.rows(part.start, part.stop, self._memory)
        out = np.empty((angles.size, last - first, self.spec.columns), np.float32)
        for places, block in self._scan.projections(rows=part):
            for place, raw in zip(places, block, strict=True):
                self._binned(raw, slice(first, last), out[place])
        return index, angles, out

    def binned_column(self, column: float) -> float:
        """Column of the binned frames at a detector column."""
        return binned(column, self.bin)

    def detector_column(self, column: float) -> float:
        """Detector column at a column of the binned frames."""
        return unbinned(column, self.bin)

    def verdict_at_full_resolution(
        self, quality: Quality, verdict: Verdict, limits: Limits, half: bool
    ) -> tuple[Quality, Verdict]:
        """Convert a quality measured on binned frames to detector pixels, and judge it again by limits in those.

        In ``half`` acquisition the axis lies near an edge and the sample reaches over it on purpose; neither counts.
        """
        if self.bin == 1:
            return quality, verdict

        def full(length: float | None) -> float | None:
            return None if length is None else length * self.bin

        center = None if quality.center_px is None else self.detector_column(quality.center_px)
        quality = replace(
            quality,
            center_px=center,
            center_offset_px=None if center is None else center - (self._whole.columns - 1) / 2,
            motion_px=full(quality.motion_px),
            misfit_px=full(quality.misfit_px),
            columns=self._whole.columns,
            resolution_px=full(quality.resolution_px),
            saturation=self._saturated / self._projections if self._projections else None,
        )
        allowed = limits.model_copy(update={"max_truncation": None}) if half else limits
        return quality, judge(quality, allowed, verdict.final, None if half else self._whole.columns)
