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

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types

LANES = 16
"""Detector rows in one point."""

HALF_LANES = LANES // 2
FLOAT, INT = ir.FloatType(), ir.IntType(64)
FAST_FLAGS = ("contract", "arcp", "nsz")
INDEX, REAL = types.int64, types.float32

# Kernels call intrinsics without the typing context that numba passes first: their types say nothing to mypy.
intrinsic: Callable[[Callable[..., Any]], Any] = extending.intrinsic


class LlvmBuilder:
    """Writes LLVM code for one call of an intrinsic; ``args`` are its arguments, arrays as pointers to their data."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder = builder
        self.args = [
            context.make_array(kind)(context, builder, value=value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]

    def place(self, data: Any, at: Any, width: int) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [at]), ir.VectorType(FLOAT, width).as_pointer())

    def offset(self, at: Any, extra: int) -> Any:
        return self.builder.add(at, ir.Constant(INT, extra)) if extra else at

    def after(self, at: Any, step: Any, count: int) -> Any:
        """The place ``count`` steps behind ``at``."""
        return self.builder.add(at, self.builder.mul(step, ir.Constant(INT, count))) if count else at

    def load(self, data: Any, at: Any, width: int = LANES) -> Any:
        value = self.builder.load(self.place(data, at, width))
        value.align = 4
        return value

    def store(self, value: Any, data: Any, at: Any) -> None:
        self.builder.store(value, self.place(data, at, value.type.count)).align = 4

    def stream(self, value: Any, data: Any, at: Any, align: int) -> None:
        """Store without reading the cache line first and without keeping it in the cache."""
        order = self.builder.store(value, self.place(data, at, value.type.count))
        order.align = align
        order.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))

    def spread(self, scalar: Any, width: int = LANES) -> Any:
        """A vector with ``scalar`` in every lane."""
        kind = ir.VectorType(FLOAT, width)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        return self.pick(first, first, [0] * width)

    def number(self, data: Any, at: Any) -> Any:
        return self.builder.load(self.builder.gep(data, [at]))

    def pick(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Lanes of two vectors laid end to end, in the order given."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))

    def plus(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=FAST_FLAGS)

    def minus(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=FAST_FLAGS)

    def times(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=FAST_FLAGS)


def written(write: Callable[[LlvmBuilder], None]) -> Callable[..., Any]:
    """Code generator of an intrinsic without a result, which returns it with its signature: ``write`` at each call."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write(LlvmBuilder(context, builder, signature, values))
        return context.get_dummy_value()

    return generate


def _turned(e: LlvmBuilder, value: Any, real: Any, imaginary: Any) -> Any:
    """A point times real + i·imaginary."""
    swapped = e.pick(value, value, [*range(HALF_LANES, LANES), *range(HALF_LANES)])
    signs = ir.Constant(ir.VectorType(FLOAT, LANES), [-1.0] * HALF_LANES + [1.0] * HALF_LANES)
    return e.plus(e.times(value, e.spread(real)), e.times(swapped, e.times(e.spread(imaginary), signs)))


@intrinsic
def copy_point(_: Any, x: Any, x_at: Any, y: Any, y_at: Any) -> Any:
    """Copy one point of x to y."""

    def write(e: LlvmBuilder) -> None:
        source, at, target, to = e.args
        e.store(e.load(source, at), target, to)

    return types.void(x, INDEX, y, INDEX), written(write)


@intrinsic
def rotate_phase(_: Any, x: Any, x_at: Any, real: Any, imaginary: Any, y: Any, y_at: Any) -> Any:
    """y = (real + i·imaginary) · x for one point; both factors float32."""

    def write(e: LlvmBuilder) -> None:
        source, at, re, im, target, to = e.args
        e.store(_turned(e, e.load(source, at), re, im), target, to)

    return types.void(x, INDEX, REAL, REAL, y, INDEX), written(write)


@intrinsic
def stream_point(_: Any, x: Any, x_at: Any, y: Any, y_at: Any) -> Any:
    """Copy one point of x to y, past the cache; y_at must begin a cache line. ``fence`` before others read it."""

    def write(e: LlvmBuilder) -> None:
        source, at, target, to = e.args
        e.stream(e.load(source, at), target, to, 64)

    return types.void(x, INDEX, y, INDEX), written(write)


@intrinsic
def stream_row(_: Any, x: Any, x_at: Any, y: Any, y_at: Any) -> Any:
    """Copy 16 float32 of x to y, past the cache; y_at must be a multiple of 16 bytes. ``fence`` as above."""

    def write(e: LlvmBuilder) -> None:
        source, at, target, to = e.args
        for k in range(0, LANES, 4):
            e.stream(e.load(source, e.offset(at, k), 4), target, e.offset(to, k), 16)

    return types.void(x, INDEX, y, INDEX), written(write)


