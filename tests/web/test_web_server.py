"""The server of the page as a process, spoken to as a browser would."""

from __future__ import annotations

import http.client
import json
import os
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer.cli import main
from streamer.cli.web import NICE
from streamer.flow.wire.daemon import Abort, EndScan, FixCenter
from streamer.frames import Decision
from streamer.web.messages import split_picture
from tests.integration.station import eventually
from tests.web.served import STEER, PhantomDaemon, ServedPage, journal, until, want


@dataclass
class Answer:
    status: int
    headers: Message
    content: bytes


def get(served: ServedPage, path: str, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return Answer(answer.status, answer.headers, content)


def metrics(served: ServedPage) -> dict[str, float]:
    with urllib.request.urlopen(served.metrics, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_the_page_loads_nothing_from_elsewhere(served: ServedPage) -> None:
    answer = get(served, "/")
    text = answer.content.decode()
    assert answer.status == 200
    assert "<title>Streamer</title>" in text
    assert "://" not in text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/static/app.js", "/static/style.css", "/livez"):
        assert get(served, path).status == 200
    assert get(served, "/static/../app.py").status == 404


def test_who_may_not_ask_is_refused(served: ServedPage) -> None:
    assert get(served, "/", Host="evil.example").status == 403
    assert get(served, "/", Origin="https://evil.example").status == 403
    for headers in ({"origin": "https://evil.example"}, {"additional_headers": {"Host": "evil.example"}}):
        with pytest.raises(InvalidStatus) as caught, served.enter(**headers):
            pass
        assert caught.value.response.status_code in (400, 403)
    with served.enter(origin=served.address) as socket:
        assert until(socket, lambda message: message.get("type") == "hello")


def test_a_wrong_token_gets_nothing(served: ServedPage) -> None:
    with served.enter("x" * 24) as socket, pytest.raises(ConnectionClosed) as caught:
        socket.recv(30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4401


def test_nonsense_ends_the_connection(served: ServedPage) -> None:
    with served.enter() as socket:
        until(socket, lambda message: message.get("type") == "hello")
        socket.send("nonsense")
        with pytest.raises(ConnectionClosed) as caught:
            until(socket, lambda _message: False)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4400


def test_without_a_token_the_page_looks_and_does_not_steer(served: ServedPage, daemon: PhantomDaemon) -> None:
    with served.enter() as socket:
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


def test_with_the_token_it_steers(served: ServedPage, daemon: PhantomDaemon) -> None:
    with served.enter(STEER) as socket:
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


def test_the_detector_is_seen_by_those_who_ask(served: ServedPage, daemon: PhantomDaemon) -> None:
    before = len(daemon.looked)
    with served.enter() as socket:
        until(socket, lambda message: message.get("plane") == "xy")
        want(socket, do="see", detector=True)
        for note in ("flat 3", "projection 9", "row 24, 9 angles"):  # the row of the level plane
            assert until(socket, lambda message, note=note: message.get("note") == note)["unit"] == "counts"
    assert len(daemon.looked) > before


def test_the_tomogram_is_seen_while_it_grows(served: ServedPage, daemon: PhantomDaemon) -> None:
    with served.enter() as socket:
        until(socket, lambda message: message.get("type") == "state" and message["volume"])
    header, voxels = split_picture(get(served, "/brick/s1?most=16").content)
    assert (header["grows"], header["angles"], header["of"]) == (True, 30, 90)
    assert (header["shape"], header["step"], len(voxels)) == ([12, 16, 16], 4, 12 * 16 * 16)
    header, _ = split_picture(get(served, "/brick/s1?z=8:24&x=0:32").content)
    assert (header["box"], header["step"]) == ([[8, 24], [0, 64], [0, 32]], 1)
    assert get(served, "/brick/s0").status == 404


def test_the_samples_of_a_batch_are_told(served: ServedPage, batch: Path) -> None:
    journal(batch, "started", samples=[{"scan": {"sample": name}, "slot": n} for n, name in enumerate("ab")])
    journal(batch, "scanning", sample="a", scan_id="s1")
    with served.enter() as socket:
        told = until(socket, lambda m: m.get("type") == "queue" and m["samples"][0]["state"] == "scanning")
    assert [(each["name"], each["slot"], each["scan_id"]) for each in told["samples"]] == [("a", 0, "s1"), ("b", 1, "")]
    assert (told["done"], told["left_s"]) == (0, None)


def test_the_server_counts_what_it_sends(served: ServedPage) -> None:
    before = metrics(served)
    assert get(served, "/brick/s1?most=8").status == 200
    with served.enter() as socket:
        until(socket, lambda message: message.get("plane") == "xy")
        said = metrics(served)
        assert said["streamer_web_clients"] >= 1
        assert said["streamer_web_daemon_connected"] == 1
        assert said["streamer_web_bricks_total"] == before["streamer_web_bricks_total"] + 1
        assert said["streamer_web_brick_bytes_total"] > before["streamer_web_brick_bytes_total"] + 6 * 8 * 8
        assert said["process_resident_memory_bytes"] > 1e6
        sent = 'streamer_web_messages_sent_total{kind="picture"}'
        until(socket, lambda message: message.get("plane") == "xz")
        eventually(lambda: metrics(served)[sent] > said[sent], "more pictures are counted")
        assert metrics(served)["streamer_web_sent_bytes_total"] > said["streamer_web_sent_bytes_total"]
    assert get(served, "/metrics").status == 404, "they are not for those who see the page"


def test_the_daemon_goes_first_on_a_busy_machine(served: ServedPage) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, served.pid) == max(NICE, own)


def test_fifty_pages_of_which_one_stands_still(served: ServedPage, daemon: PhantomDaemon) -> None:
    with ExitStack() as stack:
        stack.enter_context(served.enter(open_timeout=60, close_timeout=0))  # it never reads
        sockets = [stack.enter_context(served.enter(open_timeout=60, close_timeout=0)) for _ in range(49)]
        for socket in sockets:
            until(socket, lambda message: message.get("plane") == "xy")
        daemon.judge(Decision.RETAKE, "the sample moved")
        for socket in sockets:
            told = until(
                socket, lambda message: message.get("type") == "state" and message["scan"]["verdict"] == "RETAKE"
            )
            assert told["scan"]["reasons"][0]["code"] == "motion"


def test_past_scans_bricks_and_cuts(served: ServedPage, daemon: PhantomDaemon) -> None:
    with served.enter() as socket:
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
        content = get(served, "/brick/s1?most=32").content
        header = json.loads(content[4 : 4 + int.from_bytes(content[:4], "little")])
        assert (header["shape"], header["step"]) == ([24, 32, 32], 2)
        assert get(served, "/brick/s9").status == 404
        assert get(served, "/brick/s1?z=a").status == 404
        assert get(served, "/brick/s1", **{"Streamer-Token": "wrong"}).status == 403


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
