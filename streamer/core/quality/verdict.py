"""The verdict: what the measured quality of a scan means, by limits that the beamline chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from streamer.core.quality.spoiled import saturated, spoiled_detector, spoiled_fields, unusable_words
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict
from streamer.options import Options

CUT = 0.02
"""Share of projections that are cut off at an edge, from which the centre of mass does not tell movement."""

MOST_DARK_FLATS = 0.45
"""Share of pixels in which the flats may be as dark as the darks; half of them are when the shutter was closed."""


FINEST = 2.0
"""Period in pixels that is the finest the pixels can hold: a resolution of this is a bound."""

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


class Limits(Options):
    """What a scan must meet for the verdict ENOUGH; every number is a choice of the beamline."""

    min_coverage: Share = 0.98
    """share of the wanted angles at the end; a hole of 2 % leaves a visible wedge artefact"""
    max_missing_share: Share = 0.05
    """share of the announced projections that may be lost, corrupt or of no use"""
    max_center_offset_share: Share = 0.05
    """distance of the rotation axis from the middle of the detector, as a share of the columns"""
    min_center_confidence: Share = 0.7
    """confidence in the rotation axis below which its position counts as unknown; 0.7 is an error of 0.3 px"""
    max_motion_px: Amount = 0.25
    """twice the rms displacement that rotation does not explain, in pixels; 0.25 makes the error a tenth larger"""
    max_misfit_px: Amount = 0.035
    """what fits no rigid sample, as an rms displacement of all projections in pixels, for a resolution of 2 px"""
    max_mass_change: Share = 0.02
    """relative change of the mass of the sample during the scan"""
    max_saturation: Share = 0.001
    """share of pixels at the detector's ceiling"""
    max_pattern: Amount = 0.005
    """rms attenuation that columns or pixels add to the projections since the flats; in a tomogram 0.005 is as much as
    the noise of 20 000 photons a pixel; a sample that attenuates by less than a quarter allows less, in proportion"""
    max_beam_moved: Amount = 0.01
    """rms attenuation that a beam whose pattern moved adds to the projections since the flats; a sample that attenuates
    by less than a half allows less, in proportion"""
    max_zingers: Share = 0.0003
    """share of single pixels that outshine both neighbours; not judged when zingers are removed"""
    max_shadow: Share = 0.02
    """share of the detector, or of its columns, that sees no light"""
    max_dark_light: Share = 0.02
    """share of the beam that the darks may hold behind a thin sample; a dense one, which lets little light through,
    allows less"""
    min_voxel_snr: Amount = 1.0
    """attenuation of the sample in a voxel over its noise, below which there was too little light; not asked for where
    a resolution is wanted"""
    min_snr: Amount = 0.5
    """attenuation over noise in one projection; less means an empty holder"""
    min_attenuation: Amount = 0.02
    """attenuation along the densest rays; less means an empty holder"""
    max_flat_drift: Amount | None = 0.065
    """relative change of the beam since the flats, where it is not corrected; a sample that attenuates by less than a
    half allows less, in proportion"""
    max_dim_noise: Amount | None = 0.1
    """share by which projections in less than the usual light may make the noise of the tomogram larger"""
    max_flicker_noise: Amount | None = 0.1
    """error that light which differs from one projection to the next makes in a slice, over the noise of a voxel, where
    it is not corrected; 0.1 is as much as a Gaussian of 1.5 pixels leaves of the noise; a voxel that has less noise
    than a hundredth of the sample's attenuation allows as much as if it had that"""
    max_truncation: Share | None = 0.2
    """share of the projections in which the sample touches the edge of the detector"""
    max_resolution_px: float | None = Field(None, gt=0, examples=[4.0])
    """wanted resolution, as a period in pixels; a scan that reaches it early is ENOUGH; unset: not checked"""
    min_projections: Amount = 0.5
    """projections in half a turn for each column of the sample's width; 1.57 are complete; not asked for where a
    resolution is wanted"""
    early_motion_px: Amount = 1.0
    """sudden movement, in pixels, that condemns a scan while it runs"""
    early_confidence: Share = 0.8
    """confidence in the rotation axis that allows REALIGN or ENOUGH while the scan runs"""
    early_margin: Annotated[float, Field(ge=0, lt=1)] = 0.07
    """share by which a scan must be better than its limits to be ENOUGH before its end; nine in ten measured
    resolutions are at most so much better than the true ones"""

    def tightened(self) -> Limits:
        """The limits that a scan must meet to be ENOUGH before its end."""
        names = ("max_motion_px", "max_misfit_px", "max_mass_change", "max_pattern", "max_beam_moved", "max_zingers")
        optional = ("max_flat_drift", "max_flicker_noise", "max_resolution_px")
        values = {name: getattr(self, name) for name in (*names, *optional)}
        better = {name: value * (1 - self.early_margin) for name, value in values.items() if value is not None}
        better["min_center_confidence"] = max(self.min_center_confidence, self.early_confidence)
        return self.model_copy(update=better)


