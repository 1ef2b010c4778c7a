"""The raw writer with real processes: what it promises when it, its parent or the disk fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.flow.ring.layout import bytes_needed
from streamer.flow.ring.ring import Ring
from streamer.frames import BadInput, ScanSpec
from streamer.io.messaging.channel import Channel
from streamer.io.raw.disk_space import check_space
from streamer.io.raw.frame_writer import RING_READER
from streamer.io.raw.raw_scan import WriterEvent, WriterResult
from streamer.io.raw.unclosed import open_raw
from streamer.io.raw.writer import WriterError, WriterProcess, WriterSlow
from streamer.io.raw.writer_child import WriterOptions
from streamer.io.shared import SharedBuffer
from tests.io.helpers import ENDED, SPEC, STARTED, commit, pixels_of, wait_until
from tests.paths import ROOT

SLOTS = 16
PATIENCE_S = 100.0
DATA = "entry/instrument/detector/data"


class Bench:
    """A ring, a writer process, and what the daemon would do with them."""

    def __init__(
        self, directory: Path, spec: ScanSpec = SPEC, clock: Callable[[], float] = time.monotonic, **options: Any
    ) -> None:
        options = {"hang_s": PATIENCE_S, "patience_s": PATIENCE_S, **options}
        self.spec, self.directory = spec, directory
        self.seen: list[WriterEvent] = []
        self.shared = SharedBuffer.create(bytes_needed((spec.rows, spec.columns), spec.dtype, SLOTS))
        self.ring = Ring(self.shared.memory)
        self.ring.format((spec.rows, spec.columns), spec.dtype, SLOTS)
        self.writer = WriterProcess(self.shared, directory, WriterOptions(**options), clock)

    def open(self, name: str = "a.nx", spec: ScanSpec | None = None) -> Path:
        return self.writer.open(spec or self.spec, Path(name), STARTED)

    def commit(self, indices: range, spec: ScanSpec | None = None) -> None:
        for index in indices:
            wait_until(lambda i=index: self.tried(i, spec or self.spec), "a free slot")
            self.writer.notify()

    def tried(self, index: int, spec: ScanSpec) -> bool:
        """Commit a frame; when the ring is full, do what the daemon does all the time."""
        if not (done := commit(self.ring, index, spec)):
            self.seen += self.writer.poll_events(0.0)
        return done

    def events(self, kind: str, timeout_s: float = 100.0) -> WriterEvent:
        """The next event of this kind."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.seen += self.writer.poll_events(0.05)
            while self.seen:
                if (event := self.seen.pop(0)).kind == kind:
                    return event
        raise AssertionError(f"no event {kind!r} within {timeout_s} s")

    def finish(self, frames: int, status: str = "complete", **options: Any) -> WriterResult:
        """The end of a scan in which so many frames were issued."""
        return self.writer.finish(status, expected=frames, **options)

    def wait_written(self, frames: int) -> None:
        wait_until(lambda: self.writer.poll_events() is not None and self.writer.written >= frames, "flushed frames")

    def close(self) -> None:
        self.writer.stop()
        self.shared.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def assert_frames(path: Path, frames: int, status: str, spec: ScanSpec = SPEC) -> str:
    """The file has exactly these frames, all right; gives its note."""
    with open_raw(path) as file:
        assert file["entry/streamer/status"].asstr()[()] == status
        indices = file["entry/instrument/detector/sequence_number"][()]
        np.testing.assert_array_equal(indices, range(frames))
        for index, image in zip(indices, file[DATA], strict=True):
            np.testing.assert_array_equal(image, pixels_of(int(index), spec))
        return str(file["entry/streamer/note"].asstr()[()])


def test_a_scan_goes_through_the_ring_into_its_file(bench: Bench, tmp_path: Path) -> None:
    path = bench.open()
    assert path == tmp_path / "a.nx"
    assert path.exists(), "the file is open when the answer comes"
    bench.commit(range(SPEC.frames))
    result = bench.writer.finish("complete", {"unusable": [3]}, ended=ENDED, note="a note")
    assert (result.written, result.lost, result.error) == (SPEC.frames, 0, "")
    assert assert_frames(path, SPEC.frames, "complete") == "a note"
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/streamer/unusable_frames"], [3])
    assert bench.ring.occupied == 0
    assert bench.ring.high_water <= SLOTS


