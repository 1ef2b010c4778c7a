"""Messages of the daemon: control verbs, reports, previews (``docs/protocol.md`` §2.1, §4).

The tables there give the unit and the meaning of every field; a test compares them with these structs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from streamer.flow.capture import CaptureState
from streamer.flow.scan import ScanState
from streamer.flow.wire import MAX_CONTROL, EndStatus, WireError, decode_as
from streamer.flow.wire.control import Done, Ping, Reply, Request
from streamer.frames import Count, Name, Quality, Reason, ScanSpec, Verdict
from streamer.schema import Finite

MAX_VALUE = 1e30
"""Beyond this a value is not an attenuation, and float32 arithmetic overflows."""

MAX_WAIT_S = 3600.0

Coordinate = Annotated[float, Meta(ge=-1e6, le=1e6)]
Vector = tuple[Coordinate, Coordinate, Coordinate]
PictureSide = Annotated[int, Meta(ge=1, le=16_384)]
VolumeSide = Annotated[int, Meta(ge=1, le=2**17)]
Value = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
Unit = Annotated[str, Meta(pattern=r"\A1/(cm|pixel)\Z", extra={"rule": "1/cm or 1/pixel"})]
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Judged:
    """Mixin for structs with the three keys of a verdict."""

    __slots__ = ()
    verdict: str
    reasons: tuple[Reason, ...]
    final: bool

    @property
    def judgement(self) -> Verdict:
        """The verdict. A decision that only newer versions know reads as UNKNOWN."""
        return Verdict.of(self.verdict, self.reasons, self.final)


class FrameCounts(Struct, frozen=True):
    """Frames of one scan."""

    expected: Count = 0
    received: Count = 0
    missing: Count = 0
    duplicate: Count = 0
    late: Count = 0
    corrupt: Count = 0
    missing_projections: Count = 0
    missing_flats: Count = 0
    missing_darks: Count = 0
    passed: Count = 0


class ProjectionCounts(Struct, frozen=True):
    """Projections of one scan."""

    received: Count = 0
    expected: Count = 0


class Latency(Struct, frozen=True):
    """Time from the arrival of a projection until the planes contain it, in ms."""

    p50: Finite | None = None
    p99: Finite | None = None
    n: Count = 0
    p90: Finite | None = None
    p999: Finite | None = None
    worst: Finite | None = None


class Report(Struct, Judged, frozen=True, kw_only=True):
    """Everything about one scan."""

    scan_id: Name
    sample: Name
    state: ScanState
    frames: FrameCounts = FrameCounts()
    capture: CaptureState | None = None
    written: Count = 0
    writer: str = "ok"
    writer_note: str = ""
    projections: ProjectionCounts = ProjectionCounts()
    coverage: Finite = 0.0
    verdict: str = "UNKNOWN"
    reasons: tuple[Reason, ...] = ()
    final: bool = False
    quality: Quality = Quality()
    center_px: Finite | None = None
    center_confidence: Finite = 0.0
    raw_file: str = ""
    tomogram_file: str | None = None
    tomograms: Count = 0
    artefacts: Mapping[str, Finite | None] = {}
    geometry: dict[str, Any] = {}
    plan: dict[str, Any] = {}
    latency_ms: Latency = Latency()
    last_frame_to_tomogram_s: Finite | None = None
    scan_s: Finite | None = None
    source: str | None = None
    foreign: Mapping[str, Count] = {}
    note: str = ""
    first_preview_projections: Count | None = None
    error: str | None = None


class Endpoints(Struct, frozen=True):
    """Sockets of the daemon."""

    control: str
    events: str
    preview: str
    source: str
    metrics: str | None = None


class RingStatus(Struct, frozen=True):
    """The frame buffer, in slots of one frame."""

    slots: Count
    occupied: Count
    high_water: Count


class PlaneSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A flat grid of pixels anywhere in the tomogram."""

    name: Name
    origin: Vector
    u: Vector
    v: Vector
    shape: tuple[PictureSide, PictureSide]


class Armed(Reply, frozen=True):
    """The daemon is ready for the frames."""

    scan_id: Name
    raw_file: str
    dtype: str
    shape: tuple[int, int]
    plan: dict[str, Any]


class Arm(Request[Armed], frozen=True):
    """Get ready for the frames of a scan."""

    verb = "arm"
    reply = Armed
    spec: ScanSpec


class Disarm(Request[Done], frozen=True):
    """Forget an armed scan that has no frames."""

    verb = "disarm"
    reply = Done
    scan_id: str


class Abort(Request[Done], frozen=True):
    """Close the running scan as aborted."""

    verb = "abort"
    reply = Done
    scan_id: str
    reason: str = ""


class Trigger(Request[Done], frozen=True):
    """Keep the latest projections of a scan that waits for this, and those that follow."""

    verb = "trigger"
    reply = Done
    scan_id: str


