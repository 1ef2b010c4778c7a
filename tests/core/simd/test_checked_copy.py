"""A payload and its checksum in one pass, beside the package xxhash."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from streamer.core.simd.checked_copy import BLOCK, LINE, SHORT, STRIPE, copy_checked

GUARD = 64


def room(nbytes: int, past_a_line: int) -> np.ndarray:
    """Memory of zeros that begins so many bytes past the beginning of a cache line, with a guard at both ends."""
    memory = np.zeros(nbytes + LINE + 2 * GUARD + past_a_line, np.uint8)
    first = -(memory.ctypes.data + GUARD) % LINE + GUARD + past_a_line
    return memory[first - GUARD : first + nbytes + GUARD]


LENGTHS = [
    *(0, 1, SHORT, SHORT + 1, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + STRIPE, 2 * BLOCK - STRIPE, 2 * BLOCK),
    *(7 * BLOCK + 5 * STRIPE + 3, 2**20, 2**20 + 17),
]


@pytest.mark.parametrize("past_a_line", [0, 1])  # with and without the way past the cache
@pytest.mark.parametrize("nbytes", LENGTHS)
def test_a_payload_is_copied_whole_and_its_checksum_compared(nbytes: int, past_a_line: int) -> None:
    payload = np.random.default_rng(nbytes).integers(0, 256, nbytes).astype(np.uint8)
    checksum = xxhash.xxh3_64_intdigest(payload.data)
    for expected, sound in ((checksum, True), (checksum ^ 1, False), (None, True)):
        memory = room(nbytes, past_a_line)
        assert copy_checked(payload.data, memory[GUARD : GUARD + nbytes].data, expected) is sound
        assert memory[GUARD : GUARD + nbytes].tobytes() == payload.tobytes()
        assert not memory[:GUARD].any()
        assert not memory[GUARD + nbytes :].any()


def test_a_checksum_sees_every_bit() -> None:
    payload = np.zeros(BLOCK + 3 * STRIPE + 9, np.uint8)
    checksum = xxhash.xxh3_64_intdigest(payload.data)
    for at in range(0, payload.size, 7):
        payload[at] ^= 1 << (at % 8)
        assert not copy_checked(payload.data, memoryview(bytearray(payload.size)), checksum)
        payload[at] = 0
