from __future__ import annotations

from pathlib import Path

import pytest

from streamer.frames import BadInput
from streamer.web.access import Access, Right, host_is_ours, is_loopback, origin_is_ours, read_token

LOOK, STEER = "l" * 24, "s" * 24


@pytest.mark.parametrize(
    ("access", "token", "right"),
    [
        (Access(), "", Right.NONE),
        (Access(), "anything", Right.NONE),
        (Access(anyone_looks=True), "", Right.LOOK),
        (Access(anyone_looks=True), "wrong", Right.NONE),
        (Access(LOOK, STEER), LOOK, Right.LOOK),
        (Access(LOOK, STEER), STEER, Right.STEER),
        (Access(LOOK, STEER), STEER[:-1], Right.NONE),
        (Access(LOOK, STEER), STEER + "s", Right.NONE),
        (Access(None, STEER), LOOK, Right.NONE),
        (Access(STEER, STEER), STEER, Right.STEER),
        (Access(None, STEER), "\udcff", Right.NONE),
    ],
)
def test_a_token_gives_its_right(access: Access, token: str, right: Right) -> None:
    assert access.right(token) is right


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost", True),
        ("10.1.2.3", True),
        ("beamline-7:8080", True),
        ("BEAMLINE-7", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("beamline-7@evil.example", False),
        ("localhost/evil", False),
        ("localhost:none", False),
        ("", False),
        (None, False),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str | None, good: bool) -> None:
    assert host_is_ours(host, ["beamline-7"]) is good


@pytest.mark.parametrize(
    ("origin", "host", "good"),
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("https://streamer.example", "streamer.example", True),
        ("https://streamer.example", "streamer.example:443", True),
        ("http://streamer.example", "streamer.example:443", False),
        ("https://evil.example", "streamer.example", False),
        ("null", "127.0.0.1", False),
        ("file:///home/me/page.html", "127.0.0.1", False),
        ("http://", "127.0.0.1", False),
        ("http://127.0.0.1:x", "127.0.0.1", False),
    ],
)
def test_only_pages_of_the_same_host_may_ask(origin: str | None, host: str, good: bool) -> None:
    assert origin_is_ours(origin, host) is good


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "beamline-7", "")] == [False] * 5


def test_a_token_file_is_one_line_that_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{STEER}\n", encoding="utf-8")
    path.chmod(0o600)
    assert read_token(path) == STEER
    path.chmod(0o644)
    with pytest.raises(BadInput, match="others may read"):
        read_token(path)


@pytest.mark.parametrize("content", ["", "short", f"{STEER} {LOOK}", "ü" * 30, "x" * 5000])
def test_what_is_no_token_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(BadInput, match="a token is one line"):
        read_token(path)


def test_a_missing_token_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"openssl rand -base64 33 > .*token"):
        read_token(tmp_path / "token")
