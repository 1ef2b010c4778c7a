"""The context of one command: ended with its block, and never waited for after Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from streamer.io.messaging.sockets import bind, until_done

INTERRUPTED = """
import zmq
from streamer.io.messaging.sockets import until_done
try:
    with until_done() as context:
        half_made = context.socket(zmq.PUSH)
        context._sockets.discard(half_made)  # as when it was interrupted before the context came to know of it
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("interrupted")
"""


def test_the_context_ends_with_its_sockets() -> None:
    with until_done() as context:
        socket = context.socket(zmq.PUSH)

    assert socket.closed
    assert context.closed


def test_so_it_does_when_something_fails() -> None:
    with pytest.raises(ValueError, match="wrong"), until_done() as context:
        raise ValueError("wrong")

    assert context.closed


def test_after_ctrl_c_nothing_waits_for_a_socket_that_nobody_holds() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "interrupted\n")


def test_a_socket_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    with until_done() as context:
        socket = context.socket(zmq.PULL)
        bind(socket, f"ipc://{path}", "source.endpoint")
        assert path.stat().st_mode & 0o777 == 0o600
        (tmp_path / "file").touch()
        assert (tmp_path / "file").stat().st_mode & 0o777 != 0o600, "and other files are as before"
