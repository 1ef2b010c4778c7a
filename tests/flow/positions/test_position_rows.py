"""Streams of positions in bytes: as documented, in pieces of any size, and what is not one."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from dranspose.data.pcap import PCAPData, PCAPEnd, PCAPStart
from hypothesis import given
from hypothesis import strategies as st
from pandablocks.connections import DataConnection
from pandablocks.responses import FrameData

from streamer.flow.positions.positions import Position, PositionEvent, Positions, RunBegins, RunEnds
from streamer.flow.positions.rows import GrowingArrays, PandaCapture, Rows, StreamedCapture
from streamer.flow.wire import WireError
from tests.io.positions.panda_server import FIELDS, header, rows

TABLE = np.column_stack([np.arange(1, 8), 2**31 - 4.0 + np.arange(7)])
TABLE[4:, 1] -= 2.0**32  # the counter wraps

ASCII_PAGE = b"""OK
missed: 0
process: Scaled
format: ASCII
fields:
 PCAP.CAPTURE_TS double Trigger
 COUNTER1.OUT double Triggered scale: 1 offset: 0 units: 
 COUNTER2.OUT double Triggered scale: 1 offset: 0 units: 
 PGEN1.OUT double Triggered scale: 1 offset: 0 units: 

 1e-06 0 0 262143
 3e-06 0 0 262142
END 2 Ok
"""  # noqa: W291

XML_PAGE = b"""OK
<header>
<data missed="0" process="Scaled" format="ASCII" />
<fields>
<field name="PCAP.CAPTURE_TS" type="double" capture="Trigger" />
<field name="COUNTER1.OUT" type="double" capture="Triggered" scale="1"
offset="0" units="" />
<field name="PGEN1.OUT" type="double" capture="Triggered" scale="1" offset="0"
units="" />
</fields>
</header>

 1e-06 0 262143
 3e-06 0 262142
