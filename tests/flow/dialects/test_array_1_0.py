from __future__ import annotations

import json
from typing import Any

import pytest

from streamer.flow import wire
from streamer.flow.dialects import array_1_0
from streamer.flow.dialects.message import Image

HEADER: dict[str, Any] = {"htype": "array-1.0", "shape": [2, 3], "type": "uint16", "frame": 9}


def decoded(payload: bytes = bytes(12), **more: Any) -> Image:
    return array_1_0.decode([memoryview(json.dumps(HEADER | more).encode()), memoryview(payload)])


def test_the_attributes_of_areadetector_are_kept_and_whatever_else_is_there_is_not() -> None:
    image = decoded(ndattr={"Angle": 12.5, "ImageKey": 1, "SaveDest": "flat", "Roi": [1, 2], "None": None})
    assert (image.number, image.shape, image.attributes) == (
        9,
        (2, 3),
        {"Angle": 12.5, "ImageKey": 1, "SaveDest": "flat"},
    )


def test_compressed_pixels_may_be_followed_by_anything() -> None:
    image = decoded(b"compressed, and what the buffer held before", encoding="bslz4")
    assert (image.codec, bytes(image.data[:10])) == ("bslz4", b"compressed")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "int16"}, "dtype"),
        ({"endianness": "big"}, "dtype"),
        ({"endianess": "big"}, "dtype"),
        ({"shape": [2, 3, 1]}, "shape"),
        ({"shape": [0, 3]}, "shape"),
        ({"shape": [2, 2]}, "oversize"),
        ({"shape": [3, 3]}, "truncated"),
        ({"encoding": "jpeg"}, "codec"),
        ({"frame": -1}, "header"),
        ({"frame": 10**30}, "header"),
        ({"htype": "dimage-1.0"}, "header"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        decoded(**change)
    assert caught.value.reason == reason
