"""The producer in C of the examples, where there is a compiler and libzmq."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli.rig.processes import ANYWHERE, start_daemon
from tests.io.sources.receiving_daemon import Disk, Sink, receiving
from tests.io.sources.test_acknowledged_transport import eventually
from tests.paths import ROOT

SOURCE = ROOT / "examples" / "c" / "producer.c"
ROWS, COLUMNS, DARKS, FRAMES = 16, 32, 2, 29
PATIENCE_S = 200.0


@pytest.fixture(scope="module")
def producer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("c") / "producer"
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler here")
    probe = subprocess.run(["cc", "-E", "-"], input=b"#include <zmq.h>\n", capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("the headers of libzmq are not installed here")
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]
    subprocess.run(["cc", *strict, str(SOURCE), "-lzmq", "-o", str(program)], check=True)
    return program


def pixels_of(index: int) -> np.ndarray:
    row = 1000 * (index >= DARKS) + 10 * index + np.arange(COLUMNS)
    return np.broadcast_to(row, (ROWS, COLUMNS)).astype("<u2")


def test_its_scan_is_in_the_raw_file_when_it_ends(producer: Path, tmp_path: Path) -> None:
    source = {"endpoint": ANYWHERE, "bind": True, "transport": "acknowledged"}
    daemon = start_daemon(tmp_path, source=source, writer={"directory": tmp_path / "data", "reserve_mb": 0})
    try:
        endpoint = daemon.wait_ready()["source"]
        done = subprocess.run([producer, endpoint, "from-c"], capture_output=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode, done.stdout) == (0, b"29 frames are safe\n")
        with h5py.File(tmp_path / "data" / "from-c.nx") as file:  # it is closed: the end of a scan is safe, too
            assert file["entry/streamer/status"].asstr()[()] == "complete"
            detector = file["entry/instrument/detector"]
            assert detector["sequence_number"][()].tolist() == list(range(FRAMES))
            np.testing.assert_array_equal(detector["data"], [pixels_of(index) for index in range(FRAMES)])
            assert file["entry/sample/rotation_angle"][-1] == pytest.approx(180 * 23 / 24)
    finally:
        daemon.stop(timeout_s=60)


def test_a_daemon_that_dies_gets_again_what_it_had_not_flushed(producer: Path, tmp_path: Path) -> None:
    disk, endpoint = Disk(), f"ipc://{tmp_path}/frames"
    first = Sink(disk)
    first.flushing = False
    process = subprocess.Popen([producer, endpoint, "from-c"])
    try:
        with receiving(first, endpoint):
            eventually(lambda: disk.ended == 1)
        assert (first.count, disk.frames) == (FRAMES, {})
        with receiving(Sink(disk), endpoint):
            assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert disk.frames == {index: pixels_of(index).tobytes() for index in range(FRAMES)}
    assert (disk.ended, disk.doubled) == (2, 0)
