"""Slices of tomograms on their way out of the pipeline: in the unit of the scan, and the middle one is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamer.core.arrays import Image
from streamer.core.quality.artefacts import slice_figures
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.row_blocks import Block


class OutgoingSlices:
    """Of one scan, which may have several tomograms."""

    def __init__(self, spec: ScanSpec) -> None:
        self.unit = "1/pixel" if spec.pixel_size_m is None else "1/cm"
        self._pixel_cm = None if spec.pixel_size_m is None else 100.0 * spec.pixel_size_m
        self._row = spec.rows // 2
        self._middle: Image | None = None

    def scale(self, density: float = 1.0) -> np.float32:
        """From attenuation per pixel to ``unit``, times ``density``."""
        return np.float32(density if self._pixel_cm is None else density / self._pixel_cm)

    def pass_on(self, blocks: Iterator[Block], density: float = 1.0) -> Iterator[Block]:
        """Blocks (first row, slices) of a tomogram, attenuation per pixel, times ``density``; scaled in place."""
        scale = self.scale(density)
        for first, block in blocks:
            if scale != 1.0:  # a pass over gigabytes
                block *= scale
            if first <= self._row < first + len(block):
                self._middle = block[self._row - first].copy()
            yield first, block

    def artefacts(self) -> dict[str, float]:
        """Noise, rings, truncation and cupping of the middle slice that passed last; empty before any did."""
        return {} if self._middle is None else slice_figures(self._middle)
