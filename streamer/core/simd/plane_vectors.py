"""Vector instructions of the live planes, for points of 16 detector rows (see ``row_vectors``, whose rules hold here).

The compiler's own vector loops check for overlapping arrays and for remainders each time they are entered, which costs
more than 16 additions. LLVM's vectors have any length and are cut to what the processor has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from streamer.core.simd.row_vectors import FLOAT, HALF_LANES, INDEX, INT, LANES, REAL, LlvmBuilder, intrinsic, written

POINT = ir.VectorType(FLOAT, LANES)
FEW_LANES = 4
"""Rows that ``add_pair`` takes at once."""

new_variable: Callable[..., Any] = cgutils.alloca_once_value


def _add_weighted_frames(e: LlvmBuilder) -> None:
    """Body of ``add_1`` and ``add_4``: (out, at, source, then first, v, w of each frame)."""
    target, at, source, *frames = e.args
    total = e.load(target, at)
    for k in range(0, len(frames), 3):
        for step, weight in enumerate(frames[k + 1 : k + 3]):
            value = e.load(source, e.offset(frames[k], step * LANES))
            total = e.plus(total, e.times(value, e.spread(weight)))
    e.store(total, target, at)


@intrinsic
def add_pair(_: Any, out: Any, at: Any, source: Any, i: Any, step: Any, v: Any, w: Any) -> Any:
    """out[at:at+4] += v·source[i:i+4] + w·source[i+step:i+step+4]; flat float32 arrays. For few rows."""

    def write(e: LlvmBuilder) -> None:
        target, place, values, first, stride, near, far = e.args
        both = [
            e.times(e.load(values, start, FEW_LANES), e.spread(weight, FEW_LANES))
            for start, weight in ((first, near), (e.builder.add(first, stride), far))
        ]
        e.store(e.plus(e.load(target, place, FEW_LANES), e.plus(*both)), target, place)

    return types.void(out, INDEX, source, INDEX, INDEX, REAL, REAL), written(write)


@intrinsic
def add_1(_: Any, out: Any, at: Any, source: Any, i: Any, v: Any, w: Any) -> Any:
    """out[at:at+16] += v·source[i:i+16] + w·source[i+16:i+32]; flat float32 arrays."""
    return types.void(out, INDEX, source, INDEX, REAL, REAL), written(_add_weighted_frames)


@intrinsic
def add_4(
    _: Any, out: Any, at: Any, source: Any, i0: Any, v0: Any, w0: Any, i1: Any, v1: Any, w1: Any,
    i2: Any, v2: Any, w2: Any, i3: Any, v3: Any, w3: Any,
) -> Any:  # fmt: skip
    """As ``add_1`` for four frames, in this order."""
    return types.void(out, INDEX, source, *(INDEX, REAL, REAL) * 4), written(_add_weighted_frames)


PAIR_ORDERS = (
    ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""Shuffles that take elements in turn, in pairs and in fours from two vectors of eight, low and high halves."""

DERIVATIVE_DELAY = 3
"""Points by which a derivative lies behind its own: it needs that many more values."""


def _interleaved(e: LlvmBuilder, a: Any, b: Any, stage: int, half: int) -> Any:
    """One of PAIR_ORDERS in the lower and, alike, in the upper eight lanes of two vectors of 16."""
    low = [k if k < HALF_LANES else k + HALF_LANES for k in PAIR_ORDERS[stage][half]]
    return e.pick(a, b, [*low, *(k + HALF_LANES for k in low)])


def _columns(e: LlvmBuilder, rows: list[Any]) -> list[Any]:
    """16 rows of eight columns, turned into eight columns of 16 rows."""
    both = [e.pick(rows[r], rows[r + HALF_LANES], list(range(LANES))) for r in range(HALF_LANES)]
    turns = [_interleaved(e, both[k], both[k + 1], 0, half) for k in (0, 2, 4, 6) for half in (0, 1)]
    fours = [_interleaved(e, turns[k], turns[k + 2], 1, half) for k in (0, 1, 4, 5) for half in (0, 1)]
    return [_interleaved(e, fours[k], fours[k + 4], 2, half) for half in (0, 1) for k in range(4)]


@intrinsic
def derive_columns(
    _: Any, source: Any, at: Any, pitch: Any, count: Any, near: Any, far: Any, out: Any, to: Any
) -> Any:  # fmt: skip
    """out[to + 16·(c + d) + r] = near·(v[c+2] - v[c+1]) + far·(v[c+3] - v[c]), where v[c] = source[at + pitch·r + c].

    For r < 16 and c < count - d with d = DERIVATIVE_DELAY; ``count`` is a multiple of 8, and the first d points mean
    nothing. Flat float32 arrays. The rows are turned and the values derived in registers.
    """

    def write(e: LlvmBuilder) -> None:
        lines, begin, stride, columns, *factors, target, start = e.args
        near, far = (e.spread(factor) for factor in factors)
        last = [new_variable(e.builder, ir.Constant(POINT, [0.0] * LANES)) for _ in range(DERIVATIVE_DELAY)]
        eight = ir.Constant(INT, HALF_LANES)
        with cgutils.for_range(e.builder, e.builder.sdiv(columns, eight)) as loop:
            step = e.builder.mul(loop.index, eight)
            first = e.builder.add(begin, step)
            fresh = _columns(e, [e.load(lines, e.after(first, stride, r), HALF_LANES) for r in range(LANES)])
            values = [e.builder.load(place) for place in last] + fresh
            here = e.after(start, step, LANES)
            for c in range(HALF_LANES):
                inner, outer = e.minus(values[c + 2], values[c + 1]), e.minus(values[c + 3], values[c])
                e.store(e.plus(e.times(near, inner), e.times(far, outer)), target, e.offset(here, LANES * c))
            for place, value in zip(last, fresh[-DERIVATIVE_DELAY:], strict=True):
                e.builder.store(value, place)

    return types.void(source, INDEX, INDEX, INDEX, REAL, REAL, out, INDEX), written(write)


@intrinsic
def quarter_turn(_: Any, points: Any, at: Any, factor: Any) -> Any:
    """Multiply points[at:at+16], 8 real and 8 imaginary parts, by i·factor; flat float32."""

    def write(e: LlvmBuilder) -> None:
        place, first, number = e.args
        value = e.load(place, first)
        signs = ir.Constant(POINT, [-1.0] * HALF_LANES + [1.0] * HALF_LANES)
        swapped = e.pick(value, value, [*range(HALF_LANES, LANES), *range(HALF_LANES)])
        e.store(e.times(e.times(swapped, signs), e.spread(number)), place, first)

    return types.void(points, INDEX, REAL), written(write)
