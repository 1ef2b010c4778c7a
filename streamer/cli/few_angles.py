"""``streamer reconstruct --method tv``: the iterative reconstruction of a file, block by block of detector rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.iterative import TvProblem, plan_tv_blocks, prior_weight, tv_blocks
from streamer.core.prep import Correction
from streamer.flow.pipeline import ScanPipeline
from streamer.frames import BadInput
from streamer.io.source_file import ScanFile

Image = NDArray[np.float32]

NOISE_ROWS = 16
"""Detector rows in the middle that the noise is taken from."""


def check_tv(iterations: int, strength: float) -> None:
    """Raises BadInput."""
    if iterations < 1:
        raise BadInput(f"--iterations {iterations}: give 1 or more")
    if not 0 <= strength < math.inf:
        raise BadInput(f"--strength {strength:g}: give 0 or more")


class FewAngles:
    """Least squares with total variation for the detector rows ``rows`` of a scan, at the centre of the pipeline.

    Needs no more than ``memory_bytes`` for the reconstruction. Raises BadInput when not even one row fits, and for
    half acquisition.
    """

    def __init__(
        self,
        backend: Backend,
        pipeline: ScanPipeline,
        scan: ScanFile,
        rows: slice,
        iterations: int,
        strength: float,
        memory_bytes: int,
    ) -> None:
        if pipeline.shape[2] != scan.info.columns:
            raise BadInput("--method tv: the axis is near the edge of a 360° scan; only fbp can join its halves")
        self._backend, self._scan, self._first = backend, scan, rows.start
        self._rows, self._columns = rows.stop - rows.start, scan.info.columns
        self._center, self._memory = pipeline.center, memory_bytes
        self._dark, self._flat = _mean(scan.darks()), _mean(scan.flats())
        self._angles = np.deg2rad(scan.angles_deg)
        pixel_size_m = scan.info.pixel_size_m
        self._per_unit = np.float32(1.0 if pixel_size_m is None else 1.0 / (100.0 * pixel_size_m))
        self.steps = iterations * len(plan_tv_blocks(self._rows, self._angles.size, self._columns, memory_bytes))
        middle = max(0, self._rows // 2 - NOISE_ROWS // 2)
        sample = self._attenuation(middle, min(self._rows, middle + NOISE_ROWS))
        self._problem = TvProblem(strength * prior_weight(sample), iterations)
        self._strength = strength

    def parameters(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "method": "least squares with total variation, values >= 0, begun with filtered backprojection (hann)",
            "window": "hann",
            "iterations": self._problem.iterations,
            "strength": self._strength,
            "prior_weight": self._problem.weight,
        }

    def blocks(self, at: Callable[[int, str], None]) -> Iterator[tuple[int, Image]]:
        """(first row, slices) of the chosen rows in the pipeline's unit; ``at(steps, note)`` after each iteration."""

        def read(first: int, last: int) -> tuple[Image, Image | None]:
            return self._attenuation(first, last), None

        def report(done: int, _of: int, change: float) -> None:
            at(done, f"change {change:.1e}")

        for first, block in tv_blocks(
            self._backend, read, self._rows, self._angles, self._columns, self._center, self._problem, report,
            self._memory,
        ):  # fmt: skip
            yield first, block * self._per_unit

    def _attenuation(self, first: int, last: int) -> Image:
        """Of all projections (angles, last - first, columns)."""
        part = slice(self._first + first, self._first + last)
        dark, flat = (None if mean is None else mean[part] for mean in (self._dark, self._flat))
        correction = Correction(self._backend, dark, flat)
        raw = self._scan.rows(part.start, part.stop)
        out = np.empty(raw.shape, np.float32)
        for image, attenuation in zip(raw, out, strict=True):
            correction.attenuation(image, attenuation)
        return out


def _mean(blocks: Iterator[NDArray[Any]]) -> Image | None:
    """Mean frame (rows, columns) of blocks of frames; None when there are none."""
    total, count = None, 0
    for block in blocks:
        part = np.asarray(block, np.float64).sum(axis=0)
        total, count = part if total is None else total + part, count + len(block)
    return None if total is None else np.asarray(total / count, np.float32)
