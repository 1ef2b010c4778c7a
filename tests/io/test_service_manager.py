"""What systemd hears, on a socket of its kind."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import pytest

from streamer.io.service_manager import condition, service_manager


def listening(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    listener.settimeout(60)
    return listener


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    path = f"@streamer-{uuid4()}" if abstract else str(tmp_path / "notify")
    with listening(path.replace("@", "\0")) as manager:
        service_manager({"NOTIFY_SOCKET": path})("READY=1\nSTATUS=idle")
        assert manager.recv(4096) == b"READY=1\nSTATUS=idle"


@pytest.mark.parametrize("place", [None, "", "relative", "/nowhere/notify"])
def test_without_a_manager_nothing_happens(place: str | None) -> None:
    service_manager({} if place is None else {"NOTIFY_SOCKET": place})("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")):
        tell = service_manager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(2000):  # far more than wait in the socket
            tell("WATCHDOG=1")


def test_a_daemon_that_starts_is_given_time_and_one_that_hangs_is_not_kept_alive() -> None:
    assert (
        condition("loading", starting=True, alive=True) == "STATUS=loading\nEXTEND_TIMEOUT_USEC=120000000\nWATCHDOG=1"
    )
    assert condition("idle", starting=False, alive=True) == "STATUS=idle\nWATCHDOG=1"
    assert "WATCHDOG" not in condition("the thread compute hangs", starting=False, alive=False)
