"""Messages of the virtual beamline (``docs/protocol.md`` §2.2).

The tables there give unit and meaning of every field; a test compares them with these structs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from streamer.flow.wire import EndStatus
from streamer.flow.wire.axes import AxisStatus, MoveAxis
from streamer.flow.wire.changer import ChangerStatus, Confirm, HandOver, Mount, Park
from streamer.flow.wire.control import Done, Ping, Reply, Request
from streamer.frames import MAX_FRAMES, BadInput, Count, FrameKind, Name, ScanSpec
from streamer.schema import Share

X_LIMIT_MM = 10.0
Angle = Annotated[float, Meta(ge=-1e6, le=1e6)]
Rate = Annotated[float, Meta(ge=1e-3, le=1e6)]
ShutterState = Literal["open", "closed"]
Trigger = Literal["internal", "position"]
ChangerFault = Literal["grip_failed", "slot_empty", "wrong_label", "timed_out", "collision"]
TransportFault = Literal["drop", "duplicate", "reorder", "corrupt", "truncate", "late"]


class RotationStatus(Struct, frozen=True):
    """The rotation stage."""

    position_deg: float
    target_deg: float
    moving: bool


class TranslationStatus(Struct, frozen=True):
    """The stage x, below the rotation."""

    position_mm: float
    target_mm: float
    moving: bool
    out_mm: float
    limit_mm: float


class DetectorStatus(Struct, frozen=True):
    """The camera."""

    rows: int
    columns: int
    pixel_size_m: float
    max_rate_hz: float
    saturation: float
    energy_kev: float
    armed: bool
    scan_id: str | None
    acquiring: bool
    issued: int
    error: str | None


class BeamStatus(Struct, frozen=True):
    """The light that comes to the beamline."""

    current: float
    front_end: ShutterState


class BeamlineEndpoints(Struct, frozen=True):
    """The sockets of the virtual beamline."""

    control: str
    frames: str


class BeamlineOwner(Struct, frozen=True):
    """The scan and the user that the beamline belongs to, and the users who wait for it, in their order."""

    scan_id: str | None
    user: str | None
    waiting: list[str]


class BeamlineStatus(Reply, frozen=True):
    """State of all devices."""

    rotation: RotationStatus
    x: TranslationStatus
    axes: dict[str, AxisStatus]
    shutter: ShutterState
    changer: ChangerStatus
    detector: DetectorStatus
    ownership: BeamlineOwner
    beam: BeamStatus
    endpoints: BeamlineEndpoints

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves and no frame is being taken."""
        moving = self.rotation.moving or self.x.moving or any(axis.moving for axis in self.axes.values())
        return not (moving or self.changer.busy or self.detector.acquiring)


class GetBeamlineStatus(Request[BeamlineStatus], frozen=True):
    """Request the state of all devices."""

    verb = "status"
    reply = BeamlineStatus


class Claimed(Reply, frozen=True):
    """The beamline is the claimant's when ``ownership.scan_id`` is its scan; else it waits in the queue."""

    ownership: BeamlineOwner


class Claim(Request[Claimed], frozen=True):
    """Claim the beamline for a scan, or renew the claim: without a renewal it ends after ``lease_s``."""

    verb = "claim"
    reply = Claimed
    scan_id: Name
    user: Name
    lease_s: Annotated[float, Meta(ge=0.05, le=3600)] = 5.0


class Release(Request[Done], frozen=True):
    """Give the beamline back, or leave the queue. What the scan left open is made safe."""

    verb = "release"
    reply = Done
    scan_id: Name


class MoveRotation(Request[Done], frozen=True):
    """Start a move of the rotation."""

    verb = "rotation"
    reply = Done
    target_deg: Angle
    velocity_deg_s: Annotated[float, Meta(ge=1e-3, le=1e5)] | None = None
    owner: Name | None = None


