"""``streamer recover`` on what crashes leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.cli import main
from streamer.io.raw.nxtomo import NXtomoFile
from tests.io.helpers import SPEC, STARTED
from tests.io.raw.test_segments import N, assert_holds, closed, crashed, scribble


def test_a_crashed_scan_becomes_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crashed(tmp_path / "a.nx", range(20))
    crashed(tmp_path / "a+1.nx", range(18, 30))
    assert main(["recover", str(tmp_path / "a.nx")]) == 0
    assert "30 frames are right in 2 segments; 0 are lost" in capsys.readouterr().out
    assert_holds(tmp_path / "a.nx", range(30), "incomplete", missing=range(30, N))


def test_a_folder_of_scans_is_recovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crashed(tmp_path / "a.nx", range(20))
    crashed(tmp_path / "b.nx", range(N))
    closed(tmp_path / "a+1.nx", range(20, N))
    closed(tmp_path / "c.nx", range(N))
    assert main(["recover", *map(str, sorted(tmp_path.iterdir()))]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for name in ("a.nx", "b.nx", "c.nx"):
        assert_holds(tmp_path / name, range(N), "complete")


def test_damaged_frames_are_named_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scribble(closed(tmp_path / "a.nx", range(N)), 3)
    assert main(["recover", str(tmp_path / "a.nx")]) == 1
    captured = capsys.readouterr()
    assert "a.nx: damaged frames: 1" in captured.out
    assert captured.err.startswith("streamer recover: damaged or lost frames: 1")
    assert_holds(tmp_path / "a.nx", [*range(3), *range(4, N)], "incomplete", lost=[3])


def test_a_running_scan_and_nothing_at_all_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
    assert main(["recover", str(tmp_path / "a.nx")]) == 2
    assert "is still being written" in capsys.readouterr().err
    file.close("aborted", 0)
    assert main(["recover", str(tmp_path / "none.nx")]) == 2
