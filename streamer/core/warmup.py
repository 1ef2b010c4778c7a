"""Compiles every kernel before a beam waits for it, by using the public classes on arrays of a few pixels.

Numba keeps what it has compiled on disk; a process that calls ``warm`` later only loads it. ``STEPS`` is the table to
extend: a step calls what live work calls, with every type that live work may meet, and nothing else in it knows how.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.tilt import Straighten, Tilt
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.arrays import Array, Values
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.planes.thinning import thin
from streamer.core.preprocessing.binning import bin_frame
from streamer.core.preprocessing.flat_field import FlatFieldCorrection, row_moments_of
from streamer.core.preprocessing.live_stripes import LiveStripeDetector
from streamer.core.preprocessing.paganin import Paganin, PhaseSolver
from streamer.core.preprocessing.stripes import remove_stripes
from streamer.core.preprocessing.zingers import remove_zingers
from streamer.core.quality.artefacts import measure
from streamer.core.quality.motion.reprojection import misfit
from streamer.core.simd.checked_copy import prepare
from streamer.core.tv.kernels import SMALL_VOLUME
from streamer.core.tv.reconstruction import reconstruct_tv
from streamer.frames import DTYPES

Step = Callable[[Backend], object]
Say = Callable[[int, int], None]

NO_STEPS: Mapping[str, Step] = {}

COLD_S = 1.5
"""A step that takes longer was compiled, not loaded: the rest is likely to be, too, and worth more processes."""

ROWS, COLUMNS, ANGLES = 4, 32, 24
CENTER = (COLUMNS - 1) / 2


def _scan(dtype: str = "<f4") -> Array:
    """Counts (ANGLES, ROWS, COLUMNS) of a disc off the axis, with a beam of 200."""
    angle = _angles()[:, None, None]
    inside = np.abs(np.arange(COLUMNS)[None, None, :] - CENTER - 3 * np.cos(angle)) < 8
    return np.where(np.broadcast_to(inside, (ANGLES, ROWS, COLUMNS)), 60, 200).astype(dtype)


def _angles() -> Values:
    return np.arange(ANGLES) * np.pi / ANGLES


def _attenuation() -> NDArray[np.float32]:
    return np.asarray(np.log(200 / _scan()), np.float32)


def _correction(backend: Backend) -> FlatFieldCorrection:
    flat = np.full((ROWS, COLUMNS), 200.0)
    flat[0, 3] = 0.0  # a dead pixel, so that mending is used
    return FlatFieldCorrection(np.zeros((ROWS, COLUMNS)), flat, backend.threads)


def _attenuate(backend: Backend, dtype: str) -> None:
    _correction(backend).attenuation(_scan(dtype)[0])


def _planes(backend: Backend) -> None:
    """Live planes of every kind, from raw frames of every type and from attenuation."""
    for dtype in (None, *DTYPES):
        _some_planes(backend, dtype)


def _some_planes(backend: Backend, dtype: str | None) -> None:
    tilted = Plane("tilted", (0.0, CENTER, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (ROWS, COLUMNS))
    planes = LivePlanes(backend, (*orthogonal_planes(ROWS, COLUMNS), tilted), ROWS, COLUMNS, CENTER)
    angles = _angles()[:9]
    if dtype is None:
        planes.add(_attenuation()[:9], angles)
    else:
        raw, correction = _scan(dtype)[:9], _correction(backend)
        planes.add_raw(raw, correction, angles)
        planes.add_raw(
            raw, correction, angles, np.empty(raw.shape, np.float32), np.empty((*raw.shape[:2], 4), np.float64)
        )
        planes.add_raw(raw[0], correction, 0.0)
    planes.images()


def _thinning(backend: Backend) -> None:
    thin(_attenuation(), np.arange(2), range(0, ROWS, 2), 2, backend.threads)


def _volume(backend: Backend) -> None:
    rows = 17  # two blocks, of which the second is incomplete
    volume = FourierVolume(backend, rows, COLUMNS, CENTER)
    attenuation = np.repeat(_attenuation()[:, :1], rows, axis=1)
    volume.add(ProjectionBatch(attenuation, _angles(), angular_weights(_angles())))
    volume.clear()
    volume.rows_of(0, volume.blocks)


def _backprojection(backend: Backend) -> None:
    reconstruct_block(backend, _attenuation(), _angles(), CENTER)


def _moments(backend: Backend) -> None:
    row_moments_of(_attenuation()[:1], backend.threads)


def _stripes(backend: Backend) -> None:
    sectors = LiveStripeDetector(ROWS, COLUMNS, threads=backend.threads)
    for attenuation, angle in zip(_attenuation(), _angles(), strict=True):
        sectors.add(attenuation, float(angle))
    sectors.offset()
    remove_stripes(_attenuation(), order=np.arange(ANGLES), threads=backend.threads)


def _zingers(backend: Backend) -> None:
    remove_zingers(_attenuation()[0], threads=backend.threads)


def _binning(backend: Backend, dtype: str) -> None:
    bin_frame(_scan(dtype)[0], 2, 2, backend.threads)


def _straighten(backend: Backend) -> None:
    Straighten(ROWS, COLUMNS, Tilt(CENTER, 0.01, 0.0, 1.0), backend.threads).apply(_attenuation()[0])


def _phase(backend: Backend) -> None:
    optics = Paganin(100.0, 25.0, 0.05, 1e-6)
    PhaseSolver(ROWS, COLUMNS, optics, backend.threads).attenuation(_attenuation()[0])


def _centre(backend: Backend) -> None:
    center_from_sharpness(backend, _attenuation(), _angles())


def _artefacts(_backend: Backend) -> None:
    y, x = np.mgrid[-20:20, -20:20]
    measure(np.exp(-0.02 * (x**2 + y**2)))


def _rigid_sample(backend: Backend) -> None:
    misfit(backend, _attenuation(), _angles(), CENTER, 0.01, np.ones(len(_angles()), bool))


def _iterative(backend: Backend) -> None:
    for rows in (1, -(-SMALL_VOLUME // COLUMNS**2)):  # one for each side of the limit
        attenuation = np.repeat(_attenuation()[:, :1], rows, axis=1)
        reconstruct_tv(backend, attenuation, _angles(), CENTER, iterations=1)


STEPS: dict[str, Step] = {
    "checksum": lambda _backend: prepare(),
    **{f"attenuation {dtype}": partial(_attenuate, dtype=dtype) for dtype in DTYPES},
    "live planes": _planes,
    "coarse planes": _thinning,
    "tomogram": _volume,
    "backprojection": _backprojection,
    "moments": _moments,
    "stripes": _stripes,
    "zingers": _zingers,
    **{f"binning {dtype}": partial(_binning, dtype=dtype) for dtype in DTYPES},
    "axis tilt": _straighten,
    "phase": _phase,
    "centre of rotation": _centre,
    "artefacts": _artefacts,
    "rigid sample": _rigid_sample,
}
"""What live work may meet. The first step is small, and tells a cold cache; then come the longest."""

OFFLINE: dict[str, Step] = {"few angles": _iterative}
"""What only ``streamer reconstruct`` may meet."""


def warm(
    backend: Backend,
    say: Say | None = None,
    *,
    offline: bool = False,
    more: Mapping[str, Step] = NO_STEPS,
    processes: int = 1,
) -> None:
    """Compile, or load from the cache on disk, every kernel of ``STEPS``, with ``offline`` of ``OFFLINE``, and of
    ``more`` (functions of other modules, at their top level).

    ``say(done, total)`` is called before the first step and after each. With an empty cache and ``processes`` > 1 the
    steps are compiled in processes of their own, started afresh (the calling program must be importable, as for any
    multiprocessing "spawn"), and then loaded here. From then on the process must not fork: GNU OpenMP ends a forked
    child at its first kernel.
    """
    steps = [*STEPS.values(), *(OFFLINE.values() if offline else ()), *more.values()]
    total, done = len(steps), 0
    tell = say if say is not None else lambda _done, _total: None
    tell(0, total)
    for step in steps:
        began = time.perf_counter()
        step(backend)
        done += 1
        tell(done, total)
        if processes > 1 and time.perf_counter() - began > COLD_S and total - done > 1:
            break
    for count in _elsewhere(steps[done:], processes):
        tell(done + count, total)
    for step in steps[done:]:
        step(backend)


def _elsewhere(steps: list[Step], processes: int) -> Iterator[int]:
    """Take these steps in processes of their own; yields how many are done."""
    if not steps:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(steps)), context, initializer=_end_at_interrupt) as pool:
        with _interrupts_wait():
            pending: Iterable[Future[None]] = [pool.submit(compile_step, step) for step in steps]
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            yield len(steps) - len(pending)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Processes that are started meanwhile are deaf to Ctrl-C, until they choose: Python prints a traceback of each
    that is hit while it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_at_interrupt() -> None:
    """In a process of its own: Ctrl-C ends it without a word, as the main process says what is to be said."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def compile_step(step: Step) -> None:
    """One step on the CPU, for its effect on the cache on disk: what is compiled does not depend on the threads."""
    step(select_backend("numba", 1)[0])
