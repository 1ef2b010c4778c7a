"""Figures of ``streamer bench``, each compared with the plain way or a limit of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.fft

Step = Callable[[str], None]
"""Moves the progress bar; called with a note before each part of a measurement."""

COPY_BYTES = 2**26
FFT_ROWS, FFT_LENGTH = 256, 2048


@dataclass(frozen=True)
class Figure:
    """A measured ``value`` in ``unit``; ``beside_value``, in the same unit, was measured with ``beside``."""

    name: str
    value: float
    unit: str
    beside: str = ""
    beside_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the plain way is slower (above 1: we are better), whatever the unit."""
        if not self.beside_value or not self.value:
            return None
        slower_is_less = self.unit.endswith("/s")
        return self.value / self.beside_value if slower_is_less else self.beside_value / self.value

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Task:
    """What to measure: ``sizes`` in pixels, with ``seconds`` for each part."""

    sizes: tuple[int, ...]
    seconds: float
    threads: int


def alternate(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Measure the seconds of each call of each way, in turn, at least three times, after one call that is not counted.

    The ways take turns so that a ratio of medians holds on a machine that others use as well.
    """
    for way in ways.values():
        way()
    took: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < end or len(next(iter(took.values()))) < 3:
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - began)
    return took


def machine_limits(seconds: float, threads: int) -> tuple[float, float]:
    """Measure the bytes per second that a thread copies, and the rows of ``FFT_LENGTH`` per second of scipy's FFT."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.empty(COPY_BYTES, np.uint8)
    rows = np.ones((FFT_ROWS, FFT_LENGTH), np.float32)
    took = alternate(
        {
            "copy": lambda: np.copyto(target, source),
            "fft": lambda: scipy.fft.rfft(rows, axis=1, workers=threads),
        },
        min(seconds, 1.0),
    )
    return COPY_BYTES / float(np.median(took["copy"])), FFT_ROWS / float(np.median(took["fft"]))


def limits_figures(seconds: float, threads: int) -> list[Figure]:
    copied, rows = machine_limits(seconds, threads)
    return [
        Figure("memory copy, one thread", copied / 1e9, "GB/s"),
        Figure(f"real FFT of {FFT_LENGTH} points (scipy)", rows, "rows/s"),
    ]
