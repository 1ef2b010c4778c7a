"""Exposure, projections and speed for a wanted resolution and dose, from what one scan of the sample has shown.

Pure functions. Dose is counted in seconds of the open beam, of all projections together: that is what a sample gets,
whatever absorbs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, pi

from streamer.frames import BadInput

FINEST_PX = 2.0
"""Period that a pixel grid can hold."""

POWER = 4.0
"""Power of the resolution with which the dose grows: noise of a slice grows with the frequency, and the spectrum of its
edges falls with the third power of it."""

MARGIN = 1.6
"""Dose beyond what the extrapolation says: the measure of the resolution scatters by a few per cent, and its fourth
power by four times as much."""

OVERSAMPLED = 1.5
"""Projections, in those that just leave no gap: with these alone, what lies in the gaps ends the resolution there, and
no light takes it further."""

NEAR, NEXT = 4.0, 3.0
"""Factors of dose: so near to what it says a look is trusted; so far below that the next one is taken."""

MORE_LIGHT = 8.0
"""Factor of the next look when one has shown nothing."""

SURE = 1.15
"""Dose of a scan, in that of a look that has reached the wanted resolution: chance moves the measure."""

FULL = 0.8
"""Share of the detector's range that the open beam may fill."""

LEAST_SIGNAL = 1e-3
"""Share of it that the densest ray must leave, or the noise of reading is all there is."""

DUTY = 0.9
"""Share of the time between two triggers that a detector can expose."""

FEWEST_PROJECTIONS = 30


@dataclass(frozen=True)
class Look:
    """What a scan of half a turn has shown; None: not measured.

    ``width_px`` is that of the sample, ``beam_level`` the open beam as a share of the detector's range, and
    ``peak_attenuation`` that of the densest rays.
    """

    projections: int
    exposure_s: float
    resolution_px: float | None
    width_px: float
    beam_level: float | None = None
    peak_attenuation: float | None = None

    @property
    def dose_s(self) -> float:
        return self.projections * self.exposure_s


@dataclass(frozen=True)
class Hardware:
    """What camera and rotation can do."""

    max_rate_hz: float
    max_velocity_deg_s: float = inf
    least_exposure_s: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """Resolution, as a period in pixels, and the dose that the sample bears, in seconds of the open beam."""

    resolution_px: float
    most_dose_s: float = inf

    def __post_init__(self) -> None:
        if self.resolution_px < FINEST_PX:
            raise BadInput(
                f"advise: a resolution of {self.resolution_px:g} px; a pixel grid holds {FINEST_PX:g} or more"
            )
        if not self.most_dose_s > 0:
            raise BadInput(f"advise: a dose of {self.most_dose_s:g} s; give more than 0")


@dataclass(frozen=True)
class Advice:
    """Settings of a scan over half a turn, what they cost and give, and ``why`` they are as they are, in words.

    ``reached``: whether they are expected to give the wanted resolution; ``resolution_px`` is what they give.
    """

    projections: int
    exposure_s: float
    rate_hz: float
    resolution_px: float
    reached: bool
    why: tuple[str, ...]

    @property
    def dose_s(self) -> float:
        return self.projections * self.exposure_s

    @property
    def scan_s(self) -> float:
        return self.projections / self.rate_hz

    @property
    def velocity_deg_s(self) -> float:
        return 180.0 / self.scan_s


def complete_projections(width_px: float, resolution_px: float) -> int:
    """Projections of half a turn that show a width up to a resolution: ``OVERSAMPLED`` times those that leave no gap
    (R. A. Crowther, D. J. DeRosier and A. Klug, Proc. R. Soc. A 317, 319, 1970).
    """
    return max(FEWEST_PROJECTIONS, ceil(OVERSAMPLED * pi * width_px / resolution_px))


def advise(look: Look, hardware: Hardware, wanted: Wanted) -> Advice:
    """The fewest projections that show the wanted detail, with the light that the resolution needs, as fast as can be.

    ``look`` needs a resolution. More projections share the light where one exposure would fill the detector. Raises
    BadInput.
    """
    if look.resolution_px is None:
        raise BadInput("advise: the look has no resolution; give it more light")
    needed_s = MARGIN * look.dose_s * (look.resolution_px / wanted.resolution_px) ** POWER
    return with_dose(look, hardware, wanted, needed_s)


