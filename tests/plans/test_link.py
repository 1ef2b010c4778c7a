"""Requests with a timeout, and events."""

import threading
import time

import pytest
import zmq

from streamer.flow.wire import pack, unpack
from streamer_plans.devices.link import Events, Link, LinkError, LinkTimeout

PATIENCE_S = 60.0


class Echo:
    """A ROUTER that answers with the verb, stays silent at "silent", refuses "no", and sends rubbish for "rubbish"."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*") -> None:
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        end = time.monotonic() + PATIENCE_S
        while True:  # a port that was just given back may be busy for a moment
            try:
                self._socket.bind(endpoint)
                break
            except zmq.ZMQError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.endpoint = self._socket.last_endpoint.decode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._socket.poll(20):
                continue
            client, _, data = self._socket.recv_multipart()
            verb = unpack(data)["verb"]
            replies = {
                "no": pack({"v": 1, "ok": False, "error": "not today", "code": "busy"}),
                "rubbish": b"\xc1rubbish",
                "future": pack({"v": 2, "ok": True}),
            }
            if verb != "silent":
                self._socket.send_multipart(
                    [client, b"", replies.get(verb) or pack({"v": 1, "ok": True, "said": verb})]
                )
        self._socket.close(0)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def server():
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def link(server):
    link = Link(server.endpoint, "the echo", timeout_s=PATIENCE_S)
    yield link
    link.close()


def test_a_request_works_again_after_a_timeout(link):
    with pytest.raises(LinkTimeout, match=r"the echo at tcp://127.0.0.1:\d+ did not answer 'silent' within 0.1 s"):
        link.request("silent", timeout_s=0.1)
    assert link.request("hello")["said"] == "hello"


def test_a_refusal_carries_the_servers_own_line(link):
    with pytest.raises(LinkError, match="the echo refused 'no': not today") as caught:
        link.request("no")
    assert caught.value.code == "busy"


@pytest.mark.parametrize("verb", ["rubbish", "future"])
def test_an_answer_that_is_none_is_an_error(link, verb):
    with pytest.raises(LinkError):
        link.request(verb)
    assert link.request("hello")["said"] == "hello"


def test_an_endpoint_that_is_none_is_an_error():
    with pytest.raises(LinkError, match="nonsense"):
        Link("nonsense", "the echo").request("hello")


def test_many_threads_get_their_own_answers(link):
    wrong = []

    def ask(number):
        said = [link.request(f"v{number}")["said"] for _ in range(50)]
        wrong.extend(answer for answer in said if answer != f"v{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_restarted_server_is_found_again(link, server):
    assert link.request("one")["said"] == "one"
    # A request that leaves before the old server's end is noticed dies with the old connection.
    monitor = link._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    server.close()
    assert monitor.poll(int(1000 * PATIENCE_S))
    link._socket.disable_monitor()
    monitor.close(0)
    again = Echo(server.endpoint)
    try:
        assert link.request("two")["said"] == "two"
    finally:
        again.close()


def test_events_survive_rubbish_and_failing_receivers(caplog):
    caplog.set_level("CRITICAL", "streamer_plans")
    publisher = zmq.Context.instance().socket(zmq.PUB)
    publisher.bind("tcp://127.0.0.1:*")
    heard = []

    def receive(topic, event):
        heard.append((topic, event.get("n")))
        if event.get("n") == 0:
            raise RuntimeError("on purpose")

    events = Events(publisher.last_endpoint.decode(), receive)
    end = time.monotonic() + PATIENCE_S
    number = 0
    # The first messages may precede the subscription: go on until the whole round was heard.
    while not {("scan", 0), ("scan", 3)} <= set(heard) and time.monotonic() < end:
        publisher.send_multipart([b"one part only"])
        publisher.send_multipart([b"scan", b"\xc1"])
        publisher.send_multipart([b"scan", pack({"n": number % 4})])
        number += 1
        time.sleep(0.02)
    events.close()
    publisher.close(0)
    assert ("scan", 0) in heard
    assert ("scan", 3) in heard