@intrinsic
def fence(_: Any) -> Any:
    """What was streamed before is seen by other threads before what is written after."""

    def write(e: LlvmBuilder) -> None:
        e.builder.fence("seq_cst")

    return types.void(), written(write)


@intrinsic
def clear_point(_: Any, x: Any, x_at: Any) -> Any:
    """Set one point of x to zero."""

    def write(e: LlvmBuilder) -> None:
        e.store(ir.Constant(ir.VectorType(FLOAT, LANES), [0.0] * LANES), e.args[0], e.args[1])

    return types.void(x, INDEX), written(write)


@intrinsic
def scale_point(_: Any, x: Any, x_at: Any, factor: Any, y: Any, y_at: Any) -> Any:
    """y = factor · x for one point; ``factor`` float32."""

    def write(e: LlvmBuilder) -> None:
        source, at, number, target, to = e.args
        e.store(e.times(e.load(source, at), e.spread(number)), target, to)

    return types.void(x, INDEX, REAL, y, INDEX), written(write)


@intrinsic
def prefetch(_: Any, x: Any, at: Any) -> Any:
    """Ask for a cache line that will be written soon; harmless wherever it lies."""

    def write(e: LlvmBuilder) -> None:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = e.builder.module.globals.get(name) or ir.Function(e.builder.module, kind, name)
        place = e.builder.bitcast(e.builder.gep(e.args[0], [e.args[1]]), byte)
        e.builder.call(function, [place, *(ir.Constant(number, v) for v in (1, 3, 1))])

    return types.void(x, INDEX), written(write)


def _transpose(e: LlvmBuilder, rows: list[Any]) -> list[Any]:
    """16 vectors of 16 as columns: four perfect shuffles."""
    low = [lane for k in range(HALF_LANES) for lane in (k, LANES + k)]
    high = [lane + HALF_LANES for lane in low]
    for _ in range(4):
        rows = [e.pick(rows[k], rows[k + HALF_LANES], side) for k in range(HALF_LANES) for side in (low, high)]
    return rows


@intrinsic
def rows_to_points(_: Any, rows: Any, rows_at: Any, step: Any, last: Any, points: Any, points_at: Any) -> Any:
    """16 columns of 16 rows, ``step`` apart, become 16 points that follow each other.

    Rows behind row ``last`` (0 … 15) do not exist; the last one is read in their place.
    """

    def write(e: LlvmBuilder) -> None:
        source, at, stride, end, target, to = e.args
        lines = []
        for k in range(LANES):
            number = ir.Constant(INT, k)
            row = e.builder.select(e.builder.icmp_signed("<", end, number), end, number)
            lines.append(e.load(source, e.builder.add(at, e.builder.mul(stride, row))))
        for k, point in enumerate(_transpose(e, lines)):
            e.store(point, target, e.offset(to, LANES * k))

    return types.void(rows, INDEX, INDEX, INDEX, points, INDEX), written(write)


@intrinsic
def points_to_rows(
    _: Any, points: Any, points_at: Any, scale: Any, scale_at: Any, rows: Any, at: Any, step: Any
) -> Any:
    """16 points that follow each other, each times its number of ``scale``, become 16 columns of 16 rows."""

    def write(e: LlvmBuilder) -> None:
        source, start, factors, place, target, to, stride = e.args
        lines = [
            e.times(e.load(source, e.offset(start, LANES * k)), e.spread(e.number(factors, e.offset(place, k))))
            for k in range(LANES)
        ]
        for k, row in enumerate(_transpose(e, lines)):
            e.store(row, target, e.after(to, stride, k))

    return types.void(points, INDEX, scale, INDEX, rows, INDEX, INDEX), written(write)


@intrinsic
def add_weighted(
    _: Any, point: Any, point_at: Any, real: Any, imaginary: Any, w: Any, w_at: Any, w_step: Any, grid: Any,
    grid_at: Any, pitch: Any,
) -> Any:  # fmt: skip
    """Add (real + i·imaginary) · point to 4 x 4 points of a grid, each with its weight; both factors are float32.

    The weights along a line of the grid are w[w_at + k·w_step], k = 0 … 3, those across lines k = 4 … 7. Lines of the
    grid are ``pitch`` apart.
    """

    def write(e: LlvmBuilder) -> None:
        source, at, re, im, weight, first, step, target, to, line = e.args
        along = [e.spread(e.number(weight, e.after(first, step, k))) for k in range(4)]
        across = [e.spread(e.number(weight, e.after(first, step, k))) for k in range(4, 8)]
        value = _turned(e, e.load(source, at), re, im)
        for k in range(4):
            part, begin = e.times(value, across[k]), e.after(to, line, k)
            for i in range(4):
                place = e.offset(begin, LANES * i)
                e.store(e.plus(e.load(target, place), e.times(part, along[i])), target, place)

    return types.void(point, INDEX, REAL, REAL, w, INDEX, INDEX, grid, INDEX, INDEX), written(write)
