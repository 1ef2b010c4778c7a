"""``streamer check ENDPOINT`` beside a detector that sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import zmq
from karabo_bridge import ServerInThread

from streamer.cli import main
from streamer.flow import wire
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Image, SeriesStart
from streamer.frames import FrameKind, FrameMeta
from tests.fuzz.mutations import CORPUS
from tests.fuzz.targets import parts_of

ANYWHERE = "tcp://127.0.0.1:*"
PIXELS = np.arange(24, dtype="<u2").reshape(4, 6)


def native(number: int) -> list[Any]:
    return list(wire.encode_frame(FrameMeta("s", number, FrameKind.PROJECTION, 1.0), PIXELS))


def foreign(name: str, number: int) -> list[Any]:
    attributes = {"Angle": 0.5, "ImageKey": 0}
    image = Image((4, 6), "<u2", PIXELS.data.cast("B"), series="7", number=number, attributes=attributes)
    return list(DIALECTS[name].encode_image(image))


def recorded(name: str) -> list[bytes]:
    """A message of the program itself: of ADZMQ 1.4 behind areaDetector's simulated detector, of odin's live view."""
    return parts_of((CORPUS / f"dialects-{name}-recorded.bin").read_bytes())


@contextmanager
def detector(name: str, kind: int, sends: list[bytes] | None = None) -> Iterator[str]:
    """Where a detector is that sends all the time to those who are there; ``sends``: the same message again."""
    stopped = threading.Event()
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(ANYWHERE)

        def send() -> None:
            number = 0
            begin = (
                []
                if sends or name == "native"
                else DIALECTS[name].encode_start(SeriesStart("7", shape=(4, 6), dtype="<u2"))
            )
            while not stopped.wait(0.002):
                parts = begin or sends or (native(number) if name == "native" else foreign(name, number))
                if socket.poll(0, zmq.POLLOUT):
                    socket.send_multipart(parts)
                    number, begin = number + (not begin), []

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield socket.getsockopt_string(zmq.LAST_ENDPOINT)
        finally:
            stopped.set()
            thread.join()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("array-1.0", zmq.PUB),
        ("adzmq", zmq.PUB),
        ("adzmq", zmq.PUSH),
        ("stins", zmq.PUSH),
        ("concert", zmq.PUSH),
        ("odin", zmq.PUB),
        ("dectris-v1", zmq.PUSH),
        ("dectris-v2", zmq.PUSH),
    ],
)
def test_it_says_what_a_detector_speaks_and_what_to_configure(
    name: str, kind: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with detector(name, kind) as endpoint:
        assert main(["check", endpoint, "--seconds", "30"]) == 0
    told = capsys.readouterr().out
    socket = "PUSH" if kind == zmq.PUSH else "PUB"
    assert told.startswith(f"{endpoint}: a {socket} socket\n")
    said = "adzmq" if name == "array-1.0" else name  # our encoder writes attributes, as ADZMQ does
    assert f'  dialect = "{said}"\n' in told
    assert f'  endpoint = "{endpoint}"\n' in told
    assert "images of 4 rows × 6 columns, <u2, compression none" in told
    assert ("are lost to whoever else listens" in told) is (kind == zmq.PUSH)
    assert ('  socket = "pull"\n' in told) is (name == "adzmq" and kind == zmq.PUSH)
    if name == "stins":
        assert '  [positions]\n  source = "attribute"\n  value = "Angle"\n' in told
        assert '  [kinds]\n  attribute = "ImageKey"\n' in told
    if name == "concert":
        assert "missing: frame numbers." in told


@pytest.mark.parametrize(("name", "kind"), [("adzmq", zmq.PUB), ("adzmq", zmq.PUSH), ("odin", zmq.PUB)])
def test_what_the_programs_themselves_send_is_known(name: str, kind: int, capsys: pytest.CaptureFixture[str]) -> None:
    with detector(name, kind, recorded(name)) as endpoint:
        assert main(["check", endpoint, "--seconds", "30"]) == 0
    told = capsys.readouterr().out
    assert f'  dialect = "{name}"\n' in told
    assert "images of 4 rows × 6 columns, <u2, compression none" in told
    assert "would be refused" not in told


def test_a_detector_of_streamer_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with detector("native", zmq.PUSH) as endpoint:
        assert main(["check", endpoint, "--seconds", "30"]) == 0
    assert '  dialect = "native"\n' in capsys.readouterr().out


def test_the_karabo_bridge_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with ServerInThread(ANYWHERE, maxlen=60) as server:
        for number in range(60):
            server.feed({"CAM": {"image": PIXELS}}, {"CAM": {"timestamp.tid": 10**9 + 2 * number}})
        assert main(["check", server.endpoint, "--seconds", "30"]) == 0
    told = capsys.readouterr().out
    assert "a REP socket\ndialect karabo" in told
    assert "the frame numbers do not follow each other in 49 places" in told
    assert "missing: angles." in told
    assert "missing: darks, flats, projections." in told


def test_a_detector_that_connects_is_listened_to_by_a_socket_that_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket, context.socket(zmq.PUSH) as free:
        free.bind(ANYWHERE)
        endpoint = free.getsockopt_string(zmq.LAST_ENDPOINT)
        free.unbind(endpoint)
        for each in (socket, free):
            each.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        for number in range(50):
            socket.send_multipart(foreign("stins", number))
        assert main(["check", endpoint, "--bind", "--seconds", "30"]) == 0
    assert f'  endpoint = "{endpoint}"\n  bind = true\n  dialect = "stins"\n' in capsys.readouterr().out


def test_silence_and_messages_that_nobody_knows_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(ANYWHERE)
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        assert main(["check", endpoint, "--seconds", "0.5"]) == 1
        assert "it sent nothing within 0.5 s; start an acquisition" in capsys.readouterr().err
    assert main(["check", endpoint, "--seconds", "0.1"]) == 1
    assert "no detector within 0.1 s; is it on, and does it bind there?" in capsys.readouterr().err
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        for _ in range(50):
            socket.send(b"hello")
        assert main(["check", endpoint, "--bind", "--seconds", "30"]) == 1
    told = capsys.readouterr().out
    assert "no dialect of Streamer fits the messages:\n" in told
    assert "  stins: STINS message is not a map in JSON" in told


def test_an_endpoint_that_makes_no_sense_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "http://camera:80"]) == 2
    assert (
        "give an endpoint: tcp://HOST:PORT, ipc://PATH or pva://NAME, not 'http://camera:80'" in capsys.readouterr().err
    )
