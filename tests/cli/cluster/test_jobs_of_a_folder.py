"""``streamer reconstruct FOLDER`` with an engine in memory: who runs when and where, and what is told of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streamer.cli import main
from streamer.cli.cluster import backlog
from streamer.cli.cluster.job import unpack
from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput

POLLS = 3
"""Looks at a job until it is done."""


@dataclass
class Job:
    """See ``engine.Helper``: done after a few looks, as the engine says; or dead."""

    engine: MemoryEngine
    name: str
    args: dict[str, Any]
    gpu: int | None
    looks: int = 0
    left: bool = False
    ended: bool = False
    pid: int = 1

    @property
    def dead(self) -> bool:
        return self.engine.fates.get(self.name) == "killed"

    @property
    def is_ready(self) -> bool:
        self.looks += 1
        return self.looks >= POLLS and not self.dead

    @property
    def alive(self) -> bool:
        return not (self.looks >= POLLS and self.dead)

    def ready(self) -> Ready:
        if self.dead:
            raise BadInput("it ended as it started")
        fate = self.engine.fates.get(self.name, "")
        return Ready("", text=fate or "ENOUGH", failed=bool(fate))

    def leave(self) -> None:
        self.left = True

    def end(self, timeout_s: float) -> None:
        self.ended = True


@dataclass
class MemoryEngine:
    """See ``engine.Engine``. ``fates`` of scans by name: "unstarted", "killed", "interrupt", or why they fail."""

    gpus: int = 0
    fates: Mapping[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    reserved: list[tuple[int, int, int | None]] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    closed: bool = False

    def reserve(self, shards: int, spares: int, threads: int | None) -> None:
        self.reserved.append((shards, spares, threads))

    def start(self, program: str, setup: Setup, gpu: int | None = None, here: bool = False) -> Job:
        assert program == backlog.JOB
        args = unpack(setup.config)
        name = Path(str(args["scan"])).name
        if self.fates.get(name) == "unstarted":
            raise OSError("no process can be started")
        if self.fates.get(name) == "interrupt":
            raise KeyboardInterrupt
        self.jobs.append(Job(self, name, args, gpu))
        running = [job for job in self.jobs if not job.ended]
        self.at_once.append(len(running))
        assert gpu is None or [job.gpu for job in running].count(gpu) == 1
        return self.jobs[-1]

    def close(self) -> None:
        self.closed = True


def folder_of(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).touch()
    return ["reconstruct", str(folder)]


def using(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "Processes", lambda: engine)
    monkeypatch.setattr(backlog, "LOOK_S", 0.0)


def test_each_scan_is_told_with_how_it_went_and_json_is_alone_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MemoryEngine(fates={"b.nx": "b.nx: has no flats", "c.nx": "killed", "d.nx": "unstarted"})
    using(engine, monkeypatch)
    words = folder_of(tmp_path, "a.nx", "b.nx", "c.nx", "d.nx", "e.nx", "e.tomogram.h5", "f.nx")
    assert main([*words, "--jobs", "1", "--json", "-"]) == 1
    told = capsys.readouterr()
    entries = {Path(entry["scan"]).name: entry for entry in json.loads(told.out)}
    assert {name: entry["state"] for name, entry in entries.items()} == {
        "a.nx": "done", "b.nx": "failed", "c.nx": "failed", "d.nx": "failed", "e.nx": "there", "f.nx": "done",
    }  # fmt: skip
    assert (entries["a.nx"]["text"], entries["b.nx"]["text"]) == ("ENOUGH", "b.nx: has no flats")
    assert entries["c.nx"]["text"].startswith("its process was killed; perhaps it had no memory")
    assert entries["d.nx"]["text"] == "no process can be started"
    assert entries["f.nx"]["output"] == str(tmp_path / "f.tomogram.h5")
    lines = told.err.splitlines()
    assert lines[0] == "e.nx: there, it has a tomogram"
    assert "6 scans: 2 done, 1 had a tomogram, 3 failed" in lines
    assert "reconstructing: 6 of 6" in lines
    assert engine.closed
    assert all(job.ended and job.args["json"] is None for job in engine.jobs)  # the file is that of the folder


def test_no_more_run_at_a_time_than_there_are_gpus_and_each_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MemoryEngine(gpus=2)
    using(engine, monkeypatch)
    words = folder_of(tmp_path, *(f"{number}.nx" for number in range(5)))
    assert main([*words, "--threads", "3", "--center", "31.5"]) == 0
    assert [job.name for job in engine.jobs] == [f"{number}.nx" for number in range(5)]
    assert max(engine.at_once) == 2
    assert {job.gpu for job in engine.jobs} == {0, 1}
    assert engine.reserved == [(2, 0, 3)]
    for job in engine.jobs:
        assert (job.args["threads"], job.args["center"]) == (3, 31.5)
        assert job.args["output"] == tmp_path / job.name.replace(".nx", ".tomogram.h5")


def test_there_are_no_more_places_than_scans_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MemoryEngine()
    using(engine, monkeypatch)
    words = folder_of(tmp_path, "a.nx", "a.tomogram.h5", "b.nx")
    assert main([*words, "--jobs", "8", "--threads", "1"]) == 0
    assert (engine.reserved, [job.name for job in engine.jobs]) == ([(1, 0, 1)], ["b.nx"])
    (tmp_path / "b.tomogram.h5").touch()
    engine.reserved.clear()
    assert main([*words, "--jobs", "8"]) == 0
    assert engine.reserved == []  # nothing to do: no place is asked for


def test_those_that_run_are_ended_on_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MemoryEngine(fates={"c.nx": "interrupt"})
    using(engine, monkeypatch)
    assert main([*folder_of(tmp_path, "a.nx", "b.nx", "c.nx"), "--jobs", "3"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "streamer reconstruct: interrupted"
    assert [(job.name, job.left, job.ended) for job in engine.jobs] == [("a.nx", True, True), ("b.nx", True, True)]
    assert engine.closed
