"""The pictures of one scan: its watched planes and its tomogram, about whatever axis is given to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.half_acquisition import extend_half_turn
from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fourier.resident_frames import ResidentFrames, resident_frames
from streamer.core.memory import Memory
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.frames import ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.reconstruction.growing_tomogram import Gathering
from streamer.pipeline.reconstruction.live_view import LiveView
from streamer.pipeline.reconstruction.row_blocks import ReadRows, half_slices, sinograms, slices
from streamer.pipeline.reconstruction.stored_projections import Ready
from streamer.pipeline.settings import ReconstructionOptions
from streamer.pipeline.store import AttenuationStore


class Reconstruction:
    """Follows the store: planes with every projection, the tomogram in idle moments. Values are per pixel.

    ``live`` is the backend of what is done for every frame, ``backend`` that of the rest. Not thread-safe.
    """

    def __init__(
        self,
        spec: ScanSpec,
        backend: Backend,
        live: Backend,
        settings: ReconstructionOptions,
        store: AttenuationStore,
        preparation: Preparation,
        layout: Layout,
        planes: Sequence[Plane] | None,
        memory: Memory,
    ) -> None:
        self._memory = memory
        self._spec, self._backend, self._live, self._settings = spec, backend, live, settings
        self._store, self._preparation = store, preparation
        self._asked = None if planes is None else tuple(planes)
        self._resident: ResidentFrames | None = None
        if backend.on_device and preparation.plain and store.whole:
            engine = backend.kernels.engine
            self._resident = resident_frames(engine, spec.rows, spec.columns, spec.projections)
        self._ready = self._laid_out(layout)
        self._view = LiveView(self._new_planes, self._watched(layout), self._ready, layout.detector_center)
        self._gathering: Gathering | None = None

    @property
    def layout(self) -> Layout:
        return self._ready.layout

    @property
    def shown(self) -> int:
        """Projections in the planes as they are shown now."""
        return self._view.count

    @property
    def shown_center(self) -> float:
        """Of rotation, a detector column, that the shown planes have."""
        return self._view.center

    @property
    def fused(self) -> bool:
        """Whether raw frames may be given to ``add_raw``, whose kernel knows nothing of what became known late."""
        return self._preparation.plain and not self._preparation.late and self._view.fused

    def add_raw(
        self,
        raw: NDArray[Any],
        correction: FlatFieldCorrection,
        angle_rad: NDArray[np.float64],
        attenuation: Image,
        moments: NDArray[np.float64],
    ) -> None:
        """Fold the next projections into the planes and fill in their attenuation and moments; see LivePlanes."""
        self._view.add_raw(raw, correction, angle_rad, attenuation, moments)

    def add(self, attenuation: Image, number: int, angle_rad: float) -> None:
        """Fold the ``number``-th projection, prepared, into the planes."""
        self._view.add(self._ready.laid(attenuation, number), angle_rad)

    def follow(self, count: int) -> None:
        """Bring planes that are being built anew a step further; call it when ``count`` projections were stored."""
        if self._resident is not None:
            # Those that were prepared on the host are not on the device.
            self._resident.skip(max(0, self._store.count - self._resident.next))
        self._view.replay(count)

    def work(self) -> bool:
        """Use an idle moment for the planes. False when there was nothing to do."""
        return self._view.work()

    def gather(self, begin: bool) -> bool:
        """Use an idle moment for the tomogram; it begins to grow only when ``begin``. False if nothing was to do."""
        center = self._view.target_center
        if self._gathering is not None and not self._gathering.reaches(center):
            self._gathering = None
        if self._gathering is None and begin and self._may_gather():
            self._gathering = self._new_gathering(center)
        return self._gathering is not None and self._gathering.work()

    def _new_gathering(self, center: float) -> Gathering:
        return Gathering(self._backend, self._spec, self._ready, center, self._settings.window, self._memory)

    def _may_gather(self) -> bool:
        if not (self._store.whole and self._store.count) or self._preparation.options.stripes == "full":
            return False
        layout = self.layout
        volume = Gathering.nbytes(self._spec, layout.width, layout.extend, self._backend.threads)
        return self._store.nbytes + volume <= self._settings.memory_bytes

    def images(self) -> dict[str, Image]:
        """The watched planes from what has come so far."""
        return self._view.images()

    def half_images(self) -> tuple[Image, Image] | None:
        """The horizontal plane from every second projection, and from the others, as far as they have come."""
        return self._view.half_images()

    def half_slices(self, center: float) -> tuple[Image, Image] | None:
        """The middle slice of the tomogram about ``center`` in the same way; None when there are too few."""
        return half_slices(self._ready, center, self._settings.window, self._backend)

    def watch(self, planes: Sequence[Plane] | None) -> None:
        """Show other planes (None: the three orthogonal ones); they fill with what has come so far."""
        self._asked = None if planes is None else tuple(planes)
        wanted = self._watched(self.layout)
        if wanted != self._view.planes:
            self._view.set_planes(wanted)

    def settle(self) -> None:
        """Bring the shown planes to the axis that was given last."""
        while self._view.replay():
            pass

    def use(self, layout: Layout, tolerance_px: float) -> None:
        """Bring planes, and the tomogram as far as it has grown, to another geometry or axis.

        An axis that is less than ``tolerance_px`` away changes nothing.
        """
        before, center = self.layout, layout.detector_center
        same = replace(layout, detector_center=before.detector_center) == before
        if same and abs(center - before.detector_center) <= tolerance_px:
            self._ready.layout = replace(before, reason=layout.reason)
        elif same and not layout.changes:
            self._ready.layout = layout
            if self._gathering is not None and not self._gathering.reaches(center):
                self._gathering = None
            self._view.recenter(center)
        else:
            self._ready = self._laid_out(layout)
            self._gathering = None
            self._view.lay_out(self._ready, self._watched(layout), center)

    def read_again(self) -> None:
        """What is done to stored projections when they are read has changed."""
        self._gathering = None
        if self._store.whole:
            self._view.recenter(self._view.target_center)

    def blocks(self, center: float, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """(first row, slices) of the tomogram about ``center``, with exact weights; see ``blocks.slices``."""
        if self._gathering is None and self._may_gather():
            self._gathering = self._new_gathering(center)
        if self._gathering is not None:
            return self._gathering.finish(center)
        settings = self._settings
        return slices(
            self._backend, self._ready, read_rows, center, settings.window, settings.memory_bytes, self._memory
        )

    def projections(
        self, first: int, last: int, center: float, read_rows: ReadRows
    ) -> tuple[Image, NDArray[np.float64], float]:
        """Line integrals (n, last - first, width) of these rows, their angles (n,) in radian, and the centre in them.

        Those of half acquisition are joined with their opposites to half a turn. Raises BadInput without opposites.
        """
        ready = self._laid_out(replace(self.layout, half=False))
        rows, angles = sinograms(ready, read_rows, first, last, self._memory)
        return extend_half_turn(rows, angles, center) if self.layout.half else (rows, angles, center)

    def _laid_out(self, layout: Layout) -> Ready:
        return Ready(self._store, self._preparation, layout, self._live.threads, self._resident)

    def _watched(self, layout: Layout) -> tuple[Plane, ...]:
        return self._asked if self._asked is not None else orthogonal_planes(self._spec.rows, layout.width)

    def _new_planes(self, planes: Sequence[Plane], center: float, ready: Ready) -> LivePlanes:
        layout, settings = ready.layout, self._settings
        sliding = None if settings.sliding_deg is None else float(np.deg2rad(settings.sliding_deg))
        stored = ready.one if ready.whole and sliding is None else None
        return LivePlanes(
            self._live, planes, self._spec.rows, layout.width, center, sliding,
            extend=layout.extend, stored=stored, period=layout.period, resident=self._resident,
        )  # fmt: skip
