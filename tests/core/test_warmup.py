"""Warming compiles what live work meets, so that nothing is compiled afterwards."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fourier import kernels as kernels_grid
from streamer.core.planes import kernels as kernels_live
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing import kernels as kernels_prepare
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.warmup import OFFLINE, STEPS, warm
from streamer.frames import DTYPES

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty


def test_every_step_is_told(numba_backend: Backend) -> None:
    told: list[tuple[int, int]] = []
    warm(numba_backend, lambda done, total: told.append((done, total)), offline=True)
    total = len(STEPS) + len(OFFLINE)
    assert told == [(done, total) for done in range(total + 1)]


def test_nothing_is_left_to_compile_for_any_kind_of_detector(numba_backend: Backend) -> None:
    warm(numba_backend)
    kernels = (
        kernels_live.fold_frames,
        kernels_prepare.prepare_frames,
        kernels_prepare.fill_pixels,
        kernels_grid.add_projections,
    )
    before = [len(kernel.signatures) for kernel in kernels]
    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        raw = rng.integers(10, 200, (5, 6, 40)).astype(dtype)
        raw.flags.writeable = False  # as frames in the ring are
        correction = FlatFieldCorrection(np.zeros((6, 40)), np.full((6, 40), 250.0))
        planes = LivePlanes(numba_backend, orthogonal_planes(6, 40), 6, 40, 19.0)
        planes.add_raw(raw, correction, np.arange(5) * 0.1)
        planes.images()
        correction.attenuation(raw[0])
    assert [len(kernel.signatures) for kernel in kernels] == before


LEFT_OUT = """
import importlib, pkgutil
import streamer.core
from numba.core.dispatcher import Dispatcher
from streamer.core.backend.selection import select_backend
from streamer.core.warmup import warm
from streamer.pipeline.preparation.warmup import warm_preparation
warm(select_backend("numba", 1)[0], offline=True, more={"preparation": warm_preparation})
for module in pkgutil.walk_packages(streamer.core.__path__, "streamer.core."):
    for name, found in vars(importlib.import_module(module.name)).items():
        if isinstance(found, Dispatcher) and found.targetoptions.get("parallel") and not found.signatures:
            print(found.py_func.__module__, name)
"""


def test_no_kernel_is_forgotten() -> None:
    """In a process of its own: here, other tests have used them all. What is printed belongs into STEPS."""
    done = subprocess.run([sys.executable, "-c", LEFT_OUT], capture_output=True, text=True, timeout=580, check=True)
    assert done.stdout == ""
