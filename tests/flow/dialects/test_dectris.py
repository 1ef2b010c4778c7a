"""The streams of DECTRIS detectors, against messages of a real one and against programs that others wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import cbor2
import numpy as np
import pytest
import zmq
from dranspose.event import StreamData
from dranspose.middlewares import eiger_legacy
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic.v1 import BaseModel
from tickit_devices.eiger.data.dummy_image import Image as SimulatedImage
from tickit_devices.eiger.eiger_settings import EigerSettings
from tickit_devices.eiger.stream.eiger_stream import EigerStream
from tickit_devices.eiger.stream.eiger_stream_2 import EigerStream2

from streamer.flow.codecs import compress, decompressed
from streamer.flow.dialects import cbor, dectris_v1, dectris_v2
from streamer.flow.dialects.cbor import Tag
from streamer.flow.dialects.message import Codec, Image, SeriesEnd, SeriesStart
from streamer.flow.wire import WireError

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 900, (17, 23)).astype("<u2")
MASK = (RNG.random((17, 23)) < 0.1).astype("<u4")
START = SeriesStart(
    "374",
    frames=1800,
    shape=(17, 23),
    dtype="<u2",
    start_deg=-90.0,
    step_deg=0.1,
    exposure_s=0.01,
    saturation=21517.0,
    mask=MASK,
    metadata={"description": "EIGER2 CdTe"},
)


def views(parts: Sequence[Any]) -> list[memoryview]:
    return [memoryview(bytes(part)) for part in parts]


def series(message: object) -> SeriesStart:
    assert isinstance(message, SeriesStart)
    return message


def picture(message: object) -> Image:
    assert isinstance(message, Image)
    return message


def pixels_of(image: Image) -> Any:
    itemsize = np.dtype(image.dtype).itemsize
    data = decompressed(image.codec, image.data, image.nbytes, itemsize)
    return data.view(image.dtype).reshape(image.shape)


def as_image(pixels: Any = PIXELS, number: int = 5, codec: Codec = "none", **more: Any) -> Image:
    data = memoryview(compress(codec, pixels.data.cast("B"), pixels.itemsize))
    return Image(pixels.shape, pixels.dtype.str, data, codec, "374", number, **more)


both = pytest.mark.parametrize("dialect", [dectris_v1, dectris_v2])


@both
def test_a_series_is_announced_with_its_angles_its_limit_and_its_mask(dialect: Any) -> None:
    start = series(dialect.decode(views(dialect.encode_start(START))))
    assert start.mask is not None
    np.testing.assert_array_equal(start.mask, MASK)
    for name in ("series", "frames", "shape", "dtype", "start_deg", "step_deg", "exposure_s", "saturation"):
        assert getattr(start, name) == getattr(START, name), name
    assert start.metadata["description"] == "EIGER2 CdTe"


@pytest.mark.parametrize(
    ("dialect", "codec"),
    [(dectris_v1, "lz4"), (dectris_v1, "bslz4-h5"), (dectris_v2, "lz4-h5"), (dectris_v2, "bslz4-h5")],
)
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
def test_compressed_images_of_every_type_come_back(dialect: Any, codec: Codec, dtype: str) -> None:
    pixels = PIXELS.astype(dtype)
    image = picture(dialect.decode(views(dialect.encode_image(as_image(pixels, codec=codec)))))
    assert (image.codec, image.dtype, image.number, image.series) == (codec, dtype, 5, "374")
    np.testing.assert_array_equal(pixels_of(image), pixels)


@both
def test_what_the_user_adds_are_the_attributes(dialect: Any) -> None:
    sent = as_image(attributes={"angle": 12.5, "kind": "flat", "n": 3}, exposure_s=0.25)
    image = picture(dialect.decode(views(dialect.encode_image(sent))))
    assert image.attributes == sent.attributes
    assert image.exposure_s == 0.25


def test_the_axis_that_turns_gives_the_angles() -> None:
    def angles(**axes: tuple[float, float]) -> tuple[float | None, float | None]:
        gonio = {axis: {"start": start, "increment": step} for axis, (start, step) in axes.items()}
        message = {"type": "start", "series_id": 1, "goniometer": gonio}
        start = series(dectris_v2.decode([memoryview(cbor2.dumps(message))]))
        return start.start_deg, start.step_deg

    assert angles(chi=(30.0, 0.0), phi=(5.0, 0.2)) == (5.0, 0.2)
    assert angles(chi=(0.0, 0.1), omega=(10.0, 0.2)) == (10.0, 0.2)
    assert angles(chi=(30.0, 0.0), omega=(0.0, 0.0)) == (None, None)
    assert angles(omega=(float("nan"), 0.1)) == (None, None)


# ------------------------------------------------------------------------------ messages of a real EIGER2, and tickit


def captured(name: str) -> list[memoryview]:
    return [memoryview((files("tickit_devices.eiger") / f"data/stream2/{name}.cbor").read_bytes())]


def test_the_messages_of_an_eiger2_16m() -> None:
    start = series(dectris_v2.decode(captured("start")))
    assert (start.series, start.frames, start.shape, start.dtype) == ("15614", 1, (4362, 4148), None)
    assert (start.start_deg, start.step_deg, start.saturation) == (0.0, 0.1, 21517)
    assert start.metadata["detector_serial_number"] == "E-32-0117"
    image = picture(dectris_v2.decode(captured("image")))
    assert (image.shape, image.dtype, image.codec, image.channel) == ((4362, 4148), "<u2", "bslz4-h5", "threshold_1")
    assert image.timestamp_ns == 1_696_348_069_434_000_000  # 2023-10-03 17:47:49.434 +02:00
    assert image.exposure_s == pytest.approx(0.00431746)
    pixels = pixels_of(image)
    # A tenth lies between the modules, where the detector sends the largest number.
    assert 0.05 < np.mean(pixels == 2**16 - 1) < 0.15
    assert start.saturation is not None
    assert pixels[pixels < 2**16 - 1].max() < start.saturation
    assert dectris_v2.decode(captured("end")) == SeriesEnd("15614")


def plain(value: Any) -> Any:
    """What either reader of CBOR makes of bytes, in the same form."""
    match value:
        case Tag():
            return Tag(value.number, plain(value.value))
        case cbor2.CBORTag():
            return Tag(value.tag, plain(value.value))
        case list() | tuple():
            return [plain(entry) for entry in value]
        case dict():
            return {key: plain(entry) for key, entry in value.items()}
        case memoryview():
            return bytes(value)
        case cbor2.undefined:
            return None
    return value


def test_our_reader_of_cbor_and_cbor2_read_the_same_from_a_detector() -> None:
    for name in ("start", "image", "end"):
        (data,) = captured(name)
        ours, theirs = plain(cbor.decode(data)), plain(cbor2.loads(bytes(data)))
        assert plain(cbor.decode(memoryview(cbor.encode(ours)))) == ours
        ours = ours.value if isinstance(ours, Tag) else ours
        for key, value in theirs.items():
            assert ours[key] == value or key in ("arm_date", "series_date"), key  # cbor2 makes dates of them


def tickit_messages(stream: Any) -> list[list[memoryview]]:
    """The parts that the simulator sends, as its socket turns them into bytes."""

    def part(value: Any) -> bytes:
        entries = value.dict() if isinstance(value, BaseModel) else value
        return entries if isinstance(entries, bytes) else json.dumps(entries).encode()

    return [[memoryview(part(value)) for value in stream.consume_data()]]


@pytest.mark.parametrize("detail", ["none", "basic", "all"])
def test_the_simulator_of_tickit_speaks_v1(detail: str) -> None:
    settings = EigerSettings(nimages=7, ntrigger=3, omega_increment=0.2, count_time=0.05)
    settings.x_pixels_in_detector, settings.y_pixels_in_detector = 23, 17
    stream = EigerStream()
    stream.begin_series(settings, 3, detail)
    (message,) = tickit_messages(stream)
    start = series(dectris_v1.decode(message))
    assert start.series == "3"
    if detail == "none":
        assert (start.shape, start.frames) == (None, None)
    else:
        assert (start.shape, start.frames, start.step_deg, start.exposure_s) == ((17, 23), 21, 0.2, 0.05)
    assert (start.mask is not None) == (detail == "all")
    for number in range(7):
        stream.insert_image(simulated(number), 3)
        image = picture(dectris_v1.decode(tickit_messages(stream)[0]))
        np.testing.assert_array_equal(pixels_of(image), PIXELS + number)
        assert (image.series, image.number) == ("3", number)
    stream.end_series(3)
    assert dectris_v1.decode(tickit_messages(stream)[0]) == SeriesEnd("3")


def simulated(number: int) -> SimulatedImage:
    packed = compress("bslz4-h5", (PIXELS + np.uint16(number)).data.cast("B"), 2)
    return SimulatedImage(number, "", "uint16", packed, "bs16-lz4<", PIXELS.shape[::-1])


@pytest.mark.parametrize("detail", ["basic", "all"])
def test_the_simulator_of_tickit_speaks_v2(detail: str) -> None:
    stream = EigerStream2()
    stream.begin_series(EigerSettings(nimages=7, ntrigger=3, omega_increment=0.2), 3, detail)
    start = series(dectris_v2.decode(tickit_messages(stream)[0]))
    assert (start.series, start.frames, start.step_deg) == ("3", 21, 0.1)  # the step of the recorded message
    expected = pixels_of(picture(dectris_v2.decode(captured("image"))))
    for number in range(2):
        stream.insert_image(simulated(number), 3)
        image = picture(dectris_v2.decode(tickit_messages(stream)[0]))
        np.testing.assert_array_equal(pixels_of(image), expected)
        assert (image.series, image.number) == ("3", number)
    stream.end_series(3)
    assert dectris_v2.decode(tickit_messages(stream)[0]) == SeriesEnd("3")


def test_dranspose_reads_our_v1() -> None:
    def parsed(parts: Sequence[Any]) -> Any:
        return eiger_legacy.parse(StreamData(typ="EIGER_LEGACY", frames=[zmq.Frame(bytes(part)) for part in parts]))

    start = parsed(dectris_v1.encode_start(START))
    assert (start.series, start.info["nimages"], start.appendix) == (374, 1800, {"description": "EIGER2 CdTe"})
    image = parsed(dectris_v1.encode_image(as_image(codec="bslz4-h5", attributes={"kind": "flat"})))
    assert (image.frame, image.data["shape"], image.data["encoding"]) == (5, [23, 17], "bs16-lz4<")
    assert decompressed("bslz4-h5", memoryview(image.data["buffer"]), 782, 2).tobytes() == PIXELS.tobytes()
    assert parsed(dectris_v1.encode_end(SeriesEnd("374"))).htype == "dseries_end-1.0"


def test_cbor2_reads_our_v2() -> None:
    (message,) = dectris_v2.encode_image(as_image(codec="bslz4-h5", timestamp_ns=1_790_000_000_123_456_789))
    entries = cbor2.loads(bytes(message))
    assert (entries["type"], entries["series_id"], entries["image_id"]) == ("image", 374, 5)
    assert entries["series_date"].timestamp() == pytest.approx(1_790_000_000.123456)
    assert list(entries["start_time"]) == [789, 10**9]
    array = entries["data"]["threshold_1"]
    assert (array.tag, list(array.value[0]), array.value[1].tag, array.value[1].value.tag) == (40, [17, 23], 69, 56500)


# -------------------------------------------------------------------------------------------------- v2, piece by piece


def v2_image(data: Any = None, **more: Any) -> list[memoryview]:
    array = Tag(40, [[17, 23], Tag(69, PIXELS.tobytes())])
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"low": array, "high": array}} | more
    return [memoryview(cbor.encode(message if data is None else message | {"data": data}))]


def test_a_threshold_is_chosen_by_its_name() -> None:
    high = Tag(40, [[17, 23], Tag(69, (PIXELS + 1).tobytes())])
    low = Tag(40, [[17, 23], Tag(69, PIXELS.tobytes())])
    parts = v2_image({"threshold_1": low, "threshold_2": high})
    assert picture(dectris_v2.decode(parts)).channel == "threshold_1"
    chosen = picture(dectris_v2.decode(parts, "threshold_2"))
    assert chosen.channel == "threshold_2"
    np.testing.assert_array_equal(pixels_of(chosen), PIXELS + 1)
    with pytest.raises(WireError, match="without channel 'threshold_3'"):
        dectris_v2.decode(parts, "threshold_3")


def test_a_compressed_mask_of_the_chosen_threshold_is_read() -> None:
    packed = compress("bslz4-h5", MASK.data.cast("B"), 4)
    masks = {"a": Tag(40, [[17, 23], Tag(70, Tag(56500, ["bslz4", 4, packed]))])}
    entries = {"type": "start", "series_id": 1, "image_size_x": 23, "image_size_y": 17, "channels": ["a", "b"]}
    parts = [memoryview(cbor.encode(entries | {"pixel_mask": masks}))]
    np.testing.assert_array_equal(series(dectris_v2.decode(parts)).mask, MASK)
    assert series(dectris_v2.decode(parts, "b")).mask is None


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (v2_image({}), "channel"),
        (v2_image({"a": 3}), "header"),
        (v2_image({"a": Tag(40, [[17, 23], Tag(77, bytes(782))])}), "dtype"),
        (v2_image({"a": Tag(40, [[17, 22], Tag(69, bytes(782))])}), "oversize"),
        (v2_image({"a": Tag(40, [[-1, 23], Tag(69, bytes(782))])}), "shape"),
        (v2_image({"a": Tag(40, [[17, 23], Tag(69, Tag(56500, ["zstd", 2, b"x"]))])}), "codec"),
        (v2_image({"a": Tag(40, [[17, 23], Tag(69, Tag(56500, ["bslz4", 4, b"x"]))])}), "codec"),
        (v2_image(image_id=-1), "header"),
        (v2_image(real_time=[1, 0]), "header"),
        (v2_image(type="dark"), "unknown_kind"),
        ([memoryview(cbor.encode([1]))], "header"),
        ([memoryview(cbor.encode(1) + b"\0")], "header"),
        ([memoryview(b"\xa1\x01\x01")], "header"),
        ([memoryview(b"\x81" * 100)], "header"),
        ([memoryview(b"\x9b" + b"\xff" * 8 + bytes(20_000))], "header"),
        ([memoryview(b"\x5b" + b"\xff" * 8)], "truncated"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_reason(parts: list[memoryview], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        dectris_v2.decode(parts)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("date", ["2023-10-03", "tomorrow", 5, Tag(0, "2023-10-03T17:47:49"), Tag(0, "x")])
def test_a_date_that_is_none_leaves_the_time_open(date: Any) -> None:
    assert picture(dectris_v2.decode(v2_image(series_date=date, start_time=[1, 10]))).timestamp_ns == 0


cbor_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(cbor_values)
def test_cbor_comes_back_and_cbor2_agrees(value: Any) -> None:
    assert cbor.decode(memoryview(cbor.encode(value))) == value
    assert cbor2.loads(cbor.encode(value)) == value
    assert cbor.decode(memoryview(cbor2.dumps(value))) == value


@given(st.binary(max_size=60))
@example(b"\xbf\x61a\x01\xff")  # a map and a list of no announced length
@example(b"\x9f\x01\xff")
@example(b"\xff")
@example(b"\xa1\x61a\xff")
@example(b"\xf9\x7e\x00")
def test_any_bytes_are_read_as_cbor2_reads_them_or_refused(data: bytes) -> None:
    try:
        ours = plain(cbor.decode(memoryview(data)))
    except WireError:
        return
    if "Tag(" not in repr(ours):  # cbor2 makes dates and the like of them
        assert repr(ours) == repr(plain(cbor2.loads(data)))


@pytest.mark.parametrize("data", [{"kind": "flat"}, '{"kind": "flat"}', "any text", [1], None])
def test_what_the_user_adds_to_v2_may_be_a_map_or_its_json(data: Any) -> None:
    attributes = picture(dectris_v2.decode(v2_image(user_data=data))).attributes
    assert attributes == ({"kind": "flat"} if data and "kind" in data else {})


# ------------------------------------------------------------------------------------------------- v1, piece by piece


def v1_image(pixels: dict[str, Any] | None = None, appendix: bytes | None = None, **more: Any) -> list[memoryview]:
    header = {"htype": "dimage-1.0", "series": 1, "frame": 0} | more
    said = {"shape": [23, 17], "type": "uint16", "encoding": "<"} | (pixels or {})
    parts = [json.dumps(header).encode(), json.dumps(said).encode(), PIXELS.tobytes(), b'{"real_time": 5}']
    return views([*parts, *([] if appendix is None else [appendix])])


@pytest.mark.parametrize("appendix", [None, b"", b"any text", b"[1]", b'{"a": 1}'])
def test_an_appendix_may_be_any_text(appendix: bytes | None) -> None:
    image = picture(dectris_v1.decode(v1_image(appendix=appendix)))
    assert image.attributes == ({"a": 1} if appendix == b'{"a": 1}' else {})


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (v1_image({"encoding": "bs32-lz4<"}), "codec"),
        (v1_image({"encoding": ">"}), "codec"),
        (v1_image({"encoding": "zstd<"}), "codec"),
        (v1_image({"type": "int32"}), "dtype"),
        (v1_image({"shape": [23]}), "shape"),
        (v1_image({"shape": [17, 22]}), "oversize"),
        (v1_image(frame=-1), "header"),
        (v1_image(htype="dimage-2.0"), "unknown_kind"),
        (v1_image()[:3], "parts"),
        (views([b'{"htype": "dheader-1.0", "series": 1, "header_detail": "basic"}']), "parts"),
        (views([b'{"htype": "dheader-1.0", "series": 1, "header_detail": "much"}']), "header"),
    ],
)
def test_what_v1_cannot_say_is_refused_by_its_reason(parts: list[memoryview], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        dectris_v1.decode(parts)
    assert caught.value.reason == reason


def test_a_mask_whose_size_is_not_its_shape_is_refused() -> None:
    parts = dectris_v1.encode_start(START)
    parts[5] = parts[5][:-4]
    with pytest.raises(WireError, match="pixel mask of 1560 bytes"):
        dectris_v1.decode(views(parts))
