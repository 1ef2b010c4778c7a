"""What a plan may ask of a detector with ``prepare``: plain values, the same for every kind of detector.

One scan is one file and goes

    prepare(ScanSetup)                           open the file, announce the scan
    prepare(Exposures) kickoff complete          darks, flats, projections: as often as needed
    prepare(Closing)   kickoff complete          no more frames; wait until every frame is on disk

For a step scan, ``prepare(Exposures(frames=1, …))`` once and then ``trigger`` at every angle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.flow.wire import EndStatus
from streamer.frames import FrameKind


@dataclass(frozen=True)
class ScanSetup:
    """Everything the plan knows about a scan before the first frame. The detector adds its size and pixel type."""

    scan_id: str
    sample: str
    projections: int
    flats: int = 0
    darks: int = 0
    start_deg: float = 0.0
    range_deg: float = 180.0
    rate_hz: float = 50.0
    exposure_s: float = 0.0  # 0: as long as the rate allows
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return self.projections + self.flats + self.darks


@dataclass(frozen=True)
class Exposures:
    """Frames of one kind in a row.

    With ``step_deg`` the detector is triggered by the rotation: frame k at ``start_deg + k·step_deg`` (position
    compare). Without, it runs at its own rate and each frame gets the angle where the rotation stands.
    ``patience_s`` is time that passes before the first frame for a good reason, such as the run-up of the rotation.
    """

    frames: int
    kind: FrameKind
    start_deg: float = 0.0
    step_deg: float | None = None
    patience_s: float = 0.0


@dataclass(frozen=True)
class Closing:
    """The end of a scan. ``status``: "ok", "stopped" (early, on purpose: still good) or "aborted"."""

    status: EndStatus = "ok"
    reason: str = ""


Request = ScanSetup | Exposures | Closing