class MoveX(Request[Done], frozen=True):
    """Start a move of x."""

    verb = "x"
    reply = Done
    target_mm: Annotated[float, Meta(ge=-X_LIMIT_MM, le=X_LIMIT_MM)]
    owner: Name | None = None


class SetShutter(Request[Done], frozen=True):
    """Open or close the shutter."""

    verb = "shutter"
    reply = Done
    open: bool
    owner: Name | None = None


class SetBeam(Request[Done], frozen=True):
    """What the machine does: the ring current, and the shutter of the front end. None leaves it."""

    verb = "beam"
    reply = Done
    current: Share | None = None
    front_end: ShutterState | None = None


class Prepare(Request[Done], frozen=True):
    """Arm the detector for a scan; it sends ``start`` on the frame socket."""

    verb = "prepare"
    reply = Done
    spec: ScanSpec
    rate_hz: Rate
    owner: Name | None = None


class Acquire(Request[Done], frozen=True):
    """Begin to take frames. Raises BadInput when a position trigger has no start or no step."""

    verb = "acquire"
    reply = Done
    scan_id: Name
    frames: Annotated[int, Meta(ge=1, le=MAX_FRAMES)]
    kind: FrameKind
    trigger: Trigger = "internal"
    start_deg: Angle | None = None
    step_deg: Annotated[float, Meta(ge=-360, le=360)] | None = None

    def __post_init__(self) -> None:
        if self.trigger == "position" and (self.start_deg is None or not self.step_deg):
            raise BadInput("acquire: trigger 'position' needs start_deg, and step_deg other than 0")


class StopAcquire(Request[Done], frozen=True):
    """End the running acquisition after the current frame."""

    verb = "stop_acquire"
    reply = Done
    scan_id: Name


class Finished(Reply, frozen=True):
    """The detector is disarmed."""

    issued: Count


class Finish(Request[Finished], frozen=True):
    """Send ``end`` and disarm the detector."""

    verb = "finish"
    reply = Finished
    scan_id: Name
    status: EndStatus = "ok"


Frames = frozenset[Count]


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """Faults of the next scan. Raises BadInput when the last frame of ``beam_dump`` is before the first."""

    drop: Frames = frozenset()
    duplicate: Frames = frozenset()
    reorder: Frames = frozenset()
    corrupt: Frames = frozenset()
    truncate: Frames = frozenset()
    late: Frames = frozenset()
    probability: dict[TransportFault, Share] = {}
    seed: Count = 0
    beam_dump: tuple[Count, Count] | None = None
    beam_scale: Annotated[float, Meta(ge=0, le=100)] = 1.0
    beam_drift: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    stall: Count | None = None
    shutter: Literal["stuck", "lying"] | None = None
    changer: list[ChangerFault] = []

    def __post_init__(self) -> None:
        if self.beam_dump is not None and self.beam_dump[0] > self.beam_dump[1]:
            raise BadInput(f"faults: beam_dump is {list(self.beam_dump)}, expected [first, last]")


class SetFaults(Request[Done], frozen=True):
    """Set the faults of the next scan."""

    verb = "faults"
    reply = Done
    set: Faults


class TruthFile(Reply, frozen=True):
    """The truth file of a scan."""

    path: str


class FindTruth(Request[TruthFile], frozen=True):
    """Request the truth file of a scan."""

    verb = "truth"
    reply = TruthFile
    scan_id: str


class Quit(Request[Done], frozen=True):
    """End the process."""

    verb = "quit"
    reply = Done


BEAMLINE_REQUESTS: tuple[type[Request[Any]], ...] = (
    Ping,
    GetBeamlineStatus,
    Claim,
    Release,
    MoveRotation,
    MoveX,
    MoveAxis,
    SetShutter,
    SetBeam,
    Mount,
    Park,
    HandOver,
    Confirm,
    Prepare,
    Acquire,
    StopAcquire,
    Finish,
    SetFaults,
    FindTruth,
    Quit,
)
"""Requests to the virtual beamline."""
