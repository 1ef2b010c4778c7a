"""What a plan may ask of a detector with ``prepare``: plain values, the same for every kind of detector.

One scan is one file and goes

    prepare(ScanSetup)                           open the file, announce the scan
    prepare(Exposures) kickoff complete          darks, flats, projections: as often as needed
    prepare(Closing)   kickoff complete          no more frames; wait until every frame is on disk

For a step scan, ``prepare(Exposures(frames=1, …))`` once and then ``trigger`` at every angle.
"""

import re
import time
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import index
from typing import Any

from streamer.flow.wire import EndStatus
from streamer.frames import BadInput, FrameKind


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
    energy_kev: float | None = None
    distance_m: float | None = None  # from the sample to the detector
    metadata: Mapping[str, str] = field(default_factory=dict)
    tomogram_deg: float | None = None  # one tomogram for each so many degrees; None: one of the whole scan
    before_trigger: int | None = None  # projections kept from before the trigger; None: all are kept, without one

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


def plain_numbers(settings: Any) -> None:
    """Replace NumPy's numbers in a frozen dataclass by Python's, which every document takes.

    Raises BadInput for a field of a whole number or a number that holds something else.
    """
    for entry in fields(settings):
        if entry.type not in (int, float):
            continue
        value = getattr(settings, entry.name)
        try:
            plain = index(value) if entry.type is int else float(value)
        except (TypeError, ValueError):
            wanted = "a whole number" if entry.type is int else "a number"
            raise BadInput(f"{type(settings).__name__}: {entry.name} is {value!r}, expected {wanted}") from None
        object.__setattr__(settings, entry.name, plain)


def name_of(sample: str) -> str:
    """A name of the protocol for any name of a sample: "Ti 6Al 4V" becomes "Ti-6Al-4V", and "kůra" "kura"."""
    plain = unicodedata.normalize("NFKD", sample).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:70] or "sample"


def new_scan_id(name: str) -> str:
    return f"{name}.{time.strftime('%Y%m%dT%H%M%S')}.{uuid.uuid4().hex[:6]}"


Request = ScanSetup | Exposures | Closing
