"""Copies a payload and takes its checksum in one pass: every byte is read from memory once.

The checksum is XXH3 (64 bits, no seed, the secret that the algorithm comes with), as the package ``xxhash`` gives it.
Its long form goes through the input in *stripes* of 64 bytes, which 8 sums of 64 bits take up side by side; 16 stripes
are a block, after which the sums are scrambled. So a stripe that is loaded for the sums is stored as well. LLVM makes
of it what the processor has (AVX2: two registers for a stripe); the package is built for SSE2. Why this is written
here: ``docs/decisions/0020-copy-and-checksum-in-one-pass.md``.

numba's cache on disk does not notice a change of this file: delete ``__pycache__`` after editing it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xxhash
from llvmlite import ir
from numba import types

from streamer.core.arrays import Array
from streamer.core.jit import kernel
from streamer.core.simd.row_vectors import INDEX, intrinsic

STRIPE, SUMS, STRIPES = 64, 8, 16
BLOCK = STRIPES * STRIPE
SHORT = 240
"""Inputs of so many bytes and fewer have forms of their own."""

LINE = 64
"""Bytes of a cache line: memory that begins with one may be written past the cache."""

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, SUMS)

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_PRIMES_32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_PRIMES_64 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def _words(at: int) -> list[int]:
    """Eight words of the secret."""
    return [int(word) for word in np.frombuffer(_SECRET, "<u8", SUMS, at)]


_KEYS = [_words(8 * stripe) for stripe in range(STRIPES)]
_SCRAMBLE = _words(len(_SECRET) - STRIPE)
_LAST_KEY = np.array(_words(len(_SECRET) - STRIPE - 7), np.uint64)
_END_KEY = np.array(_words(11), np.uint64)
_REST_KEYS = np.array(_KEYS, np.uint64)
_START = np.array([_PRIMES_32[2], *_PRIMES_64[:4], _PRIMES_32[1], _PRIMES_64[4], _PRIMES_32[0]], np.uint64)
_FIRST_PRIME = np.uint64(_PRIMES_64[0])
_AVALANCHE = np.uint64(0x165667919E3779F9)
_LOW, _HALF = np.uint64(0xFFFF_FFFF), np.uint64(32)
_SHIFT_37 = np.uint64(37)


def _constant(words: list[int]) -> Any:
    return ir.Constant(_VECTOR, [ir.Constant(_WORD, word) for word in words])


def _taken_up(b: Any, sums: Any, data: Any, key: list[int]) -> Any:
    """The sums with a stripe: to each its own word times its key in halves, and the word of its neighbour."""
    mixed = b.xor(data, _constant(key))
    product = b.mul(b.and_(mixed, _constant([0xFFFF_FFFF] * SUMS)), b.lshr(mixed, _constant([32] * SUMS)))
    places = ir.Constant(ir.VectorType(ir.IntType(32), SUMS), [1, 0, 3, 2, 5, 4, 7, 6])
    return b.add(sums, b.add(b.shuffle_vector(data, data, places), product))


def _scrambled(b: Any, sums: Any) -> Any:
    mixed = b.xor(b.xor(sums, b.lshr(sums, _constant([47] * SUMS))), _constant(_SCRAMBLE))
    return b.mul(mixed, _constant([_PRIMES_32[0]] * SUMS))


def _block(past_the_cache: bool) -> Any:
    """Code of ``copy_block`` and ``stream_block``."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        source, target, sums_at = (
            context.make_array(kind)(context, b, value=value).data
            for kind, value in ((signature.args[k], values[k]) for k in (0, 2, 3))
        )

        def place(data: Any, extra: int) -> Any:
            at = b.add(values[1], ir.Constant(_WORD, extra))
            return b.bitcast(b.gep(data, [at]), _VECTOR.as_pointer())

        place_of_sums = b.bitcast(sums_at, _VECTOR.as_pointer())
        sums = b.load(place_of_sums)
        sums.align = 8
        for stripe in range(STRIPES):
            data = b.load(place(source, stripe * STRIPE))
            data.align = 1
            order = b.store(data, place(target, stripe * STRIPE))
            order.align = LINE if past_the_cache else 1
            if past_the_cache:
                order.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            sums = _taken_up(b, sums, data, _KEYS[stripe])
        b.store(_scrambled(b, sums), place_of_sums).align = 8
        return context.get_dummy_value()

    return generate


