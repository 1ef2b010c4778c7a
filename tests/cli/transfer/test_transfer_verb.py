"""``streamer transfer`` as a process that is killed again and again."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamer.cli import main
from streamer.io.transfer.queue import Queue

KILLS = 10
SIZE = 12 * 2**20
OLD = 1e9
PATIENCE_S = 120.0


def make(folder: Path, number: int) -> None:
    path = folder / f"proposal-{number % 3}" / f"scan-{number}.nx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(np.random.default_rng(number).bytes(SIZE + number))
    os.utime(path, (OLD + number, OLD + number))


def tree(folder: Path) -> dict[str, str]:
    """The checksum of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def grown(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # it has just got its name
            continue
    return total


def test_killed_ten_times_it_copies_every_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target, queue = tmp_path / "source", tmp_path / "target", tmp_path / "queue.sqlite"
    source.mkdir()
    target.mkdir()
    moments = random.Random(4)
    words = [sys.executable, "-m", "streamer", "transfer", str(source), str(target), "--queue", str(queue)]
    for number in range(KILLS):
        make(source, 2 * number)
        make(source, 2 * number + 1)
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        wanted = grown(target) + moments.randrange(1, 2 * SIZE)
        deadline = time.monotonic() + PATIENCE_S
        while grown(target) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.kill()
        assert process.wait() == -9
    done = subprocess.run([*words, "--once"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tree(target) == tree(source)
    assert len(tree(source)) == 2 * KILLS
    table = Queue(queue)
    assert [entry.copies for entry in table.entries()] == [1] * 2 * KILLS
    table.close()
    arguments = ["transfer", str(source), str(target), "--queue", str(queue)]
    assert main([*arguments, "--status"]) == 0
    assert "20 files copied" in capsys.readouterr().out
    assert main([*arguments, "--sums"]) == 0
    sums = capsys.readouterr().out
    subprocess.run(["sha256sum", "-c", "--quiet", "-"], input=sums, text=True, cwd=target, check=True)


def test_sigterm_leaves_what_goes_on_next_time(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    make(source, 1)
    words = [sys.executable, "-m", "streamer", "transfer", str(source), str(target), "--queue", str(tmp_path / "queue")]
    process = subprocess.Popen([*words, "--log-format", "json"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "SHA-256" in process.stderr.readline()
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    process.stderr.close()
    assert tree(target) == tree(source)


def test_a_target_that_is_not_there_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", str(tmp_path), str(tmp_path / "gone"), "--queue", str(tmp_path / "queue"), "--once"]) == 2
    assert "is it mounted?" in capsys.readouterr().err
