"""What holds for every dialect: its messages come back as they were sent, and bytes of any kind do no harm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow import wire
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Dialect, Image, SeriesEnd, SeriesStart
from streamer.frames import DTYPES

START = SeriesStart("7", frames=3, shape=(4, 6), dtype="<u2", exposure_s=0.01)
changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 20), st.binary(max_size=8)), max_size=4)


def image(number: int = 0, dtype: str = "<u2", shape: tuple[int, int] = (4, 6)) -> Image:
    pixels = np.arange(number, number + shape[0] * shape[1]).reshape(shape).astype(dtype)
    return Image(shape, dtype, pixels.data.cast("B"), series="7", number=number, attributes={"Angle": 0.5})


def views(parts: Sequence[bytes | memoryview]) -> list[memoryview]:
    return [memoryview(bytes(part)) for part in parts]


def messages(dialect: Dialect) -> list[list[memoryview]]:
    sent = [dialect.encode_start(START), dialect.encode_image(image()), dialect.encode_end(SeriesEnd("7", 3))]
    return [views(parts) for parts in sent if parts]


every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@every_dialect
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_survives_the_wire(dialect: Dialect, dtype: str) -> None:
    sent = image(5, dtype)
    received = dialect.decode(views(dialect.encode_image(sent)))
    assert isinstance(received, Image)
    assert (received.shape, received.dtype, received.codec) == (sent.shape, dtype, "none")
    assert received.data.tobytes() == sent.data.tobytes()
    assert received.number == (5 if dialect.TRAITS.numbers_frames else None)


@every_dialect
def test_a_series_is_announced_and_ended_as_the_traits_say(dialect: Dialect) -> None:
    begun, over = dialect.encode_start(START), dialect.encode_end(SeriesEnd("7", 3))
    assert bool(begun) == dialect.TRAITS.announces
    assert bool(over) == dialect.TRAITS.ends
    if begun:
        assert isinstance(dialect.decode(views(begun)), SeriesStart)
    if over:
        assert isinstance(dialect.decode(views(over)), SeriesEnd)


def refused_or_taken(dialect: Dialect, parts: list[memoryview]) -> None:
    complaint = "none"
    try:
        dialect.decode(parts)
    except wire.WireError as error:
        complaint = str(error)
    assert complaint
    assert "\n" not in complaint


@every_dialect
@given(st.lists(st.binary(max_size=200).map(memoryview), max_size=4))
def test_any_bytes(dialect: Dialect, parts: list[memoryview]) -> None:
    refused_or_taken(dialect, parts)


@every_dialect
@given(st.data())
def test_a_message_with_a_few_changes(dialect: Dialect, data: st.DataObject) -> None:
    parts = [bytearray(part) for part in data.draw(st.sampled_from(messages(dialect)))]
    for at, length, token in data.draw(changes):
        part = parts[at % len(parts)]
        place = at // len(parts) % (len(part) + 1)
        part[place : place + length] = token
    refused_or_taken(dialect, [memoryview(bytes(part)) for part in parts])


@every_dialect
def test_lost_parts_and_one_too_many_are_refused(dialect: Dialect) -> None:
    parts = views(dialect.encode_image(image()))
    for wrong in ([], parts[: len(parts) // 2], [*parts, *parts, memoryview(b"x")]):
        with pytest.raises(wire.WireError):
            dialect.decode(wrong)
