"""Scans with a camera of Concert: the RunEngine, the virtual beamline's motors, and a real daemon that judges."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from numpy.typing import NDArray

from streamer.cli.rig.processes import ANYWHERE, ManagedProcess
from streamer.cli.rig.processes import start_daemon as start_real_daemon
from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus
from streamer.frames import Decision
from streamer.phantoms import body_projections, exposures, random_body
from streamer_plans.devices.beamline import Beamline
from streamer_plans.devices.cameras.concert import ConcertCamera
from streamer_plans.devices.detector import TomoDetector
from streamer_plans.devices.failures import FailureCode
from streamer_plans.devices.requests import ScanSetup
from streamer_plans.tomo import TomoScan, TomoScanError, tomo_fly, tomo_step
from tests.plans.conftest import after_frames, as_an_operator, set_velocity
from tests.plans.devices.cameras.concert_camera import CoroutineCamera, PassingTrigger

pytestmark = pytest.mark.timeout(900)  # the cache of kernels may be empty

ROWS, COLUMNS, CENTER = 16, 64, 32.4
DARKS, FLATS, PROJECTIONS = 3, 6, 90
BODY = random_body(np.random.default_rng(5), COLUMNS)
SCAN = TomoScan("wood", PROJECTIONS, DARKS, FLATS, rate_hz=100.0, x_out_mm=6.0, verdict_timeout_s=60.0)


class Scene:
    """What stands before the camera: shutter, sample and rotation are those of the virtual beamline."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._rng = np.random.default_rng(7)
        self.taken: list[NDArray[np.uint16]] = []
        self.fails_at: int | None = None

    def position(self) -> float:
        return self._link.ask(GetBeamlineStatus()).rotation.position_deg

    def __call__(self, angle_deg: float | None) -> NDArray[np.uint16]:
        if len(self.taken) == self.fails_at:
            raise OSError("link down")
        state = self._link.ask(GetBeamlineStatus())
        angle = np.deg2rad([state.rotation.position_deg if angle_deg is None else angle_deg])
        if state.shutter != "open":
            image = self._rng.normal(100, 2, (ROWS, COLUMNS)).round().astype("<u2")
        elif abs(state.x.position_mm) >= state.x.out_mm:
            image = exposures(np.zeros((ROWS, COLUMNS)), rng=self._rng)
        else:
            image = exposures(body_projections(BODY, ROWS, COLUMNS, angle, CENTER)[0], rng=self._rng)
        self.taken.append(image)
        return image


@dataclass
class Rig:
    beamline: Beamline
    device: CoroutineCamera
    scene: Scene
    camera: ConcertCamera
    trigger: PassingTrigger


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    daemon = start_real_daemon(
        folder,
        source={"endpoint": ANYWHERE, "bind": True, "transport": "acknowledged"},
        writer={"directory": folder, "reserve_mb": 0},
    )
    daemon.wait_ready()
    yield daemon
    daemon.stop()


@pytest.fixture
def rig(connect: Any, daemon: ManagedProcess, beamline_process: ManagedProcess) -> Iterator[Rig]:
    beamline = connect(daemon)
    set_velocity(beamline, 720.0)
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        scene = Scene(link)
        device = CoroutineCamera(ROWS, COLUMNS, scene)
        trigger = PassingTrigger(device, scene.position)
        camera = ConcertCamera(
            device,
            daemon.endpoints["source"],
            pixel_size_m=1e-5,
            rotation=beamline.rotation,
            trigger=trigger,  # type: ignore[arg-type] # instead of one of EPICS
            claim=beamline.others["claim"],
            spool_mb=16,
        )
        detector = TomoDetector(camera, beamline.streamer, stall_s=5.0, shutter=beamline.shutter)
        yield Rig(replace(beamline, detector=detector), device, scene, camera, trigger)
        trigger.disarm()
        camera.close()


def images(report: Any) -> tuple[NDArray[Any], list[int], NDArray[Any]]:
    with h5py.File(report.raw_file) as file:
        keys = file["entry/instrument/detector/image_key"][()].tolist()
        return file["entry/instrument/detector/data"][()], keys, file["entry/sample/rotation_angle"][()]


