from __future__ import annotations

import struct
from pathlib import Path
from typing import get_args

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.flow.codecs import compress, decompress_into
from streamer.flow.dialects.message import Codec
from streamer.flow.wire import WireError

CODECS: tuple[Codec, ...] = get_args(Codec)
GUARD = 64  # bytes on both sides of the memory, which must stay as they are
IMAGE = (np.arange(12_345) // 7 % 300).astype("<u2")  # two bitshuffle blocks, a part of one, and one element more

every_codec = pytest.mark.parametrize("codec", CODECS)
compressing = pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])


def decompressed(codec: Codec, data: bytes, nbytes: int, itemsize: int = 2) -> bytes:
    """What comes out, having looked that nothing beside it was written."""
    memory = np.full(nbytes + 2 * GUARD, 0xA5, np.uint8)
    try:
        decompress_into(codec, memoryview(data), memory.data[GUARD : GUARD + nbytes], itemsize)
    finally:
        assert (memory[:GUARD] == 0xA5).all()
        assert (memory[GUARD + nbytes :] == 0xA5).all()
    return memory[GUARD : GUARD + nbytes].tobytes()


def refused(codec: Codec, data: bytes, nbytes: int = IMAGE.nbytes, itemsize: int = 2) -> str:
    with pytest.raises(WireError) as caught:
        decompressed(codec, data, nbytes, itemsize)
    assert caught.value.reason == "codec"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_codec
@pytest.mark.parametrize("itemsize", [1, 2, 4])
@pytest.mark.parametrize("elements", [1, 7, 8, 9, 100, 4096, 8192, 12_345])
@pytest.mark.parametrize("noise", [2, 250])
def test_pixels_come_back(codec: Codec, itemsize: int, elements: int, noise: int) -> None:
    pixels = np.random.default_rng(elements).integers(0, noise, elements * itemsize, np.uint8)
    packed = compress(codec, pixels.data, itemsize)
    assert decompressed(codec, packed, pixels.nbytes, itemsize) == pixels.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
@pytest.mark.parametrize("block", [0, 256, 4096])  # elements; 0: what the filter finds right
def test_the_chunks_of_the_hdf5_filters_are_read_and_written(tmp_path: Path, dtype: str, block: int) -> None:
    pixels = (np.arange(101 * 97).reshape(101, 97) % 251).astype(dtype)
    filters = {"bslz4-h5": hdf5plugin.Bitshuffle(nelems=block, cname="lz4"), "lz4-h5": hdf5plugin.LZ4(block * 4)}
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        for codec in ("bslz4-h5", "lz4-h5"):
            data = file.create_dataset(codec, data=pixels, chunks=pixels.shape, compression=filters[codec])
            _, chunk = data.id.read_direct_chunk((0, 0))
            assert decompressed(codec, chunk, pixels.nbytes, pixels.itemsize) == pixels.tobytes()
            ours = compress(codec, pixels.data.cast("B"), pixels.itemsize)
            data.id.write_direct_chunk((0, 0), ours)
            np.testing.assert_array_equal(data[()], pixels)
            if codec == "bslz4-h5":  # ADEiger takes the header off, and has areaDetector's bslz4
                assert block or decompressed("bslz4", chunk[12:], pixels.nbytes, pixels.itemsize) == pixels.tobytes()


def test_a_block_that_does_not_shrink_is_stored_as_it_is() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 3000, np.uint8)
    assert len(compress("lz4-h5", noise.data, 1)) == 12 + 4 + 3000
    assert decompressed("lz4-h5", compress("lz4-h5", noise.data, 1), 3000, 1) == noise.tobytes()


@compressing
def test_bytes_after_the_pixels_are_ignored(codec: Codec) -> None:
    packed = compress(codec, IMAGE.data.cast("B"), 2)
    assert decompressed(codec, packed + bytes(1000), IMAGE.nbytes) == IMAGE.tobytes()


@every_codec
def test_every_cut_is_noticed(codec: Codec) -> None:
    packed = compress(codec, IMAGE.data.cast("B"), 2)
    for length in [*range(40), *range(40, len(packed), 97), len(packed) - 1]:
        refused(codec, packed[:length])


@pytest.mark.parametrize("codec", ["lz4-h5", "bslz4-h5"])
@pytest.mark.parametrize("claimed", [0, 2**40, 2**64 - 1])
def test_the_size_that_a_header_claims_is_never_allocated(codec: Codec, claimed: int) -> None:
    packed = compress(codec, IMAGE.data.cast("B"), 2)
    assert f"claims {claimed} bytes" in refused(codec, struct.pack(">Q", claimed) + packed[8:])


@pytest.mark.parametrize("block", [0, 1, 16, 8193, 2**32 - 1])
def test_a_wrong_size_of_the_blocks_is_refused(block: int) -> None:
    packed = compress("bslz4-h5", IMAGE.data.cast("B"), 2)
    refused("bslz4-h5", packed[:8] + struct.pack(">I", block) + packed[12:])


@compressing
def test_a_frame_of_another_size_is_refused(codec: Codec) -> None:
    packed = compress(codec, IMAGE.data.cast("B"), 2)
    refused(codec, packed, IMAGE.nbytes + 2)


def taken_or_refused(codec: Codec, data: bytes, nbytes: int, itemsize: int) -> None:
    reason = "codec"
    try:
        decompressed(codec, data, nbytes, itemsize)
    except WireError as error:
        reason = error.reason
    assert reason == "codec"


@every_codec
@given(st.binary(max_size=400), st.integers(0, 600), st.sampled_from([1, 2, 4]))
@example(struct.pack(">QI", 64, 8) + bytes(80), 64, 4)
def test_any_bytes(codec: Codec, data: bytes, elements: int, itemsize: int) -> None:
    taken_or_refused(codec, data, elements * itemsize, itemsize)


@every_codec
@given(st.data())
def test_changed_bytes_of_a_frame(codec: Codec, data: st.DataObject) -> None:
    packed = bytearray(compress(codec, IMAGE.data.cast("B"), 2))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    taken_or_refused(codec, bytes(packed), IMAGE.nbytes, 2)
