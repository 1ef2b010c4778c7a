"""NTNDArrays that pvaPy serves, an implementation of PVAccess that is none of p4p's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.rig.processes import start_daemon
from streamer.client import Link, final_report
from streamer.flow.dialects.message import Image
from streamer.flow.scan import ScanState
from streamer.flow.wire import WireError
from streamer.flow.wire.daemon import Arm
from streamer.frames import ScanSpec
from streamer.io.foreign.pva import PvaInbox
from tests.io.helpers import local_pv_access

SERVER = Path(__file__).with_name("pvapy_server.py")
PATIENCE_S = 100.0
IMAGES = np.random.default_rng(5).integers(0, 2**16, (60, 17, 23)).astype("<u2")

Server = subprocess.Popen[str]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Server]]:
    """Start a server on ports of its own, on this machine only."""
    for name, value in local_pv_access().items():
        monkeypatch.setenv(name, value)
    np.save(tmp_path / "images.npy", IMAGES)
    started: list[Server] = []

    def start(period_s: float) -> Server:
        words = [sys.executable, str(SERVER), "camera:Pva1:Image", str(tmp_path / "images.npy"), str(period_s)]
        server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        return server

    yield start
    for server in started:
        server.kill()
        server.communicate()


def begin(server: Server) -> None:
    assert server.stdin is not None
    server.stdin.write("\n")
    server.stdin.flush()


def connect(inbox: PvaInbox) -> None:
    """Wait for the connection; what the PV held before is no image."""
    with pytest.raises(WireError, match="held before") as caught:
        received(inbox, 0)
    assert caught.value.reason == "stale_scan"


def received(inbox: PvaInbox, wanted: int) -> list[Image]:
    """The images up to the one of this number."""
    images: list[Image] = []
    deadline = time.monotonic() + PATIENCE_S
    while not images or images[-1].number != wanted:
        assert time.monotonic() < deadline
        image = inbox.receive(50)
        if image is not None:
            images.append(image)
    return images


def test_images_of_pvapy_come_as_they_are(serve: Callable[[float], Server]) -> None:
    server = serve(0.0)
    inbox = PvaInbox("pva://camera:Pva1:Image", 100, 2**20)
    try:
        connect(inbox)
        begin(server)
        images = received(inbox, len(IMAGES))
    finally:
        inbox.close()
    assert [image.number for image in images] == list(range(1, 61))
    for number, image in enumerate(images, start=1):
        np.testing.assert_array_equal(np.frombuffer(image.data, image.dtype).reshape(image.shape), IMAGES[number - 1])
        assert image.attributes["Angle"] == 0.5 * number


def test_what_does_not_fit_into_the_queue_leaves_a_gap(serve: Callable[[float], Server]) -> None:
    server = serve(0.0)
    inbox = PvaInbox("pva://camera:Pva1:Image", 2, 2**20)
    try:
        connect(inbox)
        begin(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "sent\n"
        numbers = [image.number for image in received(inbox, len(IMAGES))]
    finally:
        inbox.close()
    assert len(numbers) < 60
    assert numbers == sorted(set(numbers))


def test_a_server_that_is_started_again_is_connected_again(serve: Callable[[float], Server]) -> None:
    server = serve(0.0)
    inbox = PvaInbox("pva://camera:Pva1:Image", 100, 2**20)
    try:
        connect(inbox)
        server.kill()
        server.wait()
        again = serve(0.0)
        connect(inbox)
        begin(again)
        assert len(received(inbox, len(IMAGES))) == 60
    finally:
        inbox.close()


def test_a_scan_of_a_pv_is_in_the_raw_file_of_the_daemon(serve: Callable[[float], Server], tmp_path: Path) -> None:
    server = serve(0.01)
    daemon = start_daemon(
        tmp_path / "daemon",
        source={"dialect": "pva", "endpoint": "pva://camera:Pva1:Image", "high_water_mark": 100},
        positions={"source": "attribute", "value": "Angle"},
        writer={"directory": tmp_path / "daemon", "reserve_mb": 0},
    )
    spec = ScanSpec("scan", "x", rows=17, columns=23, projections=54, flats=4, darks=2, range_deg=27.0)
    try:
        ends = daemon.wait_ready()
        connected, deadline = 'streamer_frames_rejected_total{reason="stale_scan"} 1.0', time.monotonic() + PATIENCE_S
        while connected not in urlopen(ends["metrics"]).read().decode():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with Link(ends["control"], "the daemon") as link:
            link.ask(Arm(spec))
            begin(server)
            report = final_report(link, "scan")
    finally:
        daemon.stop(timeout_s=100)
    assert (report.state, report.frames.received) == (ScanState.COMPLETE, 60)
    with h5py.File(report.raw_file) as raw:
        np.testing.assert_array_equal(raw["entry/instrument/detector/data"][()], IMAGES)
        np.testing.assert_allclose(raw["entry/sample/rotation_angle"][()][6:], 0.5 * np.arange(7, 61))


def test_check_says_what_a_pv_holds(serve: Callable[[float], Server], capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(0.5)
    begin(server)
    assert main(["check", "pva://camera:Pva1:Image", "--seconds", "6"]) == 0
    told = capsys.readouterr().out
    assert "images of 17 rows × 23 columns, <u2, compression none" in told
    assert '  endpoint = "pva://camera:Pva1:Image"\n  dialect = "pva"\n' in told
    assert '  source = "attribute"\n  value = "Angle"\n' in told


def test_an_image_beyond_the_limit_is_refused(serve: Callable[[float], Server]) -> None:
    server = serve(0.0)
    inbox = PvaInbox("pva://camera:Pva1:Image", 2, 100)
    try:
        connect(inbox)
        begin(server)
        with pytest.raises(WireError, match=r"782 bytes, source\.max_frame_mb") as caught:
            received(inbox, 1)
    finally:
        inbox.close()
    assert caught.value.reason == "oversize"


def test_check_refuses_nothing_of_what_the_pv_held_before(
    serve: Callable[[float], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(0.0)
    assert main(["check", "pva://camera:Pva1:Image", "--seconds", "3"]) == 0
    told = capsys.readouterr().out
    assert "dialect pva" in told
    assert "refused" not in told