def test_frames_are_flushed_by_time_and_announced(bench: Bench) -> None:
    path = bench.open()
    bench.commit(range(5))
    assert bench.events("written").written >= 1
    bench.wait_written(5)
    assert_frames(path, 5, "running")
    with h5py.File(path, "r", swmr=True) as file:
        assert len(file[DATA]) == 5, "readable while it grows"


def test_one_process_writes_scan_after_scan_of_any_format(bench: Bench) -> None:
    other = structs.replace(SPEC, scan_id="scan-2", rows=4, columns=6, dtype="<f4")
    first = bench.open()
    bench.commit(range(10))
    bench.finish(10)
    pid = bench.writer.pid
    bench.ring.format((4, 6), "<f4", SLOTS)
    second = bench.open("b.nx", other)
    bench.commit(range(20), other)
    assert bench.finish(20).written == 20
    assert bench.writer.pid == pid
    assert_frames(first, 10, "complete")
    assert_frames(second, 20, "complete", other)


def test_frames_of_another_scan_are_not_written(bench: Bench) -> None:
    bench.commit(range(12), structs.replace(SPEC, scan_id="stale"))
    path = bench.open()
    assert bench.ring.occupied == 0, "nobody wants them"
    bench.commit(range(3), structs.replace(SPEC, scan_id="stale"))
    bench.commit(range(4))
    assert bench.finish(4).written == 4
    assert_frames(path, 4, "complete")


def test_long_lists_of_missing_frames_go_through(bench: Bench) -> None:
    path = bench.open()
    missing = np.arange(1_000_000)
    assert bench.writer.finish("incomplete", {"missing": missing}, expected=len(missing)).error == ""
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/streamer/missing_frames"], missing)


