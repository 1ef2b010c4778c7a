"""Files that the user asks for: nothing is lost by a wrong name, and what cannot be written is one line."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.terminal.outputs import OutputError, check_outputs, json_alone, write_json
from streamer.frames import BadInput


def small_scan(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((8, 2, 16), 100, "<u2")
        file["exchange/theta"] = np.arange(8) * 22.5
    return path


def test_outputs_need_a_folder_and_names_of_their_own(tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    scan.touch()
    (tmp_path / "link.png").symlink_to(scan)
    check_outputs({"--png": tmp_path / "a.png", "--json": None}, [scan])
    for outputs, said in (
        ({"--json": tmp_path / "none" / "a.json"}, "there is no folder"),
        ({"--json": tmp_path}, "is a folder"),
        ({"--json": tmp_path / "scan.h5"}, "is the file that is read as well"),
        ({"--png": tmp_path / "link.png"}, "is the file that is read as well"),
        ({"-o": tmp_path / "a", "--png": tmp_path / "b" / ".." / "a"}, "there is no folder"),
        ({"-o": tmp_path / "a", "--json": tmp_path / "." / "a"}, "is that of -o as well"),
    ):
        with pytest.raises(BadInput, match=said):
            check_outputs(outputs, [scan])


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^--json /dev/full: cannot be written \(no space left on device\)$"):
        write_json(Path("/dev/full"), {"a": 1})
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    write_json(None, {})


def test_the_scan_is_not_overwritten_by_a_picture_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = small_scan(tmp_path / "scan.h5")
    before = scan.read_bytes()
    monkeypatch.chdir(tmp_path)
    for option in ("--png", "--json"):
        assert main(["reconstruct", str(scan), "-o", str(tmp_path / "o.h5"), option, "scan.h5"]) == 2
        assert "is the file that is read" in capsys.readouterr().err
    assert scan.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]


def test_the_tomogram_is_kept_when_the_picture_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = small_scan(tmp_path / "scan.h5")
    assert main(["reconstruct", str(scan), "-o", str(tmp_path / "o.h5"), "--json", "/proc/none.json"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("streamer reconstruct: --json /proc/none.json: cannot be written")
    assert "o.h5: 2×16×16" in told.out
    assert (tmp_path / "o.h5").exists()


def test_a_dash_is_stdout_and_has_it_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_outputs({"--json": Path("-")})
    with json_alone(Path("-")):
        print("words for people")
        write_json(Path("-"), {"a": 1})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"a": 1}
    assert said.err == "words for people\n"
    with json_alone(tmp_path / "a.json"):
        print("words for people")
    assert capsys.readouterr().out == "words for people\n"
