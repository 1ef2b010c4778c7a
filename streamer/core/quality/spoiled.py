"""Reasons that lie in the detector, the beam, the fields or the angles, not in the sample."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from streamer.frames import Quality, Reason, ReasonCode

NEGATIVE = 0.03
"""Share of the field that may be brighter with the sample than in the flats."""

THIN, THIN_STRIPED = 0.5, 0.25
"""Attenuation of a sample below which an error of the beam counts in proportion, and one of single columns and pixels:
it has the sample's own size soon."""

QUIET = 0.01
"""Noise of a voxel, as a share of the sample's attenuation in it, below which errors count by that share of it."""


class DetectorLimits(Protocol):
    """The limits that are asked for; see ``verdict.Limits``."""

    @property
    def max_dark_light(self) -> float: ...
    @property
    def max_shadow(self) -> float: ...
    @property
    def max_saturation(self) -> float: ...
    @property
    def max_pattern(self) -> float: ...
    @property
    def max_beam_moved(self) -> float: ...
    @property
    def max_zingers(self) -> float: ...
    @property
    def max_flat_drift(self) -> float | None: ...
    @property
    def max_dim_noise(self) -> float | None: ...
    @property
    def max_flicker_noise(self) -> float | None: ...


def spoiled_fields(q: Quality, limits: DetectorLimits, final: bool) -> list[Reason]:
    """What is wrong with darks, flats and angles: the same scan again would be no better."""
    reasons = []
    if q.projections and q.dark_light > limits.max_dark_light * _open(q):
        text = f"the darks hold {100 * q.dark_light:.2g} % of the beam: was the shutter open? take darks again"
        reasons.append(Reason(ReasonCode.DARKS_LIT, text))
    if q.projections and q.unlit_columns > limits.max_shadow:
        text = f"the flats show no beam in {100 * q.unlit_columns:.0f} % of the columns: is a shutter half closed?"
        reasons.append(Reason(ReasonCode.SHADOW, text))
    if not final:
        return reasons
    if q.negative is not None and q.negative > NEGATIVE:
        share = f"{100 * q.negative:.0f} % of the field are brighter with the sample than without"
        reasons.append(Reason(ReasonCode.FLATS_WRONG, f"{share}: was the sample in the flats? take flats again"))
    if q.shadow is not None and q.shadow > limits.max_shadow:
        text = f"{100 * q.shadow:.0f} % of the field see no light in any projection: is something in the beam's way?"
        reasons.append(Reason(ReasonCode.SHADOW, text))
    reasons += [Reason(ReasonCode.ANGLES_WRONG, text) for text in q.angle_findings]
    return reasons


def thinness(q: Quality, thin: float = THIN) -> float:
    """Factor, up to 1, by which a limit on errors of the attenuation is sharper for a sample that attenuates by less
    than ``thin``."""
    return 1.0 if q.peak_attenuation is None else min(1.0, q.peak_attenuation / thin)


def _open(q: Quality) -> float:
    """Factor, up to 1, by which darks may hold less light where the sample lets little through.

    Where its attenuation is A, a share d of the beam in the darks is d·exp(A) of what is left of the light, and makes
    the relative error d·(exp(A) - 1) / A of the attenuation.
    """
    dense = max(q.peak_attenuation or 0.0, 1e-6)
    return float(dense / np.expm1(dense))


def unusable_words(q: Quality) -> str:
    """How many frames each cause made useless, and which, as "3 no light: 70-72"; empty without any."""
    return "; ".join(f"{count} {cause}: {q.unusable[cause]}" for cause, count in q.unusable_counts.items())


def saturated(q: Quality, limits: DetectorLimits) -> list[Reason]:
    """Pixels at the detector's ceiling."""
    if q.saturation is None or q.saturation <= limits.max_saturation:
        return []
    share = f"{100 * q.saturation:.1f} % of the pixels are saturated (limit {100 * limits.max_saturation:g} %)"
    return [Reason(ReasonCode.SATURATED, f"{share}; shorten the exposure or attenuate the beam")]


def spoiled_detector(q: Quality, limits: DetectorLimits, final: bool) -> list[Reason]:
    """What the detector and the beam did while the sample was in it."""
    reasons: list[Reason] = []
    if not final:
        return reasons
    pattern = limits.max_pattern * thinness(q, THIN_STRIPED)
    if q.pattern is not None and q.pattern > pattern:
        change = f"columns or pixels changed by {100 * q.pattern:.1f} % rms since the flats"
        text = f"{change} (limit {100 * pattern:.2g} %); take fresh flats, or switch the removal of stripes on"
        reasons.append(Reason(ReasonCode.PATTERN, text))
    beam = limits.max_beam_moved * thinness(q)
    if q.beam_moved is not None and q.beam_moved > beam:
        shift = f"the pattern of the beam moved by {q.beam_shift_px or 0.0:.1f} px rms since the flats"
        adds = f"which adds {100 * q.beam_moved:.1f} % (limit {100 * beam:.2g} %)"
        text = f"{shift}, {adds}; let optics and monochromator come to rest, take fresh flats and scan again"
        reasons.append(Reason(ReasonCode.BEAM_MOVED, text))
    if q.zingers is not None and q.zingers > limits.max_zingers:
        share = f"{100 * q.zingers:.2f} % of the pixels are far brighter than their neighbours"
        text = f"{share} (limit {100 * limits.max_zingers:g} %); switch the removal of zingers on"
        reasons.append(Reason(ReasonCode.ZINGERS, text))
    allowed = None if limits.max_flat_drift is None else limits.max_flat_drift * thinness(q)
    if allowed is not None and q.flat_drift is not None and q.flat_drift > allowed:
        share = f"the beam changed by {100 * q.flat_drift:.2g} % since the flats (limit {100 * allowed:.2g} %)"
        text = f"{share}; take fresh flats, or have the drift corrected"
        reasons.append(Reason(ReasonCode.BEAM_DRIFTED, text))
    if limits.max_dim_noise is not None and q.dim_noise is not None and q.dim_noise > limits.max_dim_noise:
        more = (
            f"dim projections make the noise {100 * q.dim_noise:.0f} % larger (limit {100 * limits.max_dim_noise:g} %)"
        )
        text = f"{more}: did the beam or a shutter trip now and then? see to it and scan again"
        reasons.append(Reason(ReasonCode.BEAM_DRIFTED, text))
    if limits.max_flicker_noise is not None and q.flicker_noise is not None:
        limit = limits.max_flicker_noise * float(np.hypot(1.0, QUIET * (q.voxel_snr or 0.0)))
        if q.flicker_noise > limit:
            light = f"the light differs by {100 * (q.flicker or 0.0):.2g} % rms from one projection to the next"
            adds = f"which makes errors of {q.flicker_noise:.2g} times the noise of a voxel (limit {limit:.2g})"
            text = f"{light}, {adds}; have the drift corrected, or scan again in a steady beam"
            reasons.append(Reason(ReasonCode.BEAM_DRIFTED, text))
    return reasons
