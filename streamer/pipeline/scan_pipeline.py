"""From frames to planes, quality and tomogram: the same steps for a running scan and for a file.

No sockets, files, threads or clocks: frames are pushed in, results are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamer.core.alignment.half_acquisition import extend_half_turn
from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.selection import Backend
from streamer.core.fourier.recent_projections import recent_projections
from streamer.core.jit import at_most
from streamer.core.memory import Memory
from streamer.core.planes.plane import Plane
from streamer.core.quality.artefacts import slice_figures
from streamer.frames import BadInput, FrameKind, FrameMeta, Quality, ScanSpec, Verdict
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.judgement import Judgement
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.tracker import LayoutTracker
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.reconstruction.growing_tomogram import CENTER_TOLERANCE_PX, GrowingTomogram, plan_tomogram
from streamer.pipeline.reconstruction.live_view import LiveView
from streamer.pipeline.reconstruction.row_blocks import ReadRows, sinograms, slices
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.settings import Settings
from streamer.pipeline.store import FRAMES_PER_BATCH, AttenuationStore

RECENTER_PX = 0.1
"""A new centre that differs by less does not change the picture by more than its noise."""

ONE_THREAD_PIXELS = 2**20
"""Frames up to this size are folded in by one thread: a millisecond or two, and the other cores stay free."""

LOOKS_PER_SCAN = 20
"""How often in a scan the geometry is looked at."""

FIELDS = (FrameKind.DARK, FrameKind.FLAT)

PROJECTIONS_AHEAD = 32
"""Projections for which memory is found before anything else is done in idle moments."""


class ScanPipeline:
    """One scan: planes follow every projection, the tomogram grows in idle moments. Not thread-safe.

    ``view`` has the watched planes, per pixel.
    """

    def __init__(
        self,
        spec: ScanSpec,
        backend: Backend,
        settings: Settings,
        planes: Sequence[Plane] | None = None,
        fixed_center: float | None = None,
        memory: Memory | None = None,
    ) -> None:
        """``planes`` to watch (None: the three orthogonal ones), an operator's ``fixed_center`` (detector column), and
        ``memory`` that scans share, one after the other. Raises BadInput.
        """
        self._memory = memory = memory or Memory()
        self.spec, self._backend = spec, backend
        self.settings, self._options, self._limits = settings, settings.reconstruction, settings.limits
        memory_bytes = self._options.memory_bytes
        self.plan = plan_tomogram(spec, memory_bytes, backend.threads)
        small = spec.rows * spec.columns <= ONE_THREAD_PIXELS
        self._live = replace(backend, threads=1) if small else backend
        self._store = AttenuationStore(spec.rows, spec.columns, spec.projections, memory_bytes, memory)
        self._preparation = Preparation(spec, self._live.threads, settings.preparation)
        self._tracker = LayoutTracker(spec, self._options, fixed_center)
        kept = spec.projections if self._preparation.plain and self._store.whole else 0
        recent = recent_projections(backend, spec.rows, spec.columns, kept)
        self._stored = StoredProjections(
            self._store, self._preparation, self._tracker.first, self._live.threads, recent
        )
        self.view = LiveView(self._live, self._stored, self._options.sliding_deg, planes)
        self._tomogram: GrowingTomogram | None = None
        self._middle: Image | None = None
        self._measured = Measurements(spec, self._live)
        self._checks = FrameChecks(spec, settings.preparation.zingers > 0)
        self._judgement = Judgement(spec, settings, self._measured, self._checks, self._preparation, backend)
        self._looked = 0  # how far into the scan, in parts of LOOKS_PER_SCAN
        self._has = np.zeros(spec.frames, bool)
        self._first = spec.frames  # lowest index of a projection so far
        self.seen = 0
        self.late_fields = 0
        """Darks and flats that were taken before the projections and came after one: it was prepared without them."""

    @property
    def count(self) -> int:
        """Projections folded in."""
        return self._store.count

    @property
    def center(self) -> float:
        """Of rotation, a detector column."""
        return self.layout.detector_center if self._tracker.final else self.view.center

    @property
    def layout(self) -> Layout:
        """How projections are laid out; known for good after ``refine_center``."""
        return self._stored.layout

    @property
    def shape(self) -> tuple[int, int, int]:
        """(row, y, x) of the tomogram; known for good after ``refine_center``."""
        return self.spec.rows, self.layout.width, self.layout.width

    @property
    def unit(self) -> str:
        """Of images and tomogram."""
        return "1/pixel" if self.spec.pixel_size_m is None else "1/cm"

    @property
    def _scale(self) -> np.float32:
        """From attenuation per pixel to ``unit``; in the end also for the angles that never came."""
        lacking = self.layout.density_scale(self._store.angles_rad) if self._tracker.final else 1.0
        return np.float32(lacking if self.spec.pixel_size_m is None else lacking / (100.0 * self.spec.pixel_size_m))

    @property
    def in_memory(self) -> bool:
        """Whether the tomogram can be made without the raw file."""
        return self._store.whole

    @property
    def complete(self) -> bool:
        """Whether every announced frame was pushed, and each projection after the darks and flats that it needs."""
        return self.seen == self.spec.frames and not self.late_fields

    def has(self, index: int) -> bool:
        """Whether the frame of this index was pushed."""
        return bool(self._has[index])

    def push(self, meta: FrameMeta, pixels: Array) -> None:
        """Take one accepted frame (rows, columns); its pixels are not kept. Raises BadInput on another shape."""
        self.push_batch((meta,), pixels[None])

    def push_batch(self, metas: Sequence[FrameMeta], pixels: Array) -> None:
        """``push`` frames (frames, rows, columns) that came one after the other.

        Projections among them are folded in together, which takes less time and gives the same numbers.
        """
        if pixels.shape[1:] != (self.spec.rows, self.spec.columns):
            announced = (self.spec.rows, self.spec.columns)
            frame = f"frame {metas[0].index} is {pixels.shape[1:]}"
            raise BadInput(f"{frame}, scan {self.spec.scan_id} announced {announced}")
        first = 0  # of the projections that wait to be folded in
        for k, meta in enumerate(metas):
            new = not self._has[meta.index]
            self._has[meta.index] = True
            self.seen += new
            # There may be more projections than announced, in place of flats or darks.
            projection = meta.kind is FrameKind.PROJECTION and self.count + k - first < self.spec.projections
            if new and projection and k - first < FRAMES_PER_BATCH:
                continue
            self._project(metas[first:k], pixels[first:k])
            first = k if new and projection else k + 1
            if new and not projection:
                self._calibrate(meta, pixels[k])
        self._project(metas[first:], pixels[first:])

    def _calibrate(self, meta: FrameMeta, pixels: Array) -> None:
        self.late_fields += meta.kind in FIELDS and meta.index < self._first < self.spec.frames
        if meta.kind is FrameKind.DARK:
            self._measured.darks += 1
            self._preparation.dark(pixels)
        elif meta.kind is FrameKind.FLAT:
            self._measured.flats += 1
            self._preparation.flat(pixels, meta.monitor, meta.index)

    def _project(self, metas: Sequence[FrameMeta], raw: Array) -> None:
        """Fold projections (frames, rows, columns) in, not more than the store takes together."""
        self._first = min((self._first, *(meta.index for meta in metas)))
        if metas and not self._checks.begun:
            prepared = self._preparation
            self._checks.begin(*prepared.fields(), prepared.flat_noise, prepared.flats_have_noise)
        metas, raw = self._checks.usable(metas, raw)
        if metas:
            with at_most(self._live.threads):
                self._fold(RawProjections.of(metas, raw, self.count))

    def _fold(self, raw: RawProjections) -> None:
        if raw.number == 0:
            self._begin(raw)
        attenuation, moments = self._store.next(len(raw)), np.empty((len(raw), self.spec.rows, 4))
        fused = self._preparation.plain and self.view.takes_raw
        self._preparation.prepare(raw, attenuation, moments, self.view if fused else None)
        self._store.add(raw.angle_rad)
        if not fused:
            self.view.add(self._stored.laid_out(attenuation, raw.numbers), raw.angle_rad)
        for k, (angle, index) in enumerate(zip(raw.angle_rad.tolist(), raw.index.tolist(), strict=True)):
            self._measured.projection(angle, index, attenuation[k], moments[k])
        self._stored.recent.arrived(self.count)
        self.view.replay(len(raw))

    def _begin(self, raw: RawProjections) -> None:
        """The first projection fixes darks and flats, and shows whether the sample is wider than the detector."""
        attenuation = self._preparation.begin(raw.pixels[0])
        self._measured.dark_flat_share = self._preparation.correction.dead_share
        angle = float(raw.angle_rad[0])
        self._use(self._tracker.begin(attenuation, angle, self._measured.center, self.layout), 0.0)

    def work(self) -> bool:
        """Use an idle moment. False when there was nothing to do."""
        if self._store.find_memory(PROJECTIONS_AHEAD):
            return True
        with at_most(self._live.threads):
            if self._preparation.prepare_ahead() or self.view.work():
                return True
        return self._grow() or self._store.find_memory(self.spec.projections)

    def _grow(self) -> bool:
        """Use an idle moment for the tomogram, which begins to grow once the axis is known. False if it is done."""
        center = self.view.target_center
        if self._tomogram is not None and not self._tomogram.reaches(center):
            self._tomogram = None
        if self._tomogram is None and self._tracker.known:
            self._tomogram = self._new_tomogram(center)
        return self._tomogram is not None and self._tomogram.work()

    def _new_tomogram(self, center: float) -> GrowingTomogram | None:
        """None where it has to be made after the scan."""
        if not GrowingTomogram.fits(self._stored, self._options.memory_bytes, self._backend.threads):
            return None
        return GrowingTomogram(self._backend, self.spec, self._stored, center, self._options.window, self._memory)

    def _use(self, layout: Layout, tolerance_px: float) -> None:
        """Bring planes and tomogram to another layout or axis; one less than ``tolerance_px`` away changes nothing."""
        before, center = self.layout, layout.detector_center
        same = replace(layout, detector_center=before.detector_center) == before
        if same and abs(center - before.detector_center) <= tolerance_px:
            self._stored.layout = replace(before, reason=layout.reason)
        elif same and not layout.changes:
            self._stored.layout = layout
            if self._tomogram is not None and not self._tomogram.reaches(center):
                self._tomogram = None
            self.view.recenter(center)
        else:
            self._stored = self._stored.with_layout(layout)
            self._tomogram = None
            self.view.lay_out(self._stored)

    def _invalidate_stored(self) -> None:
        """The corrections of stored projections have changed: what was made of them is made again."""
        self._tomogram = None
        if self._store.whole:
            self.view.recenter(self.view.target_center)

    def images(self) -> dict[str, Image]:
        """The watched planes from what has come so far, by name, (height, width) float32 in ``unit``."""
        with at_most(self._live.threads):
            return {name: image * self._scale for name, image in self.view.images().items()}

    def fix_center(self, center: float | None) -> None:
        """Hold the centre at a detector column (None: find it). Raises BadInput if no slice could be made about it."""
        self._use(self._tracker.fix(center, self.layout), 0.0)

    def track_center(self) -> None:
        """Determine centre and layout from the projections so far, and move the planes there."""
        found = self._measured.estimate_center()
        if self._preparation.refresh():
            self._invalidate_stored()
        looked = int(LOOKS_PER_SCAN * self.count / self.spec.projections)
        due, self._looked = looked > self._looked, looked
        sure = self._limits.min_center_confidence
        self._use(self._tracker.track(self._store, found, sure, self.layout, due), RECENTER_PX)

    def refine_center(self) -> None:
        """Determine the final centre and layout, from all projections."""
        if not self.count:
            return
        found = self._measured.refine_center(self._stored.attenuation)
        if self._preparation.refresh(final=True):
            self._invalidate_stored()
        self._use(self._tracker.refine(self._store, found, self.layout), CENTER_TOLERANCE_PX)

    @property
    def set_aside(self) -> list[int]:
        """Indices of the projections that are of no use, in order."""
        return self._checks.set_aside

    @property
    def unusable(self) -> dict[str, str]:
        """The same by cause, as "70-72, 80"."""
        return self._checks.by_cause()

    def judge(self, missing: int, corrupt: int, final: bool = False) -> tuple[Quality, Verdict]:
        """The measured quality and what it means. ``missing`` and ``corrupt`` are the ledger's."""
        if final:
            return self._judgement.final(self._stored, self.center, missing, corrupt)
        return self._judgement.live(self._stored, self.center, missing, corrupt)

    def tomogram(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """Blocks (first row, (rows, width, width) float32 in ``unit``) of the tomogram, with exact weights.

        ``read_rows`` gives raw rows of the projections; it is called only if they did not fit into memory. A block may
        be overwritten once the next but one is asked for.
        """
        middle, scale = self.spec.rows // 2, self._scale
        if self._tomogram is None:
            self._tomogram = self._new_tomogram(self.center)
        for first, block in self._blocks(read_rows):
            block *= scale
            if first <= middle < first + len(block):
                self._middle = block[middle - first].copy()
            yield first, block

    def _blocks(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        if self._tomogram is not None:
            return self._tomogram.finish(self.center)
        window, memory_bytes = self._options.window, self._options.memory_bytes
        return slices(self._backend, self._stored, read_rows, self.center, window, memory_bytes, self._memory)

    def artefacts(self) -> dict[str, float]:
        """Noise, rings, truncation and cupping of the middle slice of the tomogram; empty before it was made."""
        return {} if self._middle is None else slice_figures(self._middle)

    def projections(self, first: int, last: int, read_rows: ReadRows) -> tuple[Image, Values, float]:
        """Line integrals (n, last - first, width) for an iterative method, angles (n,) in radian, and the centre.

        Prepared projections of these rows, per pixel, after ``refine_center``. Those of half acquisition are joined
        with their opposites to half a turn. ``read_rows`` as for ``tomogram``. Raises BadInput without opposites.
        """
        stored = self._stored.with_layout(replace(self.layout, half=False))
        rows, angles = sinograms(stored, read_rows, first, last, self._memory)
        return extend_half_turn(rows, angles, self.center) if self.layout.half else (rows, angles, self.center)

    def parameters(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "center_px": self.center,
            "window": self._options.window,
            "projections": self.count,
            "backend": self._backend.name,
            "method": "filtered backprojection by Fourier gridding, spatial ramp, Voronoi weights",
            **self.layout.to_dict(),
            **self._preparation.describe(),
        }
