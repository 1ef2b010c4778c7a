"""Reconstructions as they begin: of the rows that this daemon sees, about the axis of the scan before."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.config import Config
from streamer.core.backend.selection import Backend
from streamer.core.memory import Memory
from streamer.core.planes.plane import NOTHING, Plane
from streamer.daemon.elsewhere import Elsewhere
from streamer.flow.row_cut import RowCut
from streamer.frames import ScanSpec
from streamer.io.defect_map import read_defect_map
from streamer.io.raw.pixel_mask import PixelMask, as_mask
from streamer.pipeline.scan_pipeline import ScanPipeline


class Pipelines:
    """Makes the pipeline of each scan, in memory that they share."""

    def __init__(self, config: Config, backend: Backend, elsewhere: Elsewhere | None) -> None:
        self._config, self._backend, self._elsewhere = config, backend, elsewhere
        self.memory = Memory()  # large arrays that one scan after the other borrows
        self._axis: tuple[int, float | None, float] | None = None  # of the scan before: columns, pixel size, its axis

    def new(
        self,
        spec: ScanSpec,
        planes: Sequence[Plane] | None,
        fixed_center: float | None,
        mask: PixelMask | None,
        saturation: float | None,
    ) -> ScanPipeline:
        """One that has no frames yet; see ``ScanPipeline``. Raises MemoryError or BadInput."""
        rows = self.rows_of(spec)
        if rows is not None:
            spec, mask = rows.part(spec), None if mask is None else mask[rows.first : rows.end]
            planes = (NOTHING,)  # they are shown by those who have all rows
        before = None
        if self._axis is not None and self._axis[:2] == (spec.columns, spec.pixel_size_m):
            before = self._axis[2]
        pipeline = ScanPipeline(
            spec, self._backend, self._config, planes, fixed_center, self.memory, axis_before=before
        )
        pipeline.know_detector(None if mask is None else mask != 0, saturation)
        return pipeline

    def keep_axis(self, pipeline: ScanPipeline) -> None:
        """The axis of a scan is final: on the same detector, the next one is likely to have it, too.

        In half acquisition it is not, as the sample is moved for it.
        """
        if pipeline.tracker.known and not pipeline.layout.half:
            self._axis = pipeline.spec.columns, pipeline.spec.pixel_size_m, pipeline.axis

    def rows_of(self, spec: ScanSpec) -> RowCut | None:
        """Rows of the detector that this daemon sees; None: all."""
        return None if self._elsewhere is None else self._elsewhere.rows_of(spec)

    def map_of_defects(self) -> PixelMask | None:
        """What the configuration says of the detector."""
        place = self._config.source.defects
        return None if place is None else as_mask(read_defect_map(place))
