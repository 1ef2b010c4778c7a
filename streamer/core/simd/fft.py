"""Fourier transforms of 16 detector rows at once, one complex transform per lane (see ``row_vectors``).

Stockham's self-sorting transform by decimation in frequency, radices 8, 5, 4, 3 and 2. Every butterfly works on whole
points: no lane is ever idle, and no transposition is needed. A library that transforms one row at a time needs one; no
library with a permissive licence offers this layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array
from streamer.core.jit import as_input, kernel
from streamer.core.simd import fft_butterflies as butterflies
from streamer.core.simd.row_vectors import LANES


@dataclass(frozen=True)
class FftTables:
    """Tables of a transform of ``length`` points.

    ``stages`` (stage, 4): radix with the sign of the exponent, where its factors begin, how many times they change,
    for how many points each serves. ``factors``: (real, imaginary) float32.
    """

    length: int
    stages: NDArray[np.int64]
    factors: NDArray[np.float32]


def fast_length(least: int) -> int:
    """The smallest even length of at least ``least`` points (and at least 2) that has no prime factor above 5."""
    length = max(2, least + least % 2)
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def fft_tables(length: int, sign: int) -> FftTables:
    """Tables for Σ x[n]·exp(sign·2πi·kn/length), unnormalised; ``length`` as ``fast_length`` gives it.

    The largest radix is the last, because the last stage needs no factors. Raises ValueError for other prime factors.
    """
    if length < 2:
        raise ValueError(f"{length} points cannot be transformed: it takes at least 2")
    stages, factors, rest, start = [], [], length, 0
    for radix in _radices(length):
        size = rest // radix
        wave = np.exp(sign * 2j * np.pi * np.arange(size)[:, None] * np.arange(1, radix) / rest)
        stages.append((sign * radix, start, size, length // rest))
        factors.append(np.stack([wave.real, wave.imag], -1).ravel())
        start, rest = start + factors[-1].size, size
    return FftTables(length, as_input(np.array(stages, np.int64)), as_input(np.concatenate(factors), np.float32))


def _radices(length: int) -> list[int]:
    found, rest = [], length
    for radix in (5, 3, 8, 4, 2):
        # 16 is 4 · 4, which is faster than 8 · 2.
        while rest % radix == 0 and not (radix == 8 and rest == 16):
            found.append(radix)
            rest //= radix
    if rest != 1:
        raise ValueError(f"{length} points cannot be transformed: it takes a product of 2, 3 and 5")
    return sorted(found)


@kernel()
def transform(x: Array, at: int, y: Array, to: int, work: Array, stages: Array, factors: Array) -> None:
    """Transform the points of x from ``at`` on into those of y from ``to`` on, by the tables of a ``FftTables``.

    x, y and ``work``, which holds two transforms, are flat float32; y may be x, which otherwise stays as it is.
    """
    last = stages.shape[0] - 1
    half = work.size // 2 // LANES * LANES
    for k in range(last + 1):
        kind, start, size, block = stages[k, 0], stages[k, 1], stages[k, 2], stages[k, 3]
        even, odd = (k % 2) * half, (1 - k % 2) * half  # where this stage writes to, where the one before did
        if last == 0:
            _stage(kind, x, at, y, to, size, block, factors, start)
        elif k == 0:
            _stage(kind, x, at, work, even, size, block, factors, start)
        elif k < last:
            _stage(kind, work, odd, work, even, size, block, factors, start)
        else:
            _stage(kind, work, odd, y, to, size, block, factors, start)


@kernel()
def _stage(kind: int, x: Array, at: int, y: Array, to: int, size: int, block: int, f: Array, start: int) -> None:
    """One stage, by the kind and the place (last: ``size`` 1) of which there is one intrinsic each."""
    if kind == -8 and size > 1:
        butterflies.forward_8(x, at, y, to, size, block, f, start)
    elif kind == -5 and size > 1:
        butterflies.forward_5(x, at, y, to, size, block, f, start)
    elif kind == -4 and size > 1:
        butterflies.forward_4(x, at, y, to, size, block, f, start)
    elif kind == -3 and size > 1:
        butterflies.forward_3(x, at, y, to, size, block, f, start)
    elif kind == -2 and size > 1:
        butterflies.forward_2(x, at, y, to, size, block, f, start)
    elif kind == -8 and size == 1:
        butterflies.forward_last_8(x, at, y, to, size, block, f, start)
    elif kind == -5 and size == 1:
        butterflies.forward_last_5(x, at, y, to, size, block, f, start)
    elif kind == -4 and size == 1:
        butterflies.forward_last_4(x, at, y, to, size, block, f, start)
    elif kind == -3 and size == 1:
        butterflies.forward_last_3(x, at, y, to, size, block, f, start)
    elif kind == -2 and size == 1:
        butterflies.forward_last_2(x, at, y, to, size, block, f, start)
    elif kind == 8 and size > 1:
        butterflies.backward_8(x, at, y, to, size, block, f, start)
    elif kind == 5 and size > 1:
        butterflies.backward_5(x, at, y, to, size, block, f, start)
    elif kind == 4 and size > 1:
        butterflies.backward_4(x, at, y, to, size, block, f, start)
    elif kind == 3 and size > 1:
        butterflies.backward_3(x, at, y, to, size, block, f, start)
    elif kind == 2 and size > 1:
        butterflies.backward_2(x, at, y, to, size, block, f, start)
    elif kind == 8 and size == 1:
        butterflies.backward_last_8(x, at, y, to, size, block, f, start)
    elif kind == 5 and size == 1:
        butterflies.backward_last_5(x, at, y, to, size, block, f, start)
    elif kind == 4 and size == 1:
        butterflies.backward_last_4(x, at, y, to, size, block, f, start)
    elif kind == 3 and size == 1:
        butterflies.backward_last_3(x, at, y, to, size, block, f, start)
    elif kind == 2 and size == 1:
        butterflies.backward_last_2(x, at, y, to, size, block, f, start)
