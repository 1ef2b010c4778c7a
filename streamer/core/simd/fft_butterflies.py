"""Butterflies of Fourier transforms as vector instructions: the building blocks of ``simd.fft``.

They transform points of 16 detector rows (see ``row_vectors``, whose rules for arrays hold here as well).
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from streamer.core.simd.row_vectors import FLOAT, HALF_LANES, INDEX, INT, LANES, LlvmBuilder, intrinsic, written

Pair = tuple[Any, Any]  # real and imaginary parts of 8 complex numbers, two LLVM values


def _load(e: LlvmBuilder, data: Any, at: Any) -> Pair:
    return e.load(data, at, HALF_LANES), e.load(data, e.offset(at, HALF_LANES), HALF_LANES)


def _store(e: LlvmBuilder, pair: Pair, data: Any, at: Any) -> None:
    e.store(pair[0], data, at)
    e.store(pair[1], data, e.offset(at, HALF_LANES))


class _Complex:
    """Arithmetic on pairs; ``sign`` is that of the exponent of the Fourier transform."""

    def __init__(self, emit: LlvmBuilder, sign: int) -> None:
        self._emit, self._sign = emit, sign

    def plus(self, a: Pair, b: Pair) -> Pair:
        return self._emit.plus(a[0], b[0]), self._emit.plus(a[1], b[1])

    def minus(self, a: Pair, b: Pair) -> Pair:
        return self._emit.minus(a[0], b[0]), self._emit.minus(a[1], b[1])

    def scaled(self, a: Pair, factor: float) -> Pair:
        constant = ir.Constant(ir.VectorType(FLOAT, HALF_LANES), [factor] * HALF_LANES)
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


def _butterfly(radix: int, sign: int, last: bool = False) -> Any:
    """An intrinsic (x, x_at, y, y_at, size, block, factors, start): one stage of Stockham's Fourier transform.

    ``size`` times, with its own complex ``factors`` (real, imaginary, …; radix - 1 of them) from ``start``, and each
    time for ``block`` neighbouring points: transforms ``radix`` points of x and writes them to y. In the last stage
    ``size`` is 1 and all factors are 1.
    """

    @intrinsic
    def stage(
        _: Any, x: Any, x_at: Any, y: Any, y_at: Any, size: Any, block: Any, factors: Any, start: Any
    ) -> Any:  # fmt: skip
        def write(e: LlvmBuilder) -> None:
            source, at, target, to, sizes, blocks, factor, first = e.args
            builder, c = e.builder, _Complex(e, sign)
            stride = e.after(ir.Constant(INT, 0), blocks, LANES)
            step = builder.mul(sizes, stride)
            with cgutils.for_range(builder, sizes) as outer:
                p = outer.index
                place = e.after(first, p, 2 * (radix - 1))
                waves = (
                    []
                    if last
                    else [e.spread(e.number(factor, e.offset(place, k)), HALF_LANES) for k in range(2 * radix - 2)]
                )
                near, far = builder.mul(p, stride), builder.mul(p, e.after(ir.Constant(INT, 0), stride, radix))
                with cgutils.for_range(builder, blocks) as inner:
                    q = builder.mul(inner.index, ir.Constant(INT, LANES))
                    begin, end = (builder.add(q, builder.add(*pair)) for pair in ((at, near), (to, far)))
                    points = c.fourier([_load(e, source, e.after(begin, step, r)) for r in range(radix)])
                    for k, pair in enumerate(points):
                        value = c.times(pair, *waves[2 * k - 2 : 2 * k]) if waves and k else pair
                        _store(e, value, target, e.after(end, stride, k))

        return types.void(x, INDEX, y, INDEX, INDEX, INDEX, factors, INDEX), written(write)

    return stage


forward_2, forward_3, forward_4, forward_5, forward_8 = (_butterfly(r, -1) for r in (2, 3, 4, 5, 8))
backward_2, backward_3, backward_4, backward_5, backward_8 = (_butterfly(r, 1) for r in (2, 3, 4, 5, 8))
forward_last_2, forward_last_3, forward_last_4, forward_last_5, forward_last_8 = (
    _butterfly(r, -1, last=True) for r in (2, 3, 4, 5, 8)
)
backward_last_2, backward_last_3, backward_last_4, backward_last_5, backward_last_8 = (
    _butterfly(r, 1, last=True) for r in (2, 3, 4, 5, 8)
)
