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
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.chunks import ChunkedWork, run_chunked
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.statistics import robust_sigma
from streamer.core.tv import kernels
from streamer.core.tv.fista import FistaSolver, HostFistaSolver, TotalVariation, next_pace
from streamer.core.tv.gpu_fista import DeviceFistaSolver
from streamer.core.tv.projector import Projector, table_nbytes
from streamer.frames import BadInput

Progress = Callable[[int, int, float], None]
Report = Callable[[int, float], None]  # iterations done, relative change
ReadBlock = Callable[[int, int], tuple[Image, Image | None]]

DEFAULT_ITERATIONS = 80
REST_CHANGE = 1e-4  # relative change of the volume in one iteration over all angles, below which it is at rest
REST_ITERATIONS = 8  # at rest before it is done: a warm start begins slowly, before the momentum has grown
SUBSET_ANGLES = 12  # least number of angles in a subset
MOST_SUBSETS = 6
SUBSETS_UNTIL = 0.6  # share of the iterations after which all angles are used at once: subsets alone never settle
NOISE_TO_PRIOR = 0.5  # strength 1, in units of the noise that the backprojection has per pixel
LEAST_NOISE = 4e-3  # share of the typical attenuation that counts as noise even if there is none
VOLUMES_AT_ONCE = 13  # arrays of the size of the volume that live at once
HALO_ROWS = 3  # rows beyond both ends of a block, so that the prior sees its neighbours