class EndScan(Request[Done], frozen=True):
    """No more frames come than these; for a detector that cannot say so itself."""

    verb = "end"
    reply = Done
    scan_id: str
    frames: Count
    status: EndStatus = "ok"


class DaemonStatus(Reply, frozen=True):
    """State of the daemon and of a scan."""

    state: ScanState
    version: str
    backend: str
    endpoints: Endpoints
    ring: RingStatus
    scan: Report | None = None
    uptime_s: float = 0.0
    source_connected: bool | None = None
    last_frame_age_s: float | None = None
    disk_free_bytes: int | None = None


class GetStatus(Request[DaemonStatus], frozen=True):
    """Request the state of the daemon, with the report of the named scan (nil: of the running or last one)."""

    verb = "status"
    reply = DaemonStatus
    scan_id: str | None = None


class VerdictReply(Reply, Judged, frozen=True):
    """The verdict on a scan, final or preliminary."""

    scan_id: Name
    verdict: str
    reasons: tuple[Reason, ...]
    final: bool
    quality: Quality = Quality()


class GetVerdict(Request[VerdictReply], frozen=True):
    """Request the verdict on a scan; with ``wait``, when it is final."""

    verb = "verdict"
    reply = VerdictReply
    scan_id: str
    wait: bool = False
    timeout_s: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 30.0


class WatchedPlanes(Reply, frozen=True):
    """The watched planes."""

    planes: list[PlaneSpec]


class WatchPlanes(Request[WatchedPlanes], frozen=True):
    """Request the watched planes; ``set`` chooses others from now on."""

    verb = "planes"
    reply = WatchedPlanes
    set: list[PlaneSpec] | None = None


class CenterReply(Reply, frozen=True):
    """The centre of rotation in use."""

    center_px: Finite | None
    confidence: Finite
    fixed: bool


class FixCenter(Request[CenterReply], frozen=True):
    """Request the centre of rotation. ``set`` fixes it from now on; nil returns to the automatic search."""

    verb = "center"
    reply = CenterReply
    set: Finite | UnsetType | None = UNSET


class SendPositions(Request[Done], frozen=True):
    """Enter positions of an encoder; ``last``: no more of this scan come."""

    verb = "positions"
    reply = Done
    scan_id: str
    first: Count
    values: list[Finite]
    last: bool = False


RequestTypes = tuple[type[Request[Any]], ...]
DAEMON_REQUESTS: RequestTypes = (
    Ping,
    Arm,
    Disarm,
    Abort,
    Trigger,
    EndScan,
    GetStatus,
    GetVerdict,
    WatchPlanes,
    FixCenter,
    SendPositions,
)
"""Requests to a daemon; ``looks`` has more."""


class PreviewHeader(Struct, Judged, frozen=True, kw_only=True):
    """How to interpret the payload of a preview, and the state of the scan when it was made.

    Raises WireError when ``lo`` is above ``hi``.
    """

    scan_id: Name
    sample: Name
    plane: Name
    version: Nanoseconds = 0
    angles: Count
    of: Count
    shape: tuple[PictureSide, PictureSide]
    lo: Value
    hi: Value
    unit: Unit
    pixel_size_m: Annotated[float, Meta(ge=1e-12, le=1)] | None = None
    bin: Annotated[int, Meta(ge=1, le=1024)] = 1
    coarse: bool = False
    center_px: Value | None = None
    frame_rate_hz: Value | None = None
    verdict: str = "UNKNOWN"
    reasons: tuple[Reason, ...] = ()
    final: bool = False
    place: PlaneSpec | None = None
    volume: tuple[VolumeSide, VolumeSide, VolumeSide] | None = None

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise WireError("header", f"preview with the range {self.lo!r} to {self.hi!r}")

    def values(self, payload: bytes | memoryview) -> NDArray[np.float32]:
        """The picture (rows, columns) of a payload that ``read_preview`` has checked, in ``unit``."""
        image = np.frombuffer(payload, "<u2").reshape(self.shape).astype(np.float32)
        image *= np.float32((self.hi - self.lo) / 65535)
        image += np.float32(self.lo)
        return image


def read_preview(parts: Sequence[bytes]) -> tuple[PreviewHeader, bytes]:
    """Decode the parts ``[b"plane", map, payload]`` of a message to header and payload. Raises WireError."""
    if len(parts) != 3 or parts[0] != b"plane":
        raise WireError("parts", f"preview of {len(parts)} parts, expected b'plane', map and payload")
    preview = decode_as(parts[1], PreviewHeader, "preview", MAX_CONTROL)
    rows, columns = preview.shape
    if len(parts[2]) != 2 * rows * columns:
        raise WireError("truncated", f"preview of {rows}×{columns} pixels with {len(parts[2])} bytes")
    return preview, parts[2]
