"""What was measured of a scan, and the decision drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from streamer.frames.errors import BadInput


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
    BEAM_DRIFTED = (
        "beam_drifted",
        Decision.RETAKE,
        "the light changed by too much, during the scan or from one projection to the next",
    )
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
    dim_noise: float | None = None  # share by which projections in less than the usual light add to the noise
    flicker: float | None = None  # rms by which the light differs from one projection to the next, relative
    flicker_noise: float | None = None  # rms error that this makes in a slice, over the noise of a voxel
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
