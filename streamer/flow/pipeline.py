"""From frames to planes, quality and tomogram: the same steps for a running scan and for a file.

No sockets, files, threads or clocks: frames are pushed in, results are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.filters import RampFilter, angular_weights
from streamer.core.planes import Plane, orthogonal_planes
from streamer.core.prep import Correction, FieldMean
from streamer.core.quality import Limits, judge
from streamer.core.volume import backproject_rows, plan_row_blocks, reconstruct_block
from streamer.flow.measure import Measurements
from streamer.flow.store import FilteredStore
from streamer.flow.view import LiveView
from streamer.frames import BadInput, FrameKind, FrameMeta, Quality, ScanSpec, Verdict

Image = NDArray[np.float32]
ReadRows = Callable[[int, int], tuple[NDArray[np.float64], NDArray[Any]]]

RECENTER_PX = 0.1
"""A new centre that differs by less does not change the picture by more than its noise."""

BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Settings:
    """``window`` of the ramp filter; ``memory_bytes`` bounds the projections that are kept for an exact finish."""

    window: str = "ramp"
    memory_bytes: int = 4 * 2**30


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
        self._dark, self._flat = FieldMean(), FieldMean()
        self._correction: Correction | None = None
        self._ramp: RampFilter | None = None
        self._extend = False
        self._attenuation = np.empty((spec.rows, spec.columns), np.float32)
        self._filtered = np.empty((spec.rows, spec.columns), np.float32)
        self._store = FilteredStore(backend, spec.rows, spec.columns, spec.projections, settings.memory_bytes)
        self._fixed = fixed_center is not None
        center = next((c for c in (fixed_center, spec.center_px) if c is not None), (spec.columns - 1) / 2)
        watched = orthogonal_planes(spec.rows, spec.columns) if planes is None else planes
        self._view = LiveView(backend, watched, spec.rows, spec.columns, center, self._store)
        self._final_center: float | None = None
        self._measured = Measurements(spec, backend)
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
        return self._view.center if self._final_center is None else self._final_center

    @property
    def unit(self) -> str:
        return "1/pixel" if self.spec.pixel_size_m is None else "1/cm"

    @property
    def _per_unit(self) -> float:
        return 1.0 if self.spec.pixel_size_m is None else 1.0 / (100.0 * self.spec.pixel_size_m)

    def has(self, index: int) -> bool:
        return bool(self._has[index])

    def push(self, meta: FrameMeta, pixels: NDArray[Any]) -> None:
        """Take one accepted frame (rows, columns); the pixels are not kept. Raises BadInput on another shape."""
        if pixels.shape != (self.spec.rows, self.spec.columns):
            raise BadInput(
                f"frame {meta.index} is {pixels.shape}, scan {self.spec.scan_id} announced {self._attenuation.shape}"
            )
        if self._has[meta.index]:
            return
        self._has[meta.index] = True
        self.seen += 1
        if meta.kind is FrameKind.PROJECTION:
            self._project(np.deg2rad(meta.angle_deg), pixels)
        elif meta.kind is FrameKind.DARK:
            self._measured.darks += 1
            if self._correction is None:
                self._dark.add(pixels)
        elif meta.kind is FrameKind.FLAT:
            self._measured.flats += 1
            if self._correction is None:
                self._flat.add(pixels)

    def _project(self, angle_rad: float, pixels: NDArray[Any]) -> None:
        if self._correction is None:
            self._begin(pixels)
        assert self._correction is not None
        assert self._ramp is not None
        self._correction.attenuation(pixels, self._attenuation)
        self._ramp.apply(self._attenuation, self._backend.threads, self._filtered)
        self._store.add(self._filtered, angle_rad)
        self._view.add(self._filtered, angle_rad)
        self._measured.projection(angle_rad, pixels, self._attenuation)

    def _begin(self, first: NDArray[Any]) -> None:
        """The first projection fixes the darks and flats, and tells whether the sample is wider than the detector."""
        self._correction = self._new_correction(slice(None))
        self._extend = is_truncated(self._correction.attenuation(first))
        self._ramp = RampFilter(self.spec.columns, self._settings.window, self._extend)

    def _new_correction(self, rows: slice) -> Correction:
        dark = self._dark.mean[rows] if self._dark.count else None
        flat = self._flat.mean[rows] if self._flat.count else None
        return Correction(self._backend, dark, flat)

    def work(self) -> bool:
        """Use an idle moment. False when there was nothing to do."""
        return self._view.replay()

    def images(self) -> dict[str, Image]:
        """The watched planes from what has come so far, in ``unit``."""
        return {name: image * np.float32(self._per_unit) for name, image in self._view.images().items()}

    def watch(self, planes: Sequence[Plane] | None) -> None:
        """Show other planes (None: the three orthogonal ones); they fill with what has come so far."""
        wanted = tuple(orthogonal_planes(self.spec.rows, self.spec.columns) if planes is None else planes)
        if wanted != self._view.planes:
            self._view.set_planes(wanted)

    def fix_center(self, center: float | None) -> None:
        """Hold the centre at a column (None: find it)."""
        self._fixed = center is not None
        if center is not None and center != self._view.target_center:
            self._view.recenter(center)

    def track_center(self) -> None:
        """Look at the centre that the projections so far tell, and move the planes there when it is better."""
        estimate = self._measured.estimate_center()
        if self._fixed or estimate.center is None or estimate.confidence < self._limits.min_center_confidence:
            return
        if abs(estimate.center - self._view.target_center) > RECENTER_PX:
            self._view.recenter(estimate.center)

    def refine_center(self) -> None:
        """The final centre, from all projections."""
        if not self.count:
            return
        estimate = self._measured.refine_center()
        found = None if self._fixed else estimate.center
        self._final_center = self._view.target_center if found is None else found

    def settle(self) -> None:
        """Bring the shown planes to the final centre."""
        if abs(self.center - self._view.target_center) > 0:
            self._view.recenter(self.center)
        while self._view.replay():
            pass

    def judge(self, missing: int, corrupt: int, final: bool = False) -> tuple[Quality, Verdict]:
        """The measured quality and what it means. ``missing`` and ``corrupt`` are the ledger's."""
        halves = self._halves() if final else None
        if not final and self._limits.max_resolution_px is not None:
            halves = self._view.half_images()
        quality = self._measured.quality(missing, corrupt, halves)
        return quality, judge(quality, self._limits, final, self.spec.columns)

    def _halves(self) -> tuple[Image, Image] | None:
        """The middle slice from the even and from the odd projections, at the final centre."""
        if self.count < 4:
            return None
        row = self._store.block(self._store.middle, self._store.middle + 1)
        even, odd = (self._backproject(row[half::2], self._store.angles_rad[half::2])[0] for half in (0, 1))
        return even, odd

    def _backproject(self, filtered: Image, angles_rad: NDArray[np.float64]) -> Image:
        out = np.empty((filtered.shape[2], self.spec.columns, self.spec.columns), np.float32)
        return backproject_rows(self._backend, filtered, angles_rad, angular_weights(angles_rad), self.center, out)

    def tomogram(self, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """Blocks (first row, (rows, columns, columns) float32 in ``unit``) of the tomogram, with exact weights.

        ``read_rows`` gives raw rows of all projections; it is asked only when they did not fit into memory.
        """
        budget = BLOCK_BYTES if self._store.whole else self._settings.memory_bytes
        for first, last in plan_row_blocks(self.spec.rows, self.count, self.spec.columns, budget):
            if self._store.whole:
                block = self._backproject(self._store.block(first, last), self._store.angles_rad)
            else:
                block = self._from_raw(read_rows, first, last)
            block *= np.float32(self._per_unit)
            yield first, block

    def _from_raw(self, read_rows: ReadRows, first: int, last: int) -> Image:
        angles_rad, raw = read_rows(first, last)
        correction = self._new_correction(slice(first, last))
        attenuation = np.empty(raw.shape, np.float32)
        for image, out in zip(raw, attenuation, strict=True):
            correction.attenuation(image, out)
        return reconstruct_block(
            self._backend, attenuation, angles_rad, self.center, self._settings.window, self._extend
        )

    def parameters(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "center_px": self.center,
            "window": self._settings.window,
            "extended_edges": self._extend,
            "projections": self.count,
            "flats": self._flat.count,
            "darks": self._dark.count,
            "backend": self._backend.name,
            "method": "filtered backprojection, spatial ramp, Voronoi weights",
        }


def is_truncated(attenuation: Image, share: float = 0.1) -> bool:
    """True when the sample reaches both … either edge of the detector: the edge columns hold much of the peak."""
    edge = max(1, attenuation.shape[1] // 64)
    peak = float(np.percentile(attenuation, 99.5))
    sides = (float(np.median(attenuation[:, :edge])), float(np.median(attenuation[:, -edge:])))
    return peak > 0 and max(sides) > share * peak


def rehearse(backend: Backend) -> None:
    """Send a tiny scan through every step, so that no first scan waits for compilers, plans and lazy imports."""
    rows, columns, projections = 16, 32, 24
    spec = ScanSpec("rehearsal", "rehearsal", rows, columns, projections, flats=2, darks=1)
    pipeline = ScanPipeline(spec, backend, Settings(), Limits())
    x = np.arange(columns)
    for index in range(spec.frames):
        kind = FrameKind.DARK if index < 1 else FrameKind.FLAT if index < 3 else FrameKind.PROJECTION
        angle = 180.0 * max(0, index - 3) / projections
        shadow = 900.0 * (np.abs(x - 16.0 - 3.0 * np.cos(np.deg2rad(angle))) < 6.0)
        counts = {FrameKind.DARK: 10.0, FrameKind.FLAT: 3000.0}.get(kind, 3000.0 - shadow)
        pixels = np.broadcast_to(np.asarray(counts), (rows, columns)).astype("<u2")
        pipeline.push(FrameMeta("rehearsal", index, kind, angle), pixels)
        pipeline.track_center()
        pipeline.judge(0, 0)
        pipeline.images()
    pipeline.refine_center()
    pipeline.judge(0, 0, final=True)
    for _ in pipeline.tomogram(lambda first, last: (np.empty(0), np.empty(0))):
        pass
    pipeline.settle()
