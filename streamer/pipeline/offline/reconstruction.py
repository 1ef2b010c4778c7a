"""A recorded scan through the daemon's pipeline: the same steps and numbers, from a file or from arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.frames import Frame, Quality, ScanSpec, Verdict
from streamer.pipeline.offline.binned_scan import BinnedScan, RecordedScan
from streamer.pipeline.offline.tv_tomogram import TvOptions, TvTomogram
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings


class OfflineReconstruction:
    """``read`` the frames of a scan, ``judge`` them, then make the ``blocks`` of the tomogram.

    ``whole`` describes the recorded scan. ``rows`` are the detector rows that are used, ``bin_`` × ``bin_`` pixels are
    replaced by their mean, ``center`` is the detector column of the rotation axis (None: find it). With ``tv`` the
    tomogram is made by least squares with total variation, else by filtered backprojection. Raises BadInput when no
    pixel is left, and as ``ScanPipeline`` does.
    """

    def __init__(
        self,
        scan: RecordedScan,
        whole: ScanSpec,
        backend: Backend,
        settings: Settings,
        *,
        rows: slice,
        bin_: int = 1,
        center: float | None = None,
        tv: TvOptions | None = None,
    ) -> None:
        self._backend, self._settings, self._tv_options = backend, settings, tv
        self._binned, self._first_row = BinnedScan(scan, whole, rows, bin_, backend.threads), rows.start
        self._missing = scan.missing
        self.center_given = center is not None
        fixed = None if center is None else self._binned.binned_column(center)
        self.pipeline = ScanPipeline(self.spec, backend, settings, planes=(), fixed_center=fixed)
        self.pipeline.know_detector(self._binned.defects)
        self._tv: TvTomogram | None = None

    @property
    def spec(self) -> ScanSpec:
        """The scan as the pipeline sees it."""
        return self._binned.spec

    def read(self, frames: Iterable[Frame]) -> Iterator[int]:
        """Take frames, which show the chosen rows only; yields how many were taken so far."""
        for count, frame in enumerate(self._binned.frames(frames), start=1):
            self.pipeline.push(frame.meta, frame.pixels)
            yield count

    def judge(self) -> tuple[Quality, Verdict]:
        """Once all frames are read: find the axis. Quality and verdict, in pixels of the detector."""
        pipeline = self.pipeline
        pipeline.refine_center()
        quality, verdict = pipeline.judge(missing=self._missing, corrupt=0)
        if self._tv_options is not None:
            memory_bytes = self._settings.reconstruction.memory_bytes
            self._tv = TvTomogram(self._backend, pipeline, self._binned.read, self._tv_options, memory_bytes)
        return self._binned.verdict_at_full_resolution(quality, verdict, self._settings.limits, pipeline.layout.half)

    def parameters(self) -> dict[str, Any]:
        """What is needed to repeat the reconstruction, after ``judge``; columns are those of the detector."""
        column = self._binned.detector_column(self.pipeline.center)
        return {
            **self.pipeline.parameters(),
            "center_px": column,
            "detector_center_px": column,
            "center_binned_px": self.pipeline.center,
            "bin": self._binned.bin,
            "first_row": self._first_row,
            **({} if self._tv is None else self._tv.parameters()),
        }

    @property
    def steps(self) -> int:
        """How many steps ``blocks`` reports: iterations, or detector rows."""
        return self.spec.rows if self._tv is None else self._tv.steps

    def blocks(self, report: Callable[[int, str], None] = lambda done, note: None) -> Iterator[tuple[int, Image]]:
        """Yield (first row, slices (rows, y, x) float32) in the pipeline's unit; calls ``report(steps done, note)``.

        A block may be overwritten once the next but one is asked for.
        """
        if self._tv is not None:
            yield from self._tv.blocks(report)
            return
        for first, block in self.pipeline.tomogram(self._binned.read):
            yield first, block
            report(first + len(block), "")
