"""Lines that fit a terminal, on a real one (a pseudo-terminal)."""

import io
import os
import pty
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from streamer.cli import VERBS, main
from streamer.cli.terminal.words import columns_of, folded

LONG = "  verdict   RETAKE: motion: the sample moved by 2.5 px during the scan (limit 0.25); fix it, and scan again"


def test_a_line_breaks_between_words_and_goes_on_below_its_beginning() -> None:
    lines = folded(LONG, 12, columns=60).split("\n")
    assert len(lines) in (2, 3)
    assert all(len(line) <= 60 for line in lines)
    assert all(line.startswith(" " * 12) and line[12] != " " for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(LONG.split())


def test_what_is_no_terminal_gets_the_line_as_it_is() -> None:
    assert folded(LONG, columns=None) == LONG
    assert folded(LONG, columns=4) == LONG
    assert columns_of(io.StringIO()) is None


def test_a_path_is_never_broken() -> None:
    path = "/data/" + "a-long-name/" * 12
    assert path in folded(f"raw file {path}", columns=40).split()


def on_a_terminal(*words: str, columns: int = 80) -> list[str]:
    """What ``streamer`` writes to a terminal."""
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-m", "streamer", *words], stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(master)
    process.wait(30)
    return said.decode().splitlines()


def test_an_error_is_folded_on_a_terminal(tmp_path: Path) -> None:
    missing = tmp_path / "no-such-scan.nx"
    lines = on_a_terminal("report", str(missing), columns=40)
    assert lines[0] == "streamer report:"
    assert f"  {missing}:" in lines
    assert " ".join(lines).endswith("(no such   file)")


@pytest.mark.parametrize("verb", VERBS)
def test_help_keeps_its_tables(verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    if verb == "view":
        assert "  D               what the detector sees: raw frame, projection, sinogram" in lines
    if verb == "export":
        assert "  bigtiff   one OME-BigTIFF: Fiji (Bio-Formats), QuPath" in lines


def test_several_files_where_one_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "one.nx", "two.nx"]) == 2
    assert capsys.readouterr().err.startswith("streamer report: one argument too many: two.nx; does a * stand for")
