"""Against programs that others wrote: what they send is what is decoded, and they read what is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import zmq
from dranspose.data.stream1 import Stream1Data, Stream1End, Stream1Start
from dranspose.event import StreamData
from dranspose.middlewares import stream1
from karabo_bridge.serializer import deserialize, serialize
from numpy.typing import NDArray

from streamer.flow import wire
from streamer.flow.dialects import adzmq, karabo, odin, stins
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from tests.fuzz.mutations import CORPUS
from tests.fuzz.targets import parts_of

IMAGES = [np.random.default_rng(n).integers(0, 2**16, (17, 23)).astype("<u2") for n in range(50)]


def views(parts: Sequence[Any]) -> list[memoryview]:
    return [memoryview(bytes(part)) for part in parts]


def as_image(pixels: NDArray[np.uint16], number: int) -> Image:
    return Image((17, 23), "<u2", pixels.data.cast("B"), number=number, timestamp_ns=1_790_000_000_000_000_001)


def pixels_of(image: Image) -> NDArray[Any]:
    return np.frombuffer(image.data, image.dtype).reshape(image.shape)


def train(number: int, pixels: NDArray[Any]) -> list[Any]:
    camera = {"data.image": pixels, "exposure": np.float64(0.25), "state": "ACQUIRING", "pulses": np.arange(60)}
    data = {"SPB/CAM/SIDE": camera, "SPB/MOT/ROT": {"actualPosition.value": 0.1 * number}}
    stamp = {"timestamp": 12.5, "timestamp.sec": "12", "timestamp.frac": "5".ljust(18, "0"), "timestamp.tid": 10**9}
    return serialize(data, {source: stamp | {"timestamp.tid": 10**9 + number} for source in data})  # type: ignore[no-any-return]


def test_trains_of_the_karabo_bridge_are_decoded() -> None:
    for number, pixels in enumerate(IMAGES):
        image = karabo.decode(views(train(number, pixels)))
        np.testing.assert_array_equal(pixels_of(image), pixels)
        assert (image.number, image.timestamp_ns) == (10**9 + number, 12_500_000_000)
        assert image.attributes["SPB/MOT/ROT:actualPosition.value"] == 0.1 * number
        assert image.attributes["SPB/CAM/SIDE:exposure"] == 0.25


def test_the_karabo_bridge_reads_our_trains() -> None:
    for number, pixels in enumerate(IMAGES):
        data, metadata = deserialize(views(karabo.encode_image(as_image(pixels, number))))
        np.testing.assert_array_equal(data[karabo.SOURCE]["data.image"], pixels)
        assert metadata[karabo.SOURCE]["timestamp.tid"] == number
        assert metadata[karabo.SOURCE]["timestamp.sec"] == "1790000000"


def test_a_train_of_the_old_protocol_and_one_with_two_images_are_refused() -> None:
    old = serialize({"A": {"image": IMAGES[0]}}, {"A": {}}, protocol_version="1.0")
    with pytest.raises(wire.WireError, match=r"protocol 1\.0"):
        karabo.decode(views(old))
    with pytest.raises(wire.WireError, match="2 images, expected one: 'A:one, A:two'"):
        karabo.decode(views(serialize({"A": {"one": IMAGES[0], "two": IMAGES[1]}}, {"A": {}})))


def stream1_frames(packet: Stream1Start | Stream1Data | Stream1End) -> list[memoryview]:
    return [memoryview(frame.bytes) for frame in packet.to_stream_data().frames]


def test_packets_of_dranspose_are_decoded() -> None:
    start = stins.decode(stream1_frames(Stream1Start(msg_number=374, filename="scan.h5")))
    assert start == SeriesStart("374", metadata={"filename": "scan.h5"})
    for number, pixels in enumerate(IMAGES):
        packet = Stream1Data(
            msg_number=375 + number, frame=number, shape=[17, 23], type="uint16", compression="none", data=pixels
        )
        image = stins.decode(stream1_frames(packet))
        assert isinstance(image, Image)
        np.testing.assert_array_equal(pixels_of(image), pixels)
        assert image.number == number
    assert stins.decode(stream1_frames(Stream1End(msg_number=425))) == SeriesEnd()


def recorded(name: str) -> list[memoryview]:
    """A message that was recorded from the program itself, of an image of 4 rows and 6 columns."""
    return [memoryview(part) for part in parts_of((CORPUS / f"dialects-{name}-recorded.bin").read_bytes())]


def test_a_message_of_adzmq_and_the_simulated_detector_of_areadetector_is_decoded() -> None:
    """ADZMQ 1.4, whose header is no JSON here: a text has quotes in it."""
    image = adzmq.decode(recorded("adzmq"))
    # the ramp of the detector: one step for a column, three for a row, one for an image
    rows, columns = np.mgrid[:4, :6]
    np.testing.assert_array_equal(pixels_of(image), 7 + 2 + 3 * rows + columns)
    assert (image.number, image.attributes["Quote"], image.attributes["Path"]) == (3, 'say "hi"', r"C:\data\new")


def test_a_message_of_the_live_view_of_odin_data_is_decoded() -> None:
    image = odin.decode(recorded("odin"))
    np.testing.assert_array_equal(pixels_of(image), np.arange(24).reshape(4, 6) * 1000 + 2)
    assert (image.number, image.series, image.channel, image.dtype) == (2, "acquisition-1", "data", "<u2")


def parsed(parts: Sequence[Any]) -> Any:
    return stream1.parse(StreamData(typ="STINS", frames=[zmq.Frame(bytes(part)) for part in parts]))


def test_dranspose_reads_our_packets() -> None:
    assert parsed(stins.encode_start(SeriesStart("9"))).htype == "header"
    for number, pixels in enumerate(IMAGES):
        packet = parsed(stins.encode_image(as_image(pixels, number)))
        np.testing.assert_array_equal(packet.data, pixels)
        assert (packet.frame, packet.msg_number) == (number, number + 1)
    assert parsed(stins.encode_end(SeriesEnd("9", 50))).htype == "series_end"
