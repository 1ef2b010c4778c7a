"""What a measurement of ``streamer bench`` is: figures, each beside the plain way or the limit of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.fft

Step = Callable[[str], None]
"""Called with a word before each part of a measurement, to move the progress bar."""

COPY_BYTES = 2**26
FFT_ROWS, FFT_LENGTH = 256, 2048


@dataclass(frozen=True)
class Figure:
    """``value`` in ``unit``; ``beside`` says what ``beside_value``, in the same unit, was measured with."""

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
    """What is asked for: ``sizes`` in pixels, ``seconds`` for each part of the measurement."""

    sizes: tuple[int, ...]
    seconds: float
    threads: int


def alternate(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each call of each way, in turn until the time is over; what compiles or allocates comes before.

    In turn, so that a ratio of medians survives a machine that others use, too. Three rounds at least.
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
    """Bytes per second that one thread copies, and rows of ``FFT_LENGTH`` points per second that scipy transforms."""
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
