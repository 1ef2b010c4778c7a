"""From frames to planes, quality and tomogram: the same steps for a running scan and for a file.

No sockets, files, threads or clocks: frames are pushed in, results are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.artefacts import slice_figures
from streamer.core.backend import Backend
from streamer.core.exact_planes import ExactPlanes
from streamer.core.jit import at_most
from streamer.core.live import FastPlanes
from streamer.core.planes import Plane, orthogonal_planes
from streamer.core.quality import Limits, judge
from streamer.core.stitch import extend_half_turn
from streamer.flow.blocks import ReadRows, half_slices, sinograms, slices
from streamer.flow.gather import CENTER_TOLERANCE_PX, Gathering, plan_tomogram
from streamer.flow.layout import Layout, LayoutOptions, choose_layout, is_full_turn
from streamer.flow.look import see_layout
from streamer.flow.measure import Measurements
from streamer.flow.preparation import Preparation
from streamer.flow.ready import Ready
from streamer.flow.settings import Settings
from streamer.flow.store import AttenuationStore
from streamer.flow.view import LiveView
from streamer.frames import BadInput, FrameKind, FrameMeta, Quality, ScanSpec, Verdict

Image = NDArray[np.float32]

RECENTER_PX = 0.1
"""A new centre that differs by less does not change the picture by more than its noise."""

ONE_THREAD_PIXELS = 2**20
"""Frames up to this size are folded in by one thread: a millisecond or two, and the other cores stay free."""

LOOKS_PER_SCAN = 20
"""How often in a scan the geometry and, where it may end the scan, the resolution are looked at; the geometry of a full
turn in its second half only, when opposite views have come."""


class ScanPipeline:
    """One scan. Not thread-safe: it belongs to whoever pushes."""

    def __init__(
        self,
        spec: ScanSpec,
        backend: Backend,
        settings: Settings,
        limits: Limits,
        planes: Sequence[Plane] | None = None,
        fixed_center: float | None = None,
    ) -> None:
        self.spec, self._backend, self._settings, self._limits = spec, backend, settings, limits
        self.plan = plan_tomogram(spec, settings.memory_bytes, backend.threads)
        small = spec.rows * spec.columns <= ONE_THREAD_PIXELS
        self._live = replace(backend, threads=1) if small else backend
        self._store = AttenuationStore(spec.rows, spec.columns, spec.projections, settings.memory_bytes)
        self._preparation = Preparation(spec, self._live, settings.preparation)
        self._asked = None if planes is None else tuple(planes)
        self._fixed = fixed_center
        known = (fixed_center, settings.layout.center_px, spec.center_px)
        self._center_known = any(c is not None for c in known)
        center = next((c for c in known if c is not None), (spec.columns - 1) / 2)
        self._check_center(center)
        layout = Layout(spec.rows, spec.columns, center)
        self._ready = Ready(self._store, self._preparation, layout, self._live.threads)
        self._view = LiveView(self._new_planes, self._watched(layout), self._ready, center)
        self._gathering: Gathering | None = None
        self._refined = False
        self._middle: Image | None = None
        self._measured = Measurements(spec, self._live)
        self._sums = np.empty((spec.rows, 4), np.float64)
        self._looked = self._compared = 0  # how far into the scan, in parts of LOOKS_PER_SCAN
        self._has = np.zeros(spec.frames, bool)
        self.seen = 0

    @property
    def count(self) -> int:
        """Projections folded in."""
        return self._store.count

    @property
    def shown(self) -> int:
        """Projections in the planes as they are shown now."""
        return self._view.count

    @property
    def center(self) -> float:
        """Of rotation, a detector column."""
        return self.layout.detector_center if self._refined else self._view.center

    @property
    def _given(self) -> float | None:
        """The axis, where it is not to be looked for."""
        return self._settings.layout.center_px if self._fixed is None else self._fixed

    @property
    def layout(self) -> Layout:
        return self._ready.layout

    @property
    def shape(self) -> tuple[int, int, int]:
        """(row, y, x) of the tomogram; known for good after ``refine_center``."""
        return self.spec.rows, self.layout.width, self.layout.width

    @property
    def unit(self) -> str:
        return "1/pixel" if self.spec.pixel_size_m is None else "1/cm"

    @property
    def _per_unit(self) -> np.float32:
        return np.float32(1.0 if self.spec.pixel_size_m is None else 1.0 / (100.0 * self.spec.pixel_size_m))

    @property
    def in_memory(self) -> bool:
        """Whether the tomogram can be made without the raw file."""
        return self._store.whole

    def has(self, index: int) -> bool:
        return bool(self._has[index])

    def push(self, meta: FrameMeta, pixels: NDArray[Any]) -> None:
        """Take one accepted frame (rows, columns); the pixels are not kept. Raises BadInput on another shape."""
        if pixels.shape != (self.spec.rows, self.spec.columns):
            announced = (self.spec.rows, self.spec.columns)
            raise BadInput(f"frame {meta.index} is {pixels.shape}, scan {self.spec.scan_id} announced {announced}")
        if self._has[meta.index]:
            return
        self._has[meta.index] = True
        self.seen += 1
        if meta.kind is FrameKind.PROJECTION:
            if self.count < self.spec.projections:  # there may be more, in place of flats or darks
                with at_most(self._live.threads):
                    self._project(meta, pixels)
        elif meta.kind is FrameKind.DARK:
            self._measured.darks += 1
            self._preparation.dark(pixels)
        elif meta.kind is FrameKind.FLAT:
            self._measured.flats += 1
            self._preparation.flat(pixels, meta.monitor)

    def _project(self, meta: FrameMeta, raw: NDArray[Any]) -> None:
        angle_rad = float(np.deg2rad(meta.angle_deg))
        number, attenuation = self._store.count, self._store.next()
        if number == 0:
            self._begin(raw, angle_rad)
        # The kernel that takes raw frames knows nothing of what became known late.
        fused = self._preparation.plain and not self._preparation.late and self._view.fused
        if fused:
            self._view.add_raw(raw, self._preparation.correction, angle_rad, attenuation, self._sums)
            self._preparation.observe(attenuation, number, angle_rad)
        else:
            self._preparation.projection(raw, number, angle_rad, attenuation, meta.monitor)
        self._store.add(angle_rad)
        if not fused:
            self._view.add(self._ready.laid(attenuation, number), angle_rad)
        self._view.replay()
        self._measured.projection(angle_rad, raw, attenuation, self._sums if fused else None)

    def _begin(self, first: NDArray[Any], angle_rad: float) -> None:
        """The first projection fixes the darks and flats, and tells whether the sample is wider than the detector."""
        self._preparation.begin(first)
        attenuation = self._preparation.correction.attenuation(first)
        options = LayoutOptions(geometry="plain", tilt="off", center_px=self._view.center)
        layout = choose_layout(self.spec, np.array([angle_rad]), attenuation[None], self._measured.center, options)
        self._use(layout, 0.0)

    def _new_planes(self, planes: Sequence[Plane], center: float, ready: Ready) -> FastPlanes | ExactPlanes:
        layout, settings = ready.layout, self._settings
        if settings.planes == "quality" and ready.whole:
            # These interpolate linearly, so that the window of that name is in them already.
            window = "ramp" if settings.window == "linear" else settings.window
            return ExactPlanes(
                self._live, planes, self.spec.rows, layout.width, center,
                stored=ready.one, window=window, extend=layout.extend, period=layout.period,
            )  # fmt: skip
        sliding = None if settings.sliding_deg is None else float(np.deg2rad(settings.sliding_deg))
        stored = ready.one if ready.whole and sliding is None else None
        return FastPlanes(
            self._live, planes, self.spec.rows, layout.width, center, sliding,
            extend=layout.extend, stored=stored, period=layout.period,
        )  # fmt: skip

    def _watched(self, layout: Layout) -> tuple[Plane, ...]:
        return self._asked if self._asked is not None else orthogonal_planes(self.spec.rows, layout.width)

    def work(self) -> bool:
        """Use an idle moment. False when there was nothing to do."""
        with at_most(self._live.threads):
            if self._view.work():
                return True
        return self._gathers() and self._gathering is not None and self._gathering.work()

    def _gathers(self) -> bool:
        """Whether the tomogram grows already, or can begin to: with an axis that is known, and memory for it."""
        if self._gathering is not None and not self._gathering.reaches(self._view.target_center):
            self._gathering = None
        if self._gathering is None and self._center_known and self._may_gather():
            self._gathering = Gathering(
                self._backend, self.spec, self._ready, self._view.target_center, self._settings.window
            )
        return self._gathering is not None

    def _may_gather(self) -> bool:
        if not (self._store.whole and self._store.count) or self._settings.preparation.stripes == "full":
            return False
        layout = self.layout
        volume = Gathering.nbytes(self.spec, layout.width, layout.extend, self._backend.threads)
        return self._store.nbytes + volume <= self._settings.memory_bytes

    def images(self) -> dict[str, Image]:
        """The watched planes from what has come so far, in ``unit``."""
        with at_most(self._live.threads):
            return {name: image * self._per_unit for name, image in self._view.images().items()}

    def watch(self, planes: Sequence[Plane] | None) -> None:
        """Show other planes (None: the three orthogonal ones); they fill with what has come so far."""
        self._asked = None if planes is None else tuple(planes)
        wanted = self._watched(self.layout)
        if wanted != self._view.planes:
            self._view.set_planes(wanted)

    def fix_center(self, center: float | None) -> None:
        """Hold the centre at a column (None: find it). Raises BadInput for one that no slice could be made about."""
        if center is not None:
            self._check_center(center)
            layout = replace(self.layout, half=False) if self.layout.half else self.layout
            self._use(layout.at(center), 0.0)
            self._center_known = True
        self._fixed = center

    def _check_center(self, center: float) -> None:
        if not abs(center - (self.spec.columns - 1) / 2) < self.spec.columns:
            raise BadInput(
                f"centre {center:g}: too far from the detector, which has columns 0 to {self.spec.columns - 1}"
            )

    def track_center(self) -> None:
        """Look at the centre and the geometry that the projections so far tell, and move the planes there."""
        estimate = self._measured.estimate_center()
        if self._preparation.refresh():
            self._read_again()
        sure = estimate.confidence >= self._limits.min_center_confidence and self._given is None
        center = estimate.center if sure else None
        self._center_known = self._center_known or center is not None
        done = int(LOOKS_PER_SCAN * self.count / self.spec.projections)
        due, self._looked = done > self._looked, done
        if due and (done > 0.5 * LOOKS_PER_SCAN or not is_full_turn(self.spec)):
            self._use(self._seen_layout(center), RECENTER_PX)
        elif center is not None and not self.layout.half:
            self._use(self.layout.at(center), RECENTER_PX)

    def refine_center(self) -> None:
        """The final centre and geometry, from all projections."""
        if not self.count:
            return
        estimate = self._measured.refine_center(self._store.all if self._store.whole else None)
        if self._preparation.refresh(final=True):
            self._read_again()
        found = estimate.center if self._given is None else None
        self._use(self._seen_layout(found, final=True), CENTER_TOLERANCE_PX)
        self._refined = True

    def _seen_layout(self, center: float | None, final: bool = False) -> Layout:
        """The geometry as far as the projections tell; about ``center`` when given, if nothing better is known."""
        options, given = self._settings.layout, self._given
        if given is not None:
            options = replace(options, center_px=given)
        layout = see_layout(self.spec, self._store, self._measured.center, options, final)
        if layout.half or given is not None:
            return layout
        return layout.at(self.layout.detector_center if center is None else center)

    def _use(self, layout: Layout, tolerance_px: float) -> None:
        """Bring planes, and the tomogram as far as it has grown, to another geometry or axis."""
        before = self.layout
        center = layout.detector_center
        same = replace(layout, detector_center=before.detector_center) == before
        if same and abs(center - before.detector_center) <= tolerance_px:
            self._ready.layout = replace(before, reason=layout.reason)
        elif same and not layout.changes:
            self._ready.layout = layout
            if self._gathering is not None and not self._gathering.reaches(center):
                self._gathering = None
            self._view.recenter(center)
        else:
            self._ready = Ready(self._store, self._preparation, layout, self._live.threads)
            self._gathering = None
            self._center_known = self._center_known or layout.half
            self._view.lay_out(self._ready, self._watched(layout), center)

    def _read_again(self) -> None:
        """What is done to stored projections when they are read has changed."""
        self._gathering = None
        if self._store.whole:
            self._view.recenter(self._view.target_center)

    def settle(self) -> None:
        """Bring the shown planes to the final centre."""
        while self._view.replay():
            pass

    def judge(self, missing: int, corrupt: int, final: bool = False) -> tuple[Quality, Verdict]:
        """The measured quality and what it means. ``missing`` and ``corrupt`` are the ledger's."""
        halves = half_slices(self._ready, self.center, self._settings.window, self._backend) if final else None
        if not final and self._limits.max_resolution_px is not None and self._compared < self._looked:
            self._compared = self._looked
            halves = self._view.half_images()
        quality = self._measured.quality(missing, corrupt, halves, self.layout.period)
        if self.layout.half or (not final and self._settings.layout.geometry != "plain" and is_full_turn(self.spec)):
            # An axis near the edge is meant to be there, and the sample to reach over it.
            cut = quality.truncation if self.layout.extend else None
            quality = replace(quality, center_offset_px=None, truncation=cut)
        return quality, judge(quality, self._limits, final, self.spec.columns)

    def tomogram(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """Blocks (first row, (rows, width, width) float32 in ``unit``) of the tomogram, with exact weights.

        ``read_rows`` gives raw rows of all projections; it is asked only when they did not fit into memory. A block may
        be overwritten once the next but one is asked for.
        """
        middle = self.spec.rows // 2
        for first, block in self._blocks(read_rows):
            block *= self._per_unit
            if first <= middle < first + len(block):
                self._middle = block[middle - first].copy()
            yield first, block

    def artefacts(self) -> dict[str, float]:
        """Noise, rings, truncation and cupping of the middle slice of the tomogram; empty before it was made."""
        return {} if self._middle is None else slice_figures(self._middle)

    def _blocks(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        if self._gathering is not None:
            return self._gathering.finish(self.center)
        return slices(
            self._backend, self._ready, read_rows, self.center, self._settings.window, self._settings.memory_bytes
        )

    def projections(self, first: int, last: int, read_rows: ReadRows) -> tuple[Image, NDArray[np.float64], float]:
        """What an iterative method wants: line integrals (n, last - first, width), angles (n,) in radian, the centre.

        Prepared projections of these rows, per pixel, after ``refine_center``. Those of half acquisition are joined
        with their opposites to half a turn. ``read_rows`` as for ``tomogram``. Raises BadInput without opposites.
        """
        layout = replace(self.layout, half=False)
        ready = Ready(self._store, self._preparation, layout, self._live.threads)
        rows, angles = sinograms(ready, read_rows, first, last)
        return extend_half_turn(rows, angles, self.center) if self.layout.half else (rows, angles, self.center)

    def parameters(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "center_px": self.center,
            "window": self._settings.window,
            "projections": self.count,
            "backend": self._backend.name,
            "method": "filtered backprojection by Fourier gridding, spatial ramp, Voronoi weights",
            **self.layout.to_dict(),
            **self._preparation.describe(),
        }
