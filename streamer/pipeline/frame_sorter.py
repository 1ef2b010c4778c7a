"""Sorts the frames of a scan as they come: darks and flats to the preparation, projections of use into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamer.core.arrays import Array
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.arrivals import Arrivals
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.store import FRAMES_PER_BATCH, ProjectionStore


class FrameSorter:
    """Of one scan. ``arrivals`` and ``checks`` take note of every frame, the others of what concerns them."""

    def __init__(
        self,
        spec: ScanSpec,
        arrivals: Arrivals,
        checks: FrameChecks,
        preparation: Preparation,
        measured: Measurements,
        store: ProjectionStore,
        measures: bool = True,
    ) -> None:
        """``measures``: the projections are measured, too, so that ``measured`` begins with them."""
        self._spec, self._arrivals, self._checks = spec, arrivals, checks
        self._preparation, self._measured, self._store = preparation, measured, store
        self._measures = measures

    def batches(self, metas: Sequence[FrameMeta], pixels: Array) -> Iterator[RawProjections]:
        """The projections of use among frames (frames, rows, columns) that came one after the other.

        Each batch must be in the store before the next is asked for, and is not larger than what the store takes
        together. Frames that came before are left out. Raises BadInput on another shape than was announced.
        """
        spec = self._spec
        if pixels.shape[1:] != (spec.rows, spec.columns):
            frame = f"frame {metas[0].index} is {pixels.shape[1:]}"
            raise BadInput(f"{frame}, scan {spec.scan_id} announced {(spec.rows, spec.columns)}")
        first = 0  # of the projections that wait
        for k, meta in enumerate(metas):
            new = self._arrivals.note(meta.index)
            # There may be more projections than announced, in place of flats or darks.
            projection = meta.kind is FrameKind.PROJECTION and self._store.count + k - first < spec.projections
            if new and projection and k - first < FRAMES_PER_BATCH:
                continue
            yield from self._usable(metas[first:k], pixels[first:k])
            first = k if new and projection else k + 1
            if new and not projection:
                self._calibrate(meta, pixels[k])
        yield from self._usable(metas[first:], pixels[first:])

    def _calibrate(self, meta: FrameMeta, pixels: Array) -> None:
        self._arrivals.field(meta)
        if meta.kind is FrameKind.DARK:
            self._measured.darks += 1
            self._preparation.dark(pixels)
        elif meta.kind is FrameKind.FLAT:
            self._measured.flats += 1
            self._preparation.flat(pixels, meta.monitor, meta.index)

    def _usable(self, metas: Sequence[FrameMeta], raw: Array) -> Iterator[RawProjections]:
        """Those of projections (frames, rows, columns) that are of use, if there are any."""
        if not metas:
            return
        self._arrivals.projections([meta.index for meta in metas])
        if not self._checks.begun:
            prepared = self._preparation
            fields = prepared.fields()
            self._checks.begin(*fields, prepared.flat_noise, prepared.flats_have_noise)
            if self._measures:
                self._measured.begin(*fields)
        metas, raw = self._checks.usable(metas, raw)
        if metas:
            yield RawProjections.of(metas, raw, self._store.count)
