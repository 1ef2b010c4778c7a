"""From frames to planes, quality and tomogram: the same steps for a running scan and for a file.

No sockets, files, threads or clocks: frames are pushed in, results are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamer.core.arrays import Array, Image, Mask, Values
from streamer.core.backend.selection import Backend
from streamer.core.fourier.recent_projections import recent_projections
from streamer.core.jit import at_most
from streamer.core.memory import Memory
from streamer.core.planes.plane import Plane
from streamer.core.simd.row_vectors import LANES
from streamer.frames import FrameMeta, Quality, ScanSpec, Verdict
from streamer.pipeline.arrivals import Arrivals
from streamer.pipeline.device_store import DeviceStore, new_store
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.frame_sorter import FrameSorter
from streamer.pipeline.judgement import Judgement, Look
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.tracker import LayoutTracker
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawPlanes, RawProjections
from streamer.pipeline.reconstruction.brick import Box, BrickInProgress
from streamer.pipeline.reconstruction.growing_tomogram import CENTER_TOLERANCE_PX, plan_tomogram
from streamer.pipeline.reconstruction.live_view import LiveView
from streamer.pipeline.reconstruction.outgoing_slices import OutgoingSlices
from streamer.pipeline.reconstruction.plane_images import PlaneImages
from streamer.pipeline.reconstruction.row_blocks import ReadRows, line_integrals
from streamer.pipeline.reconstruction.series import Moment, Series, moment_blocks
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.reconstruction.tomogram_in_progress import TomogramInProgress
from streamer.pipeline.settings import Settings

RECENTER_PX = 0.1
"""A new centre that differs by less does not change the picture by more than its noise."""

FEW_THREADS_PIXELS, FEW = 2**20, 4
"""Frames up to this size are folded in by one thread in so many: a millisecond or two, and other cores stay free."""

LOOKS_PER_SCAN = 20
"""How often in a scan the geometry is looked at."""

PROJECTIONS_AHEAD = 32
"""Projections for which memory is found before anything else is done in idle moments."""


class ScanPipeline:
    """One scan: planes follow every projection, the tomogram grows in idle moments. Not thread-safe.

    ``view`` has the watched planes, per pixel, ``planes`` their pictures; ``store`` has the prepared projections, to
    look at, ``checks`` says which frames were set aside, and ``tracker`` what is known of the axis.
    """

    def __init__(
        self,
        spec: ScanSpec,
        backend: Backend,
        settings: Settings,
        planes: Sequence[Plane] | None = None,
        fixed_center: float | None = None,
        memory: Memory | None = None,
        part_of: int | None = None,
        axis_before: float | None = None,
    ) -> None:
        """``planes`` to watch (None: the three orthogonal ones), an operator's ``fixed_center`` (detector column),
        ``memory`` that scans share, one after the other, and the ``axis_before``, of the scan before (detector column):
        there the planes and the tomogram begin. ``part_of``: the rows are some of a detector of so many. Then the
        layout is told, by ``use``, and never chosen here; nothing is measured, nor can the scan be judged. Raises
        BadInput.
        """
        self._memory = memory = memory or Memory()
        self.spec, self._backend = spec, backend
        self.settings, self._options, self._limits = settings, settings.reconstruction, settings.limits
        memory_bytes = self._options.memory_bytes
        small = spec.rows * spec.columns <= FEW_THREADS_PIXELS
        self._live = replace(backend, threads=max(1, backend.threads // FEW)) if small else backend
        self._beside = max(1, backend.threads // FEW)  # threads that judge while others make the tomogram
        self._preparation = Preparation(spec, backend.threads, settings.preparation)
        self.store = new_store(backend, spec, memory_bytes, memory, settings.preparation.needs_host)
        there = isinstance(self.store, DeviceStore)
        self.plan = plan_tomogram(spec, memory_bytes, backend, there)
        self.tracker = LayoutTracker(spec, self._options, fixed_center, axis_before)
        kept = spec.projections if self._preparation.plain and self.store.whole and not there else 0
        recent = recent_projections(backend, spec.rows, spec.columns, kept)
        self._stored = StoredProjections(self.store, self._preparation, self.tracker.first, backend.threads, recent)
        self.series = None if spec.tomogram_deg is None else Series(spec)
        self.view = LiveView(self._live, self._stored, spec.tomogram_deg or self._options.sliding_deg, planes, backend)
        self.planes = PlaneImages(
            self.view, lambda: self._outgoing.scale(self._density), self._live.threads, backend.threads
        )
        self._tomogram = TomogramInProgress(backend, spec, self._options, memory, part_of)
        self._outgoing = OutgoingSlices(spec)
        self._measured = Measurements(spec, self._live)
        self.checks = FrameChecks(spec, settings.preparation.zingers > 0)
        self._judgement = Judgement(spec, settings, self._measured, self.checks, self._preparation, backend)
        self._looked = 0  # how far into the scan, in parts of LOOKS_PER_SCAN
        self._shown = True  # whether the planes follow what is pushed
        self.arrivals = Arrivals(spec.frames)
        self._part = part_of is not None
        self._sorter = FrameSorter(
            spec, self.arrivals, self.checks, self._preparation, self._measured, self.store, measures=not self._part
        )

    def know_detector(self, defects: Mask | None = None, saturation: float | None = None) -> None:
        """Before the first projection, from any thread: ``defects`` (rows, columns) that are never used nor judged, and
        the level at which the detector is full, where the scan has none. Raises BadInput for defects of another shape.
        """
        if defects is not None:
            self._preparation.mark_defects(defects)
        if self.spec.saturation is None:
            self.checks.saturation = saturation

    @property
    def count(self) -> int:
        """Projections folded in."""
        return self.store.count

    @property
    def center(self) -> float:
        """Of rotation, a detector column."""
        return self.layout.detector_center if self.tracker.final else self.view.center

    @property
    def axis(self) -> float:
        """About which tomograms are made, a detector column: the planes may still be on their way there."""
        return self.layout.detector_center

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
        return self._outgoing.unit

    @property
    def _density(self) -> float:
        """Factor for the angles that never came, in the end."""
        return self.layout.density_scale(self.store.angles_rad) if self.tracker.final else 1.0

    def push(self, meta: FrameMeta, pixels: Array) -> None:
        """Take one accepted frame (rows, columns); its pixels are not kept. Raises BadInput on another shape."""
        self.push_batch((meta,), pixels[None])

    def push_batch(self, metas: Sequence[FrameMeta], pixels: Array, shown: bool = True) -> None:
        """``push`` frames (frames, rows, columns) that came one after the other.

        Projections among them are folded in together, which takes less time and gives the same numbers. Those that
        need not be ``shown`` at once, as the scan is over, enter the planes only when these catch up, or are cut out of
        the tomogram; all threads work on them.
        """
        self._shown = shown or not self.store.whole
        for raw in self._sorter.batches(metas, pixels):
            with at_most(self._live.threads if self._shown else self._backend.threads):
                self._fold(raw)

    def _fold(self, raw: RawProjections) -> None:
        if raw.number == 0:
            self._begin(raw)
        attenuation, moments = self.store.next(len(raw)), np.empty((len(raw), self.spec.rows, 4))
        takes_raw = self._takes_raw
        self._preparation.prepare(raw, attenuation, moments, takes_raw)
        self.store.add(raw.angle_rad)
        # What is measured on a device is waited for, the planes are not: so they come last.
        if not self._part:
            self._measured.projections(raw.angle_rad.tolist(), raw.index.tolist(), attenuation, moments)
        if not self._shown:
            self.view.leave_out()
        elif takes_raw is not self.view:
            self.view.add(self._stored.laid_out(attenuation, raw.numbers), raw.angle_rad)
        self._stored.recent.arrived(self.count)
        if self._shown:
            self.view.replay(len(raw))

    @property
    def _takes_raw(self) -> RawPlanes | None:
        """What prepares raw projections on their way: the store on a device, or planes that follow what comes."""
        if isinstance(self.store, DeviceStore):
            return self.store
        return self.view if self._shown and self._preparation.plain and self.view.takes_raw else None

    def _begin(self, raw: RawProjections) -> None:
        """The first projection fixes darks and flats, and shows whether the sample is wider than the detector."""
        attenuation = self._preparation.begin(raw.pixels[0])
        self._measured.dark_flat_share = self._preparation.correction.dead_share
        if self._part:
            return
        angle = float(raw.angle_rad[0])
        self._use(self.tracker.begin(attenuation, angle, self._measured.center, self.layout), 0.0)

    def work(self) -> bool:
        """Use an idle moment. False when there was nothing to do."""
        if self.store.find_memory(PROJECTIONS_AHEAD):
            return True
        with at_most(self._live.threads):
            if self._preparation.prepare_ahead() or self.view.work():
                return True
        grown = self._tomogram.work(self._stored, self.view.target_center, self.tracker.likely)
        return grown or self.store.find_memory(self.spec.projections)

    def growth(self, stopped: Callable[[], bool]) -> Callable[[], None] | None:
        """Work on the tomogram for another thread while frames are pushed; see ``TomogramInProgress.growth``."""
        return self._tomogram.growth(self._stored, self.view.target_center, self.tracker.likely, stopped)

    def _use(self, layout: Layout, tolerance_px: float) -> None:
        """Bring planes and tomogram to another layout or axis; one less than ``tolerance_px`` away changes nothing."""
        before, center = self.layout, layout.detector_center
        same = replace(layout, detector_center=before.detector_center) == before
        if same and abs(center - before.detector_center) <= tolerance_px:
            self._stored.layout = replace(before, reason=layout.reason)
        elif same and not layout.changes:
            self._stored.layout = layout
            self._tomogram.keep(center)
            self.view.recenter(center)
        else:
            self._stored = self._stored.with_layout(layout)
            self._tomogram.drop()
            self.view.lay_out(self._stored)

    def use(self, layout: Layout, likely: bool, final: bool) -> None:
        """Take a layout that another pipeline of the same scan has, whose tracker says so of the axis."""
        if self._preparation.refresh(final=final):
            self._invalidate_stored()
        self.tracker.take(likely, final)
        self._use(layout, CENTER_TOLERANCE_PX if final else 0.0)
        if final:
            self._stored.layout = layout  # planes need not follow the last hundredths of a pixel, the tomogram does

    def _invalidate_stored(self) -> None:
        """The corrections of stored projections have changed: what was made of them is made again."""
        self._tomogram.drop()
        if self.store.whole:
            self.view.recenter(self.view.target_center)

    def fix_center(self, center: float | None) -> None:
        """Hold the centre at a detector column (None: find it). Raises BadInput if no slice could be made about it."""
        self._use(self.tracker.fix(center, self.layout), 0.0)
        self.view.hurry()

    def look(self, missing: int, corrupt: int) -> Callable[[], Look]:
        """Measure axis, quality and verdict of this moment, of which most of the work is left to do.

        Another thread may do it, as frames come; then ``follow`` it, before the next look. ``missing`` and ``corrupt``
        are the ledger's.
        """
        threads, measure = self._live.threads, self._judgement.look(self._stored, self.center, missing, corrupt)

        def look() -> Look:
            with at_most(threads):
                return measure()

        return look

    def follow(self, look: Look) -> None:
        """Choose the layout by what was found, and move the planes to the axis."""
        found = look.center
        if self._preparation.refresh():
            self._invalidate_stored()
        looked = int(LOOKS_PER_SCAN * self.count / self.spec.projections)
        due, self._looked = looked > self._looked, looked
        sure = self._limits.min_center_confidence
        self._use(self.tracker.track(self.store, found, sure, self.layout, due), RECENTER_PX)

    def refine_center(self) -> None:
        """Determine the final centre and layout, from all projections."""
        if not self.count:
            return
        found = self._measured.refine_center(self._stored.attenuation)
        if self._preparation.refresh(final=True):
            self._invalidate_stored()
        layout = self.tracker.refine(self.store, found, self.layout)
        self._use(layout, CENTER_TOLERANCE_PX)
        self._stored.layout = layout  # planes need not follow the last hundredths of a pixel, the tomogram does

    def judge(self, missing: int, corrupt: int, beside: bool = False) -> tuple[Quality, Verdict]:
        """The quality of the whole scan and what it means. ``missing`` and ``corrupt`` are the ledger's.

        ``beside`` the tomogram, on a thread that gives way to that one, it takes few cores.
        """
        with at_most(self._beside if beside else self._backend.threads):
            return self._judgement.final(self._stored, self.center, missing, corrupt)

    def tomogram(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """Blocks (first row, (rows, width, width) float32 in ``unit``) of the tomogram, with exact weights.

        ``read_rows`` gives raw rows of the projections; it is called only if they did not fit into memory. A block may
        be overwritten once the next but one is asked for.
        """
        blocks = self._tomogram.blocks(self._stored, self.center, read_rows)
        blocks = self.view.cut_out_of(blocks, self.shape)
        yield from self._outgoing.pass_on(blocks, self._density)

    def brick(self, box: Box | None, most: int) -> BrickInProgress | None:
        """A box of the tomogram so far, per pixel; see ``BrickInProgress``. None while no tomogram grows."""
        growing = self._tomogram.growing
        if growing is None:
            return None
        return BrickInProgress(growing, self.shape, self.axis, box, most, self._live.threads)

    def next_moment(self) -> Moment | None:
        """The next tomogram of a scan with several, once the axis is known and its projections have come."""
        if self.series is None or not (self.tracker.final or self.tracker.known):
            return None
        return self.series.next(self._stored, self.arrivals.first, self.arrivals.last, self.tracker.final)

    def moment(self, moment: Moment, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """Blocks of one of several tomograms, as ``tomogram`` gives them."""
        how = self._options.window, self._memory, LANES * self._backend.threads
        blocks = moment_blocks(self._backend, self._stored, moment.numbers, read_rows, self.axis, *how)
        yield from self._outgoing.pass_on(blocks)

    def artefacts(self) -> dict[str, float]:
        """Noise, rings, truncation and cupping of the middle slice of the tomogram; empty before it was made."""
        return self._outgoing.artefacts()

    def projections(self, first: int, last: int, read_rows: ReadRows) -> tuple[Image, Values, float]:
        """Line integrals of these rows for an iterative method, after ``refine_center``; see ``line_integrals``."""
        return line_integrals(self._stored, read_rows, first, last, self._memory, self.center)

    def parameters(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "center_px": self.axis,
            "window": self._options.window,
            "projections": self.count,
            "backend": self._backend.name,
            "method": "filtered backprojection by Fourier gridding, spatial ramp, Voronoi weights",
            **self.layout.to_dict(),
            **self._preparation.describe(),
        }
