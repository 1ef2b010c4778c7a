"""Sources of positions over real sockets: a PandABox, a stream; broken connections are made anew."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq

from streamer.flow.positions.positions import Position, PositionEvent, Positions, Remark, RunBegins, RunEnds
from streamer.frames import BadInput
from streamer.io.positions import PositionSource, open_source
from streamer.io.positions.reader import RETRY_S
from streamer.io.positions.table import PositionTable
from tests.io.positions.panda_server import PandaServer

TABLE = np.column_stack([np.arange(6.0), 10.0 * np.arange(6)])


def drained(source: PositionSource, done: Callable[[list[PositionEvent]], Any]) -> list[PositionEvent]:
    """What comes until ``done`` is true of it."""
    found: list[PositionEvent] = []
    deadline = time.monotonic() + 60
    while not done(found):
        assert time.monotonic() < deadline, found
        found += source.drain()
        time.sleep(0.005)
    return found


def count(number: int) -> Callable[[list[PositionEvent]], Any]:
    return lambda found: len(found) >= number


def test_positions_of_a_pandabox_come_while_it_captures() -> None:
    with PandaServer() as panda:
        source = open_source(Positions(source="pandabox", endpoint=panda.endpoint), None)
        assert source is not None
        assert panda.connected.wait(60)
        panda.arm()
        panda.send(TABLE[:2])
        assert drained(source, count(3)) == [RunBegins(), Position(0, 0.0), Position(1, 10.0)]
        panda.send(TABLE[2:3])
        panda.disarm()
        assert drained(source, count(2)) == [Position(2, 20.0), RunEnds()]
        source.close()
    assert panda.options == "XML FRAMED UNSCALED\n"


def test_a_connection_that_breaks_in_mid_run_goes_on_where_it_is() -> None:
    with PandaServer() as panda:
        source = open_source(Positions(source="pandabox", endpoint=panda.endpoint), None)
        assert source is not None
        assert panda.connected.wait(60)
        panda.arm()
        panda.send(TABLE[:2])
        drained(source, count(3))
        panda.drop()
        panda.send(TABLE[2:4])  # nobody takes them
        assert panda.connected.wait(60)
        panda.send(TABLE[4:])
        found = drained(source, count(4))
        source.close()
    name = f"PandABox {panda.endpoint}"
    assert found == [
        Remark(f"{name}: it closed the connection"),
        Remark(f"{name} sends again"),
        Position(4, 40.0),
        Position(5, 50.0),
    ]


def test_a_pandabox_that_is_not_there_is_named_once_and_waited_for() -> None:
    with PandaServer() as panda:
        endpoint = panda.endpoint
    source = open_source(Positions(source="pandabox", endpoint=endpoint), None)
    assert source is not None
    (remark,) = drained(source, count(1))
    source.wait(2 * RETRY_S)
    assert source.drain() == []
    source.close()
    assert isinstance(remark, Remark)
    assert "refused" in remark.text


def test_a_stream_of_positions_goes_on_after_a_message_that_is_none() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.XPUB) as publisher:
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        options = Positions(source="stins", endpoint=f"tcp://127.0.0.1:{port}", value="angle")
        source = open_source(options, None)
        assert source is not None
        assert publisher.recv() == b"\x01"  # it has subscribed
        for message in (
            {"message_type": "series-start", "message_id": 0},
            {"message_type": "data", "message_id": 1, "frame_number": 0, "angle": [0.5, 1.5]},
            {"message_type": "nonsense", "message_id": 2},
            {"message_type": "series-end", "message_id": 3},
        ):
            publisher.send(json.dumps(message).encode())
        *found, unreadable, lost, end = drained(source, lambda found: RunEnds() in found)
        source.close()
    assert found == [RunBegins(), Position(0, 0.5), Position(1, 1.5)]
    assert isinstance(unreadable, Remark)
    assert "Invalid enum value" in unreadable.text
    assert [lost, end] == [Remark("1 messages of the stream of positions were lost"), RunEnds()]


def test_a_table_is_entered_by_a_client() -> None:
    table = PositionTable()
    table.enter(3, [1.0, 2.0], last=False)
    table.enter(5, [3.0], last=True)
    assert table.drain() == [Position(3, 1.0), Position(4, 2.0), Position(5, 3.0), RunEnds()]


@pytest.mark.parametrize("endpoint", ["panda:x", ":8889", "tcp://panda:70000", ""])
def test_an_endpoint_of_a_pandabox_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(BadInput, match=r"positions.endpoint: give HOST:PORT of the PandABox"):
        open_source(Positions(source="pandabox", endpoint=endpoint), None)


def test_planned_angles_need_no_source() -> None:
    assert open_source(Positions(), None) is None
