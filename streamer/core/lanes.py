"""Vector instructions for 16 detector rows at once, as building blocks of kernels.

A *point* is 16 float32 in a row: the real parts of 8 complex numbers, then their imaginary parts. Lane ``l`` carries
detector row ``l`` as its real and row ``l + 8`` as its imaginary part. A point is one cache line and, with AVX-512,
one register; on smaller vector units LLVM splits the same code into 2 or 4 instructions.

Each function here is written out as LLVM vector code: numba turns none of these loops into vector instructions by
itself, because it cannot know that the arrays do not overlap. Arrays are flat, C-contiguous and float32; places in
them are counted in float32, steps between points likewise. Nothing is checked.

numba's cache on disk does not notice a change of this file: delete ``__pycache__`` after editing it.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Detector rows in one point."""

_HALF = LANES // 2
_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_FAST = ("contract", "arcp", "nsz")

Pair = tuple[Any, Any]  # real and imaginary parts of 8 complex numbers, two LLVM values


class _Emit:
    """Writes LLVM code for one call of an intrinsic; ``args`` are its arguments, arrays as pointers to their data."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder = builder
        self.args = [
            context.make_array(kind)(context, builder, value=value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]

    def _place(self, data: Any, at: Any, width: int) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [at]), ir.VectorType(_FLOAT, width).as_pointer())

    def offset(self, at: Any, extra: int) -> Any:
        return self.builder.add(at, ir.Constant(_INT, extra)) if extra else at

    def after(self, at: Any, step: Any, count: int) -> Any:
        """The place ``count`` steps behind ``at``."""
        return self.builder.add(at, self.builder.mul(step, ir.Constant(_INT, count))) if count else at

    def load(self, data: Any, at: Any, width: int = LANES) -> Any:
        value = self.builder.load(self._place(data, at, width))
        value.align = 4
        return value

    def store(self, value: Any, data: Any, at: Any) -> None:
        self.builder.store(value, self._place(data, at, value.type.count)).align = 4

    def load_pair(self, data: Any, at: Any) -> Pair:
        return self.load(data, at, _HALF), self.load(data, self.offset(at, _HALF), _HALF)

    def store_pair(self, pair: Pair, data: Any, at: Any) -> None:
        self.store(pair[0], data, at)
        self.store(pair[1], data, self.offset(at, _HALF))

    def spread(self, scalar: Any, width: int = LANES) -> Any:
        """A vector with ``scalar`` in every lane."""
        kind = ir.VectorType(_FLOAT, width)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        return self.pick(first, first, [0] * width)

    def number(self, data: Any, at: Any) -> Any:
        return self.builder.load(self.builder.gep(data, [at]))

    def pick(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Lanes of two vectors laid end to end, in the order given."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))

    def plus(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FAST)

    def minus(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=_FAST)

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=_FAST)


class _Complex:
    """Arithmetic on pairs; ``sign`` is that of the exponent of the Fourier transform."""

    def __init__(self, emit: _Emit, sign: int) -> None:
        self._emit, self._sign = emit, sign

    def plus(self, a: Pair, b: Pair) -> Pair:
        return self._emit.plus(a[0], b[0]), self._emit.plus(a[1], b[1])

    def minus(self, a: Pair, b: Pair) -> Pair:
        return self._emit.minus(a[0], b[0]), self._emit.minus(a[1], b[1])

    def scaled(self, a: Pair, factor: float) -> Pair:
        constant = ir.Constant(ir.VectorType(_FLOAT, _HALF), [factor] * _HALF)
        return self._emit.times(a[0], constant), self._emit.times(a[1], constant)

    def turned(self, a: Pair) -> Pair:
        """a multiplied by the imaginary unit, or by minus it in a forward transform."""
        negative = self._emit.builder.fneg
        return (negative(a[1]), a[0]) if self._sign > 0 else (a[1], negative(a[0]))

    def times(self, a: Pair, real: Any, imaginary: Any) -> Pair:
        e = self._emit
        return (
            e.minus(e.times(a[0], real), e.times(a[1], imaginary)),
            e.plus(e.times(a[0], imaginary), e.times(a[1], real)),
        )

    def fourier(self, a: list[Pair]) -> list[Pair]:
        """Fourier transform of 2, 3, 4, 5 or 8 complex numbers."""
        return {2: self._two, 3: self._three, 4: self._four, 5: self._five, 8: self._eight}[len(a)](a)

    def _two(self, a: list[Pair]) -> list[Pair]:
        return [self.plus(a[0], a[1]), self.minus(a[0], a[1])]

    def _three(self, a: list[Pair]) -> list[Pair]:
        total = self.plus(a[1], a[2])
        across = self.turned(self.scaled(self.minus(a[1], a[2]), math.sin(math.tau / 3)))
        along = self.minus(a[0], self.scaled(total, 0.5))
        return [self.plus(a[0], total), self.plus(along, across), self.minus(along, across)]

    def _four(self, a: list[Pair]) -> list[Pair]:
        even, odd = self._two(a[0::2]), self._two(a[1::2])
        odd[1] = self.turned(odd[1])
        return [
            self.plus(even[0], odd[0]), self.plus(even[1], odd[1]),
            self.minus(even[0], odd[0]), self.minus(even[1], odd[1]),
        ]  # fmt: skip

    def _five(self, a: list[Pair]) -> list[Pair]:
        outer, inner = self.plus(a[1], a[4]), self.plus(a[2], a[3])
        d_outer, d_inner = self.minus(a[1], a[4]), self.minus(a[2], a[3])
        cos = [math.cos(math.tau * k / 5) for k in (1, 2)]
        sin = [math.sin(math.tau * k / 5) for k in (1, 2)]
        p = self.plus(a[0], self.plus(self.scaled(outer, cos[0]), self.scaled(inner, cos[1])))
        q = self.plus(a[0], self.plus(self.scaled(outer, cos[1]), self.scaled(inner, cos[0])))
        u = self.turned(self.plus(self.scaled(d_outer, sin[0]), self.scaled(d_inner, sin[1])))
        v = self.turned(self.minus(self.scaled(d_outer, sin[1]), self.scaled(d_inner, sin[0])))
        total = self.plus(a[0], self.plus(outer, inner))
        return [total, self.plus(p, u), self.plus(q, v), self.minus(q, v), self.minus(p, u)]

    def _eight(self, a: list[Pair]) -> list[Pair]:
        even, odd = self._four(a[0::2]), self._four(a[1::2])
        odd[1] = self.scaled(self.plus(odd[1], self.turned(odd[1])), math.sqrt(0.5))
        odd[2] = self.turned(odd[2])
        odd[3] = self.scaled(self.minus(self.turned(odd[3]), odd[3]), math.sqrt(0.5))
        pairs = list(zip(even, odd, strict=True))
        return [self.plus(e, o) for e, o in pairs] + [self.minus(e, o) for e, o in pairs]


def _stage(radix: int, sign: int, last: bool = False) -> Any:
    """An intrinsic (x, x_at, y, y_at, size, block, factors, start): one stage of Stockham's Fourier transform.

    ``size`` times, with its own complex ``factors`` (real, imaginary, …; radix - 1 of them) from ``start``, and each
    time for ``block`` neighbouring points: transforms ``radix`` points of x and writes them to y. In the last stage
    ``size`` is 1 and all factors are 1.
    """

    @intrinsic
    def stage(
        _: Any, x: Any, x_at: Any, y: Any, y_at: Any, size: Any, block: Any, factors: Any, start: Any
    ) -> Any:  # fmt: skip
        count = types.int64
        signature = types.void(x, count, y, count, count, count, factors, count)

        def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            e = _Emit(context, builder, sig, values)
            source, at, target, to, sizes, blocks, factor, first = e.args
            stride = e.after(ir.Constant(_INT, 0), blocks, LANES)
            step = builder.mul(sizes, stride)
            with cgutils.for_range(builder, sizes) as outer:
                p = outer.index
                place = e.after(first, p, 2 * (radix - 1))
                waves = (
                    []
                    if last
                    else [e.spread(e.number(factor, e.offset(place, k)), _HALF) for k in range(2 * radix - 2)]
                )
                near, far = builder.mul(p, stride), builder.mul(p, e.after(ir.Constant(_INT, 0), stride, radix))
                with cgutils.for_range(builder, blocks) as inner:
                    q = builder.mul(inner.index, ir.Constant(_INT, LANES))
                    begin, end = (builder.add(q, builder.add(*pair)) for pair in ((at, near), (to, far)))
                    c = _Complex(e, sign)
                    for k, pair in enumerate(
                        c.fourier([e.load_pair(source, e.after(begin, step, r)) for r in range(radix)])
                    ):
                        value = c.times(pair, *waves[2 * k - 2 : 2 * k]) if waves and k else pair
                        e.store_pair(value, target, e.after(end, stride, k))
            return context.get_dummy_value()

        return signature, generate

    return stage


forward_2, forward_3, forward_4, forward_5, forward_8 = (_stage(r, -1) for r in (2, 3, 4, 5, 8))
backward_2, backward_3, backward_4, backward_5, backward_8 = (_stage(r, 1) for r in (2, 3, 4, 5, 8))
forward_last_2, forward_last_3, forward_last_4, forward_last_5, forward_last_8 = (
    _stage(r, -1, last=True) for r in (2, 3, 4, 5, 8)
)
backward_last_2, backward_last_3, backward_last_4, backward_last_5, backward_last_8 = (
    _stage(r, 1, last=True) for r in (2, 3, 4, 5, 8)
)


@intrinsic
def copy_point(_: Any, x: Any, x_at: Any, y: Any, y_at: Any) -> Any:
    """Copy one point of x to y."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        source, at, target, to = e.args
        e.store(e.load(source, at), target, to)
        return context.get_dummy_value()

    return types.void(x, types.int64, y, types.int64), generate


