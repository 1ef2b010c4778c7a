"""The tomogram by least squares with total variation: for few, limited or noisy projections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydantic import Field

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.tv.reconstruction import DEFAULT_ITERATIONS, TvProblem, plan_tv_blocks, prior_weight, tv_blocks
from streamer.options import Options
from streamer.pipeline.reconstruction.row_blocks import ReadRows
from streamer.pipeline.scan_pipeline import ScanPipeline

NOISE_ROWS = 16
"""Detector rows in the middle from which the noise is measured."""


class TvOptions(Options):
    """Least squares with total variation."""

    iterations: int = Field(DEFAULT_ITERATIONS, ge=1, le=100_000)
    """iterations of tv, at most"""
    strength: float = Field(1.0, ge=0)
    """strength of tv's prior; more is smoother"""


class TvTomogram:
    """Reconstructs what the pipeline prepared, about the axis it found, block by block of detector rows.

    The reconstruction takes at most ``memory_bytes``. Raises BadInput when not even one row fits, and when the
    projections of half acquisition have no opposites.
    """

    def __init__(
        self,
        backend: Backend,
        pipeline: ScanPipeline,
        read_rows: ReadRows,
        options: TvOptions,
        memory_bytes: int,
    ) -> None:
        self._backend, self._pipeline, self._read_rows = backend, pipeline, read_rows
        self._rows, _, self._width = pipeline.shape
        self._memory = memory_bytes
        pixel_size_m = pipeline.spec.pixel_size_m
        self._per_unit = np.float32(1.0 if pixel_size_m is None else 1.0 / (100.0 * pixel_size_m))
        middle = max(0, self._rows // 2 - NOISE_ROWS // 2)
        sample, self._angles, self._center = pipeline.projections(
            middle, min(self._rows, middle + NOISE_ROWS), read_rows
        )
        self.steps = options.iterations * len(plan_tv_blocks(self._rows, self._angles.size, self._width, memory_bytes))
        self._problem = TvProblem(options.strength * prior_weight(sample), options.iterations)
        self._options = options

    def parameters(self) -> dict[str, Any]:
        """What is needed to repeat the reconstruction."""
        return {
            "method": "least squares with total variation, values >= 0, begun with filtered backprojection (hann)",
            "window": "hann",
            **self._options.model_dump(),
            "prior_weight": self._problem.weight,
        }

    def blocks(self, at: Callable[[int, str], None]) -> Iterator[tuple[int, Image]]:
        """Yield (first row, slices (rows, y, x) float32) in the pipeline's unit; call ``at(steps, note)`` after each
        iteration.
        """

        def read(first: int, last: int) -> tuple[Image, Image | None]:
            return self._pipeline.projections(first, last, self._read_rows)[0], None

        def report(done: int, _of: int, change: float) -> None:
            at(done, f"change {change:.1e}")

        for first, block in tv_blocks(
            self._backend, read, self._rows, self._angles, self._width, self._center, self._problem, report,
            self._memory,
        ):  # fmt: skip
            yield first, block * self._per_unit
