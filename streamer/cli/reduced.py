"""Part of a recorded scan, binned: what ``streamer reconstruct`` feeds the pipeline with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.tilt import Reduction
from streamer.core.memory import Memory
from streamer.core.quality.verdict import Limits, judge, saturated_share
from streamer.frames import BadInput, Frame, FrameKind, Quality, ScanSpec, Verdict
from streamer.io.source_file import ScanFile, usable


class ReducedScan:
    """The detector rows ``rows`` of a scan, ``bin`` × ``bin`` pixels of every frame made one by their mean.

    ``spec`` is what the reduced scan would announce; ``whole`` the same for the whole detector. Raises BadInput when
    nothing is left.
    """

    def __init__(self, scan: ScanFile, whole: ScanSpec, rows: slice, bin_: int, threads: int) -> None:
        self._scan, self._rows, self._threads = scan, rows, threads
        self._whole, self._reduction = whole, Reduction(bin=bin_)
        height = rows.stop - rows.start
        for name, length in (("rows", height), ("columns", whole.columns)):
            if length // bin_ < (1 if name == "rows" else 2):
                raise BadInput(f"--bin {bin_}: too much for {length} {name}")
        self.spec = self._reduction.scan(replace(whole, rows=height))
        if bin_ > 1:
            # A mean of saturated and other pixels shows neither: they are counted here.
            self.spec = replace(self.spec, saturation=None)
        self._saturated, self._projections = 0.0, 0
        self._memory = Memory()

    @property
    def bin(self) -> int:
        return self._reduction.bin

    def frames(self) -> Iterator[Frame]:
        """All but the invalid ones, numbered without gaps; those of integer pixels are counted for saturation."""
        for frame in usable(self._scan, self._rows):
            if self.bin == 1:
                yield frame
                continue
            if frame.meta.kind is FrameKind.PROJECTION:
                self._count(frame.pixels)
            yield Frame(frame.meta, self._reduction.apply(frame.pixels, self._threads))

    def _count(self, raw: NDArray[Any]) -> None:
        if raw.dtype.kind == "u" or self._whole.saturation is not None:
            self._saturated += saturated_share(raw, self._whole.saturation)
            self._projections += 1

    def read(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]:
        """These rows of the reduced scan, as ``flow.blocks.ReadRows``."""
        index, angles = self._scan.usable_index, np.deg2rad(self._scan.angles_deg)
        part = slice(self._rows.start + first * self.bin, self._rows.start + last * self.bin)
        if self.bin == 1:
            return index, angles, self._scan.rows(part.start, part.stop, self._memory)
        out = np.empty((angles.size, last - first, self.spec.columns), np.float32)
        for places, block in self._scan.projections(rows=part):
            for place, raw in zip(places, block, strict=True):
                self._reduction.apply(raw, self._threads, out[place])
        return index, angles, out

    def reduced(self, center: float) -> float:
        """Column of the reduced frames where a detector column comes to lie."""
        return self._reduction.reduced(center)

    def column(self, center: float) -> float:
        """Detector column of a column of the reduced frames."""
        return self._reduction.detector(center)

    def judged(self, quality: Quality, verdict: Verdict, limits: Limits, half: bool) -> tuple[Quality, Verdict]:
        """What was measured on reduced frames, and what it means, in pixels of the detector.

        In ``half`` acquisition the axis is near an edge, and the sample reaches over it, on purpose.
        """
        if self.bin == 1:
            return quality, verdict

        def full(length: float | None) -> float | None:
            return None if length is None else length * self.bin

        center = None if quality.center_px is None else self.column(quality.center_px)
        quality = replace(
            quality,
            center_px=center,
            center_offset_px=None if center is None else center - (self._whole.columns - 1) / 2,
            motion_px=full(quality.motion_px),
            resolution_px=full(quality.resolution_px),
            saturation=self._saturated / self._projections if self._projections else None,
        )
        allowed = replace(limits, max_truncation=None) if half else limits
        return quality, judge(quality, allowed, verdict.final, None if half else self._whole.columns)