def test_an_existing_file_is_refused_and_the_writer_goes_on(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.nx").write_text("precious")
    with pytest.raises(WriterError, match=r"^raw file \S+a.nx: exists already[^\n]*$"):
        bench.open()
    assert (tmp_path / "a.nx").read_text() == "precious"
    path = bench.open("b.nx")
    with pytest.raises(WriterError, match="still writes scan scan-1"):
        bench.open("c.nx")
    bench.commit(range(2))
    assert bench.finish(2).written == 2
    assert_frames(path, 2, "complete")


def test_notify_neither_blocks_nor_fails(bench: Bench) -> None:
    os.kill(bench.writer.pid, signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(200_000):
        bench.writer.notify()
    assert time.monotonic() - started < 60
    os.kill(bench.writer.pid, signal.SIGKILL)
    bench.events("died")
    bench.writer.notify()


def test_a_stopped_writer_holds_the_ring_back_and_loses_nothing(bench: Bench) -> None:
    path = bench.open()
    os.kill(bench.writer.pid, signal.SIGSTOP)
    committed = 0
    while commit(bench.ring, committed):
        bench.writer.notify()
        committed += 1
    assert committed >= SLOTS - 1
    os.kill(bench.writer.pid, signal.SIGCONT)
    bench.commit(range(committed, SPEC.frames))
    assert bench.writer.finish("complete").written == SPEC.frames
    assert_frames(path, SPEC.frames, "complete")


def test_an_answer_that_does_not_come_in_time_is_an_error(bench: Bench) -> None:
    bench.open()
    bench.finish(0)
    os.kill(bench.writer.pid, signal.SIGSTOP)
    with pytest.raises(WriterSlow, match=r"did not answer 'open' within 0\.2 s"):
        bench.writer.open(SPEC, Path("a.nx"), STARTED, timeout=0.2)
    assert bench.open("b.nx").exists(), "another process does it"


def test_a_process_that_is_slow_to_start_is_not_replaced_by_one_that_is_as_slow(bench: Bench) -> None:
    pid = bench.writer.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WriterSlow):
        bench.writer.open(SPEC, Path("a.nx"), STARTED, timeout=0.2)
    os.kill(pid, signal.SIGCONT)
    path = bench.open()
    bench.commit(range(3))
    assert bench.finish(3).written == 3
    assert bench.writer.pid == pid
    assert_frames(path, 3, "complete")


def test_interrupts_of_the_terminal_are_left_to_the_parent(bench: Bench) -> None:
    path = bench.open()
    os.kill(bench.writer.pid, signal.SIGINT)
    bench.commit(range(8))
    assert bench.finish(8).written == 8
    assert_frames(path, 8, "complete")


def test_stop_closes_an_open_file(bench: Bench) -> None:
    path = bench.open()
    bench.commit(range(9))
    bench.writer.stop()
    assert not bench.writer.alive
    assert_frames(path, 9, "incomplete")
    assert {event.kind for event in bench.writer.poll_events()} <= {"written"}, "an end that was asked for"
    bench.writer.stop()


PARENT = """
import os, signal, sys, time
from pathlib import Path
from tests.io.helpers import SPEC
from tests.io.raw.test_writer import Bench
bench = Bench(Path(sys.argv[1]), flush_s=30.0)
bench.open()
if sys.argv[2] == "stopped":
    os.kill(bench.writer.pid, signal.SIGSTOP)
bench.commit(range(15))
print(bench.writer.pid, flush=True)
if sys.argv[2] == "exit":
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["killed", "stopped", "exit"])
def test_when_the_parent_dies_the_ring_is_drained_and_the_file_closed(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), how]
    parent = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    pid = int(parent.stdout)
    assert parent.returncode == (0 if how == "exit" else -signal.SIGKILL)
    if how == "stopped":
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in process_state(pid), "the end of the writer")
    note = assert_frames(tmp_path / "a.nx", 15, "incomplete")
    assert note == "the daemon ended unexpectedly"
    with h5py.File(tmp_path / "a.nx") as file:  # closed properly: opens like any other
        assert len(file[DATA]) == 15


def process_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_the_space_is_checked_before_a_scan(tmp_path: Path, bench: Bench) -> None:
    check_space(tmp_path, 1000, 1000)
    with pytest.raises(BadInput, match=r"GB free, the scan needs 1000000\.00 GB and 0\.50 GB are to stay free$"):
        check_space(tmp_path, 10**15, 5 * 10**8)
    with pytest.raises(BadInput, match="no such folder"):
        check_space(tmp_path / "none", 0, 0)
    with pytest.raises(BadInput, match=r"may not be written|read-only|GB free"):
        check_space(Path("/proc") if os.geteuid() == 0 else locked(tmp_path), 10, 0)
    with pytest.raises(BadInput, match="the scan needs"):
        bench.writer.open(structs.replace(SPEC, rows=65535, columns=65535, projections=10**7), Path("a.nx"), STARTED)
    assert not (tmp_path / "a.nx").exists()


def locked(tmp_path: Path) -> Path:
    folder = tmp_path / "locked"
    folder.mkdir(0o500)
    return folder


def test_the_child_complains_in_words_when_started_by_hand() -> None:
    command = [sys.executable, "-m", "streamer.io.raw.writer_process"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode != 0
    assert "required" in child.stderr


def test_a_parent_that_never_listens_does_not_stop_the_writer(tmp_path: Path) -> None:
    with SharedBuffer.create(bytes_needed((8, 12), "<u2", SLOTS)) as shared:
        ring = Ring(shared.memory)
        ring.format((8, 12), "<u2", SLOTS)
        ring.reader(RING_READER, lossless=True)  # so that the first frames wait for the process
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wake_read, wake = os.pipe()
        fds = {"ring-fd": shared.fd, "socket-fd": theirs.fileno(), "wake-fd": wake_read}
        command = [sys.executable, "-m", "streamer.io.raw.writer_process", "--flush-s", "0.0", "--reserve-bytes", "0"]
        command += [word for name, fd in fds.items() for word in (f"--{name}", str(fd))]
        child = subprocess.Popen(command, cwd=ROOT, pass_fds=tuple(fds.values()))
        theirs.close()
        channel = Channel(ours)
        spec = structs.replace(SPEC, projections=1000)
        path = str(tmp_path / "a.nx")
        channel.send({"t": "open", "spec": spec.to_dict(), "path": path, "started": STARTED, "resume": False})
        wait_until((tmp_path / "a.nx").exists, "the file")
        for index in range(spec.frames):
            wait_until(lambda i=index: commit(ring, i, spec), "a free slot")
            os.write(wake, b"\0")
        channel.close()
        assert child.wait(100) == 0
        os.close(wake)
        os.close(wake_read)
    assert_frames(tmp_path / "a.nx", spec.frames, "incomplete", spec)