def with_dose(look: Look, hardware: Hardware, wanted: Wanted, needed_s: float, known: int = 0) -> Advice:
    """The same for a dose that is needed, with no fewer projections than are ``known`` to be enough."""
    assert look.resolution_px is not None
    complete = complete_projections(look.width_px, wanted.resolution_px)
    count = max(complete, known)
    dose_s = min(needed_s, wanted.most_dose_s)
    why = [
        f"{count} projections: they show a sample {look.width_px:.0f} px wide up to {wanted.resolution_px:g} px",
        f"{needed_s:.3g} s of the beam: {look.dose_s:.3g} s gave {look.resolution_px:.2f} px, and the dose "
        f"grows with the fourth power of the resolution",
    ]
    if dose_s < needed_s:
        why.append(f"the dose is held at {dose_s:.3g} s, which the sample bears: that is too little")
    count, exposure_s = _shared(look, hardware, dose_s, count, why)
    if exposure_s * count > wanted.most_dose_s * 1.001:
        count = max(1, int(wanted.most_dose_s / exposure_s))
        why.append(f"only {count} of them, for the dose that the sample bears")
    interval_s = max(exposure_s / DUTY, 1.0 / hardware.max_rate_hz, 180.0 / count / hardware.max_velocity_deg_s)
    why.append(f"{1 / interval_s:.4g} Hz: {_limit_of(interval_s, exposure_s, hardware)}")
    gives = wanted.resolution_px * (needed_s / (count * exposure_s)) ** (1 / POWER)
    if count < complete:
        gives = max(gives, wanted.resolution_px * complete / count)
    gives = max(FINEST_PX, gives)
    reached = gives <= wanted.resolution_px * (1 + 1e-6)
    return Advice(count, exposure_s, 1.0 / interval_s, gives, reached, tuple(why))


def search(looks: Sequence[Look], hardware: Hardware, wanted: Wanted) -> Advice | float:
    """Advice from what the ``looks`` have shown so far, or the dose (s) of one more look that is needed for it.

    A look that reaches the wanted resolution is enough, where one with a NEAR-th of its dose is not. Before one has
    reached it, the advice of a look is trusted that has no less than a NEAR-th of the dose that it calls for.
    """
    enough = min((look for look in looks if reaches(look, wanted)), key=lambda look: look.dose_s, default=None)
    short = max((look for look in looks if not reaches(look, wanted)), key=lambda look: look.dose_s, default=None)
    if enough is not None:
        if short is None or enough.dose_s > NEAR * short.dose_s:
            return enough.dose_s / NEXT
        return with_dose(enough, hardware, wanted, SURE * enough.dose_s, enough.projections)
    if short is None or short.resolution_px is None:
        return MORE_LIGHT * (0.0 if short is None else short.dose_s)
    advice = advise(short, hardware, wanted)
    return advice if advice.dose_s <= NEAR * short.dose_s else advice.dose_s / NEXT


def reaches(look: Look, wanted: Wanted) -> bool:
    return look.resolution_px is not None and look.resolution_px <= wanted.resolution_px


def _shared(look: Look, hardware: Hardware, dose_s: float, count: int, why: list[str]) -> tuple[int, float]:
    """Projections, ``count`` or more, and the exposure of each, for a dose that all of them share."""
    least_s, most_s = hardware.least_exposure_s, inf
    if look.beam_level is not None and look.beam_level > 0:
        level_per_s = look.beam_level / look.exposure_s
        most_s = FULL / level_per_s
        least_s = max(least_s, LEAST_SIGNAL / (level_per_s * exp(-(look.peak_attenuation or 0.0))))
    if dose_s / count > most_s:
        count = ceil(dose_s / most_s)
        why.append(f"{count} projections instead: a longer exposure than {most_s:.3g} s would fill the detector")
    exposure_s = dose_s / count
    if exposure_s < least_s:
        exposure_s = min(least_s, most_s)
        why.append(f"{exposure_s:.3g} s each, or the densest rays leave nothing above the noise of reading")
    return count, exposure_s


def _limit_of(interval_s: float, exposure_s: float, hardware: Hardware) -> str:
    if interval_s == exposure_s / DUTY:
        return f"an exposure of {exposure_s:.3g} s allows no more"
    if interval_s == 1.0 / hardware.max_rate_hz:
        return "the camera can do no more"
    return f"the rotation turns by at most {hardware.max_velocity_deg_s:g} deg/s"
