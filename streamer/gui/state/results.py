"""Pictures of the scans of this session, so that a past one can be looked at again. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.gui.state.plane import PlanePicture, robust_levels

MAX_BYTES = 256 * 2**20
"""Pictures of older scans are dropped beyond this; their thumbnails stay."""

MAX_KEPT = 200
THUMBNAIL_PX = 48


@dataclass
class Result:
    """Pictures of a scan by name, none when they were dropped, and a thumbnail uint8 (rows, columns)."""

    planes: dict[str, PlanePicture] = field(default_factory=dict)
    thumbnail: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        return sum(picture.image.nbytes for picture in self.planes.values())


class Results:
    """The pictures by scan id, the oldest first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._results: dict[str, Result] = {}

    def __getitem__(self, scan_id: str) -> Result | None:
        return self._results.get(scan_id)

    def planes(self, scan_id: str) -> Mapping[str, PlanePicture]:
        result = self._results.get(scan_id)
        return {} if result is None else result.planes

    def add(self, picture: PlanePicture) -> None:
        """Take the newest picture of a plane."""
        result = self._results.setdefault(picture.scan_id, Result())
        result.planes[picture.name] = picture

    def remove(self, scan_id: str, name: str) -> None:
        """Drop the picture of one plane."""
        if (result := self._results.get(scan_id)) is not None:
            result.planes.pop(name, None)

    def forget(self, scan_id: str) -> None:
        """Drop everything of a scan, which is begun anew."""
        self._results.pop(scan_id, None)

    def finish(self, scan_id: str) -> None:
        """No further pictures come of a scan: make its thumbnail, and drop what is too old."""
        result = self._results.get(scan_id)
        if result is not None and result.planes:
            first = result.planes.get("xy") or next(iter(result.planes.values()))
            result.thumbnail = thumbnail(first)
        kept = list(self._results)
        while len(kept) > 1 and sum(result.nbytes for result in self._results.values()) > self._max_bytes:
            self._results[kept.pop(0)].planes = {}
        while len(self._results) > MAX_KEPT:
            self._results.pop(next(iter(self._results)))

    @property
    def newest(self) -> str:
        """The scan with pictures that came last; empty when there is none."""
        return next((scan_id for scan_id, result in reversed(self._results.items()) if result.planes), "")


def thumbnail(picture: PlanePicture) -> NDArray[np.uint8]:
    """A small grey picture (rows, columns), at most THUMBNAIL_PX on a side."""
    image = picture.image
    step = max(1, -(-max(image.shape) // THUMBNAIL_PX))
    low, high = robust_levels(image)
    grey = np.clip((image[::step, ::step] - low) * (255.0 / (high - low)), 0, 255)
    return np.ascontiguousarray(grey.astype(np.uint8))