@intrinsic
def clear_point(_: Any, x: Any, x_at: Any) -> Any:
    """Set one point of x to zero."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        e.store(ir.Constant(ir.VectorType(_FLOAT, LANES), [0.0] * LANES), e.args[0], e.args[1])
        return context.get_dummy_value()

    return types.void(x, types.int64), generate


@intrinsic
def scale_point(_: Any, x: Any, x_at: Any, factor: Any, y: Any, y_at: Any) -> Any:
    """y = factor · x for one point; ``factor`` float32."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        source, at, number, target, to = e.args
        e.store(e.times(e.load(source, at), e.spread(number)), target, to)
        return context.get_dummy_value()

    return types.void(x, types.int64, types.float32, y, types.int64), generate


@intrinsic
def prefetch(_: Any, x: Any, at: Any) -> Any:
    """Ask for a cache line that will be written soon; harmless wherever it lies."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        place = builder.bitcast(builder.gep(e.args[0], [e.args[1]]), byte)
        builder.call(function, [place, *(ir.Constant(number, v) for v in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(x, types.int64), generate


def _transpose(e: _Emit, rows: list[Any]) -> list[Any]:
    """16 vectors of 16 as columns: four perfect shuffles."""
    low = [lane for k in range(_HALF) for lane in (k, LANES + k)]
    high = [lane + _HALF for lane in low]
    for _ in range(4):
        rows = [e.pick(rows[k], rows[k + _HALF], side) for k in range(_HALF) for side in (low, high)]
    return rows


@intrinsic
def rows_to_points(_: Any, rows: Any, rows_at: Any, step: Any, last: Any, points: Any, points_at: Any) -> Any:
    """16 columns of 16 rows, ``step`` apart, become 16 points that follow each other.

    Rows behind row ``last`` (0 … 15) do not exist; the last one is read in their place.
    """

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        source, at, stride, end, target, to = e.args
        lines = []
        for k in range(LANES):
            number = ir.Constant(_INT, k)
            row = builder.select(builder.icmp_signed("<", end, number), end, number)
            lines.append(e.load(source, builder.add(at, builder.mul(stride, row))))
        for k, point in enumerate(_transpose(e, lines)):
            e.store(point, target, e.offset(to, LANES * k))
        return context.get_dummy_value()

    i = types.int64
    return types.void(rows, i, i, i, points, i), generate


@intrinsic
def points_to_rows(
    _: Any, points: Any, points_at: Any, scale: Any, scale_at: Any, rows: Any, at: Any, step: Any
) -> Any:
    """16 points that follow each other, each times its number of ``scale``, become 16 columns of 16 rows."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        source, start, factors, place, target, to, stride = e.args
        lines = [
            e.times(e.load(source, e.offset(start, LANES * k)), e.spread(e.number(factors, e.offset(place, k))))
            for k in range(LANES)
        ]
        for k, row in enumerate(_transpose(e, lines)):
            e.store(row, target, e.after(to, stride, k))
        return context.get_dummy_value()

    i = types.int64
    return types.void(points, i, scale, i, rows, i, i), generate