@intrinsic
def copy_block(_: Any, source: Any, at: Any, target: Any, sums: Any) -> Any:
    """Copy the 1024 bytes at ``at`` to the same place in the target, and enter them into the sums (8 uint64)."""
    return types.void(source, INDEX, target, sums), _block(past_the_cache=False)


@intrinsic
def stream_block(_: Any, source: Any, at: Any, target: Any, sums: Any) -> Any:
    """``copy_block`` into memory that begins with a cache line, without reading the line first or keeping it."""
    return types.void(source, INDEX, target, sums), _block(past_the_cache=True)


@intrinsic
def finish_streaming(_: Any) -> Any:
    """What was written past the cache is there for other processors before anything that is written later."""

    def generate(context: Any, b: Any, _signature: Any, _values: Any) -> Any:
        b.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@kernel()
def _take_up(source: Array, at: int, key: Array, sums: Array) -> None:
    """Enter one stripe; for the few that fill no block."""
    for i in range(SUMS):
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(source[at + 8 * i + k]) << np.uint64(8 * k)
        mixed = word ^ key[i]
        sums[i ^ 1] += word
        sums[i] += (mixed & _LOW) * (mixed >> _HALF)


@kernel()
def _folded(a: Any, b: Any) -> Any:
    """The halves of the product (128 bits) of two words, one xor the other."""
    low = (a & _LOW) * (b & _LOW)
    left, right = (a >> _HALF) * (b & _LOW), (a & _LOW) * (b >> _HALF)
    middle = (low >> _HALF) + (left & _LOW) + right
    upper = (left >> _HALF) + (middle >> _HALF) + (a >> _HALF) * (b >> _HALF)
    return upper ^ ((middle << _HALF) | (low & _LOW))


@kernel()
def _copy_hashed(source: Array, target: Array) -> Any:
    """Copy more than SHORT bytes, and give their XXH3."""
    sums = _START.copy()
    blocks = (source.size - 1) // BLOCK
    if target.ctypes.data % LINE == 0:
        for k in range(blocks):
            stream_block(source, k * BLOCK, target, sums)
        finish_streaming()
    else:
        for k in range(blocks):
            copy_block(source, k * BLOCK, target, sums)
    rest = blocks * BLOCK
    for stripe in range((source.size - 1 - rest) // STRIPE):
        _take_up(source, rest + stripe * STRIPE, _REST_KEYS[stripe], sums)
    _take_up(source, source.size - STRIPE, _LAST_KEY, sums)
    for i in range(rest, source.size):
        target[i] = source[i]
    mixed = np.uint64(source.size) * _FIRST_PRIME
    for i in range(0, SUMS, 2):
        mixed += _folded(sums[i] ^ _END_KEY[i], sums[i + 1] ^ _END_KEY[i + 1])
    mixed = (mixed ^ (mixed >> _SHIFT_37)) * _AVALANCHE
    return mixed ^ (mixed >> _HALF)


def copy_checked(payload: memoryview, target: memoryview, expected: int | None) -> bool:
    """Copy a payload into memory of the same size. Returns False when its checksum is not the expected one, if any.

    Both are contiguous bytes. Lets other threads run.
    """
    # Read-only, whatever it was: numba compiles once for each.
    source, room = np.frombuffer(payload.toreadonly(), np.uint8), np.frombuffer(target, np.uint8)
    if expected is None or source.size <= SHORT:
        np.copyto(room, source)
        return expected is None or xxhash.xxh3_64_intdigest(payload) == expected
    return bool(_copy_hashed(source, room) == expected)


def prepare() -> None:
    """Compile it, or load what was compiled before, so that no frame waits for that."""
    payload = bytes(SHORT + 1)
    copy_checked(memoryview(payload), memoryview(bytearray(payload)), 0)
