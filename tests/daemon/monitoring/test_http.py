"""Pages over HTTP: answers, refusals, and clients that are slow, idle or many."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from streamer.daemon.monitoring.http import MAX_CONNECTIONS, MAX_REQUEST, Page, PageServer
from streamer.frames import BadInput


def broken(_accept: str) -> Page:
    raise OSError("the disk is gone")


@pytest.fixture
def server() -> Iterator[PageServer]:
    server = PageServer(
        {
            "/metrics": lambda _accept: Page(b"up 1\n" * 100_000),
            "/broken": broken,
            "/accept": lambda accept: Page(accept.encode()),
        },
        "127.0.0.1",
        0,
    )
    yield server
    server.close()


def connect(server: PageServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def answer(server: PageServer, request: bytes) -> bytes:
    with connect(server) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_page_is_read_whole(server: PageServer) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics?x=1", timeout=60) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert reply.read() == b"up 1\n" * 100_000
    assert answer(server, b"HEAD /metrics HTTP/1.1\r\n\r\n").endswith(b"Connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /../etc/passwd HTTP/1.1", b"404"),
        (b"GET / HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"GET /metrics", b"400"),
        (b"", b"400"),
        (b"\xff\x00 \xfe HTTP/1.1", b"405"),
        (b"GET \xff HTTP/1.1", b"404"),
    ],
)
def test_what_is_no_page_is_refused(server: PageServer, request_line: bytes, status: bytes) -> None:
    assert answer(server, request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("lines", "accept"),
    [
        (b"", b""),
        (b"accept:text/html\r\n", b"text/html"),
        (b"Host: x\r\nAccept: a/b;q=1\r\nAccept: c/d\r\n", b"a/b;q=1, c/d"),
        (b"X-Accept: no\r\n", b""),
    ],
)
def test_a_page_learns_what_its_client_accepts(server: PageServer, lines: bytes, accept: bytes) -> None:
    assert answer(server, b"GET /accept HTTP/1.1\r\n" + lines + b"\r\n").endswith(b"\r\n\r\n" + accept)


@pytest.mark.filterwarnings("ignore")
def test_a_page_that_fails_is_named_in_the_log(server: PageServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/broken", timeout=60)
    assert "the disk is gone" in caplog.text
    assert answer(server, b"GET /metrics HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_request_without_end_is_cut(server: PageServer) -> None:
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + bytes(10 * MAX_REQUEST))
        with suppress(ConnectionError):  # cut with bytes unread
            assert client.recv(100) == b""


def test_idle_clients_keep_nobody_out(server: PageServer) -> None:
    idle = [connect(server) for _ in range(2 * MAX_CONNECTIONS)]
    assert answer(server, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
    for client in idle:
        client.close()


def test_a_port_that_is_taken_is_bad_input(server: PageServer) -> None:
    with pytest.raises(BadInput, match=rf"^metrics 127\.0\.0\.1:{server.port}: .*set another port"):
        PageServer({}, "127.0.0.1", server.port)


def test_nothing_listens_after_the_end() -> None:
    server = PageServer({}, "127.0.0.1", 0)
    client = connect(server)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    client.close()
