"""Progress: plain lines for a log, a bar for a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from streamer.cli.terminal.progress import Progress

SHOW = """
from streamer.cli.terminal.progress import Progress
with Progress("reading", 20) as progress:
    for done in range(21):
        progress.at(done, f"{done} of them")
    progress.say("a [line]")
    progress.begin("writing", 3)
    progress.at(3)
"""


def test_a_line_is_written_for_each_part_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 200, parts=4) as progress:
        for done in range(201):
            progress.at(done, f"{done} Hz" if done else "")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "reading: 0 of 200",
        "reading: 50 of 200 50 Hz",
        "reading: 100 of 200 100 Hz",
        "reading: 150 of 200 150 Hz",
        "reading: 200 of 200 200 Hz",
    ]


def test_nothing_is_shown_before_the_work_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(parts=2) as progress:
        progress.say("[bold] is no markup, and 7 is no colour")
        assert capsys.readouterr().err == "[bold] is no markup, and 7 is no colour\n"
        progress.begin("first", 2)
        progress.at(2)
        progress.begin("second", 0)
        progress.at(0)
        progress.at(5)
    assert capsys.readouterr().err.splitlines() == ["first: 2 of 2", "second: 0 of 1", "second: 5 of 1"]


def test_on_a_terminal_there_is_a_bar() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", SHOW], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += part
        assert process.wait(100) == 0
    os.close(ours)
    text = shown.decode()
    assert "━━━" in text
    assert "reading" in text
    assert "a [line]" in text
    assert "writing" in text
    assert "3/3" in text
    assert "reading: " not in text
