"""The state of one scan in the virtual detector, and its truth file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamer.flow.wire.beamline import Faults
from streamer.frames import FrameKind, ScanSpec
from streamer.sim.faults import Transport, beam_record
from streamer.sim.presets import Preset
from streamer.sim.scene.render import Scene
from streamer.sim.scene.samples import Sample


@dataclass(frozen=True, slots=True)
class FrameSeries:
    """One ``acquire``. ``before``: the rotation stood at or before the first position when it was asked."""

    frames: int
    kind: FrameKind
    position_triggered: bool
    start_deg: float
    step_deg: float
    before: bool
    asked_s: float


@dataclass(frozen=True, slots=True)
class BeamContent:
    """What is in the beam at one moment. ``scene`` None: nothing, so that the beam is open (if the shutter is)."""

    open: bool
    scene: Scene | None

    @property
    def seen(self) -> str:
        """ "D", "F" or "P": what a frame taken now shows, whatever its label says."""
        return "D" if not self.open else "F" if self.scene is None else "P"


@dataclass
class VirtualScan:
    """A prepared scan. Written by the acquisition thread alone once frames are taken."""

    spec: ScanSpec
    rate_hz: float
    serial: int
    faults: Faults
    slot: int | None = None
    sample: Sample | None = None
    scene: Scene | None = None
    fixed_scene: bool = False
    issued: int = 0
    projections: int = 0
    kinds: list[int] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    angles_deg: list[float] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)
    stop: bool = False
    aborted: bool = False
    given_up: bool = False
    owner: str | None = None  # the claim under which it was prepared; None: that of its own scan id

    def __post_init__(self) -> None:
        self.transport = Transport(self.faults)

    @property
    def progress(self) -> float:
        """Share of the planned projections that were taken."""
        return self.projections / self.spec.projections

    @property
    def exposure_s(self) -> float:
        return self.spec.exposure_s or 1.0 / self.rate_hz

    def note(self, kind: FrameKind, look: BeamContent, angle_deg: float) -> None:
        """Record one frame as issued."""
        self.kinds.append(int(kind))
        self.seen.append(look.seen)
        self.angles_deg.append(angle_deg)
        self.issued += 1
        self.projections += look.seen == "P"

    def truth(self, preset: Preset, seed: int, rows: int, columns: int, status: str | None) -> dict[str, Any]:
        """The map of the truth file; ``status`` None while the scan is not finished."""
        view = None if self.scene is None else self.scene.view
        name = "nothing" if self.sample is None else self.sample.name
        return {
            "version": 1,
            "scan_id": self.spec.scan_id,
            "complete": status is not None,
            "status": status,
            "serial": self.serial,
            "seed": seed,
            "preset": preset.name,
            "slot": self.slot,
            "sample": name,
            "spec": self.spec.to_dict(),
            "geometry": {
                "rows": rows,
                "columns": columns,
                "pixel_size_m": (preset.pixel_mm(columns) if view is None else view.pixel_mm) * 1e-3,
                "center_px": None if view is None else view.axis_column,
                "roll_deg": preset.roll_deg if view is None else view.roll_deg,
                "placed_mm": [0.0, 0.0, 0.0] if self.scene is None else list(self.scene.placed_mm),
                "pitch_deg": preset.pitch_deg,
                "blur_px": preset.blur_px,
            },
            "spectrum": {"energies_kev": list(preset.energies_kev), "weights": list(preset.weights)},
            "sample_model": (self.sample or Sample(name)).to_dict(),
            "motion": {"knots": []} if self.scene is None else self.scene.motion.to_dict(),
            "issued": self.issued,
            "frames": {"kind": self.kinds, "seen": "".join(self.seen), "angle_deg": self.angles_deg},
            "faults": {**self.transport.injected, "unsent": self.unsent, **beam_record(self.faults)},
        }
