"""Distribution of durations in fixed buckets: cheap to feed for every frame, exact enough for p50 and p99."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXPORTED_S = tuple(m * 10.0**e for e in range(-4, 3) for m in (1.0, 2.0, 5.0))
"""Upper bounds that are shown to Prometheus: 0.1 ms to 500 s, with 0.5, 1 and 2 s among them."""

PER_DECADE = 40
_FINE = np.geomspace(1e-5, 1e3, 8 * PER_DECADE + 1).tolist()
_BOUNDS: list[float] = sorted({float(f"{bound:.6g}") for bound in (*_FINE, *EXPORTED_S)})


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """``buckets`` are (upper bound in s, number of observations up to it); the last bound is infinite."""

    buckets: tuple[tuple[float, int], ...]
    sum_s: float
    count: int


class LatencyHistogram:
    """Counts durations in about 40 buckets per decade, 10 µs to 1000 s. One thread observes, any thread may look."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0
        self._low, self._high = math.inf, 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration. A negative one (clocks disagree) counts as 0; one that is not a number is ignored."""
        if not seconds > 0.0:
            if seconds != seconds:
                return
            seconds = 0.0
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds
        if seconds < self._low:
            self._low = seconds
        if seconds > self._high:
            self._high = seconds

    @property
    def count(self) -> int:
        return sum(self._counts)

    def quantile(self, q: float) -> float | None:
        """Duration in s that a share ``q`` (0…1) of the observations does not exceed, within 6 %; None without any."""
        return self.quantiles(q)[0]

    def quantiles(self, *shares: float) -> list[float | None]:
        """``quantile`` for several shares, all of the same moment."""
        cumulative = np.cumsum(self._counts)
        return [self._quantile(cumulative, q) for q in shares]

    def _quantile(self, cumulative: NDArray[np.int64], q: float) -> float | None:
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"quantile {q} is not between 0 and 1")
        total = int(cumulative[-1])
        if total == 0:
            return None
        rank = max(1, math.ceil(q * total))
        bucket = int(np.searchsorted(cumulative, rank))
        below = int(cumulative[bucket - 1]) if bucket else 0
        upper = _BOUNDS[bucket] if bucket < len(_BOUNDS) else self._high
        lower = _BOUNDS[bucket - 1] if bucket else 0.0
        value = lower + (upper - lower) * (rank - below) / (int(cumulative[bucket]) - below)
        return min(max(value, self._low), self._high)

    def snapshot(self) -> HistogramSnapshot:
        """Cumulative counts at the exported bounds."""
        counts, total_s = self._counts.copy(), self._sum
        cumulative = np.cumsum(counts)
        total = int(cumulative[-1])
        buckets = tuple((bound, int(cumulative[bisect_left(_BOUNDS, bound)])) for bound in EXPORTED_S)
        return HistogramSnapshot((*buckets, (math.inf, total)), total_s, total)


class StageTimes:
    """How long each of some named stages of work takes. One thread works, any thread may look."""

    def __init__(self, stages: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._histograms = {stage: LatencyHistogram() for stage in stages}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure what is done inside; also what ends with an error."""
        began = self._clock()
        try:
            yield
        finally:
            self._histograms[stage].observe(self._clock() - began)

    def snapshot(self) -> dict[str, HistogramSnapshot]:
        return {stage: histogram.snapshot() for stage, histogram in self._histograms.items()}