def judge(quality: Quality, limits: Limits, final: bool, columns: int | None = None) -> Verdict:
    """The verdict on a quality, with all reasons: the first one whose code has a decision decides.

    ``final`` says that the scan is over: only then may loss or a gap condemn it, or the data be ENOUGH. While it runs,
    RETAKE and REALIGN need evidence that more frames will not overturn. ``columns`` of the detector, for the limit on
    the axis; without it that check is left out.
    """
    axis, moved = _axis_off(quality, limits, final, columns), _motion(quality, limits, final)
    unmeasurable = _unmeasurable(quality, final)
    axis_first = bool(axis) and ((quality.truncation or 0.0) > CUT or _axis_is_certain(quality, limits, columns))
    reasons = [
        *unmeasurable,
        *saturated(quality, limits),  # where all is, no sample is to be seen
        *spoiled_fields(quality, limits, final),
        *(() if unmeasurable else _empty(quality, limits)),
        # Where frames are cut off, an axis that lies off the middle explains what looks like movement. Elsewhere it is
        # moved first where movement cannot be all of its offset: the next scan is then right, or condemned for that.
        *(axis + moved if axis_first else moved + axis),
        *_spoiled(quality, limits, final),
        *_center_unsure(quality, limits, final),
    ]
    decision = next((reason.code.decision for reason in reasons if reason.code.decision is not None), None)
    if decision is None:
        decision = Decision.ENOUGH if final or _good_early(quality, limits.tightened()) else Decision.CONTINUE
        reasons = [summary(quality, decision is Decision.ENOUGH)]
    return Verdict(decision, (*reasons, *_remarks(quality, limits, final)), final)


def without_shared_errors(quality: Quality, limits: Limits) -> Quality:
    """The quality without a resolution where the sample moved: both halves of the data share what is wrong with it."""
    moved = quality.motion_px is not None and quality.motion_px > limits.max_motion_px
    return replace(quality, resolution_px=None) if moved else quality


def _good_early(q: Quality, limits: Limits) -> bool:
    """The resolution that is wanted is reached before the scan is over: possible when the angles come interlaced.

    How certain the axis is shows when all of the projections are asked for it.
    """
    wanted = limits.max_resolution_px
    reached = wanted is not None and q.resolution_px is not None and q.resolution_px <= wanted
    return reached and not _spoiled(q, limits, True)


def _unmeasurable(q: Quality, final: bool) -> list[Reason]:
    if q.projections == 0:
        text = "no projection has arrived: check the detector and the beam shutter"
        return [Reason(ReasonCode.NO_PROJECTIONS, text)] if final else []
    if q.flats == 0:
        text = "no flats: attenuation cannot be measured; take flats with the sample out of the beam"
        return [Reason(ReasonCode.NO_FLATS, text)]
    if q.dark_flat_share > MOST_DARK_FLATS:
        share = f"the flats show no beam in {100 * q.dark_flat_share:.0f} % of the pixels"
        text = f"{share}: was the shutter closed? attenuation cannot be measured; take flats again"
        return [Reason(ReasonCode.NO_LIGHT, text)]
    return []


def _empty(q: Quality, limits: Limits) -> list[Reason]:
    numbers = []
    if q.peak_attenuation is not None and q.peak_attenuation < limits.min_attenuation:
        numbers.append(f"attenuation {q.peak_attenuation:.3f}, limit {limits.min_attenuation:g}")
    if q.snr is not None and q.snr < limits.min_snr:
        numbers.append(f"its signal is {q.snr:.1f} times the noise, limit {limits.min_snr:g}")
    if not numbers:
        return []
    text = f"no sample in the beam: {'; '.join(numbers)}; is the holder empty or the sample out of the field?"
    return [Reason(ReasonCode.EMPTY, text)]


