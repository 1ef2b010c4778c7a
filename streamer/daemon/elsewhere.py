"""What the daemon needs of the processes that hold a scan's rows, where it does not hold them itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from streamer.core.arrays import Image
from streamer.core.planes.plane import Plane
from streamer.flow.row_cut import RowCut
from streamer.frames import ScanSpec
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.raw_writer import RawWriter
from streamer.io.sources.acknowledged import AcknowledgingSink
from streamer.pipeline.scan_pipeline import ScanPipeline


class RowsReceiver(Protocol):
    """Brings the rows that the daemon sees; ``endpoint`` is where the detector is."""

    @property
    def endpoint(self) -> str: ...

    def run(self, sink: AcknowledgingSink, stopped: Callable[[], bool]) -> None: ...
    def close(self) -> None: ...


class Elsewhere(Protocol):
    """The daemon receives, folds in and judges some rows of a scan; all of them are held elsewhere."""

    @property
    def receiver(self) -> RowsReceiver: ...
    @property
    def writer(self) -> RawWriter: ...
    @property
    def plan(self) -> dict[str, Any]:
        """How the tomogram of the scan that was opened last will be made."""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """That are watched, in rows of the detector."""

    def check(self, spec: ScanSpec) -> None:
        """Raises BadInput for a scan that cannot be shared out."""

    def rows_of(self, spec: ScanSpec) -> RowCut:
        """The rows that the daemon sees."""

    def begin(
        self, spec: ScanSpec, pipeline: ScanPipeline, planes: tuple[Plane, ...] | None, mask: PixelMask | None
    ) -> None:
        """A scan is about to be opened in ``writer``."""

    def follow(self, pipeline: ScanPipeline) -> None:
        """Bring all to the geometry of the daemon's pipeline."""

    def watch(self, planes: tuple[Plane, ...] | None) -> None:
        """Show these planes (None: the three orthogonal ones)."""

    def gather(self) -> tuple[int, dict[str, Image]]:
        """Projections in the planes, and their images by name; none while the parts are of different geometries."""

    def write_tomogram(self, partial: Path, place: int) -> None:
        """Have all rows written into a file whose voxels begin at the byte ``place``. Raises BadInput."""

    def over(self) -> None:
        """The scan is over; nothing more is wanted of it."""

    def close(self) -> None: ...
