"""A rehearsal of the preparation, so that no first scan waits for the compiler."""

from __future__ import annotations

import numpy as np

from streamer.core.backend.selection import Backend
from streamer.frames import ScanSpec
from streamer.pipeline.preparation.options import FlatDrift, PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections


def warm_preparation(backend: Backend) -> None:
    """Compile, or load from the cache on disk, every kernel of the preparation, on frames of a few pixels."""
    rows, columns, projections = 4, 40, 40
    spec = ScanSpec(
        "warm", "warm", rows, columns, projections, 8, 1, energy_kev=20.0, distance_m=0.1, pixel_size_m=1e-6
    )
    beam = 1000.0 * (1.0 + 0.1 * np.sin(np.arange(columns)))
    modes: tuple[FlatDrift, ...] = ("margins", "eigen")
    for mode in modes:
        options = PreparationOptions(zingers=8.0, flat_drift=mode, stripes="full", delta_beta=10.0)
        preparation = Preparation(spec, backend.threads, options)
        preparation.dark(np.ones((rows, columns), "<u2"))
        for k in range(9):
            moved = np.tile(beam * (1.0 + 0.1 * np.sin(k) * np.cos(np.arange(columns))), (rows, 1)).astype("<u2")
            preparation.flat(moved)
        number, ones = np.arange(projections), np.ones(projections)
        raw = RawProjections(np.repeat(moved[None], projections, axis=0), 0, number * np.pi / projections, ones, number)
        stored, moments = np.empty(raw.pixels.shape, np.float32), np.empty((projections, rows, 4))
        preparation.prepare(raw, stored, moments)
        preparation.flat(moved)
        preparation.refresh(final=True)
        preparation.finish_block(preparation.apply_late(stored, number), raw.angle_rad)
        preparation.rows(0, 2).projections(moved[None], np.zeros(1, np.intp))
