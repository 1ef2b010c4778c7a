"""How scans are reconstructed, as the user wants it."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.pipeline.layout.layout import LayoutOptions
from streamer.pipeline.preparation.options import PreparationOptions


@dataclass(frozen=True)
class Settings:
    """How a scan is reconstructed. ``window`` of the ramp filter; ``memory_bytes`` bounds what is kept of the scan.

    ``planes`` are "fast" (any camera) or "quality" (exact filtered backprojection and weights at every moment);
    ``sliding_deg`` shows only the latest angles of a scan without end (None: all).
    """

    window: str = "linear"
    memory_bytes: int = 4 * 2**30
    planes: str = "fast"
    sliding_deg: float | None = None
    preparation: PreparationOptions = field(default_factory=PreparationOptions)
    layout: LayoutOptions = field(default_factory=LayoutOptions)