@intrinsic
def add_weighted(
    _: Any, point: Any, point_at: Any, real: Any, imaginary: Any, w: Any, w_at: Any, w_step: Any, grid: Any,
    grid_at: Any, pitch: Any,
) -> Any:  # fmt: skip
    """Add (real + i·imaginary) · point to 4 x 4 points of a grid, each with its weight; both factors are float32.

    The weights along a line of the grid are w[w_at + k·w_step], k = 0 … 3, those across lines k = 4 … 7. Lines of the
    grid are ``pitch`` apart.
    """

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        e = _Emit(context, builder, sig, values)
        source, at, re, im, weight, first, step, target, to, line = e.args
        along = [e.spread(e.number(weight, e.after(first, step, k))) for k in range(4)]
        across = [e.spread(e.number(weight, e.after(first, step, k))) for k in range(4, 8)]
        value = e.load(source, at)
        swapped = e.pick(value, value, [*range(_HALF, LANES), *range(_HALF)])
        signs = ir.Constant(ir.VectorType(_FLOAT, LANES), [-1.0] * _HALF + [1.0] * _HALF)
        crossed = e.times(swapped, e.times(e.spread(im), signs))
        value = e.plus(e.times(value, e.spread(re)), crossed)
        for k in range(4):
            part, begin = e.times(value, across[k]), e.after(to, line, k)
            for i in range(4):
                place = e.offset(begin, LANES * i)
                e.store(e.plus(e.load(target, place), e.times(part, along[i])), target, place)
        return context.get_dummy_value()

    i, f = types.int64, types.float32
    return types.void(point, i, f, f, w, i, i, grid, i, i), generate
