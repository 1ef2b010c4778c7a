"""The Fourier volume and the tomogram of the chosen backend: ``volume`` on the CPU, ``gpu_volume`` on a device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.on_device import Projections
from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_volume import GpuFourierVolume, reconstruct_rows_on_device
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume, reconstruct_rows_fourier
from streamer.core.memory import Memory


class TomogramVolume(Protocol):
    """A Fourier volume to which projections are added as they come; ``volume.FourierVolume`` describes the methods."""

    rows: int
    columns: int
    center: float

    @property
    def blocks(self) -> int:
        """Blocks of 16 rows."""

    @property
    def within_half_turn(self) -> bool:
        """Whether the centre can be moved afterwards."""

    @property
    def blocks_at_once(self) -> int:
        """Blocks that one call of ``add`` takes while frames arrive."""

    def add(self, batch: ProjectionBatch, first_row: int = 0, blocks: tuple[int, int] | None = None) -> None:
        """Add projections."""

    def rows_of(
        self, first_block: int, last_block: int, out: Image | None = None, center: float | None = None
    ) -> Image:
        """Slices of some blocks."""


def fourier_volume(
    backend: Backend,
    rows: int,
    columns: int,
    center: float | None = None,
    window: str = "ramp",
    extend: bool = False,
    memory: Memory | None = None,
) -> TomogramVolume:
    """An empty Fourier volume where ``backend`` computes. Raises BadInput as ``FourierVolume`` does.

    If a device lacks memory for some rows, the CPU grids them (``backend.fallbacks`` counts them). So the host's memory
    has to be planned with ``fourier_nbytes`` in any case.
    """
    kind = GpuFourierVolume if backend.on_device else FourierVolume
    return kind(backend, rows, columns, center, window, extend, memory)


def reconstruct_rows(
    backend: Backend,
    attenuation: Projections,
    angle_rad: NDArray[Any],
    weights: NDArray[Any],
    center: float,
    window: str = "ramp",
    extend: bool = False,
    out: Image | None = None,
    memory: Memory | None = None,
) -> Image:
    """Tomogram (rows, columns, columns) float32 of projections (angles, rows, columns), where ``backend`` computes.

    Arguments and BadInput as for ``reconstruct_rows_fourier``; projections may lie on the device.
    """
    if backend.on_device:
        return reconstruct_rows_on_device(backend, attenuation, angle_rad, weights, center, window, extend, out)
    return reconstruct_rows_fourier(
        backend, np.asarray(attenuation), angle_rad, weights, center, window, extend, out, memory
    )
