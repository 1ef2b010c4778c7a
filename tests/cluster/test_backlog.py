"""``streamer reconstruct FOLDER``: on both engines, with scans that fail, and cut short."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.cluster.backlog import scans_of
from streamer.frames import BadInput
from streamer.io.tomogram import read_tomogram
from tests.cli.test_reconstruct import half_turn_scan, write
from tests.cluster.cluster_rig import eventually


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("recorded") / "scan.h5", *half_turn_scan())


def folder_of(recorded: Path, folder: Path, *names: str) -> Path:
    for name in names:
        shutil.copy(recorded, folder / name)
    return folder


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_each_scan_becomes_what_it_would_alone_and_one_that_fails_stops_none(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    folder = folder_of(recorded, tmp_path, "a.h5", "c.nx")
    (folder / "b.h5").write_text("not a file of HDF5")
    options = ["--engine", engine, "--jobs", "2", "--threads", "1", "--tilt", "off"]
    told = tmp_path / "told.json"
    assert main(["reconstruct", str(folder), *options, "--json", str(told)]) == 1
    said = capsys.readouterr()
    assert said.out == "3 scans: 2 done, 1 failed\n"
    lines = [line for line in said.err.splitlines() if not line.startswith("reconstructing")]
    assert len(lines) == 3
    assert sorted(line.split(" in ")[0] for line in lines) == ["a.h5: done", "b.h5: failed", "c.nx: done"]
    assert any("b.h5: not a readable HDF5 file" in line for line in lines)
    states = {Path(one["scan"]).name: one["state"] for one in json.loads(told.read_text())}
    assert states == {"a.h5": "done", "b.h5": "failed", "c.nx": "done"}
    alone = tmp_path / "alone.out.h5"
    assert main(["reconstruct", str(recorded), "-o", str(alone), "--threads", "1", "--tilt", "off"]) == 0
    for name in ("a", "c"):
        np.testing.assert_array_equal(read_tomogram(folder / f"{name}.tomogram.h5").data, read_tomogram(alone).data)


def test_what_is_there_is_not_made_again(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(recorded, tmp_path, "a.h5", "b.h5")
    (folder / "a.tomogram.h5").write_text("somebody's tomogram")
    assert main(["reconstruct", str(folder), "--threads", "1"]) == 0
    assert capsys.readouterr().out == "2 scans: 1 done, 1 had a tomogram\n"
    assert (folder / "a.tomogram.h5").read_text() == "somebody's tomogram"
    assert main(["reconstruct", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out == "2 scans: 2 had a tomogram\n"
    assert "a.h5: there, it has a tomogram" in said.err


def test_tomograms_may_lie_elsewhere(recorded: Path, tmp_path: Path) -> None:
    scans, results = tmp_path / "scans", tmp_path / "results"
    scans.mkdir()
    folder_of(recorded, scans, "a.h5")
    assert main(["reconstruct", str(scans), "-o", str(results)]) == 2
    results.mkdir()
    assert main(["reconstruct", str(scans), "-o", str(results), "--threads", "1", "--rows", "2:4"]) == 0
    assert read_tomogram(results / "a.tomogram.h5").data.shape[0] == 2  # options are those of one scan
    assert [path.name for path in scans.iterdir()] == ["a.h5"]


def test_ctrl_c_leaves_nothing_half_written_and_the_rest_is_done_next_time(recorded: Path, tmp_path: Path) -> None:
    names = [f"{letter}.h5" for letter in "abcdefghijkl"]
    folder = folder_of(recorded, tmp_path, *names)
    command = [sys.executable, "-m", "streamer", "reconstruct", str(folder), "--threads", "1"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    eventually(lambda: list(folder.glob("*.tomogram.h5")), "one is done")
    time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert errors.decode().splitlines()[-1] == "streamer reconstruct: interrupted"
    assert not list(folder.glob("*.partial.h5"))
    done = len(list(folder.glob("*.tomogram.h5")))
    assert 0 < done < len(names)
    for path in folder.glob("*.tomogram.h5"):
        assert read_tomogram(path).status == "complete"


def test_a_process_that_is_killed_is_one_scan_that_failed_and_the_next_is_done(recorded: Path, tmp_path: Path) -> None:
    folder = folder_of(recorded, tmp_path, "a.h5", "b.h5")
    long = ["--method", "tv", "--iterations", "300"]
    command = [sys.executable, "-m", "streamer", "reconstruct", str(folder), "--threads", "1", *long]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    job = eventually(lambda: jobs_of(running.pid), "the first one runs")[0]
    os.kill(job, signal.SIGKILL)
    out, errors = running.communicate(timeout=200)
    assert running.returncode == 1
    assert out.decode() == "2 scans: 1 done, 1 failed\n"
    assert errors.decode().count("its process was killed; perhaps it had no memory") == 1


def jobs_of(pid: int) -> list[int]:
    """Processes that the nursery of a command has forked."""
    found = []
    for child in children(pid):
        found += [grandchild for grandchild in children(child) if state(grandchild) != b"Z"]
    return found


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def state(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return b"Z"


class TestWhatIsAScan:
    def test_segments_tomograms_and_half_written_files_are_none(self, tmp_path: Path) -> None:
        for name in ("b.nx", "a.h5", "b+0.nx", "b.tomogram.h5", "c.partial.h5", "notes.txt", "d.nxs", "e.hdf5"):
            (tmp_path / name).touch()
        (tmp_path / "f.nx").mkdir()
        found = scans_of(tmp_path, tmp_path / "out")
        assert [scan.path.name for scan in found] == ["a.h5", "b.nx", "d.nxs", "e.hdf5"]
        assert found[1].output == tmp_path / "out" / "b.tomogram.h5"
        assert {scan.state for scan in found} == {"waiting"}
        assert {scan.path.name: scan.state for scan in scans_of(tmp_path, tmp_path)}["b.nx"] == "there"

    def test_two_that_would_have_one_name_are_refused(self, tmp_path: Path) -> None:
        for name in ("a.h5", "a.nx"):
            (tmp_path / name).touch()
        with pytest.raises(BadInput, match=r"a\.nx and .*a\.h5: both would become a\.tomogram\.h5"):
            scans_of(tmp_path, tmp_path)

    def test_a_folder_without_one_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "notes.txt").touch()
        assert main(["reconstruct", str(tmp_path)]) == 2
        assert "holds no scan (*.nx, *.nxs, *.h5, *.hdf5)" in capsys.readouterr().err

    def test_a_picture_is_of_one_scan(self, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder_of(recorded, tmp_path, "a.h5")
        assert main(["reconstruct", str(tmp_path), "--png", str(tmp_path / "a.png")]) == 2
        assert "--png: is for one scan" in capsys.readouterr().err

    def test_one_scan_needs_the_name_of_its_tomogram(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reconstruct", str(recorded)]) == 2
        assert "-o: say which file the tomogram is to be" in capsys.readouterr().err
