"""``streamer tee`` as a process: from start to Ctrl-C, with its metrics; and arguments that make no sense."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import zmq

from streamer.cli import main


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_hands_on_until_it_is_interrupted_and_says_what_became_of_the_messages(number: signal.Signals) -> None:
    port = free_port()
    words = ["tee", "tcp://127.0.0.1:*", "--bind", "--to", "tcp://127.0.0.1:*", "--to", "tcp://127.0.0.1:*"]
    command = [sys.executable, "-m", "streamer", *words, "--rows", "0:4", "--metrics", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        source, first, second = re.findall(r"tcp://[\d.:]+", process.stdout.readline())
        with zmq.Context() as context, context.socket(zmq.PUSH) as detector, context.socket(zmq.PULL) as receiver:
            detector.connect(source)
            receiver.connect(first)
            receiver.setsockopt(zmq.RCVTIMEO, 100_000)
            for text in (b"one", b"two"):
                detector.send_multipart([text, b"more"])
                assert receiver.recv_multipart() == [text, b"more"]
            deadline = time.monotonic() + 100
            while True:  # the tee counts a message just after the receiver may have it
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                    page = answer.read().decode()
                if f'streamer_tee_sent_total{{to="{first}"}} 2.0' in page:
                    break
                assert time.monotonic() < deadline, page
        assert "streamer_tee_received_total 2.0" in page
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(100) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    assert rest.splitlines()[:2] == ["2 messages received", f"{first}: 2 sent, 0 dropped"]
    assert rest.splitlines()[2].startswith(f"{second}, rows 0:4: 0 sent, 0 dropped, 2 could not be cut (")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tcp://a:1"], "--to: give a socket for each receiver"),
        (["tcp://a:1", "--rows", "0:4"], "--rows: belongs to the --to before it"),
        (["tcp://a:1", "--to", "tcp://*:1", "--rows", "4"], "--rows: give the first row and the one behind the last"),
        (["tcp://a:1", "--to", "tcp://*:1", "--rows", "4:4"], "rows 4:4: give the first row"),
        (["tcp://a:1", "--to", "tcp://*:1", "--high-water-mark", "0"], "--high-water-mark: give a whole number"),
        (["nonsense", "--to", "tcp://127.0.0.1:*"], "SOURCE nonsense"),
    ],
)
def test_arguments_that_make_no_sense_name_the_way_out(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tee", *words]) == 2
    assert text in capsys.readouterr().err
