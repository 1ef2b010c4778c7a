"""Vector instructions of the live planes, written out: 16 detector rows side by side in one line of the cache.

The compiler's own vector loops check for overlapping arrays and for remainders each time they are entered, which costs
more than 16 additions. LLVM's vectors have any length and are cut to what the processor has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from streamer.core.simd import row_vectors as lanes

intrinsic: Callable[[Callable[..., Any]], Any] = extending.intrinsic
_variable: Callable[..., Any] = cgutils.alloca_once_value

# As kernels call them: without the typing context that numba puts first.
scale_point: Callable[..., None] = lanes.scale_point
points_to_rows: Callable[..., None] = lanes.points_to_rows
rows_to_points: Callable[..., None] = lanes.rows_to_points

LANES = 16
"""Detector rows that ride side by side: one cache line of float32."""

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_LONG = ir.IntType(64)
_FUSE = ("contract",)


def _vector_at(context: Any, builder: Any, kind: Any, array: Any, index: Any, lanes: int) -> Any:
    """Pointer to ``lanes`` floats from ``index`` of a flat array on."""
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(_FLOAT, lanes).as_pointer())


def _spread(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(_FLOAT, LANES), ir.Undefined), scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _accumulate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Body of ``add_1`` and ``add_4``: (out, at, source, then first, v, w of each frame)."""
    out, source = signature.args[0], signature.args[2]
    target = _vector_at(context, builder, out, args[0], args[1], LANES)
    total = builder.load(target, align=4)
    for k in range(3, len(args), 3):
        first, weights = args[k], args[k + 1 : k + 3]
        for step, weight in enumerate(weights):
            index = builder.add(first, ir.Constant(first.type, step * LANES))
            value = builder.load(_vector_at(context, builder, source, args[2], index, LANES), align=4)
            total = builder.fadd(total, builder.fmul(value, _spread(builder, weight), flags=_FUSE), flags=_FUSE)
    builder.store(total, target, align=4)
    return context.get_dummy_value()


_INDEX, _REAL = types.int64, types.float32


@intrinsic
def add_1(typing: Any, out: Any, at: Any, source: Any, i: Any, v: Any, w: Any) -> Any:
    """out[at:at+16] += v·source[i:i+16] + w·source[i+16:i+32]; flat float32 arrays, indices are not checked."""
    return types.void(out, _INDEX, source, _INDEX, _REAL, _REAL), _accumulate


@intrinsic
def add_4(
    typing: Any, out: Any, at: Any, source: Any, i0: Any, v0: Any, w0: Any, i1: Any, v1: Any, w1: Any,
    i2: Any, v2: Any, w2: Any, i3: Any, v3: Any, w3: Any,
) -> Any:  # fmt: skip
    """As ``add_1`` for four frames, in this order."""
    return types.void(out, _INDEX, source, *(_INDEX, _REAL, _REAL) * 4), _accumulate


_PAIRS = (
    ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""Shuffles that take elements in turn, in pairs and in fours from two vectors of eight, low and high halves."""

LATE = 3
"""How many points behind its own a derivative needs."""


@intrinsic
def derive_columns(
    typing: Any, source: Any, at: Any, pitch: Any, count: Any, near: Any, far: Any, out: Any, to: Any
) -> Any:
    """out[to + 16·(c + LATE) + r] = near·(v[c+2] - v[c+1]) + far·(v[c+3] - v[c]), v[c] being source[at + pitch·r + c].

    For r < 16 and c < count - LATE, ``count`` being a multiple of 8; the first LATE points mean nothing.
    Flat float32 arrays, indices are not checked. The rows are turned and the values derived in registers.
    """

    def body(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pick(a: Any, b: Any, order: list[int]) -> Any:
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(order)), order))

        def crossed(a: Any, b: Any, stage: int, half: int) -> Any:
            low = [k if k < 8 else k + 8 for k in _PAIRS[stage][half]]
            return pick(a, b, [*low, *(k + 8 for k in low)])

        kinds, begin = signature.args, args[1]
        factors = [_spread(builder, factor) for factor in args[4:6]]
        kind = ir.VectorType(_FLOAT, LANES)
        last = [_variable(builder, ir.Constant(kind, [0.0] * LANES)) for _ in range(LATE)]
        eight = ir.Constant(_LONG, 8)
        with cgutils.for_range(builder, builder.sdiv(args[3], eight)) as loop:
            step = builder.mul(loop.index, eight)
            position, rows = builder.add(begin, step), []
            for _ in range(LANES):
                rows.append(builder.load(_vector_at(context, builder, kinds[0], args[0], position, 8), align=4))
                position = builder.add(position, args[2])
            # Row r in the lower half of a vector, row r + 8 in the upper one.
            both = [pick(rows[r], rows[r + 8], list(range(LANES))) for r in range(8)]
            turns = [crossed(both[k], both[k + 1], 0, half) for k in (0, 2, 4, 6) for half in (0, 1)]
            fours = [crossed(turns[k], turns[k + 2], 1, half) for k in (0, 1, 4, 5) for half in (0, 1)]
            columns = [crossed(fours[k], fours[k + 4], 2, half) for half in (0, 1) for k in range(4)]
            values = [builder.load(place) for place in last] + columns
            target = builder.add(args[7], builder.mul(step, ir.Constant(_LONG, LANES)))
            for c in range(8):
                inner = builder.fsub(values[c + 2], values[c + 1], flags=_FUSE)
                outer = builder.fsub(values[c + 3], values[c], flags=_FUSE)
                parts = [builder.fmul(f, d, flags=_FUSE) for f, d in zip(factors, (inner, outer), strict=True)]
                place = builder.add(target, ir.Constant(_LONG, LANES * c))
                out_at = _vector_at(context, builder, kinds[6], args[6], place, LANES)
                builder.store(builder.fadd(*parts, flags=_FUSE), out_at, align=4)
            for place, value in zip(last, columns[-LATE:], strict=True):
                builder.store(value, place)
        return context.get_dummy_value()

    return types.void(source, _INDEX, _INDEX, _INDEX, _REAL, _REAL, out, _INDEX), body


@intrinsic
def quarter_turn(typing: Any, points: Any, at: Any, factor: Any) -> Any:
    """points[at:at+16] times i·factor, being 8 real and 8 imaginary parts; flat float32, the index is not checked."""

    def body(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _vector_at(context, builder, signature.args[0], args[0], args[1], LANES)
        half = LANES // 2
        order = ir.Constant(ir.VectorType(_INT, LANES), [*range(half, LANES), *range(half)])
        value = builder.load(place, align=4)
        signs = ir.Constant(ir.VectorType(_FLOAT, LANES), [-1.0] * half + [1.0] * half)
        turned = builder.fmul(builder.shuffle_vector(value, value, order), signs)
        builder.store(builder.fmul(turned, _spread(builder, args[2])), place, align=4)
        return context.get_dummy_value()

    return types.void(points, _INDEX, _REAL), body
