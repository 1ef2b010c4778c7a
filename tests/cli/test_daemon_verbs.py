"""``run``, ``check``, ``status`` and ``replay`` with a daemon that is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.rig.processes import ANYWHERE, START_S, ManagedProcess, start_daemon
from streamer.client import Link
from streamer.flow.wire.daemon import Arm, GetStatus
from streamer.frames import ScanSpec

ROWS, COLUMNS, PROJECTIONS = 6, 32, 40


def recorded(path: Path) -> Path:
    """A disc in counts, DXchange. With noise: frames that are all the same are taken for a camera that froze."""
    rng = np.random.default_rng(8)
    across = np.sqrt(np.clip(100.0 - (np.arange(COLUMNS) - 15.5) ** 2, 0, None))
    disc = np.tile(np.exp(-0.05 * across), (ROWS, 1))
    with h5py.File(path, "w") as file:
        file["exchange/data"] = rng.poisson(1000 * disc, (PROJECTIONS, ROWS, COLUMNS)).astype("<u2")
        file["exchange/data_white"] = rng.poisson(1000.0, (3, ROWS, COLUMNS)).astype("<u2")
        file["exchange/data_dark"] = np.zeros((2, ROWS, COLUMNS), "<u2")
        file["exchange/theta"] = np.arange(PROJECTIONS) * 180.0 / PROJECTIONS
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("scan") / "disc.h5")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    process = start_daemon(
        folder,
        source={"endpoint": ANYWHERE, "bind": True},
        writer={"directory": folder / "data", "reserve_mb": 0},
    )
    process.wait_ready()
    yield process
    process.stop(timeout_s=60)


def status(daemon: ManagedProcess, folder: Path) -> dict[str, Any]:
    """What ``status --json`` writes."""
    path = folder / "status.json"
    assert main(["status", daemon.endpoints["control"], "--json", str(path)]) == 0
    reply: dict[str, Any] = json.loads(path.read_text())
    return reply


def replayed(daemon: ManagedProcess, scan: Path, folder: Path, *options: str) -> dict[str, Any]:
    """The report of the scan that a replay became, once it is over."""
    assert main([*replay(daemon, scan), *options]) == 0
    report: dict[str, Any] = status(daemon, folder)["scan"]
    return report


def replay(daemon: ManagedProcess, scan: Path) -> list[str]:
    source, control = daemon.endpoints["source"], daemon.endpoints["control"]
    return ["replay", str(scan), "--to", source, "--connect", "--control", control]


def test_an_idle_daemon_is_shown(daemon: ManagedProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", daemon.endpoints["control"]]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("streamer ")
    assert ", backend numba: " in first
    for name in ("control", "events", "metrics", "preview", "source"):
        assert any(line.split() == [name, daemon.endpoints[name]] for line in lines)
    assert any(" slots in use" in line for line in lines)


def test_a_replayed_scan_becomes_a_tomogram_and_a_status(
    daemon: ManagedProcess, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = replayed(daemon, scan, tmp_path, "--scan-id", "first")
    frames = report["frames"]
    assert (frames["received"], frames["expected"], frames["missing"], frames["corrupt"]) == (45, 45, 0, 0)
    told = capsys.readouterr()
    assert f"45 frames of {scan} sent to {daemon.endpoints['source']}\n" in told.out
    assert "replaying disc.h5: 45 of 45" in told.err
    assert "scan     first of disc: complete" in told.out
    assert "45 of 45 frames, 0 missing, 0 duplicate, 0 late, 0 corrupt; 45 written" in told.out
    assert f"verdict  {report['verdict']}: " in told.out
    with h5py.File(report["tomogram_file"]) as file:
        assert file["entry/data/data"].shape == (ROWS, COLUMNS, COLUMNS)


def test_each_replay_is_a_scan_of_its_own(daemon: ManagedProcess, scan: Path, tmp_path: Path) -> None:
    seen = {replayed(daemon, scan, tmp_path, "--rate", "1000")["scan_id"] for _ in range(2)}
    assert len(seen) == 2
    assert all(name.startswith("replay-") for name in seen)


def test_the_newest_scan_of_a_folder_is_replayed_with_the_pauses_that_it_had(
    daemon: ManagedProcess, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = replayed(daemon, scan, tmp_path)
    with h5py.File(first["raw_file"], "r+") as raw:
        stamps = raw["entry/instrument/detector/timestamp"]
        stamps[:] = 10**9 + 20_000_000 * np.arange(len(stamps))
    began = time.monotonic()
    second = replayed(daemon, Path(first["raw_file"]).parent, tmp_path, "--as-recorded")
    assert time.monotonic() - began >= 0.02 * (second["frames"]["received"] - 1)
    assert "note: the newest scan of" in capsys.readouterr().out
    assert second["frames"]["received"] == first["frames"]["received"]


def test_a_file_that_lacks_projections_becomes_a_scan_that_lacks_them(
    daemon: ManagedProcess, scan: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hole.h5"
    with h5py.File(scan) as whole, h5py.File(path, "w") as file:
        kept = np.setdiff1d(np.arange(PROJECTIONS), [10, 11, 20])
        for name in ("data", "theta"):
            file[f"exchange/{name}"] = whole[f"exchange/{name}"][()][kept]
        for name in ("data_white", "data_dark"):
            file[f"exchange/{name}"] = whole[f"exchange/{name}"][()]
    report = replayed(daemon, path, tmp_path)
    frames = report["frames"]
    assert (report["state"], frames["received"], frames["expected"]) == ("incomplete", 42, 45)
    assert (frames["missing_projections"], frames["missing_flats"]) == (3, 0)
    with h5py.File(report["raw_file"]) as raw:
        assert raw["entry/streamer/missing_frames"][()].tolist() == [15, 16, 25]
        metadata = json.loads(raw["entry/streamer/spec"].asstr()[()])["metadata"]
    assert metadata == {"replayed": "hole.h5", "notes": "/exchange/theta has no unit: degrees assumed"}


def test_replays_one_after_the_other_are_all_taken(
    daemon: ManagedProcess, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"row-{number}" for number in range(3)]
    assert [main([*replay(daemon, scan), "--scan-id", name]) for name in names] == [0, 0, 0]
    told = capsys.readouterr().out
    assert all(f"scan {name} is complete, " in told for name in names)


def test_a_replay_that_the_daemon_does_not_take_fails(
    daemon: ManagedProcess, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*replay(daemon, scan), "--scan-id", "twice"]
    assert main(words) == 0
    assert main(words) == 2
    assert "refused 'arm': scan id 'twice' was used before" in capsys.readouterr().err


def test_a_replay_fails_when_its_scan_is_not_complete(
    daemon: ManagedProcess, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    control, codes = daemon.endpoints["control"], list[int]()
    words = [*replay(daemon, scan), "--scan-id", "cut", "--rate", "20"]
    replaying = threading.Thread(target=lambda: codes.append(main(words)))
    replaying.start()
    with Link(control, "the daemon") as link:
        while (report := link.ask(GetStatus("cut")).scan) is None or not report.frames.received:
            time.sleep(0.01)
    assert main(["abort", control, "--scan-id", "cut", "--reason", "tea"]) == 0
    replaying.join()
    assert codes == [1]
    told = capsys.readouterr()
    assert "scan cut is aborted, " in told.out
    assert "frames are in the daemon's file; tea" in told.err


def test_a_scan_is_aborted_from_the_command_line(daemon: ManagedProcess, capsys: pytest.CaptureFixture[str]) -> None:
    control = daemon.endpoints["control"]
    with Link(control, "the daemon") as link:
        link.ask(Arm(ScanSpec("unwanted", "s", rows=8, columns=16, projections=4)))
    assert main(["abort", control, "--reason", "tea"]) == 0
    assert "scan unwanted is aborted: 0 frames are in " in capsys.readouterr().out
    assert main(["abort", control]) == 0
    assert capsys.readouterr().out == "no scan is armed or running\n"
    assert main(["abort", control, "--scan-id", "never"]) == 2
    assert "scan 'never' is not armed or running" in capsys.readouterr().err


def test_a_reconstruction_of_the_raw_file_is_the_daemons(daemon: ManagedProcess, scan: Path, tmp_path: Path) -> None:
    report = replayed(daemon, scan, tmp_path, "--scan-id", "again")
    out = tmp_path / "out.h5"
    assert main(["reconstruct", report["raw_file"], "-o", str(out)]) == 0
    with h5py.File(out) as ours, h5py.File(report["tomogram_file"]) as theirs:
        here, there = (file["entry/data/data"][()] for file in (ours, theirs))
    np.testing.assert_allclose(here, there, atol=1e-5 * np.abs(there).max())


def test_check_names_the_ports_that_the_daemon_has(
    daemon: ManagedProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'control.endpoint = "{daemon.endpoints["control"]}"\ncontrol.events = "{ANYWHERE}"\n'
        f'preview.endpoint = "{ANYWHERE}"\nmetrics.port = 0\nwriter.directory = "{tmp_path}/new/data"\n'
    )
    assert main(["check", str(config)]) == 2
    told = capsys.readouterr()
    assert f"control.endpoint {daemon.endpoints['control']}: taken" in told.out
    assert "GiB free" in told.out
    assert told.err == "streamer check: some ports are taken; is a daemon running already?\n"
    assert not (tmp_path / "new").exists()


def test_check_of_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'control = {{ endpoint = "{ANYWHERE}", events = "ipc://{tmp_path}/events" }}\nreconstruction.threads = 1\n'
        f'preview.endpoint = "{ANYWHERE}"\nmetrics.port = 0\nwriter.directory = "{tmp_path}/data"\n'
    )
    assert main(["check", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("backend numba with 1 threads")
    assert lines[-1] == "the configuration is good"


def test_a_scan_that_nobody_takes_is_given_up(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(scan), "--to", ANYWHERE, "--control", "none", "--timeout", "0.1"]) == 1
    told = capsys.readouterr()
    assert f"waiting for a daemon at {ANYWHERE}" in told.err
    assert told.err.splitlines()[-1].startswith("streamer replay: nobody took a frame for 0.1 s; start a daemon")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "0"], "--rate: give a number above 0, not '0'"),
        (["--timeout", "-1"], "--timeout: give a number from 0 to 1000000, not '-1'"),
        (["--to", "nowhere"], "--to: give an endpoint: tcp://HOST:PORT, ipc://PATH or pva://NAME, not 'nowhere'"),
        (["--scan-id", "a/b", "--to", ANYWHERE, "--control", "none"], "scan_id"),
        (["--control", "nowhere"], "--control: give none or an endpoint: tcp://HOST:PORT or ipc://PATH, not 'nowhere'"),
        (["--tiled", "beamline-7"], "--tiled beamline-7: give the address of a server"),
        (["--dialect", "klingon"], "--dialect: invalid choice: 'klingon'"),
        (["--dialect", "odin", "--socket", "pull"], "--socket: the dialect odin has sub, not pull"),
        (["--dialect", "odin", "--transport", "acknowledged"], "--transport: acknowledged is for the native dialect"),
        (
            ["--as-recorded", "--control", "none", "--to", ANYWHERE],
            "does not say when its frames were taken; give --rate",
        ),
        (["--as-recorded", "--rate", "5"], "--as-recorded: not together with --rate"),
    ],
)
def test_a_replay_that_makes_no_sense_is_one_line(
    scan: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(scan), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("streamer replay: ")
    assert said in line


def test_the_printed_configuration_is_the_effective_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("ring.max_slots = 7\npreparation.zingers = 8\n")
    monkeypatch.setenv("STREAMER_PREPARATION__STRIPES", "live")
    assert main(["run", str(config), "--print-config"]) == 0
    text = capsys.readouterr().out
    printed = tomllib.loads(text)
    assert printed["ring"] == {"memory_mb": 512.0, "max_slots": 7}
    assert (printed["preparation"]["zingers"], printed["preparation"]["stripes"]) == (8.0, "live")
    assert "max_slots = 7 # default: 512" in text


@pytest.fixture
def hangups_count() -> Iterator[None]:
    """Processes that are started heed SIGHUP, even where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_count")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_daemon_ends_cleanly_when_it_is_asked_to(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready.json"
    config = tmp_path / "c.toml"
    config.write_text(
        f'source = {{ endpoint = "{ANYWHERE}", bind = true }}\ncontrol = {{ endpoint = "{ANYWHERE}", '
        f'events = "{ANYWHERE}" }}\npreview.endpoint = "{ANYWHERE}"\nmetrics.port = 0\n'
        f'writer.directory = "{tmp_path}/data"\n'
    )
    words = ["-m", "streamer", "run", str(config), "--ready-file", str(ready), "-v"]
    daemon = ManagedProcess("daemon", words, tmp_path / "daemon.log", ready)
    try:
        daemon.wait_ready(START_S)
        daemon.stop(number, timeout_s=60)
        assert daemon.poll() == 0
        log = (tmp_path / "daemon.log").read_text()
        assert "listening: control tcp://" in log
        assert "Traceback" not in log
        assert not ready.exists()
    finally:
        daemon.stop(signal.SIGKILL)


