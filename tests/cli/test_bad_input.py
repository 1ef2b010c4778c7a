"""What a user can get wrong: one clear line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli import main


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that the command leaves on stderr."""
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    last = lines[-1]
    assert last.startswith(f"streamer {words[0]}: ")
    assert "Traceback" not in "".join(lines)
    return last


def test_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[ring]\nmemory = 5\n")
    for verb in ("check", "run"):
        line = complaint(capsys, verb, str(config))
        assert "ring.memory" in line
        assert "memory_mb" in line


def test_unknown_limit_and_wrong_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text("limits.max_motion = 2\n")
    assert "max_motion_px" in complaint(capsys, "check", str(config))
    config.write_text("limits.min_coverage = nan\n")
    assert "min_coverage" in complaint(capsys, "check", str(config))
    config.write_text("metrics.port = 'x'\n")
    assert "metrics.port" in complaint(capsys, "check", str(config))


def test_not_toml_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text("][")
    assert "not valid TOML" in complaint(capsys, "run", str(config))
    assert "cannot be read" in complaint(capsys, "run", str(tmp_path / "none.toml"))


def test_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "c.toml"
        config.write_text(
            f'control.endpoint = "tcp://127.0.0.1:{port}"\ncontrol.events = "tcp://127.0.0.1:*"\n'
            f'preview.endpoint = "tcp://127.0.0.1:*"\nmetrics.port = 0\nwriter.directory = "{tmp_path}"\n'
        )
        for verb in ("check", "run"):
            assert re.search(r"taken|in use", complaint(capsys, verb, str(config)))


def test_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    (tmp_path / "file").write_text("")
    config.write_text(f'writer.directory = "{tmp_path}/file/data"\n')
    assert f"{tmp_path}/file/data" in complaint(capsys, "run", str(config))
    assert f"{tmp_path}/file" in complaint(capsys, "demo", "--out", f"{tmp_path}/file/demo")


def test_folder_too_full_for_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(
        capsys, "demo", "--out", str(tmp_path), "--size", "4096", "--projections", "100000", "--samples", "100"
    )
    assert "GB free" in line


def test_zero_projections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--projections: give" in complaint(capsys, "demo", "--out", str(tmp_path), "--projections", "0")


def test_backend_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "cupy" in sys.modules:
        pytest.fail("CuPy was imported by something that should not")
    config = tmp_path / "c.toml"
    config.write_text(f'reconstruction.backend = "cupy"\nwriter.directory = "{tmp_path}"\n')
    assert "cupy" in complaint(capsys, "run", str(config))


def test_reconstruct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "o.h5")
    assert "none.nx" in complaint(capsys, "reconstruct", str(tmp_path / "none.nx"), "-o", out)
    junk = tmp_path / "junk.h5"
    junk.write_bytes(os.urandom(1000))
    assert "junk.h5" in complaint(capsys, "reconstruct", str(junk), "-o", out)
    scan = tmp_path / "scan.h5"
    with h5py.File(scan, "w") as file:
        file["exchange/data"] = np.ones((4, 3, 8), "<u2")
    assert "scan.h5" in complaint(capsys, "reconstruct", str(scan), "-o", out)
    with h5py.File(scan, "a") as file:
        file["exchange/theta"] = np.arange(4.0) * 45
    assert "--rows" in complaint(capsys, "reconstruct", str(scan), "-o", out, "--rows", "2:9")
    assert "--center" in complaint(capsys, "reconstruct", str(scan), "-o", out, "--center", "left")
    with h5py.File(scan, "a") as file:
        file["exchange/data_white"] = np.ones((2, 3, 9), "<u2")
    assert "scan.h5" in complaint(capsys, "reconstruct", str(scan), "-o", out)
    assert not Path(out).exists()


def test_nobody_at_the_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, "status", "tcp://127.0.0.1:1", "--timeout", "0.2")
    assert "is it running, and does it want a key?" in line
    assert "tcp" in complaint(capsys, "status", "nonsense")


def test_a_port_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    for port in ("x", "99999"):
        config.write_text(f'control.endpoint = "tcp://127.0.0.1:{port}"\nwriter.directory = "{tmp_path}"\n')
        assert (
            f"control.endpoint: give an endpoint: tcp://HOST:PORT or ipc://PATH, not 'tcp://127.0.0.1:{port}'"
            in complaint(capsys, "check", str(config))
        )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--to", "tcp://127.0.0.1:1"], "--to: pva://NAME of a PV"),
        (["--to", "pva://cam:1", "--control", "none"], "--control none: a PV drops what nobody takes in time"),
        (["--to", "pva://cam:1", "--connect"], "--connect: a PV is served"),
        (["--to", "pva://cam:1", "--socket", "sub"], "--socket: the dialect pva has pva, not sub"),
    ],
)
def test_a_pv_that_cannot_be_served(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in complaint(capsys, "replay", "scan.nx", "--dialect", "pva", *words)
