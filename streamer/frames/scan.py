"""What a scan announces, and what a frame is. See ``docs/glossary.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.frames.errors import BadInput
from streamer.schema import Finite, Positive, complaint, first_wrong, shown

MAX_FRAMES = 10_000_000
MAX_SIDE = 65_535

DTYPES = ("|u1", "<u2", "<u4", "<f4")
"""Pixel types a detector may send, as NumPy writes them. Anything else is refused."""


def frame_dtype(*stored: np.dtype[Any]) -> np.dtype[Any]:
    """The pixel type of a scan whose frames are stored in these types: one that holds them all, else float32."""
    # Means of flats and darks are often stored as wider numbers than the projections: nothing may be cut off.
    little = np.result_type(*stored).newbyteorder("<")
    return little if little.str in DTYPES else np.dtype("<f4")


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a scan id or a sample name may look like; both become parts of file names."""

_NAME_RULE = "a name: 1 to 100 letters, digits, '.', '_', '-', starting with a letter or digit"
Name = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z", extra={"rule": _NAME_RULE})]
_PIXEL_TYPES = "|".join(map(re.escape, DTYPES))
PixelType = Annotated[str, Meta(pattern=rf"\A({_PIXEL_TYPES})\Z", extra={"rule": " or ".join(DTYPES)})]
Count = Annotated[int, Meta(ge=0, le=MAX_FRAMES)]


class FrameKind(IntEnum):
    """What a frame shows; the numbers are NXtomo's ``image_key``."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


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
    checksum: int = 0  # xxh3_64 of the pixels, as the source sent it; 0 when it sent none


@dataclass(frozen=True, slots=True)
class Frame:
    """One image (rows, columns) as the detector sent it."""

    meta: FrameMeta
    pixels: NDArray[Any]
    packed: NDArray[np.uint8] | None = None  # the same pixels, compressed as HDF5's bitshuffle filter stores them


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
    tomogram_deg: Positive | None = None
    before_trigger: Count | None = None

    def __post_init__(self) -> None:
        if (wrong := first_wrong(self)) is not None:
            raise self._bad(*wrong)
        if self.range_deg == 0:
            raise self._bad("range_deg", "anything but 0")
        if self.before_trigger is not None and self.before_trigger >= self.projections:
            raise self._bad("before_trigger", f"fewer than the {self.projections} projections")

    @classmethod
    def recorded(
        cls,
        scan_id: str,
        sample: str,
        angles_deg: NDArray[np.float64],
        stored: np.dtype[Any],
        lacking: int = 0,
        **values: Any,
    ) -> ScanSpec:
        """A scan that is over, from the angles of its projections and the type in which their pixels are stored.

        Between them ``lacking`` more were to come. ``values`` are the other fields. Raises BadInput as the constructor
        does.
        """
        span, count = float(angles_deg[-1] - angles_deg[0]), len(angles_deg) + lacking
        spec = cls(
            scan_id,
            sample,
            projections=count,
            start_deg=float(angles_deg[0]),
            # n angles cover n steps of the circle, though they show n - 1.
            range_deg=span * count / (count - 1) if span else 180.0,
            **values,
        )
        if stored.kind == "u" and stored.itemsize != np.dtype(spec.dtype).itemsize:
            # The largest number of the type no longer shows in what is delivered.
            return msgspec.structs.replace(spec, saturation=float(np.iinfo(stored).max))
        return spec

    def _bad(self, name: str, rule: str) -> BadInput:
        scan = "" if name == "scan_id" else f"scan {self.scan_id}: "
        return BadInput(f"{scan}{name} is {shown(getattr(self, name))}, expected {rule}")

    @property
    def frames(self) -> int:
        """Number of frames announced, of all kinds."""
        return self.projections + self.flats + self.darks

    @property
    def projections_per_tomogram(self) -> int:
        """Of those of ``tomogram_deg``; 1 where there is one tomogram of all."""
        if self.tomogram_deg is None:
            return 1
        return max(1, round(self.tomogram_deg * self.projections / abs(self.range_deg)))

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