def test_a_reconstruction_that_is_interrupted_leaves_no_tomogram(tmp_path: Path) -> None:
    scan = recorded(tmp_path / "disc.h5")
    words = ["-m", "streamer", "reconstruct", str(scan), "-o", str(tmp_path / "out.h5"), "--method", "tv"]
    command = [sys.executable, *words, "--iterations", "100000", "--strength", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("iterating"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "streamer reconstruct: interrupted"
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["disc.h5"]


def test_systemd_is_told_and_every_line_of_the_log_is_an_object(tmp_path: Path) -> None:
    """READY=1 comes once the kernels are loaded, STOPPING=1 before the end, and the watchdog is fed in between."""
    config = tmp_path / "lab.toml"
    sections = {"source": f'endpoint = "{ANYWHERE}"\nbind = true', "preview": f'endpoint = "{ANYWHERE}"'}
    sections["control"] = f'endpoint = "{ANYWHERE}"\nevents = "{ANYWHERE}"'
    sections |= {"metrics": "port = 0", "writer": f'directory = "{tmp_path}"\nreserve_mb = 0'}
    config.write_text("\n".join(f"[{name}]\n{text}" for name, text in sections.items()), encoding="utf-8")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(START_S)
        told: list[str] = []

        def hear(word: str) -> None:
            while not (told and word in told[-1].splitlines()):
                told.append(manager.recv(4096).decode())

        process = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", str(config), "--log-format", "json"],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.PIPE,
        )
        hear("READY=1")
        hear("WATCHDOG=1")
        assert any(line.startswith("STATUS=idle") for line in told[-1].splitlines())
        process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    entries = [json.loads(line) for line in errors.decode().splitlines()]
    assert any(entry["message"].startswith("listening: control tcp://127.0.0.1:") for entry in entries)
    assert {entry["level"] for entry in entries} == {"info"}