END 2 Ok
"""


def options(**values: object) -> Positions:
    return Positions(**{"source": "pandabox", "endpoint": "panda:8889", **values})


def capture(remarks: list[str] | None = None, shutter: str | None = None, **values: object) -> PandaCapture:
    said: list[str] = [] if remarks is None else remarks
    return PandaCapture(Rows(options(**values), shutter), said.append)


def stream(wish: str = "XML FRAMED UNSCALED", table: np.ndarray = TABLE, missed: int = 0) -> bytes:
    """A whole experiment, in two blocks."""
    data = b"OK\n" + header(wish, FIELDS, missed)
    for part in (table[:3], table[3:]):
        data += rows(wish, FIELDS, part)
    return data + b"END 7 Ok\n"


@pytest.mark.parametrize("page", [ASCII_PAGE, XML_PAGE])
def test_the_examples_of_the_documentation_are_read(page: bytes) -> None:
    found = capture(value="PGEN1.OUT.Triggered").feed(page)
    assert found == [RunBegins(), Position(0, 262143.0), Position(1, 262142.0), RunEnds()]


@pytest.mark.parametrize("wish", ["XML FRAMED UNSCALED", "FRAMED UNSCALED", "XML ASCII UNSCALED", "ASCII UNSCALED"])
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_every_form_says_the_same_in_pieces_of_any_size(wish: str, cuts: list[int]) -> None:
    data, reader = stream(wish), capture(trigger="COUNTER1.OUT.Value")
    found: list[PositionEvent] = []
    for start, stop in pairwise(sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})):
        found += reader.feed(data[start:stop])
    assert found == [RunBegins(), *(Position(int(t), v) for t, v in TABLE), RunEnds()]


def test_the_client_of_pandablocks_reads_the_same_rows() -> None:
    theirs = DataConnection()
    theirs.connect(scaled=False)
    frames = [data.data for data in theirs.receive_bytes(stream()) if isinstance(data, FrameData)]
    ours = [p.value for p in capture().feed(stream()) if isinstance(p, Position)]
    assert np.concatenate(frames)["INENC1.VAL.Mean"].tolist() == ours


def test_a_row_may_be_cut_between_two_blocks() -> None:
    whole = rows("FRAMED", FIELDS, TABLE)[8:]
    data = b"OK\n" + header("XML FRAMED UNSCALED", FIELDS)
    for part in (whole[:13], whole[13:]):
        data += b"BIN " + (8 + len(part)).to_bytes(4, "little") + part
    assert [p.value for p in capture().feed(data) if isinstance(p, Position)] == TABLE[:, 1].tolist()


def test_a_late_client_goes_on_with_the_numbers_of_the_run() -> None:
    found = capture().feed(stream(missed=5))
    assert found[0] == Position(5, TABLE[0, 1])


def test_rows_of_one_exposure_are_its_samples() -> None:
    each = capture(samples=2, value="COUNTER1.OUT.Value, INENC1.VAL.Mean")
    found = [p for p in each.feed(stream()) if isinstance(p, Position)]
    assert [(p.trigger, p.sample) for p in found[:6]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


def test_the_shutter_is_one_of_the_captures() -> None:
    table = TABLE.copy()
    table[2, 0] = 0
    found = capture(shutter="COUNTER1.OUT.Value").feed(stream(table=table))
    assert [p.shutter_open for p in found if isinstance(p, Position)] == [True, True, False, True, True, True, True]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"ERR invalid option\n", "the PandABox refuses to send: 'ERR invalid option'"),
        (b"OK\n" + header("XML FRAMED", FIELDS[:1]), "no 'INENC1.VAL.Mean' among the positions; there are 'COUNTER1"),
        (b"OK\n" + header("XML FRAMED", FIELDS) + b"BEN \0\0\0\0", "a block of the PandABox begins with b'BEN '"),
        (b"OK\n" + header("XML ASCII", FIELDS) + b"1 2 3\n", "3 values in a row of 2"),
        (b"OK\n<header>\n\n", "the header of the PandABox is no XML"),
        (b"OK\n<!DOCTYPE x>\n\n", "the header of the PandABox is not what it sends"),
        (b"OK\nformat: Base64\nfields:\n INENC1.VAL double Mean\n\n", "sends 'Base64', expected Framed or ASCII"),
        (b"OK\n" + b"x" * (2**20 + 1), "a line of the PandABox does not end"),
    ],
)
def test_what_is_no_such_stream_is_named(data: bytes, text: str) -> None:
    with pytest.raises(WireError, match=text.replace("(", r"\(")):
        capture().feed(data)


@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_are_refused_or_wait_for_more(data: bytes, after_header: bool) -> None:
    start = b"OK\n" + (header("XML FRAMED", FIELDS) if after_header else b"")
    with suppress(WireError):
        capture().feed(start + data)


def test_a_capture_that_ends_badly_is_named() -> None:
    remarks: list[str] = []
    found = capture(remarks).feed(stream().replace(b"7 Ok", b"7 Data overrun"))
    assert found[-1] == RunEnds()
    assert remarks == ["the PandABox ended its capture: 'Data overrun'"]


# The stream of MAX IV, as dranspose writes it


def streamed(remarks: list[str] | None = None, **values: object) -> StreamedCapture:
    said: list[str] = [] if remarks is None else remarks
    return StreamedCapture(Rows(options(**values), None), said.append)


def data_of(packet: PCAPStart | PCAPData | PCAPEnd) -> bytes:
    return packet.model_dump_json().encode()


def packet(message: int, frame: int, **values: object) -> bytes:
    return data_of(PCAPData(message_id=message, version=1, message_type="data", frame_number=frame, **values))


def test_messages_as_dranspose_writes_them() -> None:
    stream = streamed(value="INENC3.VAL.Mean", trigger="triggernumber", first=1)
    start = PCAPStart(message_id=1, version=1, message_type="series-start", arm_time=datetime(2026, 1, 1, tzinfo=UTC))
    found = stream.message(data_of(start))
    found += stream.message(packet(2, 0, **{"triggernumber": [1.0, 2.0], "INENC3.VAL.Mean": [5.0, 6.5]}))
    found += stream.message(packet(3, 2, **{"triggernumber": 3.0, "INENC3.VAL.Mean": 8.0}))
    found += stream.message(data_of(PCAPEnd(message_id=4, version=1, message_type="series-end")))
    assert found == [RunBegins(), Position(1, 5.0), Position(2, 6.5), Position(3, 8.0), RunEnds()]


def test_lost_and_doubled_messages_are_named_and_the_numbers_stay_right() -> None:
    remarks: list[str] = []
    stream = streamed(remarks, value="angle")
    found = stream.message(packet(7, 0, angle=[0.0, 1.0]))
    found += stream.message(packet(9, 4, angle=[4.0, 5.0]))
    found += stream.message(packet(9, 4, angle=[4.0, 5.0]))
    assert found == [Position(t, float(t)) for t in (0, 1, 4, 5)]
    assert remarks == [
        "1 messages of the stream of positions were lost",
        "message 9 of the stream of positions came twice, and is not used again",
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({"message_type": "data", "message_id": 1, "frame_number": 0, "other": 1.0}).encode(),
        json.dumps({"message_type": "data", "message_id": 1, "angle": [1.0], "more": [1, 2]}).encode(),
    ],
)
def test_what_is_no_message_of_positions_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        streamed(value="angle").message(data)


@given(st.binary(max_size=200))
def test_random_messages_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        streamed(value="angle").message(data)


# Arrays that grow


def arrays(value: str = "theta", **values: object) -> GrowingArrays:
    return GrowingArrays(Positions(**{"source": "pv", "value": value, **values}), None)


def test_elements_of_a_growing_array_are_positions_once() -> None:
    growing = arrays()
    assert growing.update("theta", [0.0]) == [Position(0, 0.0)]
    assert growing.update("theta", [0.0, 1.5, 3.0]) == [Position(1, 1.5), Position(2, 3.0)]
    assert growing.update("theta", [0.0, 1.5, 3.0]) == []


@pytest.mark.parametrize("anew", [[], [0.0], [7.0, 8.0, 9.0]])
def test_an_array_that_begins_anew_is_another_run(anew: list[float]) -> None:
    growing = arrays()
    growing.update("theta", [0.5, 1.5])
    assert growing.update("theta", anew) == [RunBegins(), *(Position(t, v) for t, v in enumerate(anew))]


def test_arrays_of_one_row_wait_for_each_other() -> None:
    growing = arrays("begin, end", trigger="number")
    assert growing.update("begin", [1.0, 3.0]) == []
    assert growing.update("number", [10.0, 11.0]) == []
    assert growing.update("end", [2.0]) == [Position(10, 1.0), Position(10, 2.0, 1)]
    assert growing.update("end", [2.0, 4.0]) == [Position(11, 3.0), Position(11, 4.0, 1)]


def test_an_element_that_is_no_number_is_no_position_and_no_new_run() -> None:
    growing = arrays()
    (position,) = growing.update("theta", [float("nan")])
    assert isinstance(position, Position)
    assert math.isnan(position.value)
    assert growing.update("theta", [float("nan"), 2.0]) == [Position(1, 2.0)]
