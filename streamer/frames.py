"""The vocabulary shared by every part of Streamer: plain frozen values, no behaviour of the outside world.

Units are in the names (``_deg``, ``_s``, ``_m``, ``_px``). Arrays are (row, column); columns run perpendicular
to the rotation axis. See the glossary in ``docs/glossary.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
    EMPTY = "EMPTY"  # there is no sample in the beam
    UNKNOWN = "UNKNOWN"  # the numbers do not allow a decision; the reasons say why


class ReasonCode(StrEnum):
    """Why a verdict is what it is, for machines: a sentence may be reworded, a code is never renamed.

    Each row is the code, the decision that it leads to (None: it is a remark and decides nothing), and its meaning.
    ``docs/reasons.md`` shows the table. A code that this version does not know reads as OTHER.
    """

    decision: Decision | None
    meaning: str

    def __new__(cls, value: str, decision: Decision | None = None, meaning: str = "") -> ReasonCode:
        code = str.__new__(cls, value)
        code._value_, code.decision, code.meaning = value, decision, meaning
        return code

    @classmethod
    def _missing_(cls, value: object) -> ReasonCode | None:
        return cls.OTHER if isinstance(value, str) else None

    NO_PROJECTIONS = "no_projections", Decision.UNKNOWN, "the scan ended without a projection"
    NO_FLATS = "no_flats", Decision.UNKNOWN, "attenuation cannot be measured: the scan has no flats"
    NO_LIGHT = "no_light", Decision.UNKNOWN, "the flats are as dark as the darks: the shutter was probably closed"
    EMPTY = "empty", Decision.EMPTY, "there is no sample in the beam"
    MOTION = "motion", Decision.RETAKE, "the sample moved during the scan"
    MISFIT = "misfit", Decision.RETAKE, "the projections do not fit one rigid sample that turned by these angles"
    AFTERGLOW = "afterglow", Decision.RETAKE, "each image of the detector holds a part of the one before it"
    SAMPLE_CHANGED = "sample_changed", Decision.RETAKE, "the sample shrank, fell off, or left the field of view"
    AXIS_OFF = "axis_off", Decision.REALIGN, "the rotation axis is too far from the middle of the detector"
    SATURATED = "saturated", Decision.RETAKE, "too many pixels are saturated"
    UNUSABLE = "unusable", Decision.RETAKE, "too many projections hold no image of the sample and were set aside"
    ANGLES_WRONG = "angles_wrong", Decision.UNKNOWN, "the angles are not those that were announced; check the encoder"
    FLATS_WRONG = "flats_wrong", Decision.UNKNOWN, "the flats show something else than the open beam"
    DARKS_LIT = "darks_lit", Decision.UNKNOWN, "the darks were taken with light"
    SHADOW = "shadow", Decision.UNKNOWN, "part of the detector sees no light in any projection"
    PATTERN = "pattern", Decision.RETAKE, "pixels or columns of the detector changed since the flats"
    BEAM_MOVED = "beam_moved", Decision.RETAKE, "the pattern of the beam moved on the detector since the flats"
    ZINGERS = "zingers", Decision.RETAKE, "too many single pixels are far too bright"
    BEAM_DRIFTED = "beam_drifted", Decision.RETAKE, "the beam became brighter or darker by too much during the scan"
    FRAMES_LOST = "frames_lost", Decision.RETAKE, "too many projections are missing or corrupt"
    ANGLES_MISSING = "angles_missing", Decision.RETAKE, "the angles leave a gap"
    RESOLUTION_NOT_REACHED = "resolution_not_reached", Decision.RETAKE, "the resolution is worse than wanted"
    CENTER_UNKNOWN = "center_unknown", Decision.UNKNOWN, "the centre of rotation was not found"
    TRUNCATED = "truncated", None, "the sample is wider than the detector"
    CENTER_UNCERTAIN = "center_uncertain", Decision.UNKNOWN, "the confidence in the centre of rotation is too low"
    SET_ASIDE = "set_aside", None, "some frames were of no use and were set aside"
    GAP = "gap", None, "an arc of the angles was not measured"
    DEAD_COLUMNS = "dead_columns", None, "some columns of the detector are dead and make rings"
    FEW_PROJECTIONS = "few_projections", Decision.RETAKE, "there are too few projections for the width of the sample"
    LITTLE_LIGHT = (
        "little_light",
        Decision.RETAKE,
        "the noise of a voxel exceeds the sample: too little light",
    )
    AFTER_ENOUGH = "after_enough", None, "what came after the data were enough shows something; the scan was stopped"
    NOTHING_WRONG = "nothing_wrong", None, "nothing speaks against the data; the sentence sums them up"
    NOT_JUDGED = "not_judged", Decision.UNKNOWN, "nothing has been measured yet"
    RECONSTRUCTION_FAILED = "reconstruction_failed", Decision.UNKNOWN, "the reconstruction failed; the raw file is kept"
    RAW_DATA_LOST = "raw_data_lost", Decision.RETAKE, "too many frames were received and are not in the raw file"
    SCAN_FAILED = "scan_failed", Decision.UNKNOWN, "the plan could not finish the scan"
    NOT_SCANNED = "not_scanned", Decision.UNKNOWN, "the plan did not scan the sample"
    REFUSED = "refused", Decision.UNKNOWN, "the daemon could not take the scan; its frames were not kept"
    NO_VERDICT = "no_verdict", Decision.UNKNOWN, "the daemon gave the plan no final verdict"
    OTHER = "other", None, "a reason of a newer version; only its sentence is known"


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
    motion_px: float | None = None  # unexplained displacement of the sample; twice its rms in a complete scan
    saturation: float | None = None  # share of saturated pixels in the projections
    flat_drift: float | None = None  # relative change of the beam between the flat and the open beam beside the sample
    truncation: float | None = None  # share of projections whose sample touches the edge of the detector
    resolution_px: float | None = None  # Fourier ring correlation, half-bit criterion
    resolution_at: int = 0  # projections from which the resolution was measured
    flats: int = 0
    darks: int = 0
    dark_flat_share: float = 0.0  # share of pixels in which the flats show no beam, 0…1
    misfit_px: float | None = None  # what fits no rigid sample, as if each projection were displaced by so much
    mass_change: float | None = None  # relative change of the sample's mass beyond noise
    pattern: float | None = None  # rms attenuation that single pixels or columns add to all projections
    zingers: float | None = None  # share of pixels that outshine both neighbours
    shadow: float | None = None  # share of pixels that see light in the flats and in no projection
    negative: float | None = None  # share of the field that is brighter with the sample than in the flats
    dark_light: float = 0.0  # share of the beam that the darks hold
    unlit_columns: float = 0.0  # share of the columns without beam in the flats
    columns: int = 0  # of the detector
    projections_per_column: float | None = None  # of the sample's width, in half a turn; 1.57 are complete
    dead_columns: int = 0  # those that show nothing of the sample in any row; left out of the other measures
    noise: float | None = None  # of the attenuation in one pixel of one projection
    voxel_snr: float | None = None  # attenuation of the sample in a voxel over the noise of a voxel
    angle_findings: tuple[str, ...] = ()  # what is wrong with the angles, in words
    unusable: Mapping[str, str] = field(default_factory=dict)  # cause → frames that were set aside, as "70-72, 80"
    unusable_counts: Mapping[str, int] = field(default_factory=dict)  # cause → number of them
    gap_deg: float | None = None  # widest arc of wanted angles that no projection shows; 0 where steps are as usual
    beam_level: float | None = None  # open beam above the dark, as a share of what the detector holds
    odd_fields: str = ""  # flats and darks that were left out, in words
    beam_moved: float | None = None  # rms attenuation that the beam's pattern adds, which moved since the flats
    beam_shift_px: float | None = None  # rms by which it moved
    afterglow: float | None = None  # share of the image before that each projection holds
    center_sigma_px: float | None = None  # standard error of the centre of rotation

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "angle_findings": list(self.angle_findings)}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict: a code for machines, a sentence for people."""

    code: ReasonCode
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"

    @classmethod
    def from_dict(cls, data: Any) -> Reason:
        """A reason from ``{"code", "text"}``. Raises BadInput for anything else."""
        if not isinstance(data, Mapping) or not all(isinstance(data.get(key), str) for key in ("code", "text")):
            raise BadInput(f'the reason {data!r} of a verdict is not a map with the texts "code" and "text"')
        return cls(ReasonCode(data["code"]), data["text"])


