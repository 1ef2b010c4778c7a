"""The options of a scan: how it is reconstructed, prepared and judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamer.core.fbp.window import Window
from streamer.core.quality.verdict import Limits
from streamer.options import Options
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.preparation.options import PreparationOptions


class ReconstructionOptions(LayoutOptions):
    """How a scan is reconstructed, and what computes it."""

    backend: Literal["auto", "numba", "cupy"] = "auto"
    """what computes: numba on the CPU, cupy on a GPU"""
    threads: int | None = Field(None, ge=1, le=1024, examples=[8])
    """threads of the CPU; unset: all cores"""
    window: Window = "linear"
    """window of the ramp filter"""
    memory_mb: float = Field(4096.0, gt=0)
    """memory for the projections and the Fourier volume of a scan, in MiB; a larger scan is read again from its file"""
    sliding_deg: float | None = Field(None, gt=0, examples=[180.0])
    """show only the last angles in the planes, in degrees, for a scan without end; unset: all"""

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_mb * 2**20)


class Settings(Options):
    """Everything that the pipeline lets its user choose."""

    reconstruction: ReconstructionOptions = ReconstructionOptions()
    preparation: PreparationOptions = PreparationOptions()
    limits: Limits = Limits()
