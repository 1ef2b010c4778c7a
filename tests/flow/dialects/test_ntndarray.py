from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray

from streamer.flow import codecs, wire
from streamer.flow.dialects.message import Codec
from streamer.flow.dialects.ntndarray import NTNDArray, image_of
from streamer.frames import DTYPES

PIXELS: NDArray[Any] = np.arange(6, dtype="<u2")
GOOD = NTNDArray(PIXELS, (3, 2), 7, seconds=12, nanoseconds=5, attributes={"Angle": 1.5, "Odd": [1]})


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_width_comes_first_and_the_attributes_are_kept(dtype: str) -> None:
    pixels = np.arange(6).astype(dtype)
    image = image_of(structs.replace(GOOD, value=pixels))
    assert (image.shape, image.dtype, image.number, image.timestamp_ns) == ((2, 3), dtype, 7, 12_000_000_005)
    assert image.attributes == {"Angle": 1.5}
    assert image.data.tobytes() == pixels.tobytes()


def test_the_type_of_what_a_codec_packed_is_its_parameter() -> None:
    packed = np.frombuffer(b"packed, and more", np.uint8)
    image = image_of(structs.replace(GOOD, value=packed, codec="bslz4", parameters=6, compressed_bytes=6))
    assert (image.dtype, image.codec, bytes(image.data)) == ("<u2", "bslz4", b"packed")


@pytest.mark.parametrize(("packer", "name"), [(hdf5plugin.Bitshuffle(cname="lz4"), "bslz4"), (hdf5plugin.LZ4(), "lz4")])
@pytest.mark.parametrize("framed", [True, False])
def test_chunks_of_hdf5_are_known_by_their_header(packer: Any, name: Codec, framed: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(8).integers(0, 50, (40, 60)).astype("<u2")
    chunk: bytes = codecs.compress(name, memoryview(pixels).cast("B"), 2)
    if framed:
        with h5py.File(tmp_path / "chunks.h5", "w") as file:
            data = file.create_dataset("data", data=pixels, chunks=pixels.shape, compression=packer)
            chunk = data.id.read_direct_chunk((0, 0))[1]
    packed = {"codec": name, "parameters": 6, "compressed_bytes": len(chunk), "dimensions": (60, 40)}
    image = image_of(structs.replace(GOOD, value=np.frombuffer(chunk, np.uint8), **packed))
    assert image.codec == (f"{name}-h5" if framed else name)
    out = np.empty_like(pixels)
    codecs.decompress_into(image.codec, image.data, memoryview(out).cast("B"), 2)
    np.testing.assert_array_equal(out, pixels)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": None}, "shape"),
        ({"dimensions": (3, 2, 3)}, "shape"),
        ({"dimensions": (0, 2)}, "shape"),
        ({"dimensions": (4, 2)}, "truncated"),
        ({"value": PIXELS.astype("<i2")}, "dtype"),
        ({"codec": "jpeg"}, "codec"),
        ({"codec": "lz4", "parameters": "6"}, "dtype"),
        ({"codec": "lz4", "parameters": 10}, "dtype"),
        ({"unique_id": -1}, "header"),
        ({"value": PIXELS[:0]}, "truncated"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        image_of(structs.replace(GOOD, **change))
    assert caught.value.reason == reason


whole = st.integers(-(2**63), 2**63 - 1)
anything = st.none() | st.booleans() | whole | st.floats() | st.text(max_size=5)


@given(
    value=st.none() | st.binary(max_size=30).map(lambda data: np.frombuffer(data, np.uint8)),
    dimensions=st.lists(whole, max_size=3).map(tuple),
    codec=st.sampled_from(["", "lz4", "bslz4", "blosc"]),
    parameters=anything,
    numbers=st.tuples(whole, whole, whole, whole),
    attributes=st.dictionaries(st.text(max_size=5), anything, max_size=3),
)
def test_any_structure(
    value: Any, dimensions: Any, codec: str, parameters: object, numbers: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    unique_id, size, seconds, nanoseconds = numbers
    try:
        image = image_of(
            NTNDArray(value, dimensions, unique_id, codec, parameters, size, seconds, nanoseconds, attributes)
        )
    except wire.WireError:
        return
    assert image.data.nbytes <= value.nbytes