@dataclass(frozen=True)
class Verdict:
    """The decision drawn from a Quality, and its reasons, the deciding one first. A ``final`` one does not change.

    Everywhere outside this process (wire, event, report, file, JSON) it has the form of ``to_dict``.
    """

    decision: Decision
    reasons: tuple[Reason, ...] = ()
    final: bool = False

    def __str__(self) -> str:
        return f"{self.decision}: {'; '.join(map(str, self.reasons))}" if self.reasons else str(self.decision)

    @property
    def codes(self) -> tuple[ReasonCode, ...]:
        return tuple(reason.code for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """``{"verdict": decision, "reasons": [{"code", "text"}], "final"}``."""
        return {
            "verdict": self.decision.value,
            "reasons": [{"code": reason.code.value, "text": reason.text} for reason in self.reasons],
            "final": self.final,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict in a map that may hold more, such as a report. Raises BadInput when there is none."""
        word, given, final = data.get("verdict"), data.get("reasons"), data.get("final", False)
        if not isinstance(word, str) or not isinstance(given, (list, tuple)) or not isinstance(final, bool):
            raise BadInput('a verdict needs "verdict" (text), "reasons" (list of maps) and "final" (true or false)')
        return cls.of(word, tuple(Reason.from_dict(entry) for entry in given), final)

    @classmethod
    def of(cls, word: str, reasons: tuple[Reason, ...], final: bool) -> Verdict:
        """The verdict with the decision ``word``; one that only newer versions know reads as UNKNOWN, and is named."""
        if word in Decision.__members__:
            return cls(Decision(word), reasons, final)
        newer = Reason(ReasonCode.OTHER, f"the decision {word!r} is not known to this version")
        return cls(Decision.UNKNOWN, (newer, *reasons), final)


NOT_JUDGED = Verdict(Decision.UNKNOWN, (Reason(ReasonCode.NOT_JUDGED, ReasonCode.NOT_JUDGED.meaning),))
"""The verdict on a scan of which nothing has been measured."""
