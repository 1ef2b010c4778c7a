"""The state of the virtual hardware: stages, shutter, changer, magazine, detector flags. No sockets, no threads.

The control and the acquisition thread share it, under ``lock``. Times are seconds of the caller's clock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from streamer.flow.wire.axes import AXIS_LIMITS, AxisStatus
from streamer.flow.wire.beamline import (
    X_LIMIT_MM,
    BeamlineEndpoints,
    BeamlineStatus,
    BeamStatus,
    DetectorStatus,
    Faults,
    RotationStatus,
    TranslationStatus,
)
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput
from streamer.sim.hardware.changer import SampleChanger
from streamer.sim.hardware.noise import gauss
from streamer.sim.hardware.stage import BeamShutter, Motor, StorageRing
from streamer.sim.ownership import Claims
from streamer.sim.prerender import Shot
from streamer.sim.presets import NOMINAL_FIELD_MM, Preset
from streamer.sim.scan import BeamContent, VirtualScan
from streamer.sim.scene.motion import Motion
from streamer.sim.scene.phantom import compile_bodies
from streamer.sim.scene.render import Scene, View
from streamer.sim.scene.samples import arranged, magazine
from streamer.sim.truth import write_json

ANGLE_DIGITS = 6
"""The encoder counts microdegrees; trigger positions are snapped to it."""


EXCHANGE_X_MM = 0.0
EXCHANGE_TOLERANCE_MM = 0.01
"""Where the stage must stand, at rest, for the gripper to come in."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Parameters that are constant during the life of the process."""

    preset: Preset
    rows: int
    columns: int
    slots: int = 4
    seed: int = 1
    truth_dir: Path | None = None
    max_rate_hz: float = 1000.0
    kinds: tuple[str, ...] | None = None  # what is in each slot; None: the magazine of the demo
    flat_exposure_s: float | None = None  # that gives the camera's flat level; None: any exposure does

    def light(self, exposure_s: float) -> float:
        """Light that an exposure collects, as a share of the flat level's."""
        return 1.0 if self.flat_exposure_s is None else exposure_s / self.flat_exposure_s


