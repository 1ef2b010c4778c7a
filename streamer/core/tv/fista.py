"""State of the iterative reconstruction of one block of detector rows, and the three moves it makes from there.

``tv.reconstruction`` decides which move is next. ``FistaSolver`` is implemented on the CPU here and on a device in
``gpu_fista``. Both keep all volumes where they compute, and return numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from streamer.core.arrays import Image
from streamer.core.tv import kernels
from streamer.core.tv.projector import Projector

PRIOR_STEPS = 6
"""Steps of the prior per move; they continue from the dual field of the last move."""


def next_pace(pace: float) -> float:
    """Nesterov's sequence: the momentum between two steps is (pace - 1) / next_pace(pace)."""
    return 0.5 + float(np.sqrt(0.25 + pace * pace))


def _momenta(count: int) -> tuple[float, ...]:
    found, pace = [], 1.0
    for _ in range(count):
        following = next_pace(pace)
        found.append((pace - 1) / following)
        pace = following
    return tuple(found)


PRIOR_MOMENTA = _momenta(PRIOR_STEPS)
"""Momentum after each of the steps of the prior."""


@dataclass(frozen=True)
class TotalVariation:
    """argmin over f ≥ ``low`` of 1/2 ‖f - noisy‖² + ``weight`` · Σ |grad f|, by projected gradients of its dual."""

    weight: float
    low: float

    def step(self, rows: int) -> float:
        """Length of a step in the dual: one over the weight and the largest eigenvalue of grad · transpose."""
        return 1.0 / ((12.0 if rows > 1 else 8.0) * self.weight)


@dataclass(frozen=True)
class StepNorms:
    """What a move did, as sums over the voxels: of (ahead - now) · (now - before), of (now - before)², of now²."""

    uphill: float
    change: float
    size: float


class FistaSolver(Protocol):
    """The volume now, the one before, and the one that momentum looks ahead to; made from a volume to start from."""

    def measured(self, lines: Image) -> Any:
        """Projections in the layout of ``Projector.padded``, kept where this computes; slicing [a:b] takes angles."""

    def descend(self, projector: Projector, measured: Any, scale: float) -> None:
        """From the volume ahead, go ``scale`` times the data term's gradient: transpose · (A · ahead - measured)."""

    def settle(self) -> StepNorms:
        """What the prior makes of that is the volume now, and the one that was now is the one before."""

    def look_ahead(self, factor: float) -> None:
        """ahead = now + factor · (now - before)."""

    def result(self) -> Image:
        """The volume now, (rows, ny, nx) on the host. Nothing else may be called afterwards."""


class HostFistaSolver:
    """``FistaSolver`` on the CPU, from ``start`` (rows, ny, nx) float32."""

    def __init__(self, start: Image, prior: TotalVariation, threads: int) -> None:
        self._prior, self._threads = prior, threads
        self._now = np.maximum(start, np.float32(prior.low)).transpose(1, 2, 0).copy()
        self._ahead, self._before, self._noisy = self._now.copy(), np.empty_like(self._now), np.empty_like(self._now)
        self._dual = np.zeros((3, *self._now.shape), np.float32)
        self._dual_ahead = np.zeros_like(self._dual)

    def measured(self, lines: Image) -> Image:
        return lines

    def descend(self, projector: Projector, measured: Image, scale: float) -> None:
        residual = projector.forward(self._ahead, measured=measured)
        projector.backward(residual, scale, self._noisy, base=self._ahead)

    def settle(self) -> StepNorms:
        self._before, self._now = self._now, self._before
        self._denoise()
        return StepNorms(*kernels.sums_of_move(self._ahead, self._now, self._before, self._threads))

    def look_ahead(self, factor: float) -> None:
        kernels.look_ahead(self._now, self._before, factor, self._threads, self._ahead)

    def result(self) -> Image:
        return np.ascontiguousarray(self._now.transpose(2, 0, 1))

    def _denoise(self) -> None:
        prior, threads = self._prior, self._threads
        if prior.weight == 0.0:
            np.maximum(self._noisy, np.float32(prior.low), out=self._now)
            return
        self._dual_ahead[...] = self._dual
        step = prior.step(self._now.shape[2])
        for momentum in PRIOR_MOMENTA:
            kernels.tv_primal(self._noisy, self._dual_ahead, prior.weight, prior.low, threads, self._now)
            kernels.tv_dual(self._now, step, momentum, threads, self._dual_ahead, self._dual)
        kernels.tv_primal(self._noisy, self._dual, prior.weight, prior.low, threads, self._now)
