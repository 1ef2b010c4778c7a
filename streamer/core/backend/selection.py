"""The backend is a value, chosen once by the daemon and handed down: who computes, and with how many threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamer.core.backend import cupy_engine
from streamer.core.backend.chunks import FallbackCounters
from streamer.core.backend.gpu_kernels import Kernels
from streamer.frames import BadInput, StreamerError

BACKEND_NAMES = ("auto", "numba", "cupy")

GPU = Path("/dev/nvidiactl")
"""Is there where the driver of an NVIDIA GPU is loaded."""

NOT_MEASURED = "the whole daemon has not been measured on a GPU yet; ask for 'cupy' to use one"
"""Why "auto" does not take a GPU. "cupy" keeps a scan's projections on it and makes planes and tomogram of them there;
options beyond darks, flats and dead pixels want the projections on the host, from where they cross the bus again."""


class BackendError(StreamerError):
    """The backend that was asked for cannot run here; the message says why and what to do."""


@dataclass(frozen=True)
class Backend:
    """What a computation needs to know of the machine.

    ``kernels`` are those of the device, None on the CPU. ``fallbacks`` counts what the device had no memory for.
    """

    name: str
    threads: int
    kernels: Any = None
    fallbacks: FallbackCounters = field(default_factory=FallbackCounters, compare=False, repr=False)

    @property
    def on_device(self) -> bool:
        """Whether there is a device, which has a memory of its own."""
        return self.kernels is not None


def usable_threads() -> int:
    """Cores this process may run on, which in a container is less than what the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def select_backend(request: str = "auto", threads: int | None = None) -> tuple[Backend, str]:
    """The backend for a request ("auto", "numba" or "cupy") and one sentence for the log that says why this one.

    ``threads`` None means all cores of this process. Raises BackendError for an unknown name, for fewer threads than
    one, and for an explicit "cupy" that cannot be had: a wish that was spelled out is never quietly replaced.
    """
    if request not in BACKEND_NAMES:
        raise BackendError(f"backend {request!r} is not known; choose one of {', '.join(BACKEND_NAMES)}")
    count = usable_threads() if threads is None else threads
    if count < 1:
        raise BackendError(f"backend {request!r}: {count} threads asked for, at least 1 is needed")
    host = Backend("numba", count)
    if request == "numba":
        return host, f"backend numba with {count} threads, as asked for"
    if request == "auto":
        return host, f"backend numba with {count} threads" + (f": {NOT_MEASURED}" if GPU.exists() else "")
    try:
        backend, gpu = _cupy_backend(count)
    except BackendError as error:
        raise BackendError(f"backend 'cupy' cannot run: {error}; use 'numba' or 'auto'") from error
    return backend, f"backend cupy on {gpu}, as asked for"


def _cupy_backend(threads: int) -> tuple[Backend, str]:
    """The GPU backend, checked by a small computation, and the GPU's name. Raises BackendError with the reason."""
    try:
        engine = cupy_engine.CupyEngine()
        kernels = Kernels(engine)
        _check(kernels)
    except ImportError as error:
        raise BackendError(f"CuPy cannot be imported ({error})") from error
    except StreamerError as error:
        raise BackendError(f"CuPy is installed, but the GPU cannot be used ({error})") from error
    return Backend("cupy", threads, kernels), engine.device_name


def _check(kernels: Kernels) -> None:
    """Raises BackendError unless counts go to the device and come back as attenuation."""
    engine = kernels.engine
    raw, zero = np.array([[[1, 10, 100]]], np.uint16), np.zeros((1, 3), np.float32)
    there, out = engine.empty(raw.shape, np.float32), np.empty(raw.shape, np.float32)
    level = engine.upload(np.full((1, 3), np.log(100), np.float32))
    dark, limits = engine.upload(zero), (np.float32(0.5), np.float32(1e6))
    kernels.prepare(engine.upload(raw), dark, level, *limits, None, there)
    engine.download(there, out)
    if not np.allclose(out, np.log([[100, 10, 1]]), atol=1e-5):
        raise BackendError(
            f"its arithmetic is wrong: the logarithms of 100, 10 and 1 came out as {out.ravel().tolist()}"
        )


def backend_asked_in(option: str, request: str, threads: int | None) -> tuple[Backend, str]:
    """As ``select_backend``, for what a user wrote in an option. Raises BadInput, which names it."""
    try:
        return select_backend(request, threads)
    except BackendError as error:
        raise BadInput(f"{option}: {error}") from error
