"""What is peculiar to the dialects with JSON headers, as their senders write them."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.flow import wire
from streamer.flow.dialects import DIALECTS, adzmq, concert, odin, stins
from streamer.flow.dialects.message import Image, SeriesEnd

PIXELS = bytes(12)


def parts(header: bytes, payload: bytes = PIXELS) -> list[memoryview]:
    return [memoryview(header), memoryview(payload)]


ADZMQ = (
    b'{"htype":"array-1.0", "type":"uint16", "shape":[2,3], "frame":7, "timeStamp":1161000000.25, "encoding":"", '
    b'"ndattr":%s}'
)


@pytest.mark.parametrize(
    ("attributes", "read"),
    [
        (b'{"Angle":12.5,"ImageKey":1}', {"Angle": 12.5, "ImageKey": 1}),
        (b'{"Angle":nan,"Energy":-inf,"ImageKey":1}', {"ImageKey": 1}),
        (b'{"Angle":12.5,,"ImageKey":1}', {"Angle": 12.5, "ImageKey": 1}),
        (b'{,"Angle":12.5,}', {"Angle": 12.5}),
        (b"{}", {}),
        (b'{"File":"C:\\data","Note":"a "big" one","Key":1}', {"File": "C:\\data", "Note": 'a "big" one', "Key": 1}),
        (b'{"Key":\x01,"Text":"\xff\n","Angle":-2.5e-3}', {"Text": "\ufffd\n", "Angle": -0.0025}),
        (b'{"Key":,,"Angle":4}', {"Angle": 4}),
    ],
)
def test_attributes_of_adzmq_that_are_no_json_do_no_harm(attributes: bytes, read: dict[str, Any]) -> None:
    image = adzmq.decode(parts(ADZMQ % attributes))
    assert (image.shape, image.number, image.attributes) == ((2, 3), 7, read)


def test_a_header_of_adzmq_that_is_cut_off_is_refused() -> None:
    with pytest.raises(wire.WireError, match="is not a map in JSON"):
        adzmq.decode(parts((ADZMQ % b'{"Angle":12.5}')[:-1]))


def test_adzmq_before_1_4_sends_the_width_first() -> None:
    header = (ADZMQ % b"{}").replace(b'"array-1.0"', b'["array-1.0"]').replace(b"[2,3]", b"[3,2]")
    assert adzmq.decode(parts(header)).shape == (2, 3)


def test_concert_has_no_numbers_and_ends() -> None:
    image = concert.decode(parts(b'{"dtype": "uint16", "shape": [2, 3], "mirror": false, "rotate": 0, "angle": 4.5}'))
    assert isinstance(image, Image)
    assert (image.shape, image.number, image.attributes) == ((2, 3), None, {"angle": 4.5})
    assert concert.decode([memoryview(b'{"end": true}')]) == SeriesEnd()


@pytest.mark.parametrize("turned", [b'"mirror": true', b'"rotate": 1'])
def test_an_image_that_concert_wants_turned_is_refused(turned: bytes) -> None:
    with pytest.raises(wire.WireError, match="mirrored or turned"):
        concert.decode(parts(b'{"dtype": "uint16", "shape": [2, 3], %s}' % turned))


ODIN = (
    b'{"frame_num":7,"acquisition_id":"%s","dtype":"%s","dsize":12,"dataset":"data","compression":"%s",'
    b'"shape":["2","%s"]}'
)


def test_the_lengths_of_odin_are_texts_and_the_acquisition_is_a_series() -> None:
    image = odin.decode(parts(ODIN % (b"scan-1", b"uint16", b"none", b"3")))
    assert (image.shape, image.dtype, image.series, image.channel) == ((2, 3), "<u2", "scan-1", "data")
    assert odin.decode(parts(ODIN % (b"", b"uint16", b"none", b"3"))).series is None
    assert odin.decode(parts(ODIN % (b"", b"float", b"none", b"3"), bytes(24))).dtype == "<f4"
    for named, codec in ((b"LZ4", "lz4-h5"), (b"BSLZ4", "bslz4-h5")):
        assert odin.decode(parts(ODIN % (b"", b"uint16", named, b"3"), b"?")).codec == codec
    assert odin.decode(parts(ODIN % (b"", b"uint16", b"unknown", b"3"))).codec == "none"


@pytest.mark.parametrize(
    ("dtype", "codec", "columns", "reason"),
    [
        (b"uint64", b"none", b"3", "dtype"),
        (b"uint16", b"blosc", b"3", "codec"),
        (b"uint16", b"none", b"4", "truncated"),
        (b"uint16", b"none", b"x", "header"),
        (b"uint16", b"none", b"9999999999", "header"),
    ],
)
def test_what_odin_sends_and_cannot_be_taken(dtype: bytes, codec: bytes, columns: bytes, reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        odin.decode(parts(ODIN % (b"", dtype, codec, columns)))
    assert caught.value.reason == reason


def test_a_header_of_stins_may_have_another_part() -> None:
    header = b'{"htype": "header", "msg_number": 374, "filename": "scan.h5"}'
    assert stins.decode(parts(header, b'{"sample": "tooth"}')) == stins.decode([memoryview(header)])


STINS = b'{"htype": "image", "msg_number": 1, "frame": 0, "shape": [2, 3], "type": "uint16", "compression": "%s"}'


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b'{"htype": "position", "msg_number": 1}', "unknown_kind"),
        (b'{"msg_number": 1}', "unknown_kind"),
        (b'{"htype": "header"}', "header"),
        (
            b'{"htype": "image", "msg_number": 1, "frame": 0, "shape": [2, 3], "type": "uint16", "compression": "zip"}',
            "codec",
        ),
        (b"[1, 2]", "header"),
        (b"\xff\xfe", "header"),
        (b" " * 70_000, "header"),
    ],
)
def test_what_stins_sends_and_cannot_be_taken(header: bytes, reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        stins.decode(parts(header))
    assert caught.value.reason == reason


def test_the_table_holds_each_dialect_under_its_name() -> None:
    assert {"array-1.0", "adzmq", "stins", "concert", "odin", "karabo"} <= set(DIALECTS)
    assert all(dialect.TRAITS.sockets for dialect in DIALECTS.values())