def _streaks_px(q: Quality) -> float:
    """Size of detail that streaks hide where projections are fewer than columns: between views at the edge there are
    π / (projections per column) pixels, which the two halves of a scan have √2 times as far apart, in their rms."""
    few = q.projections_per_column
    return math.sqrt(2.0) * math.pi / few if few and few < 1.0 else 0.0


def _motion(q: Quality, limits: Limits, final: bool) -> list[Reason]:
    reasons = []
    allowed = limits.max_motion_px if final else max(limits.early_motion_px, limits.max_motion_px)
    if q.motion_px is not None and q.motion_px > allowed:
        moved = f"the sample moved by {q.motion_px:.1f} px during the scan (limit {allowed:g})"
        text = f"{moved}; fix it better, or let it settle, and scan again"
        reasons.append(Reason(ReasonCode.MOTION, text))
    if q.mass_change is not None and q.mass_change > limits.max_mass_change:
        change = f"the mass of the sample changed by {100 * q.mass_change:.1f} %"
        text = f"{change} (limit {100 * limits.max_mass_change:g} %): did it shrink, fall off, or leave the field?"
        reasons.append(Reason(ReasonCode.SAMPLE_CHANGED, text))
    misfit = limits.max_misfit_px * max(FINEST, q.resolution_px or FINEST, _streaks_px(q)) / FINEST
    if q.misfit_px is not None and q.misfit_px > misfit and q.afterglow:
        held = f"each image holds {100 * q.afterglow:.1f} % of the one before it"
        text = f"{held}: the detector glows on; wait longer between frames, or expose less, and scan again"
        reasons.append(Reason(ReasonCode.AFTERGLOW, text))
    elif q.misfit_px is not None and q.misfit_px > misfit:
        fit = f"the projections fit no rigid sample, as if each were off by {q.misfit_px:.2f} px"
        text = f"{fit} (limit {misfit:.2g}); did it turn as the angles say, and stay as it was?"
        reasons.append(Reason(ReasonCode.MISFIT, text))
    return reasons


def _axis_off(q: Quality, limits: Limits, final: bool, columns: int | None) -> list[Reason]:
    needed = limits.min_center_confidence if final else limits.early_confidence
    if q.center_offset_px is None or columns is None or q.center_confidence < needed:
        return []
    allowed = limits.max_center_offset_share * columns
    if abs(q.center_offset_px) <= allowed:
        return []
    side = "right" if q.center_offset_px > 0 else "left"
    where = f"the rotation axis lies {abs(q.center_offset_px):.1f} px to the {side} of the detector's middle"
    text = f"{where} (limit {allowed:.1f}, confidence {q.center_confidence:.2f}); move it by that much and scan again"
    return [Reason(ReasonCode.AXIS_OFF, text)]


def _axis_is_certain(q: Quality, limits: Limits, columns: int | None) -> bool:
    """Whether the axis lies too far off even if all of the sample's movement were an error of its position."""
    if q.center_offset_px is None or columns is None:
        return False
    return abs(q.center_offset_px) - (q.motion_px or 0.0) > limits.max_center_offset_share * columns


def _center_unsure(q: Quality, limits: Limits, final: bool) -> list[Reason]:
    if not final or q.projections == 0:
        return []
    if q.center_px is None:
        text = "centre of rotation not found: the tomogram may be blurred; give the centre by hand or look at it"
        return [Reason(ReasonCode.CENTER_UNKNOWN, text)]
    if q.center_confidence >= limits.min_center_confidence:
        return []
    text = f"centre of rotation {q.center_px:.1f} px is uncertain (confidence {q.center_confidence:.2f})"
    return [Reason(ReasonCode.CENTER_UNCERTAIN, f"{text}; give the centre by hand or look at the tomogram")]