class VirtualStation:
    """The virtual hardware."""

    def __init__(self, setup: Setup) -> None:
        preset = setup.preset
        self.setup = setup
        self.lock = threading.RLock()
        view = (setup.columns, preset.pixel_mm(setup.columns), preset.field_mm / NOMINAL_FIELD_MM, setup.seed)
        self.samples = magazine(setup.slots, *view) if setup.kinds is None else arranged(setup.kinds, *view)
        self._quadrics = [compile_bodies(s.bodies, preset.energies_kev, s.scale) for s in self.samples]
        self._rested: set[int] = set()
        self._grips_lost = {slot: sample.grips_lost for slot, sample in enumerate(self.samples) if sample.grips_lost}
        self.rotation = Motor(velocity=preset.rotation_deg_s)
        self.x = Motor(velocity=preset.x_mm_s)
        self.axes = {name: Motor(velocity=preset.x_mm_s) for name in AXIS_LIMITS}
        self.axes["magnification"] = Motor(origin=1.0, target=1.0, velocity=preset.x_mm_s)
        self._x_in_beam = 0.0
        self.shutter = BeamShutter()
        self.ring = StorageRing()
        self.changer = SampleChanger(len(self.samples), preset.mount_s)
        self.faults = Faults()
        self.claims = Claims()
        self.scan: VirtualScan | None = None
        self.acquiring = False
        self.error: str | None = None
        self._last: VirtualScan | None = None
        self._serial = 0

    def command_x(self, target_mm: float, now: float) -> None:
        self.changer.check_parked("x", now)
        self.x = self.x.move(target_mm, now)
        if abs(target_mm) < self.setup.preset.out_mm:
            self._x_in_beam = target_mm

    def command_axis(self, name: str, target: float, now: float) -> None:
        """Move one of the smaller motors. Raises Busy while the gripper is in."""
        self.changer.check_parked(name, now)
        self.axes[name] = self.axes[name].move(target, now)

    def command_mount(self, slot: int | None, now: float) -> None:
        """Start the robot, whose gripper comes in. Raises Busy or BadInput when that is not safe."""
        if self.acquiring:
            raise Busy("the detector is acquiring, the sample stays")
        if any(motor.moving(now) for motor in (self.rotation, self.x, *self.axes.values())):
            raise Busy("mount: the stage moves")
        if abs(self.x.position(now) - EXCHANGE_X_MM) > EXCHANGE_TOLERANCE_MM:
            where = f"the stage is at x = {self.x.position(now):g} mm"
            raise BadInput(f"mount: {where}, samples are exchanged at {EXCHANGE_X_MM:g} mm")
        if slot is None:
            self.changer = self.changer.unmount(now)
            return
        slips = self._grips_lost.get(slot, 0) > 0
        changer = replace(self.changer, faults=("grip_failed", *self.changer.faults)) if slips else self.changer
        self.changer = changer.mount(slot, now)
        if slips:
            self._grips_lost[slot] -= 1

    def rest(self, now: float) -> None:
        """Close the shutter, stop the stages, give the rotation its usual speed."""
        self.shutter = self.shutter.command(False)
        self.rotation = self.rotation.move(self.rotation.position(now), now, self.setup.preset.rotation_deg_s)
        self.x = self.x.move(self.x.position(now), now)
        self.axes = {name: motor.move(motor.position(now), now) for name, motor in self.axes.items()}

    def set_faults(self, faults: Faults) -> None:
        self.faults = faults
        self.changer = replace(self.changer, faults=tuple(faults.changer))

    def begin(self, scan: VirtualScan) -> None:
        """Arm for a scan; faults that were set apply to it and are used up."""
        self.scan, self._last, self.error = scan, scan, None
        self.faults = Faults()
        if scan.faults.shutter:
            self.shutter = replace(self.shutter, stuck=True, lying=scan.faults.shutter == "lying")
        slot, scene = self.expected_scene()
        self._fix(scan, slot, scene)
        self.save_truth(scan, None)

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def conclude(self, scan: VirtualScan) -> None:
        """Disarm: the shutter works again, and a sample that has slipped stays where it is."""
        motion = None if scan.scene is None else scan.scene.motion
        moved = motion is not None and bool(motion.knots) and scan.progress >= motion.knots[-1].progress
        if scan.slot is not None and moved and not self.samples[scan.slot].loose:
            self._rested.add(scan.slot)
        if scan.faults.shutter:
            self.shutter = BeamShutter(open=self.shutter.asked, asked=self.shutter.asked)
        self.scan = None

    def look(self, now: float) -> BeamContent:
        """What the beam meets at ``now``."""
        slot = self.changer.at(now).stage
        x = self.x.position(now)
        if slot is None or abs(x) >= self.setup.preset.out_mm or not self.samples[slot].bodies:
            return BeamContent(self.shutter.open, None)
        places = {name: motor.position(now) for name, motor in self.axes.items()}
        return BeamContent(self.shutter.open, self._scene(slot, x, places))

    def expected_scene(self) -> tuple[int | None, Scene | None]:
        """The slot that is or will be mounted, and its scene at the last x position inside the beam."""
        slot = self.changer.coming
        places = {name: motor.target for name, motor in self.axes.items()}
        return slot, None if slot is None else self._scene(slot, self._x_in_beam, places)

    def observe(self, scan: VirtualScan, look: BeamContent) -> None:
        """Note the geometry of the scan at its first projection. Call it with every frame."""
        if not scan.fixed_scene and look.seen == "P":
            self._fix(scan, self.changer.coming, look.scene)
            scan.fixed_scene = True

    def shot(self, position_deg: float, progress: float) -> Shot:
        """The true angle where the encoder reads a position; its error belongs to the position, so it is repeatable."""
        position = round(position_deg, ANGLE_DIGITS)
        sigma = self.setup.preset.jitter_deg
        if sigma == 0.0:
            return Shot(position, progress)
        ticks = round(position * 10**ANGLE_DIGITS)
        return Shot(position + sigma * gauss(self.setup.seed, 0x31, ticks), progress)

    def planned_shots(self, scan: VirtualScan, limit: int) -> list[Shot]:
        """The first shots of a scan in equal steps over its range, not more than ``limit``."""
        spec = scan.spec
        step = spec.range_deg / spec.projections
        return [self.shot(spec.start_deg + k * step, k / spec.projections) for k in range(min(limit, spec.projections))]

    def header_angle(self, scan: VirtualScan, true_deg: float) -> float:
        """The angle in the header: the true one, with the encoder's reading error if the preset has one."""
        sigma = self.setup.preset.encoder_error_deg
        if sigma == 0.0:
            return true_deg
        return true_deg + sigma * gauss(self.setup.seed, 0xE0, scan.serial, scan.issued)

    def truth_path(self, scan_id: str) -> Path | None:
        directory = self.setup.truth_dir
        return None if directory is None else directory / f"{scan_id}.truth.json"

    def save_truth(self, scan: VirtualScan, status: str | None) -> None:
        path, setup = self.truth_path(scan.spec.scan_id), self.setup
        if path is not None:
            write_json(path, scan.truth(setup.preset, setup.seed, setup.rows, setup.columns, status))

    def status(self, now: float, endpoints: BeamlineEndpoints) -> BeamlineStatus:
        """Where everything stands."""
        setup, scan = self.setup, self.scan
        out_mm = setup.preset.out_mm
        return BeamlineStatus(
            RotationStatus(self.rotation.position(now), self.rotation.target, self.rotation.moving(now)),
            TranslationStatus(self.x.position(now), self.x.target, self.x.moving(now), out_mm, X_LIMIT_MM),
            {name: AxisStatus(axis.position(now), axis.target, axis.moving(now)) for name, axis in self.axes.items()},
            self.shutter.readback,
            self.changer.at(now).status(),
            DetectorStatus(
                rows=setup.rows,
                columns=setup.columns,
                pixel_size_m=self._pixel_mm(self.axes["magnification"].position(now)) * 1e-3,
                max_rate_hz=setup.max_rate_hz,
                saturation=float(setup.preset.camera.saturation),
                energy_kev=setup.preset.mean_energy_kev,
                armed=scan is not None,
                scan_id=None if scan is None else scan.spec.scan_id,
                acquiring=self.acquiring,
                issued=0 if self._last is None else self._last.issued,
                error=self.error,
            ),
            self.claims.status(),
            BeamStatus(self.ring.current, "open" if self.ring.front_end_open else "closed"),
            endpoints,
        )

    def _pixel_mm(self, magnification: float) -> float:
        return self.setup.preset.pixel_mm(self.setup.columns) / magnification

    def _scene(self, slot: int, x_mm: float, places: Mapping[str, float]) -> Scene:
        setup, sample = self.setup, self.samples[slot]
        preset, zoom = setup.preset, places["magnification"]
        pixel_mm = self._pixel_mm(zoom)
        view = View(
            rows=setup.rows,
            columns=setup.columns,
            pixel_mm=pixel_mm,
            axis_column=(setup.columns - 1) / 2 + sample.axis_offset_px * zoom + x_mm / pixel_mm,
            roll_deg=preset.roll_deg + places["roll"],
            pitch_deg=preset.pitch_deg,
            weights=preset.weights,
            blur_px=preset.blur_px,
        )
        motion: Motion = sample.motion.rest() if slot in self._rested else sample.motion
        placed = (places["top_x"], places["top_y"], places["z"])
        return Scene(f"{slot}:{sample.name}", self._quadrics[slot], motion, view, placed)

    def _fix(self, scan: VirtualScan, slot: int | None, scene: Scene | None) -> None:
        scan.slot, scan.scene = slot, scene
        scan.sample = None if slot is None else self.samples[slot]
