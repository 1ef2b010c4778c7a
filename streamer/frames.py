"""The vocabulary shared by every part of Streamer: plain frozen values, no behaviour of the outside world.

Units are in the names (``_deg``, ``_s``, ``_m``, ``_px``). Arrays are (row, column); columns run perpendicular
to the rotation axis. See the glossary in ``docs/glossary.md``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = ("|u1", "<u2", "<u4", "<f4")
"""Pixel types a detector may send, as NumPy writes them. Anything else is refused."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a scan id or a sample name may look like; both become parts of file names."""

MAX_FRAMES = 10_000_000
MAX_SIDE = 65_535


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


@dataclass(frozen=True, slots=True)
class FrameMeta:
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


_WHOLE = (
    ("rows", 1, MAX_SIDE),
    ("columns", 2, MAX_SIDE),
    ("projections", 1, MAX_FRAMES),
    ("flats", 0, MAX_FRAMES),
    ("darks", 0, MAX_FRAMES),
)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class ScanSpec:
    """What is announced before the first frame of a scan.

    Raises BadInput, naming the field, when a value cannot be true. A length of None means "not known".
    """

    scan_id: str
    sample: str
    rows: int
    columns: int
    projections: int
    flats: int = 0
    darks: int = 0
    dtype: str = "<u2"
    start_deg: float = 0.0
    range_deg: float = 180.0
    exposure_s: float = 0.0
    pixel_size_m: float | None = None
    energy_kev: float | None = None
    distance_m: float | None = None
    center_px: float | None = None
    saturation: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("scan_id", "sample"):
            value = getattr(self, name)
            if not isinstance(value, str) or not NAME.fullmatch(value):
                rule = "use 1 to 100 letters, digits, '.', '_', '-', starting with a letter or digit"
                raise BadInput(f"{name} {value!r}: {rule}")
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise self._bad(name, f"must be a whole number from {low} to {high}")
        for name in ("start_deg", "range_deg", "exposure_s"):
            if not _is_finite(getattr(self, name)):
                raise self._bad(name, "must be a finite number")
        for name in ("pixel_size_m", "energy_kev", "distance_m", "saturation"):
            value = getattr(self, name)
            if value is not None and not (_is_finite(value) and value > 0):
                raise self._bad(name, "must be a positive number, or left out if not known")
        if self.center_px is not None and not _is_finite(self.center_px):
            raise self._bad("center_px", "must be a detector column, or left out")
        if self.range_deg == 0:
            raise self._bad("range_deg", "must not be 0")
        if self.dtype not in DTYPES:
            raise self._bad("dtype", f"must be one of {', '.join(DTYPES)}")
        texts = (*self.metadata, *self.metadata.values()) if isinstance(self.metadata, Mapping) else (None,)
        if not all(isinstance(text, str) for text in texts):
            raise self._bad("metadata", "must be a map of texts")

    def _bad(self, name: str, rule: str) -> BadInput:
        return BadInput(f"scan {self.scan_id}: {name} is {getattr(self, name)!r}, {rule}")

    @property
    def frames(self) -> int:
        """Number of frames announced, of all kinds."""
        return self.projections + self.flats + self.darks

    @property
    def frame_nbytes(self) -> int:
        return self.rows * self.columns * np.dtype(self.dtype).itemsize

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "metadata": dict(self.metadata)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanSpec:
        """Inverse of to_dict. Unknown keys and wrong types are BadInput."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise BadInput(f"scan spec has the unknown key {unknown[0]!r}; known keys: {', '.join(sorted(known))}")
        missing = [name for name in ("scan_id", "sample", "rows", "columns", "projections") if name not in data]
        if missing:
            raise BadInput(f"scan spec lacks {', '.join(missing)}")
        try:
            return cls(**data)
        except TypeError as error:
            raise BadInput(f"scan spec: {error}") from error


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