def _spoiled(q: Quality, limits: Limits, final: bool) -> list[Reason]:
    reasons = spoiled_detector(q, limits, final)
    unusable = sum(q.unusable_counts.values())
    lost = q.missing + q.corrupt + unusable
    taken_again = final and q.projections >= q.expected
    if unusable and not taken_again and q.expected > 0 and lost > limits.max_missing_share * q.expected:
        # Those that did not come cannot come any more.
        share = f"{unusable} of {q.expected} projections are of no use"
        text = f"{share} ({unusable_words(q)}); mend the cause and scan again"
        reasons.append(Reason(ReasonCode.UNUSABLE, text))
    if not final:
        return reasons
    lost = q.missing + q.corrupt
    if q.expected > 0 and lost > limits.max_missing_share * q.expected:
        share = f"{lost} of {q.expected} projections are missing or corrupt ({100 * lost / q.expected:.1f} %"
        text = f"{share}, limit {100 * limits.max_missing_share:g} %); check the network and scan again"
        reasons.append(Reason(ReasonCode.FRAMES_LOST, text))
    if q.coverage < limits.min_coverage:
        share = f"only {100 * q.coverage:.1f} % of the angles are covered (limit {100 * limits.min_coverage:g} %)"
        reasons.append(Reason(ReasonCode.ANGLES_MISSING, f"{share}; scan again"))
    wanted, reached = limits.max_resolution_px, q.resolution_px
    if wanted is None and q.projections_per_column is not None and q.projections_per_column < limits.min_projections:
        few = f"{q.projections_per_column:.2f} projections in half a turn for each column of the sample's width"
        text = f"{few} (limit {limits.min_projections:g}, 1.57 are complete); take more projections"
        reasons.append(Reason(ReasonCode.FEW_PROJECTIONS, text))
    noisy = q.voxel_snr is not None and q.voxel_snr < limits.min_voxel_snr
    if wanted is None and noisy and not _empty(q, limits):
        text = (
            f"the sample's attenuation in a voxel is {q.voxel_snr:.2f} times its noise (limit {limits.min_voxel_snr:g})"
        )
        reasons.append(Reason(ReasonCode.LITTLE_LIGHT, f"{text}; expose longer, or take more projections"))
    if wanted is not None and reached is not None and reached > wanted:
        text = f"the resolution is {reached:.1f} px, {wanted:g} px are wanted; take more projections or expose longer"
        reasons.append(Reason(ReasonCode.RESOLUTION_NOT_REACHED, text))
    return reasons


def _remarks(q: Quality, limits: Limits, final: bool) -> list[Reason]:
    """What a scientist should know, though it does not decide."""
    remarks = []
    if q.unusable_counts:
        remarks.append(Reason(ReasonCode.SET_ASIDE, f"projections were set aside: {unusable_words(q)}"))
    if final and q.gap_deg and q.coverage >= limits.min_coverage:
        text = f"{q.gap_deg:.1f}° in one piece were not measured: edges across these directions are blurred"
        remarks.append(Reason(ReasonCode.GAP, text))
    if q.odd_fields:
        remarks.append(Reason(ReasonCode.SET_ASIDE, f"{q.odd_fields}; left out"))
    if q.dead_columns:
        dead = f"dead columns of the detector: {q.dead_columns}"
        remarks.append(Reason(ReasonCode.DEAD_COLUMNS, f"{dead}; switch the removal of stripes on, or expect rings"))
    if limits.max_truncation is not None and q.truncation is not None and q.truncation > limits.max_truncation:
        share = f"the sample reaches over the edge of the detector in {100 * q.truncation:.0f} % of the projections"
        text = f"{share}; grey values are not absolute, and the axis is less certain"
        remarks.append(Reason(ReasonCode.TRUNCATED, text))
    return remarks


def summary(q: Quality, enough: bool) -> Reason:
    """What a scan is like that nothing speaks against; ``enough`` says that it suffices."""
    text = f"{q.projections} of {q.expected} projections, {100 * q.coverage:.0f} % of the angles"
    if enough and q.center_px is not None:
        text += f", centre {q.center_px:.2f} px (confidence {q.center_confidence:.2f})"
    if q.resolution_px is not None:
        text += f", resolution {q.resolution_px:.1f} px" + (" or better" if q.resolution_px <= FINEST else "")
        text += f" (of {q.resolution_at})" if 0 < q.resolution_at < q.projections else ""
    return Reason(ReasonCode.NOTHING_WRONG, text if enough else f"{text}; nothing wrong so far")
