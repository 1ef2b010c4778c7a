"""``descent.FistaSolver`` on a device: all volumes stay there from the start to the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.core.arrays import Image
from streamer.core.backend.engine import Engine
from streamer.core.tv.fista import PRIOR_MOMENTA, StepNorms, TotalVariation
from streamer.core.tv.gpu_projector import IterativeKernels
from streamer.core.tv.projector import Projector


class DeviceFistaSolver:
    """From ``start`` (rows, ny, nx) on the host; see ``descent.FistaSolver``. Everything may raise DeviceOutOfMemory.

    Beyond the volumes of the CPU there is a third dual field, so that one kernel can do a whole step of the prior.
    """

    def __init__(self, engine: Engine, start: Image, prior: TotalVariation) -> None:
        self._kernels, self._engine, self._prior = IterativeKernels(engine), engine, prior
        rows, ny, nx = start.shape
        shape = (ny, nx, rows)
        self._now, self._before, self._ahead, self._noisy = (engine.empty(shape, np.float32) for _ in range(4))
        self._kernels.to_z_contiguous(np.maximum(start, np.float32(prior.low)).reshape(rows, ny * nx), self._now)
        self._kernels.look_ahead(self._now, self._now, 0.0, self._ahead)
        self._fields: tuple[Any, Any, Any] | None = None
        if prior.weight > 0:
            before, now, following = (engine.zeros((3, *shape), np.float32) for _ in range(3))
            self._fields = before, now, following
        self._residual: Any = None

    def measured(self, lines: Image) -> Any:
        self._residual = self._engine.empty(lines.shape, np.float32)
        return self._engine.upload(lines)

    def descend(self, projector: Projector, measured: Any, scale: float) -> None:
        residual = self._residual[: projector.angles]
        projector.forward(self._ahead, residual, measured)
        projector.backward(residual, scale, self._noisy, base=self._ahead)

    def settle(self) -> StepNorms:
        self._before, self._now = self._now, self._before
        prior, field = self._prior, None
        if self._fields is not None:
            step = prior.step(self._noisy.shape[2])
            for momentum in (0.0, *PRIOR_MOMENTA[:-1]):
                self._kernels.tv_step(self._noisy, prior.weight, prior.low, step, momentum, self._fields)
                before, now, following = self._fields
                self._fields = now, following, before
            field = self._fields[1]
        arrays = self._ahead, self._before, self._now
        return StepNorms(*self._kernels.tv_image(self._noisy, prior.weight, prior.low, field, *arrays).tolist())

    def look_ahead(self, factor: float) -> None:
        self._kernels.look_ahead(self._now, self._before, factor, self._ahead)

    def result(self) -> Image:
        ny, nx, rows = self._now.shape
        self._fields = self._residual = None
        turned = self._engine.empty((ny, rows, nx), np.float32)
        self._kernels.to_z_contiguous(self._now, turned)
        lines = np.empty(turned.shape, np.float32)
        self._engine.download(turned, lines)
        return np.ascontiguousarray(lines.transpose(1, 0, 2))
