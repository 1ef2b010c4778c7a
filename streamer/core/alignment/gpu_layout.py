"""Projections on a device, laid out there: what ``tilt.Straighten`` and ``half_acquisition.OffsetWeights`` do."""

from __future__ import annotations

import math

import numpy as np

from streamer.core.alignment.half_acquisition import OffsetWeights
from streamer.core.backend.on_device import THREADS, OnDevice


def straighten(images: OnDevice, tilt_rad: float, center: float, middle: float) -> OnDevice:
    """Images (n, rows, columns) turned as by ``tilt.rotate``, about column ``center`` of row ``middle``.

    Raises DeviceOutOfMemory.
    """
    cos, sin, tan = math.cos(tilt_rad), math.sin(tilt_rad), math.tan(tilt_rad)
    columns = center - center / cos, tan, 1.0 / cos
    rows = middle + center * sin, cos, -sin
    between = _turned("turn_columns", images, columns, middle)
    return _turned("turn_rows", between, rows, middle)


def _turned(kernel: str, images: OnDevice, course: tuple[float, float, float], middle: float) -> OnDevice:
    engine, (count, rows, columns) = images.engine, images.shape
    out = engine.empty(images.shape, np.float32)
    numbers = map(np.float64, (*course, middle))
    grid = count, rows, -(-columns // THREADS)
    engine.launch(kernel, grid, (THREADS, 1, 1), (images.array, np.int32(columns), *numbers, out))
    return OnDevice(engine, out)


def widen(images: OnDevice, wide: OffsetWeights) -> OnDevice:
    """Images (n, rows, columns) as ``wide.place`` lays them. Raises DeviceOutOfMemory."""
    engine, (count, rows, columns) = images.engine, images.shape
    out = engine.empty((count, rows, wide.width), np.float32)
    sizes = map(np.int32, (columns, wide.first, wide.width))
    grid = count, rows, -(-wide.width // THREADS)
    engine.launch("widen", grid, (THREADS, 1, 1), (images.array, engine.upload(wide.weight), *sizes, out))
    return OnDevice(engine, out)