def test_a_fly_scan_ends_with_a_verdict_and_each_image_in_the_file(engine: Any, documents: Any, rig: Rig) -> None:
    for _ in range(2):  # one scan may follow on another
        rig.scene.taken.clear()
        outcome = engine(tomo_fly(rig.beamline, SCAN)).plan_result
        assert outcome.verdict.decision is Decision.ENOUGH, outcome.verdict
        assert outcome.center_px == pytest.approx(CENTER, abs=0.5)
        assert outcome.report.state == "complete"
        stored, keys, angles = images(outcome.report)
        assert keys == [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS
        np.testing.assert_array_equal(stored, rig.scene.taken)
        np.testing.assert_allclose(angles[DARKS + FLATS :], np.arange(PROJECTIONS) * 2.0)
        assert documents.announced("detector") == len(stored)
        assert rig.device.state == "standby"


def test_a_step_scan_has_the_angles_of_the_rotation(engine: Any, rig: Rig) -> None:
    angles_deg = [0.0, 90.0, 45.0, 135.0]
    outcome = engine(tomo_step(rig.beamline, SCAN, angles_deg)).plan_result
    assert outcome.report.state == "complete"
    stored, _, angles = images(outcome.report)
    np.testing.assert_array_equal(stored, rig.scene.taken)
    np.testing.assert_allclose(angles[-4:], angles_deg, atol=0.02)


def safe(rig: Rig, beamline_process: ManagedProcess) -> None:
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        state = link.ask(GetBeamlineStatus())
    assert (state.shutter, state.rotation.moving, state.ownership.scan_id) == ("closed", False, None)
    assert rig.device.state == "standby"
    assert not rig.camera.activity().acquiring


def another_scan_goes_well(engine: Any, rig: Rig) -> None:
    rig.scene.fails_at, rig.trigger.left_out = None, set()
    assert engine(tomo_fly(rig.beamline, SCAN)).plan_result.report.state == "complete"


def test_a_camera_that_fails_ends_the_scan_and_the_next_one_goes_well(
    engine: Any, rig: Rig, beamline_process: ManagedProcess
) -> None:
    rig.scene.fails_at = 40
    with pytest.raises(TomoScanError, match="the Concert camera: link down") as failed:
        engine(tomo_fly(rig.beamline, SCAN))
    assert failed.value.failure is FailureCode.CAMERA_FAULT
    safe(rig, beamline_process)
    report = rig.beamline.streamer.last_report
    assert (report.state, report.written) == ("aborted", 40), "what was taken is kept"
    another_scan_goes_well(engine, rig)


def test_a_pulse_that_the_camera_misses_is_noticed(engine: Any, rig: Rig, beamline_process: ManagedProcess) -> None:
    rig.trigger.left_out = {30}
    with pytest.raises(TomoScanError, match=r"stalled: no frame for 5 s, 98 of 99 frames") as failed:
        engine(tomo_fly(rig.beamline, SCAN))
    assert failed.value.failure is FailureCode.CAMERA_STALLED
    safe(rig, beamline_process)
    another_scan_goes_well(engine, rig)


def test_an_abort_in_mid_flight_leaves_everything_safe(
    engine: Any, rig: Rig, beamline_process: ManagedProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "bluesky")
    engine.subscribe(after_frames(DARKS + FLATS + 20, engine.abort))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_fly(rig.beamline, SCAN))
    safe(rig, beamline_process)
    report = rig.beamline.streamer.last_report
    assert report.state == "aborted"
    assert DARKS + FLATS + 20 <= report.written < SCAN.projections
    another_scan_goes_well(engine, rig)


def test_ctrl_c_in_mid_flight_pauses_and_the_scan_is_over(
    engine: Any, rig: Rig, beamline_process: ManagedProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Two interrupts in a row ask for a pause; what waits for the rotation can then never be completed."""
    caplog.set_level(logging.CRITICAL, "bluesky")
    engine.subscribe(after_frames(DARKS + FLATS + 20, lambda: engine.request_pause(defer=False)))
    with pytest.raises(RunEngineInterrupted):
        engine(tomo_fly(rig.beamline, SCAN))
    assert rig.device.state == "standby"
    with pytest.raises(TomoScanError) as failed:
        engine.resume()
    assert failed.value.failure is FailureCode.PAUSED
    safe(rig, beamline_process)
    assert rig.beamline.streamer.last_report.state == "aborted"
    another_scan_goes_well(engine, rig)


def test_a_second_session_waits_for_the_camera(engine: Any, rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Two detectors with the same camera: the second scan is refused, the first one is not disturbed."""
    caplog.set_level(logging.CRITICAL, "bluesky")
    intruder = TomoDetector(rig.camera, rig.beamline.streamer, name="second", queue_s=0.1)
    refused: list[BaseException] = []
    asked = threading.Event()

    def intrude() -> None:
        status = intruder.prepare(ScanSetup("second-1", "wood", 10))
        try:
            status.wait(30.0)
        except Exception as error:
            refused.append(error)
        asked.set()

    engine.subscribe(after_frames(DARKS + 2, lambda: as_an_operator(intrude)))
    outcome = engine(tomo_fly(rig.beamline, SCAN)).plan_result
    assert outcome.report.state == "complete"
    assert asked.wait(30.0)
    assert len(refused) == 1, refused
