"""The server of the page as a process, spoken to as a browser would."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer.cli import main
from streamer.flow.wire.daemon import Abort, EndScan, FixCenter
from streamer.frames import Decision
from tests.integration.station import eventually
from tests.web.served import PhantomDaemon, ServedPage, token_file, until, want

STEER = "steer-" + "s" * 20


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhantomDaemon]:
    with PhantomDaemon(tmp_path_factory.mktemp("tomograms")) as made:
        yield made


@pytest.fixture(scope="module")
def page(daemon: PhantomDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    token = token_file(tmp_path_factory.mktemp("tokens"), "steer", STEER)
    with ServedPage(daemon.endpoint, "--steer-token", token) as served:
        yield served


@dataclass
class Answer:
    status: int
    headers: Message
    content: bytes


def get(page: ServedPage, path: str, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return Answer(answer.status, answer.headers, content)


def test_the_page_loads_nothing_from_elsewhere(page: ServedPage) -> None:
    answer = get(page, "/")
    text = answer.content.decode()
    assert answer.status == 200
    assert "<title>Streamer</title>" in text
    assert "://" not in text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/static/app.js", "/static/style.css", "/livez"):
        assert get(page, path).status == 200
    assert get(page, "/static/../app.py").status == 404


def test_who_may_not_ask_is_refused(page: ServedPage) -> None:
    assert get(page, "/", Host="evil.example").status == 403
    assert get(page, "/", Origin="https://evil.example").status == 403
    for headers in ({"origin": "https://evil.example"}, {"additional_headers": {"Host": "evil.example"}}):
        with pytest.raises(InvalidStatus) as caught, page.enter(**headers):
            pass
        assert caught.value.response.status_code in (400, 403)
    with page.enter(origin=page.address) as socket:
        assert until(socket, lambda message: message.get("type") == "hello")


def test_a_wrong_token_gets_nothing(page: ServedPage) -> None:
    with page.enter("x" * 24) as socket, pytest.raises(ConnectionClosed) as caught:
        socket.recv(30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4401


def test_nonsense_ends_the_connection(page: ServedPage) -> None:
    with page.enter() as socket:
        until(socket, lambda message: message.get("type") == "hello")
        socket.send("nonsense")
        with pytest.raises(ConnectionClosed) as caught:
            until(socket, lambda _message: False)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4400


def test_without_a_token_the_page_looks_and_does_not_steer(page: ServedPage, daemon: PhantomDaemon) -> None:
    with page.enter() as socket:
        hello = until(socket, lambda message: message.get("type") == "hello")
        assert (hello["steers"], hello["can_steer"]) == (False, True)
        assert until(socket, lambda message: message.get("plane") == "xz")["shape"] == [48, 64]
        before = len(daemon.requests)
        for wish in (
            {"do": "move", "place": {"x": 1, "y": 2, "z": 3}},
            {"do": "center", "px": 30.0},
            {"do": "stop", "scan_id": "s1"},
        ):
            want(socket, **wish)
            assert "only look" in until(socket, lambda message: message.get("type") == "notice")["text"]
        assert len(daemon.requests) == before


def test_with_the_token_it_steers(page: ServedPage, daemon: PhantomDaemon) -> None:
    with page.enter(STEER) as socket:
        assert until(socket, lambda message: message.get("type") == "hello")["steers"]
        until(socket, lambda message: message.get("type") == "state" and message["volume"])
        place = {"x": 20.0, "y": 30.0, "z": 40.0, "free": {"azimuth_deg": 20.0, "tilt_deg": 50.0, "offset": 3.0}}
        want(socket, do="move", place=place)
        state = until(socket, lambda message: message.get("type") == "state" and message["place"]["z"] == 40)
        assert state["place"]["free"]["tilt_deg"] == pytest.approx(50)
        assert until(socket, lambda message: message.get("plane") == "free")["angles"] == 30
        want(socket, do="center", px=30.25)
        assert until(socket, lambda message: message.get("type") == "state" and message["center_fixed"])
        assert FixCenter(30.25) in daemon.requests
        want(socket, do="center", px=None)
        want(socket, do="stop", scan_id="s1", abort=True)
        eventually(lambda: any(isinstance(request, Abort) for request in daemon.requests), "an abort")
        want(socket, do="stop", scan_id="s1")
        eventually(lambda: EndScan("s1", 30, "stopped") in daemon.requests, "an end")
        want(socket, do="move", place={"x": 32.0, "y": 32.0, "z": 24.0})


def test_fifty_pages_of_which_one_stands_still(page: ServedPage, daemon: PhantomDaemon) -> None:
    with ExitStack() as stack:
        stack.enter_context(page.enter(open_timeout=60, close_timeout=0))  # it never reads
        sockets = [stack.enter_context(page.enter(open_timeout=60, close_timeout=0)) for _ in range(49)]
        for socket in sockets:
            until(socket, lambda message: message.get("plane") == "xy")
        daemon.judge(Decision.RETAKE, "the sample moved")
        for socket in sockets:
            told = until(
                socket, lambda message: message.get("type") == "state" and message["scan"]["verdict"] == "RETAKE"
            )
            assert told["scan"]["reasons"][0]["code"] == "motion"


def test_past_scans_bricks_and_cuts(page: ServedPage, daemon: PhantomDaemon) -> None:
    with page.enter() as socket:
        until(socket, lambda message: message.get("plane") == "xy")
        daemon.finish()
        past = until(socket, lambda message: message.get("type") == "past" and message["tomogram_file"])
        assert (past["scan_id"], past["verdict"], past["opens"]) == ("s1", "ENOUGH", True)
        want(socket, do="open", scan_id="s1")
        until(socket, lambda message: message.get("plane") == "yz")
        want(socket, do="cut", scan_id="s1", place={"x": 10, "y": 10, "z": 10, "free": {}})
        cut = until(socket, lambda message: message.get("plane") == "free" and message.get("past"))
        assert (cut["unit"], cut["scan_id"]) == ("1/pixel", "s1")
        want(socket, do="cut", scan_id="other", place={"x": 1, "y": 1, "z": 1})
        assert "no tomogram of scan 'other'" in until(socket, lambda m: m.get("type") == "notice")["text"]
        content = get(page, "/brick/s1?most=32").content
        header = json.loads(content[4 : 4 + int.from_bytes(content[:4], "little")])
        assert (header["shape"], header["step"]) == ([24, 32, 32], 2)
        assert get(page, "/brick/s9").status == 404
        assert get(page, "/brick/s1?z=a").status == 404
        assert get(page, "/brick/s1", **{"Streamer-Token": "wrong"}).status == 403


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "others could look; give --look-token"),
        (["--steer-token", "{folder}/none"], "no token can be read: no such file or directory"),
        (["--port", "70000"], "--port: give a whole number from 0 to 65535"),
        (["--host", "300.1.1.1", "--insecure"], "--host 300.1.1.1"),
        (["tcp://nonsense"], "give an endpoint: tcp://HOST:PORT"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", *(option.format(folder=tmp_path) for option in options)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