def reconstruct_tv(
    backend: Backend,
    attenuation: Array,
    angle_rad: Array,
    center: float,
    *,
    start: Array | None = None,
    strength: float = 1.0,
    iterations: int = DEFAULT_ITERATIONS,
    subsets: int | None = None,
    nonnegative: bool = True,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Image:
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

    def read(first: int, last: int) -> tuple[Image, Image | None]:
        return data[:, first:last], None if start is None else np.asarray(start[first:last], np.float32)

    problem = TvProblem(strength * prior_weight(data), iterations, subsets, nonnegative)
    for first, block in tv_blocks(backend, read, rows, angle_rad, columns, center, problem, progress, memory_bytes):
        out[first : first + len(block)] = block
    return out


@dataclass(frozen=True)
class TvProblem:
    """``weight`` λ of the prior; ``subsets`` of the angles, None chooses; ``nonnegative`` keeps values ≥ 0."""

    weight: float
    iterations: int = DEFAULT_ITERATIONS
    subsets: int | None = None
    nonnegative: bool = True


def tv_blocks(
    backend: Backend,
    read: ReadBlock,
    rows: int,
    angle_rad: Array,
    columns: int,
    center: float,
    problem: TvProblem,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Iterator[tuple[int, Image]]:
    """(first row, slices (n, columns, columns) float32) of one block of detector rows after the other.

    ``read(first, last)`` gives the attenuation (angles, last - first, columns) of these rows, and a tomogram of them to
    start from or None for filtered backprojection. It is asked for a few rows beyond a block, so that the prior sees
    its neighbours. ``progress`` and errors as in ``reconstruct_tv``. A device works on a block in chunks that fit into
    its memory; where not even one row does, the CPU takes over, and ``backend.fallbacks`` counts it.
    """
    blocks = plan_tv_blocks(rows, np.size(angle_rad), columns, memory_bytes)
    solvers = _Solvers(backend, np.asarray(angle_rad, np.float64).ravel(), columns, center, problem)
    for number, (r0, r1) in enumerate(blocks):
        first, last = (max(0, r0 - HALO_ROWS), min(rows, r1 + HALO_ROWS)) if len(blocks) > 1 else (r0, r1)
        part, begin = read(first, last)

        def report(done: int, change: float, before: int = number * problem.iterations) -> None:
            if progress is not None:
                progress(before + done, len(blocks) * problem.iterations, change)

        yield r0, solvers.solve(part, begin, (r0 - first, r1 - first), report)


def prior_weight(attenuation: Image) -> float:
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
    return 4 * (VOLUMES_AT_ONCE * columns * columns + 3 * angles * (columns + 2 * kernels.EDGE_PAD))


def plan_tv_blocks(rows: int, angles: int, columns: int, memory_bytes: int | None) -> list[tuple[int, int]]:
    """Blocks [r0, r1) of rows, as even as can be, that fit into ``memory_bytes`` with HALO_ROWS; None: no limit.

    Raises BadInput, with the number that is needed, when not even one row with its halo fits.
    """
    if memory_bytes is None or rows * tv_row_nbytes(angles, columns) <= memory_bytes:
        return [(0, rows)]
    fit = memory_bytes // tv_row_nbytes(angles, columns) - 2 * HALO_ROWS
    if fit < 1:
        need, given = (2 * HALO_ROWS + 1) * tv_row_nbytes(angles, columns) / 2**20, memory_bytes / 2**20
        raise BadInput(f"the smallest block of rows needs {need:.1f} MiB, {given:.1f} are allowed")
    count = -(-rows // fit)
    edges = [rows * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


class _Solvers:
    """The problem for one geometry on a backend, and on the CPU for what its device has no memory for."""

    def __init__(self, backend: Backend, angle_rad: Values, columns: int, center: float, problem: TvProblem) -> None:
        self._backend, self._problem = backend, problem
        self._geometry = angle_rad, columns, center
        self._made: dict[bool, _Solver] = {}

    def solve(self, part: Image, begin: Image | None, kept: tuple[int, int], report: Report) -> Image:
        """Slices of the rows ``kept`` of ``part`` (angles, rows, columns), beginning with ``begin`` (rows, ny, nx)."""
        (k0, k1), (angles, rows, columns) = kept, part.shape
        out, iterations = np.empty((k1 - k0, columns, columns), np.float32), self._problem.iterations

        def solve(on_device: bool, first: int, last: int) -> None:
            low, high = max(0, k0 + first - HALO_ROWS), min(rows, k0 + last + HALO_ROWS)

            def progress(done: int, change: float) -> None:
                report((first * iterations + (last - first) * done) // (k1 - k0), change)

            start = None if begin is None else begin[low:high]
            found = self._on(on_device).run(part[:, low:high], start, progress)
            out[first:last] = found[k0 + first - low : k0 + last - low]

        if not self._backend.on_device:
            solve(False, 0, k1 - k0)
            return out
        row = tv_row_nbytes(angles, columns)
        beyond = min(2 * HALO_ROWS, rows - 1) * row + table_nbytes(angles)
        work = ChunkedWork("few angles", k1 - k0, row, beyond, partial(solve, True), partial(solve, False))
        run_chunked(work, self._backend.kernels.engine, self._backend.fallbacks)
        return out

    def _on(self, device: bool) -> _Solver:
        if device not in self._made:
            same = device == self._backend.on_device
            chosen = self._backend if same else select_backend("numba", self._backend.threads)[0]
            self._made[device] = _Solver(chosen, *self._geometry, self._problem)
        return self._made[device]


class _Solver:
    """The problem for one geometry on one backend; ``run`` solves it for a block of rows."""

    def __init__(self, backend: Backend, angle_rad: Values, columns: int, center: float, problem: TvProblem) -> None:
        angles = angle_rad.size
        count = problem.subsets or min(MOST_SUBSETS, max(1, angles // SUBSET_ANGLES))
        subsets = [np.arange(k, angles, count) for k in _spread_out(count)]
        edges = itertools.accumulate(map(len, subsets), initial=0)
        self._subsets = [slice(first, last) for first, last in itertools.pairwise(edges)]
        self._order = np.concatenate(subsets)  # of the angles, so that those of a subset lie together
        self._projector = Projector(backend, angle_rad[self._order], columns, center, (columns, columns))
        self._steepness = self._projector.norm_squared()
        self._prior = TotalVariation(problem.weight / self._steepness, 0.0 if problem.nonnegative else -np.inf)
        self._backend, self._angle_rad, self._center = backend, angle_rad, center
        self._iterations = problem.iterations

    def run(self, part: Image, start: Image | None, report: Report) -> Image:
        """Volume (rows, ny, nx) of ``part`` (angles, rows, columns), from ``start`` or filtered backprojection."""
        begin = start
        if begin is None:
            begin = reconstruct_block(self._backend, np.ascontiguousarray(part), self._angle_rad, self._center, "hann")
        at: FistaSolver
        if self._backend.on_device:
            at = DeviceFistaSolver(self._backend.kernels.engine, begin, self._prior)
        else:
            at = HostFistaSolver(begin, self._prior, self._backend.threads)
        measured = at.measured(self._projector.padded(part[self._order]))
        parts = [(self._projector.subset(index), measured[index]) for index in self._subsets]
        whole = [(self._projector, measured)]
        pace, rest = 1.0, 0
        for iteration in range(self._iterations):
            used = parts if iteration < SUBSETS_UNTIL * self._iterations else whole
            change = 0.0
            for projector, lines in used:
                at.descend(projector, lines, -len(used) / self._steepness)
                moved = at.settle()
                following = 1.0 if moved.uphill > 0 else next_pace(pace)
                at.look_ahead(0.0 if moved.uphill > 0 else (pace - 1) / following)
                pace = following
                change = math.sqrt(moved.change) / max(math.sqrt(moved.size), 1e-30)
            report(iteration + 1, change)
            rest = rest + 1 if change < REST_CHANGE else 0
            if rest >= REST_ITERATIONS:
                if used is whole:
                    break
                parts, rest = whole, 0
        return at.result()


def _spread_out(count: int) -> list[int]:
    """0 … count-1 in an order in which neighbours are far apart (van der Corput)."""
    bits = max(1, (count - 1).bit_length())
    reverse = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(1 << bits)]
    return [k for k in reverse if k < count]
