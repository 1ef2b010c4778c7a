"""Reconstruction from few, limited or noisy projections: least squares with total variation as the prior.

    minimise over f (≥ 0):   1/2 ‖A f - p‖² + λ · Σ |grad f|

A sample of few materials has a gradient that is zero nearly everywhere, and angles that were not measured are filled in
accordingly (Sidky and Pan, Phys. Med. Biol. 53, 4777, 2008). Solved by FISTA with an inner one for the prior (Beck and
Teboulle, IEEE Trans. Image Process. 18, 2419, 2009), its momentum restarted where it points uphill (O'Donoghue and
Candès, Found. Comput. Math. 15, 715, 2015), and in the first part accelerated by ordered subsets of the angles (Kim,
Ramani and Fessler, IEEE Trans. Med. Imaging 34, 167, 2015).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core import kernels_iterative as kernels
from streamer.core.backend import Backend
from streamer.core.estimate import robust_sigma
from streamer.core.projector import Projector
from streamer.core.volume import reconstruct_block
from streamer.frames import BadInput

Array = NDArray[np.float32]
Progress = Callable[[int, int, float], None]
ReadBlock = Callable[[int, int], tuple[Array, Array | None]]

ITERATIONS = 80
TOLERANCE = 1e-4  # relative change of the volume in one iteration over all angles, below which it is at rest
AT_REST = 8  # iterations at rest before it is done: a warm start begins slowly, before the momentum has grown
INNER = 6  # steps of the prior per outer one; they go on from where the last ones stopped
SUBSET_ANGLES = 12  # angles that a subset needs to stand for all
MOST_SUBSETS = 6
SUBSETS_UNTIL = 0.6  # share of the iterations after which all angles are used at once: subsets alone never settle
NOISE_TO_PRIOR = 0.5  # strength 1, in units of the noise that the backprojection has per pixel
LEAST_NOISE = 4e-3  # share of the typical attenuation that counts as noise even if there is none
VOLUMES = 13  # arrays of the size of the volume that live at once
HALO = 3  # rows beyond both ends of a block, so that the prior sees its neighbours


def reconstruct_tv(
    backend: Backend,
    attenuation: NDArray[Any],
    angle_rad: NDArray[Any],
    center: float,
    *,
    start: NDArray[Any] | None = None,
    strength: float = 1.0,
    iterations: int = ITERATIONS,
    subsets: int | None = None,
    nonnegative: bool = True,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Array:
    """Tomogram (rows, columns, columns) float32, attenuation per pixel, of projections (angles, rows, columns).

    ``start`` a tomogram to go on from, such as the live one; None starts from filtered backprojection. ``strength``
    multiplies the λ that is chosen from the noise: more is smoother. ``subsets`` of the angles, None chooses.
    ``progress(done, of, change)`` is called after each iteration, ``change`` relative; what it raises ends the work.
    More rows than fit into ``memory_bytes`` are worked on in blocks. Two runs give the same bits. Raises BadInput on
    shapes, numbers and memory that do not fit.
    """
    data = np.asarray(attenuation, np.float32)
    if data.ndim != 3 or data.shape[0] != np.size(angle_rad) or data.size == 0:
        raise BadInput(f"projections (angles, rows, columns) are {data.shape}, with {np.size(angle_rad)} angles")
    if not np.isfinite(data).all():
        raise BadInput("the attenuation holds a number that is not finite")
    if strength < 0 or iterations < 0 or (subsets is not None and not 1 <= subsets <= len(data)):
        raise BadInput(f"strength {strength}, iterations {iterations} or subsets {subsets} is out of range")
    _, rows, columns = data.shape
    shape = (rows, columns, columns)
    if start is not None and np.shape(start) != shape:
        raise BadInput(f"the start is {np.shape(start)}, the tomogram will be {shape}")
    out = np.empty(shape, np.float32)

    def read(first: int, last: int) -> tuple[Array, Array | None]:
        return data[:, first:last], None if start is None else np.asarray(start[first:last], np.float32)

    problem = TvProblem(strength * prior_weight(data), iterations, subsets, nonnegative)
    for first, block in tv_blocks(backend, read, rows, angle_rad, columns, center, problem, progress, memory_bytes):
        out[first : first + len(block)] = block
    return out


@dataclass(frozen=True)
class TvProblem:
    """``weight`` λ of the prior; ``subsets`` of the angles, None chooses; ``nonnegative`` keeps values ≥ 0."""

    weight: float
    iterations: int = ITERATIONS
    subsets: int | None = None
    nonnegative: bool = True


def tv_blocks(
    backend: Backend,
    read: ReadBlock,
    rows: int,
    angle_rad: NDArray[Any],
    columns: int,
    center: float,
    problem: TvProblem,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Iterator[tuple[int, Array]]:
    """(first row, slices (n, columns, columns) float32) of one block of detector rows after the other.

    ``read(first, last)`` gives the attenuation (angles, last - first, columns) of these rows, and a tomogram of them to
    start from or None for filtered backprojection. It is asked for a few rows beyond a block, so that the prior sees
    its neighbours. ``progress`` and errors as in ``reconstruct_tv``.
    """
    angles = np.size(angle_rad)
    count = problem.subsets or min(MOST_SUBSETS, max(1, angles // SUBSET_ANGLES))
    projector = Projector(backend, angle_rad, columns, center, (columns, columns))
    solver = _Solver(backend, projector, count, problem.weight, problem.nonnegative)
    blocks = plan_tv_blocks(rows, angles, columns, memory_bytes)
    for number, (r0, r1) in enumerate(blocks):
        first, last = (max(0, r0 - HALO), min(rows, r1 + HALO)) if len(blocks) > 1 else (r0, r1)
        part, begin = read(first, last)
        if begin is None:
            begin = reconstruct_block(backend, np.ascontiguousarray(part), angle_rad, center, "hann")

        def report(done: int, change: float, before: int = number * problem.iterations) -> None:
            if progress is not None:
                progress(before + done, len(blocks) * problem.iterations, change)

        found = solver.run(projector.padded(part), begin, problem.iterations, report)
        yield r0, found[r0 - first : r1 - first]


def prior_weight(attenuation: Array) -> float:
    """λ for strength 1, from the noise of projections (angles, rows, columns).

    The noise is what the second differences along the columns scatter by; edges are few and do not count in a median.
    In the gradient of the data term it adds up over the angles.
    """
    sample = attenuation[:, :: max(1, attenuation.shape[1] // 32)]
    noise = robust_sigma(np.diff(sample, n=2, axis=2)) / np.sqrt(6.0) if sample.shape[2] > 2 else 0.0
    floor = LEAST_NOISE * float(np.sqrt(np.mean(np.square(sample, dtype=np.float64))))
    return NOISE_TO_PRIOR * max(noise, floor) * float(np.sqrt(attenuation.shape[0]))


def tv_row_nbytes(angles: int, columns: int) -> int:
    """Memory that one detector row needs while it is reconstructed."""
    return 4 * (VOLUMES * columns * columns + 3 * angles * (columns + 2 * kernels.PAD))


def plan_tv_blocks(rows: int, angles: int, columns: int, memory_bytes: int | None) -> list[tuple[int, int]]:
    """Blocks [r0, r1) of rows, as even as can be, that fit into ``memory_bytes`` with their HALO; None is no limit.

    Raises BadInput, with the number that is needed, when not even one row with its halo fits.
    """
    if memory_bytes is None or rows * tv_row_nbytes(angles, columns) <= memory_bytes:
        return [(0, rows)]
    fit = memory_bytes // tv_row_nbytes(angles, columns) - 2 * HALO
    if fit < 1:
        need, given = (2 * HALO + 1) * tv_row_nbytes(angles, columns) / 2**20, memory_bytes / 2**20
        raise BadInput(f"the smallest block of rows needs {need:.1f} MiB, {given:.1f} are allowed")
    count = -(-rows // fit)
    edges = [rows * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


class _Solver:
    """The problem for one geometry; ``run`` solves it for a block of rows."""

    def __init__(self, backend: Backend, projector: Projector, subsets: int, weight: float, nonnegative: bool) -> None:
        self._threads = backend.threads
        self._weight = weight
        self._low = 0.0 if nonnegative else -np.inf
        self._projector = projector
        self._steepness = projector.norm_squared()
        order = _spread_out(subsets)
        self._subsets = [np.arange(k, projector.angles, subsets) for k in order]

    def run(self, data: Array, start: Array, iterations: int, report: Callable[[int, float], None]) -> Array:
        """Volume (rows, ny, nx) from ``data`` in the projector's layout and a volume (rows, ny, nx) to start from."""
        now = np.maximum(start, self._low).transpose(1, 2, 0).copy()
        ahead, before, down = now.copy(), np.empty_like(now), np.empty_like(now)
        dual = np.zeros((3, *now.shape), np.float32)
        dual_ahead = np.zeros_like(dual)
        parts = [(self._projector.subset(index), data[index]) for index in self._subsets]
        whole = [(self._projector, data)]
        pace, rest = 1.0, 0
        for iteration in range(iterations):
            used = parts if iteration < SUBSETS_UNTIL * iterations else whole
            change = 0.0
            for projector, measured in used:
                residual = projector.forward(ahead)
                residual -= measured
                down[...] = ahead
                projector.backward(residual, -len(used) / self._steepness, down)
                before, now = now, before
                self._denoise(down, dual, dual_ahead, now)
                step = now - before
                uphill = float(np.vdot(ahead - now, step)) > 0
                following = 1.0 if uphill else 0.5 + float(np.sqrt(0.25 + pace * pace))
                ahead = now if uphill else now + np.float32((pace - 1) / following) * step
                pace = following
                change = float(np.linalg.norm(step)) / max(float(np.linalg.norm(now)), 1e-30)
            report(iteration + 1, change)
            rest = rest + 1 if change < TOLERANCE else 0
            if rest >= AT_REST:
                if used is whole:
                    break
                parts, rest = whole, 0
        return np.ascontiguousarray(now.transpose(2, 0, 1))

    def _denoise(self, noisy: Array, dual: Array, ahead: Array, out: Array) -> None:
        """out = argmin 1/2 ‖out - noisy‖² + λ/L · TV(out), from the ``dual`` of the last time."""
        weight = self._weight / self._steepness
        if weight == 0.0:
            np.maximum(noisy, self._low, out=out)
            return
        step = 1.0 / ((12.0 if noisy.shape[2] > 1 else 8.0) * weight)
        ahead[...] = dual
        pace = 1.0
        for _ in range(INNER):
            kernels.tv_primal(noisy, ahead, weight, self._low, self._threads, out)
            following = 0.5 + float(np.sqrt(0.25 + pace * pace))
            kernels.tv_dual(out, step, (pace - 1) / following, self._threads, ahead, dual)
            pace = following
        kernels.tv_primal(noisy, dual, weight, self._low, self._threads, out)


def _spread_out(count: int) -> list[int]:
    """0 … count-1 in an order in which neighbours are far apart (van der Corput)."""
    bits = max(1, (count - 1).bit_length())
    reverse = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(1 << bits)]
    return [k for k in reverse if k < count]
