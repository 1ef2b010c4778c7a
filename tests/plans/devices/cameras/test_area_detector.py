"""The camera of areaDetector against an IOC, over Channel Access. Both are processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import h5py
import numpy as np
import pytest

from streamer.cli.rig.processes import ANYWHERE, ManagedProcess, start_daemon
from streamer.client import Link, final_report
from streamer.flow.scan import ScanState
from streamer_plans.devices.cameras.camera import Activity, Geometry
from tests.io.helpers import free_ports, local_pv_access, wait_until
from tests.paths import ROOT
from tests.plans.devices.cameras.area_detector_ioc import BACKGROUND, FLAT_FIELD, NORMAL, image

PREFIX = "13SIM1:"
GEOMETRY = Geometry(6, 32, 6.5e-6, 500.0, None, "<u2")
FRAME_TYPES = [BACKGROUND] * 3 + [FLAT_FIELD] * 4 + [NORMAL] * 40
SETTINGS = {
    "adzmq": {"endpoint": ANYWHERE, "bind": True, "dialect": "adzmq", "socket": "pull"},
    "pva": {"endpoint": f"pva://{PREFIX}Pva1:Image", "dialect": "pva", "high_water_mark": 100},
}
CONNECTED = 'streamer_frames_rejected_total{reason="stale_scan"} 1.0'
PLUGINS = {"adzmq": "ZMQ1:", "pva": "Pva1:"}


class Process:
    """A test program that answers lines with lines."""

    def __init__(self, module: str, *words: str) -> None:
        command = [sys.executable, "-m", f"tests.plans.devices.cameras.{module}", *words]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, cwd=ROOT, **pipes)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Process]]:
    """Start programs that see EPICS on this machine only, on ports of this test."""
    access = str(free_ports(1)[0])
    for name, value in {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": access,
        "EPICS_CAS_SERVER_PORT": access,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        **local_pv_access(),
    }.items():
        monkeypatch.setenv(name, value)
    started: list[Process] = []

    def starting(module: str, *words: str) -> Process:
        started.append(Process(module, *words))
        return started[-1]

    yield starting
    for process in reversed(started):
        process.end()


def ioc_of(start: Callable[..., Process], target: str) -> Process:
    ioc = start("area_detector_ioc", PREFIX, target)
    assert ioc.hear() == "ready"
    return ioc


@pytest.fixture
def ioc(start: Callable[..., Process]) -> Process:
    """Its plugin sends to nobody."""
    return ioc_of(start, f"tcp://127.0.0.1:{free_ports(1)[0]}")


@pytest.fixture
def session(start: Callable[..., Process], ioc: Process) -> Process:
    return start("area_detector_session", f"{PREFIX}cam1:", f"{PREFIX}ZMQ1:")


@pytest.fixture
def run_daemon(tmp_path: Path) -> Iterator[Callable[[str], ManagedProcess]]:
    started: list[ManagedProcess] = []

    def starting(dialect: str) -> ManagedProcess:
        kinds = {"attribute": "FrameType", "projection": "0", "dark": "1", "flat": "2"}
        writer = {"directory": tmp_path / "data", "reserve_mb": 0}
        started.append(start_daemon(tmp_path, source=SETTINGS[dialect], kinds=kinds, writer=writer))
        started[-1].wait_ready()
        return started[-1]

    yield starting
    for daemon in started:
        daemon.stop(timeout_s=100)


@pytest.mark.timeout(900)  # the cache of kernels may be empty
@pytest.mark.parametrize("dialect", ["adzmq", "pva"])
def test_a_scan_by_the_run_engine_is_in_the_raw_file_as_the_ioc_sent_it(
    start: Callable[..., Process], run_daemon: Callable[[str], ManagedProcess], dialect: str
) -> None:
    if dialect == "adzmq":
        daemon = run_daemon(dialect)
        ioc_of(start, daemon.endpoints["source"])
    else:
        ioc_of(start, f"{PREFIX}Pva1:Image")
        daemon = run_daemon(dialect)
        wait_until(lambda: CONNECTED in urlopen(daemon.endpoints["metrics"]).read().decode(), "the monitor of the PV")
    session = start("area_detector_session", f"{PREFIX}cam1:", PREFIX + PLUGINS[dialect])
    assert session.ask(f"scan(camera, {daemon.endpoints['control']!r})") == "47"
    with Link(daemon.endpoints["control"], "the daemon") as link:
        report = final_report(link, "scan")
    assert (report.state, report.frames.received, report.frames.missing) == (ScanState.COMPLETE, 47, 0)
    with h5py.File(report.raw_file) as raw:
        frames = raw["entry/instrument/detector/data"][()]
        keys = raw["entry/instrument/detector/image_key"][()]
    np.testing.assert_array_equal(frames, [image(n, kind) for n, kind in enumerate(FRAME_TYPES, start=1)])
    np.testing.assert_array_equal(keys, [2] * 3 + [1] * 4 + [0] * 40)


def test_frames_that_the_rotation_triggers_are_counted_as_they_come(ioc: Process, session: Process) -> None:
    def activity(issued: int) -> Activity:
        wait_until(lambda: f"issued={issued}," in session.ask("camera.activity()"), f"{issued} frames")
        return eval(session.ask("camera.activity()"))

    assert eval(session.ask("camera.geometry()")) == GEOMETRY
    assert session.ask("camera.prepare(SPEC, 50.0)") == "None"
    assert activity(0) == Activity(acquiring=False, issued=0, error=None)
    assert session.ask("camera.acquire(Exposures(9, FrameKind.PROJECTION, step_deg=0.5))") == "None"
    assert activity(0) == Activity(acquiring=True, issued=0, error=None)
    ioc.tell("pulse 4")
    assert activity(4) == Activity(acquiring=True, issued=4, error=None)
    assert session.ask("camera.stop()") == "None"
    assert session.ask("camera.finish('stopped')") == "None"
    assert activity(4) == Activity(acquiring=False, issued=4, error=None)
    assert session.ask("camera.prepare(SPEC, 50.0)") == "None"
    assert activity(0) == Activity(acquiring=False, issued=0, error=None)


def test_a_camera_that_fails_says_why(ioc: Process, session: Process) -> None:
    assert session.ask("camera.prepare(SPEC, 50.0)") == "None"
    assert session.ask("camera.acquire(Exposures(1, FrameKind.PROJECTION, step_deg=0.5))") == "None"
    assert session.ask("camera.stop()") == "None"
    wait_until(lambda: "acquiring=False" in session.ask("camera.activity()"), "the end of the exposures")
    ioc.tell("cam1:StatusMessage_RBV overheated")
    ioc.tell("cam1:DetectorState_RBV Error")
    text = f"{PREFIX}cam1:DetectorState_RBV is Error (overheated)"
    wait_until(lambda: text in session.ask("camera.activity()"), text)


def test_a_camera_that_acquires_belongs_to_somebody_else(start: Callable[..., Process], session: Process) -> None:
    other = start("area_detector_session", f"{PREFIX}cam1:", f"{PREFIX}ZMQ1:")
    assert other.ask("camera.claim('live', 0.0, lambda: False)") == "None"
    assert other.ask("camera.acquire(Exposures(1, FrameKind.PROJECTION, step_deg=0.5))") == "None"
    taken = f"{PREFIX}cam1:Acquire_RBV is 1: the camera acquires for somebody else, or for a live view"
    assert session.ask("camera.claim('scan', 0.0, lambda: False)").startswith(f"BeamlineTaken: {taken}")
    assert session.ask("camera.claim('scan', 100.0, lambda: True)").startswith("GivenUp: scan scan was given up")
    assert session.ask("camera.give_back('scan')") == "None"
    assert "acquiring=True" in other.ask("camera.activity()")
    assert other.ask("camera.give_back('live')") == "None"
    assert session.ask("camera.claim('scan', 100.0, lambda: False)") == "None"


def test_frames_that_the_plugin_drops_are_counted(ioc: Process, session: Process) -> None:
    ioc.tell("ZMQ1:DroppedOutputArrays_RBV 2")
    wait_until(lambda: session.ask("camera._dropped()") == "2", "the count of the plugin")
    assert session.ask("camera.prepare(SPEC, 50.0)") == "None"
    assert session.ask("warned(lambda: camera.finish('ok'))") == "[]"
    ioc.tell("ZMQ1:DroppedOutputArrays_RBV 5")
    wait_until(lambda: session.ask("camera._dropped()") == "5", "the count of the plugin")
    assert f"plugin {PREFIX}ZMQ1: dropped 3 frames of this scan" in session.ask("warned(lambda: camera.finish('ok'))")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("DataType_RBV Float64", "DataType_RBV is Float64: set DataType to one of UInt8, UInt16, UInt32, Float32"),
        ("ArraySizeX_RBV 0", "ArraySizeX_RBV is 0, ArraySizeY_RBV 6: take one image first"),
    ],
)
def test_images_that_cannot_be_taken_are_named(ioc: Process, session: Process, record: str, said: str) -> None:
    ioc.tell(f"cam1:{record}")
    wait_until(lambda: session.ask("camera.geometry()") == f"LinkError: {PREFIX}cam1:{said}", said)


@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (
            (f"{PREFIX}cam1:", f"{PREFIX}ZMQ1:"),
            "camera.prepare(SPEC, 10000.0)",
            f"LinkError: {PREFIX}cam1:AcquirePeriod_RBV is 0.002 after 0.0001 was written",
        ),
        (
            (f"{PREFIX}cam1:", f"{PREFIX}ZMQ1:"),
            "AreaDetector('13SIM1:cam1:', '13SIM1:ZMQ1:', position_trigger='Ext. edge')"
            ".acquire(Exposures(1, FrameKind.FLAT, step_deg=1.0))",
            f"LinkError: {PREFIX}cam1:TriggerMode has no choice 'Ext. edge': it has Internal, External",
        ),
        (
            (f"{PREFIX}cam1:", f"{PREFIX}ZMQ2:"),
            "camera.prepare(SPEC, 50.0)",
            f"LinkTimeout: {PREFIX}ZMQ2:NDArrayPort_RBV does not answer within 5 s: is the IOC running",
        ),
    ],
)
def test_what_the_camera_does_not_do_is_named(
    start: Callable[..., Process], ioc: Process, words: tuple[str, str], asked: str, said: str
) -> None:
    assert start("area_detector_session", *words).ask(asked).startswith(said)


def test_an_ioc_that_dies_is_named(ioc: Process, session: Process) -> None:
    assert session.ask("camera.geometry()") == repr(GEOMETRY)
    ioc.end()
    assert session.ask("camera.activity()").startswith(f"LinkTimeout: {PREFIX}cam1:Acquire_RBV does not answer")
