"""The vocabulary shared by every part of Streamer: plain frozen values, no behaviour of the outside world.

Units are in the names (``_deg``, ``_s``, ``_m``, ``_px``). Arrays are (row, column); columns run perpendicular
to the rotation axis. See the glossary in ``docs/glossary.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.schema import Finite, Positive, complaint, first_wrong, shown

MAX_FRAMES = 10_000_000
MAX_SIDE = 65_535

DTYPES = ("|u1", "<u2", "<u4", "<f4")
"""Pixel types a detector may send, as NumPy writes them. Anything else is refused."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a scan id or a sample name may look like; both become parts of file names."""

_NAME_RULE = "1 to 100 letters, digits, '.', '_', '-', starting with a letter or digit"
Name = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z", extra={"rule": _NAME_RULE})]
_PIXEL_TYPES = "|".join(map(re.escape, DTYPES))
PixelType = Annotated[str, Meta(pattern=rf"\A({_PIXEL_TYPES})\Z", extra={"rule": " or ".join(DTYPES)})]
Count = Annotated[int, Meta(ge=0, le=MAX_FRAMES)]


class StreamerError(Exception):
    """Base of every error that Streamer raises on purpose. Never raised itself.

    BadInput              somebody gave us something unusable; the message is one line and names it
    └─ wire.WireError     a peer sent bytes that we cannot accept
    core.backend.BackendError, io.writer.WriterError, …   defined beside the code that raises them
    """


class BadInput(StreamerError):
    """Input of the user or of a peer is unusable. ``str(error)`` is one line that says what, where, and the way out."""


class FrameKind(IntEnum):
    """What a frame shows; the numbers are NXtomo's ``image_key``."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


class Decision(StrEnum):
    """What the measured quality means for the plan."""

    CONTINUE = "CONTINUE"  # nothing wrong so far, go on acquiring
    ENOUGH = "ENOUGH"  # the data are good and sufficient
    RETAKE = "RETAKE"  # the data are spoiled (motion, loss); the same scan again may be good
    REALIGN = "REALIGN"  # the axis is misplaced; move it, then scan again
    UNKNOWN = "UNKNOWN"  # the numbers do not allow a decision; the reasons say why


class FrameMeta(msgspec.Struct, frozen=True):
    """Everything about one frame but its pixels.

    ``index`` counts from 0 without gaps within the scan, over all kinds. ``seq`` counts the messages of the source.
    ``angle_deg`` is the true angle at the exposure. ``received_s`` is on the daemon's monotonic clock.
    """

    scan_id: str
    index: int
    kind: FrameKind
    angle_deg: float
    seq: int = 0
    timestamp_ns: int = 0
    exposure_s: float = 0.0
    monitor: float = 1.0
    received_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One image (rows, columns) as the detector sent it."""

    meta: FrameMeta
    pixels: NDArray[Any]


class ScanSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is announced before the first frame of a scan. A length of None means "not known".

    Raises BadInput, naming the field, when a value breaks the rule in its annotation or ``range_deg`` is 0.
    """

    scan_id: Name
    sample: Name
    rows: Annotated[int, Meta(ge=1, le=MAX_SIDE)]
    columns: Annotated[int, Meta(ge=2, le=MAX_SIDE)]
    projections: Annotated[int, Meta(ge=1, le=MAX_FRAMES)]
    flats: Count = 0
    darks: Count = 0
    dtype: PixelType = "<u2"
    start_deg: Finite = 0.0
    range_deg: Finite = 180.0
    exposure_s: Finite = 0.0
    pixel_size_m: Positive | None = None
    energy_kev: Positive | None = None
    distance_m: Positive | None = None
    center_px: Finite | None = None
    saturation: Positive | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (wrong := first_wrong(self)) is not None:
            raise self._bad(*wrong)
        if self.range_deg == 0:
            raise self._bad("range_deg", "anything but 0")

    def _bad(self, name: str, rule: str) -> BadInput:
        scan = "" if name == "scan_id" else f"scan {self.scan_id}: "
        return BadInput(f"{scan}{name} is {shown(getattr(self, name))}, expected {rule}")

    @property
    def frames(self) -> int:
        """Number of frames announced, of all kinds."""
        return self.projections + self.flats + self.darks

    @property
    def frame_nbytes(self) -> int:
        return self.rows * self.columns * np.dtype(self.dtype).itemsize

    def to_dict(self) -> dict[str, Any]:
        return {**msgspec.structs.asdict(self), "metadata": dict(self.metadata)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanSpec:
        """Inverse of to_dict. Unknown keys and wrong types are BadInput."""
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise BadInput(f"scan spec: {complaint(error, data, cls)[1]}") from error


@dataclass(frozen=True)
class Quality:
    """Measured numbers of a scan so far. None means "could not be measured", never "zero"."""

    projections: int = 0
    expected: int = 0
    missing: int = 0
    corrupt: int = 0
    coverage: float = 0.0  # share of the wanted angular range that is present, 0…1
    snr: float | None = None  # attenuation of the sample over its noise in one projection
    peak_attenuation: float | None = None  # 99.5th percentile of the attenuation along a ray
    center_px: float | None = None
    center_confidence: float = 0.0  # 0…1
    center_offset_px: float | None = None  # centre of rotation minus the middle of the detector
    motion_px: float | None = None  # largest unexplained displacement of the sample
    saturation: float | None = None  # share of saturated pixels in the projections
    flat_drift: float | None = None  # relative change of the beam between the flat and the open beam beside the sample
    truncation: float | None = None  # share of projections whose sample touches the edge of the detector
    resolution_px: float | None = None  # Fourier ring correlation, half-bit criterion
    flats: int = 0
    darks: int = 0
    unlit: float = 0.0  # share of pixels in which the flats show no beam, 0…1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """The decision drawn from a Quality, with reasons in words that a scientist understands."""

    decision: Decision
    reasons: tuple[str, ...] = ()
    final: bool = False
