"""What a scan is worth: measures of single projections and of the whole, and the verdict drawn from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.opposite_views import PairMatch
from streamer.frames import BadInput, Decision, Quality, Verdict

SAMPLE = 32_768  # pixels of a projection that are enough to measure signal and noise
PAIR_MISMATCH = 0.2  # an opposite pair that fits worse than this says nothing of movement
MOST_UNLIT = 0.45  # share of pixels in which the flats do not exceed the darks: half of them with the shutter closed
PAIR_TURN_PX = 0.25  # drop of a pair that is within its own error


@dataclass(frozen=True)
class SampleSignal:
    """``snr`` attenuation over noise in one pixel of one projection; ``peak`` attenuation along the densest rays."""

    snr: float
    peak: float


def sample_signal(attenuation: NDArray[Any]) -> SampleSignal:
    """Signal of the sample in one projection (rows, columns), above the open beam at the left and right margins.

    The signal is the 99.5th percentile of means over small squares, so that noise does not pass for a sample, less what
    noise alone would give: an empty beam has an snr near 0. The noise is that of second differences along the rows,
    which a smooth sample does not have.
    """
    values = np.asarray(attenuation, np.float64)
    values = values[:: max(1, values.size // SAMPLE)]
    rows, cols = values.shape
    margin = max(1, cols // 50)
    beam = float(np.median(np.concatenate([values[:, :margin], values[:, -margin:]], axis=None)))
    peak = max(0.0, float(np.percentile(values, 99.5)) - beam)
    if cols < 8:
        return SampleSignal(0.0, peak)
    bend = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
    noise = max(float(1.4826 * np.median(np.abs(bend))) / np.sqrt(6.0), 1e-7)
    down, across = min(8, max(1, rows // 16)), min(8, max(1, cols // 16))
    squares = values[: rows // down * down, : cols // across * across]
    squares = squares.reshape(rows // down, down, cols // across, across).mean(axis=(1, 3))
    chance = 4.0 * noise / np.sqrt(down * across)
    return SampleSignal(max(0.0, float(np.percentile(squares, 99.5)) - beam - chance) / noise, peak)


def saturated_share(raw: NDArray[Any], level: float | None = None) -> float:
    """Share of pixels of a raw frame at or above ``level`` (default: the largest number of its integer type).

    Raises BadInput for float pixels without a level, as they have no largest number.
    """
    if level is None:
        if raw.dtype.kind != "u":
            raise BadInput("float pixels have no natural saturation; give the detector's level")
        level = float(np.iinfo(raw.dtype).max)
    # Integers are compared with an integer: with a float, all of them would be converted first.
    lowest = math.ceil(level) if raw.dtype.kind == "u" else level
    return float(np.count_nonzero(raw >= lowest) / raw.size)


def motion_px(track: MomentTrack, pair: PairMatch | None = None) -> float | None:
    """Largest displacement (pixels) found by the centre of mass, or by the drop of the sample within half a turn."""
    found = [] if (jump := track.motion_px()) is None else [jump]
    if pair is not None and pair.center is not None and pair.mismatch < PAIR_MISMATCH:
        found.append(abs(pair.dy) if abs(pair.dy) > PAIR_TURN_PX else 0.0)
    return max(found) if found else None


@dataclass(frozen=True)
class Limits:
    """What a scan must meet. Every number is a choice of the beamline; None switches a check off.

    min_coverage             share of the wanted angles, at the end; a hole of 2 % is a visible wedge artefact
    max_missing_share        share of announced projections that may be lost or corrupt
    max_center_offset_share  distance of the axis from the detector's middle, as a share of the columns
    min_center_confidence    below this, the position of the axis counts as unknown
    max_motion_px            displacement during the scan; one pixel doubles every edge
    max_saturation           share of saturated pixels in the projections
    min_snr                  attenuation over noise in one projection; less is an empty holder
    min_attenuation          attenuation along the densest rays; less is an empty holder
    max_flat_drift           relative change of the beam since the flats
    max_truncation           share of projections whose sample touches the edge
    max_resolution_px        resolution that is wanted, as a period in pixels; reached early, the scan is ENOUGH
    early_coverage           coverage from which motion counts as proven while the scan still runs
    early_confidence         confidence in the axis that allows REALIGN while the scan still runs
    """

    min_coverage: float = 0.98
    max_missing_share: float = 0.05
    max_center_offset_share: float = 0.05
    min_center_confidence: float = 0.5
    max_motion_px: float = 1.0
    max_saturation: float = 0.01
    min_snr: float = 0.5
    min_attenuation: float = 0.02
    max_flat_drift: float | None = 0.1
    max_truncation: float | None = 0.2
    max_resolution_px: float | None = None
    early_coverage: float = 0.5
    early_confidence: float = 0.8


def judge(quality: Quality, limits: Limits, final: bool, columns: int | None = None) -> Verdict:
    """The decision for a quality, with all reasons, the deciding one first.

    ``final`` says that the scan is over: only then may loss or a gap condemn it, or the data be ENOUGH. While it runs,
    RETAKE and REALIGN need evidence that more frames will not overturn. ``columns`` of the detector, for the limit on
    the axis; without it that check is left out.
    """
    checks = (
        (Decision.UNKNOWN, _undecidable(quality, limits, final)),
        (Decision.RETAKE, _motion(quality, limits, final)),
        (Decision.REALIGN, _axis_off(quality, limits, final, columns)),
        (Decision.RETAKE, _spoiled(quality, limits, final)),
    )
    decision = next((decision for decision, reasons in checks if reasons), None)
    reasons = [reason for _, group in checks for reason in group]
    remarks = _remarks(quality, limits, final)
    if decision is None and final and quality.center_px is None:
        decision = Decision.UNKNOWN
        reasons = ["centre of rotation not found: the tomogram may be blurred; give the centre by hand or look at it"]
    if decision is None:
        decision = Decision.ENOUGH if final or _good_early(quality, limits) else Decision.CONTINUE
        reasons = [_summary(quality, decision is Decision.ENOUGH)]
    return Verdict(decision, (*reasons, *remarks), final)


def _good_early(q: Quality, limits: Limits) -> bool:
    """The resolution that is wanted is reached before the scan is over: possible when the angles come interlaced."""
    wanted = limits.max_resolution_px
    reached = wanted is not None and q.resolution_px is not None and q.resolution_px <= wanted
    sound = not _spoiled(q, limits, True) and q.center_confidence >= limits.early_confidence
    return reached and sound


def _undecidable(q: Quality, limits: Limits, final: bool) -> list[str]:
    if q.projections == 0:
        return ["no projection has arrived: check the detector and the beam shutter"] if final else []
    if q.flats == 0:
        return ["no flats: attenuation cannot be measured; take flats with the sample out of the beam"]
    if q.unlit > MOST_UNLIT:
        share = f"the flats show no beam in {100 * q.unlit:.0f} % of the pixels"
        return [f"{share}: was the shutter closed? attenuation cannot be measured; take flats again"]
    weak_peak = q.peak_attenuation is not None and q.peak_attenuation < limits.min_attenuation
    weak_snr = q.snr is not None and q.snr < limits.min_snr
    if weak_peak or weak_snr:
        numbers = []
        if weak_peak:
            numbers.append(f"attenuation {q.peak_attenuation:.3f}, limit {limits.min_attenuation:g}")
        if weak_snr:
            numbers.append(f"its signal is {q.snr:.1f} times the noise, limit {limits.min_snr:g}")
        return [f"no sample in the beam: {'; '.join(numbers)}; is the holder empty or the sample out of the field?"]
    return []


def _motion(q: Quality, limits: Limits, final: bool) -> list[str]:
    if q.motion_px is None or q.motion_px <= limits.max_motion_px or not (final or q.coverage >= limits.early_coverage):
        return []
    moved = f"the sample moved by {q.motion_px:.1f} px during the scan (limit {limits.max_motion_px:g})"
    return [f"{moved}; fix it better, or let it settle, and scan again"]


def _axis_off(q: Quality, limits: Limits, final: bool, columns: int | None) -> list[str]:
    needed = limits.min_center_confidence if final else limits.early_confidence
    if q.center_offset_px is None or columns is None or q.center_confidence < needed:
        return []
    allowed = limits.max_center_offset_share * columns
    if abs(q.center_offset_px) <= allowed:
        return []
    side = "right" if q.center_offset_px > 0 else "left"
    where = f"the rotation axis lies {abs(q.center_offset_px):.1f} px to the {side} of the detector's middle"
    return [f"{where} (limit {allowed:.1f}, confidence {q.center_confidence:.2f}); move it by that much and scan again"]


def _spoiled(q: Quality, limits: Limits, final: bool) -> list[str]:
    reasons = []
    if q.saturation is not None and q.saturation > limits.max_saturation:
        share = f"{100 * q.saturation:.1f} % of the pixels are saturated (limit {100 * limits.max_saturation:g} %)"
        reasons.append(f"{share}; shorten the exposure or attenuate the beam")
    if not final:
        return reasons
    lost = q.missing + q.corrupt
    if q.expected > 0 and lost > limits.max_missing_share * q.expected:
        share = f"{lost} of {q.expected} projections are missing or corrupt ({100 * lost / q.expected:.1f} %"
        reasons.append(f"{share}, limit {100 * limits.max_missing_share:g} %); check the network and scan again")
    if q.coverage < limits.min_coverage:
        share = f"only {100 * q.coverage:.1f} % of the angles are covered (limit {100 * limits.min_coverage:g} %)"
        reasons.append(f"{share}; scan again")
    if (
        limits.max_resolution_px is not None
        and q.resolution_px is not None
        and q.resolution_px > limits.max_resolution_px
    ):
        share = f"the resolution is {q.resolution_px:.1f} px, {limits.max_resolution_px:g} px are wanted"
        reasons.append(f"{share}; take more projections or expose longer")
    return reasons


def _remarks(q: Quality, limits: Limits, final: bool) -> list[str]:
    """What a scientist should know, though it does not decide."""
    remarks = []
    if limits.max_flat_drift is not None and q.flat_drift is not None and q.flat_drift > limits.max_flat_drift:
        share = f"the beam changed by {100 * q.flat_drift:.0f} % since the flats"
        remarks.append(f"{share} (limit {100 * limits.max_flat_drift:g} %); take fresh flats")
    if limits.max_truncation is not None and q.truncation is not None and q.truncation > limits.max_truncation:
        share = f"the sample reaches over the edge of the detector in {100 * q.truncation:.0f} % of the projections"
        remarks.append(f"{share}; grey values are not absolute, and the axis is less certain")
    if final and q.center_px is not None and q.center_confidence < limits.min_center_confidence:
        remarks.append(f"centre of rotation {q.center_px:.1f} px is uncertain (confidence {q.center_confidence:.2f})")
    return remarks


def _summary(q: Quality, enough: bool) -> str:
    text = f"{q.projections} of {q.expected} projections, {100 * q.coverage:.0f} % of the angles"
    if enough and q.center_px is not None:
        text += f", centre {q.center_px:.2f} px (confidence {q.center_confidence:.2f})"
    if q.resolution_px is not None:
        text += f", resolution {q.resolution_px:.1f} px"
    return text if enough else f"{text}; nothing wrong so far"
