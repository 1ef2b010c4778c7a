"""Which settings a look at the sample leads to."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import pytest

from streamer.frames import BadInput
from streamer_plans.scans.advice import (
    DUTY,
    FULL,
    MARGIN,
    OVERSAMPLED,
    SURE,
    Advice,
    Hardware,
    Look,
    Wanted,
    advise,
    search,
)

LOOK = Look(projections=100, exposure_s=0.01, resolution_px=8.0, width_px=200.0, beam_level=0.03, peak_attenuation=1.0)
CAMERA = Hardware(max_rate_hz=1000.0)


def test_projections_follow_from_width_and_resolution() -> None:
    assert advise(LOOK, CAMERA, Wanted(4.0)).projections == round(OVERSAMPLED * pi * 200 / 4 + 0.5)
    assert advise(LOOK, CAMERA, Wanted(8.0)).projections == round(OVERSAMPLED * pi * 200 / 8 + 0.5)


def test_twice_as_sharp_needs_sixteen_times_the_light() -> None:
    same, sharper = (advise(LOOK, CAMERA, Wanted(wanted)) for wanted in (8.0, 4.0))
    assert same.dose_s == pytest.approx(MARGIN * 1.0)
    assert sharper.dose_s == pytest.approx(16 * same.dose_s)
    assert (sharper.reached, sharper.resolution_px) == (True, pytest.approx(4.0))


def test_the_exposure_does_not_fill_the_detector() -> None:
    bright = replace(LOOK, beam_level=0.5)
    advice = advise(bright, CAMERA, Wanted(4.0))
    assert advice.exposure_s <= FULL * 0.01 / 0.5 * 1.0001
    assert advice.dose_s == pytest.approx(16 * MARGIN, rel=0.01)
    assert any("would fill the detector" in words for words in advice.why)


def test_the_rate_is_that_of_the_slowest_part() -> None:
    long = advise(LOOK, CAMERA, Wanted(4.0))
    assert long.rate_hz == pytest.approx(DUTY / long.exposure_s)
    slow = advise(LOOK, Hardware(max_rate_hz=2.0), Wanted(4.0))
    assert (slow.rate_hz, slow.why[-1]) == (2.0, "2 Hz: the camera can do no more")
    lame = advise(LOOK, Hardware(1000.0, max_velocity_deg_s=1.0), Wanted(4.0))
    assert lame.velocity_deg_s == pytest.approx(1.0)
    assert "at most 1 deg/s" in lame.why[-1]


def test_a_dose_that_the_sample_does_not_bear_gives_what_it_gives() -> None:
    advice = advise(LOOK, CAMERA, Wanted(4.0, most_dose_s=5.0))
    assert advice.dose_s == pytest.approx(5.0)
    assert not advice.reached
    assert advice.resolution_px == pytest.approx(8.0 * (MARGIN / 5.0) ** 0.25)
    assert any("which the sample bears: that is too little" in words for words in advice.why)


def test_dense_rays_leave_a_signal() -> None:
    dense = replace(LOOK, peak_attenuation=9.0, resolution_px=4.0)
    advice = advise(dense, CAMERA, Wanted(4.0))
    assert any("the densest rays leave nothing" in words for words in advice.why)
    assert advice.exposure_s * dense.beam_level / dense.exposure_s <= FULL
    assert advice.reached


@pytest.mark.parametrize(
    ("look", "wanted", "why"),
    [
        (replace(LOOK, resolution_px=None), (4.0,), "the look has no resolution; give it more light"),
        (LOOK, (1.0,), "a resolution of 1 px; a pixel grid holds 2 or more"),
        (LOOK, (4.0, 0.0), "a dose of 0 s; give more than 0"),
    ],
)
def test_what_cannot_be_advised_is_refused(look: Look, wanted: tuple[float, ...], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        advise(look, CAMERA, Wanted(*wanted))


def look(dose_s: float, resolution_px: float | None) -> Look:
    return replace(LOOK, exposure_s=dose_s / LOOK.projections, resolution_px=resolution_px)


@pytest.mark.parametrize(
    ("looks", "next_dose_s"),
    [
        ([(1.0, None)], 8.0),  # nothing was seen
        ([(1.0, 8.0)], 16 * MARGIN / 3),  # calls for far more
        ([(1.0, 8.0), (6.0, 5.0), (9.0, None)], 72.0),
        ([(1.0, 3.0)], 1 / 3),  # more than enough: would less do?
        ([(1.0, 3.0), (0.1, 9.0)], 1 / 3),
    ],
)
def test_looks_go_on(looks: list[tuple[float, float | None]], next_dose_s: float) -> None:
    assert search([look(*each) for each in looks], CAMERA, Wanted(4.0)) == pytest.approx(next_dose_s)


@pytest.mark.parametrize(
    ("looks", "dose_s"),
    [
        ([(1.0, 8.0), (6.0, 5.0)], 6.0 * MARGIN * (5 / 4) ** 4),  # near enough to what it calls for
        ([(1.0, 3.0), (1 / 3, 4.1)], SURE),  # one is enough, a third of it is not
        ([(1.0, 8.0), (9.0, 3.9), (5.0, 4.2)], 9.0 * SURE),
    ],
)
def test_looks_end(looks: list[tuple[float, float | None]], dose_s: float) -> None:
    advice = search([look(*each) for each in looks], CAMERA, Wanted(4.0))
    assert isinstance(advice, Advice)
    assert advice.dose_s == pytest.approx(dose_s)
    assert advice.reached
