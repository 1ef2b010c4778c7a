from __future__ import annotations

from dataclasses import replace

import pytest

from streamer.core.quality.verdict import Limits, judge, without_shared_errors
from streamer.frames import Decision, Quality, ReasonCode

GOOD = Quality(
    projections=1000,
    expected=1000,
    coverage=1.0,
    snr=20.0,
    peak_attenuation=1.4,
    center_px=511.6,
    center_confidence=0.95,
    center_offset_px=0.1,
    motion_px=0.1,
    saturation=0.0,
    flat_drift=0.01,
    truncation=0.0,
    resolution_px=2.4,
    flats=20,
    darks=20,
)

TABLE = [
    ({}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, "1000 of 1000"),
    ({}, False, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, "resolution 2.4 px"),
    ({"resolution_px": None}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, "nothing wrong"),
    ({"resolution_px": 5.1}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, "nothing wrong"),
    ({"projections": 0, "coverage": 0.0}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, ""),
    ({"projections": 0, "coverage": 0.0}, True, Decision.UNKNOWN, ReasonCode.NO_PROJECTIONS, "no projection"),
    ({"flats": 0}, True, Decision.UNKNOWN, ReasonCode.NO_FLATS, "no flats"),
    (
        {"dark_flat_share": 0.5, "snr": 0.0},
        True,
        Decision.UNKNOWN,
        ReasonCode.NO_LIGHT,
        "no beam in 50 % of the pixels: was the shutter closed?",
    ),
    ({"dark_flat_share": 0.3}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, "1000 of 1000"),
    ({"snr": 0.1}, True, Decision.EMPTY, ReasonCode.EMPTY, "no sample in the beam"),
    ({"peak_attenuation": 0.001}, False, Decision.EMPTY, ReasonCode.EMPTY, "no sample in the beam"),
    ({"snr": 0.0, "motion_px": 9.0, "coverage": 0.2}, True, Decision.EMPTY, ReasonCode.EMPTY, "no sample in the beam"),
    ({"motion_px": 3.21}, True, Decision.RETAKE, ReasonCode.MOTION, "3.2 px"),
    ({"motion_px": 3.21}, False, Decision.RETAKE, ReasonCode.MOTION, "3.2 px"),
    ({"motion_px": 0.5}, True, Decision.RETAKE, ReasonCode.MOTION, "0.5 px"),
    ({"motion_px": 0.5, "resolution_px": None}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, ""),
    ({"misfit_px": 0.1}, True, Decision.RETAKE, ReasonCode.MISFIT, "0.10 px"),
    ({"misfit_px": 0.1, "afterglow": 0.08}, True, Decision.RETAKE, ReasonCode.AFTERGLOW, "8.0 % of the one before"),
    ({"misfit_px": 0.02, "afterglow": 0.08}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    ({"mass_change": 0.05}, True, Decision.RETAKE, ReasonCode.SAMPLE_CHANGED, "5.0 %"),
    (
        {"motion_px": 3.0, "misfit_px": 1.0, "center_offset_px": 80.0, "truncation": 0.2},
        True,
        Decision.REALIGN,
        ReasonCode.AXIS_OFF,
        "80.0 px",
    ),
    ({"dark_light": 0.1}, False, Decision.UNKNOWN, ReasonCode.DARKS_LIT, "10 % of the beam"),
    (
        {"dark_light": 0.01, "peak_attenuation": 2.2},
        True,
        Decision.UNKNOWN,
        ReasonCode.DARKS_LIT,
        "the darks hold 1 % of the beam",
    ),
    ({"dark_light": 0.01, "peak_attenuation": 0.6}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    ({"unlit_columns": 0.1}, False, Decision.UNKNOWN, ReasonCode.SHADOW, "10 % of the columns"),
    ({"negative": 0.2}, True, Decision.UNKNOWN, ReasonCode.FLATS_WRONG, "20 % of the field"),
    ({"shadow": 0.3}, True, Decision.UNKNOWN, ReasonCode.SHADOW, "30 % of the field"),
    ({"angle_findings": ("all 90 angles are the same",)}, True, Decision.UNKNOWN, ReasonCode.ANGLES_WRONG, "the same"),
    ({"pattern": 0.02}, True, Decision.RETAKE, ReasonCode.PATTERN, "2.0 % rms"),
    ({"pattern": 0.006}, True, Decision.RETAKE, ReasonCode.PATTERN, "0.6 % rms since the flats (limit 0.5 %)"),
    ({"pattern": 0.004}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    ({"pattern": 0.004, "peak_attenuation": 0.3}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    (
        {"pattern": 0.005, "peak_attenuation": 0.2},
        True,
        Decision.RETAKE,
        ReasonCode.PATTERN,
        "0.5 % rms since the flats (limit 0.4 %)",
    ),
    ({"beam_moved": 0.02, "beam_shift_px": 1.2}, True, Decision.RETAKE, ReasonCode.BEAM_MOVED, "1.2 px rms"),
    ({"beam_moved": 0.005}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    (
        {"beam_moved": 0.005, "peak_attenuation": 0.1},
        True,
        Decision.RETAKE,
        ReasonCode.BEAM_MOVED,
        "0.5 % (limit 0.2 %)",
    ),
    ({"zingers": 0.001}, True, Decision.RETAKE, ReasonCode.ZINGERS, "0.10 %"),
    (
        {"unusable": {"no light": "30-99"}, "unusable_counts": {"no light": 70}},
        False,
        Decision.RETAKE,
        ReasonCode.UNUSABLE,
        "70 of 1000 projections are of no use (70 no light: 30-99)",
    ),
    ({"motion_px": 3.21, "center_offset_px": 52.0}, True, Decision.RETAKE, ReasonCode.MOTION, "moved"),
    ({"motion_px": 0.7, "center_offset_px": 80.0}, True, Decision.REALIGN, ReasonCode.AXIS_OFF, "moved by 0.7 px"),
    ({"motion_px": 40.0, "center_offset_px": 80.0}, True, Decision.RETAKE, ReasonCode.MOTION, "80.0 px to the right"),
    ({"center_offset_px": 80.0}, True, Decision.REALIGN, ReasonCode.AXIS_OFF, "80.0 px to the right"),
    ({"center_offset_px": -80.0}, False, Decision.REALIGN, ReasonCode.AXIS_OFF, "80.0 px to the left"),
    (
        {"center_offset_px": 80.0, "center_confidence": 0.6, "resolution_px": None},
        False,
        Decision.CONTINUE,
        ReasonCode.NOTHING_WRONG,
        "",
    ),
    (
        {"center_offset_px": 80.0, "center_confidence": 0.3},
        True,
        Decision.UNKNOWN,
        ReasonCode.CENTER_UNCERTAIN,
        "confidence 0.30",
    ),
    ({"center_offset_px": 40.0}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    ({"missing": 60, "corrupt": 20}, True, Decision.RETAKE, ReasonCode.FRAMES_LOST, "80 of 1000"),
    ({"missing": 80}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, ""),
    ({"coverage": 0.9}, True, Decision.RETAKE, ReasonCode.ANGLES_MISSING, "90.0 %"),
    ({"coverage": 0.4}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, "40 %"),
    ({"saturation": 0.2}, False, Decision.RETAKE, ReasonCode.SATURATED, "20.0 % of the pixels are saturated"),
    ({"resolution_px": 9.0}, True, Decision.RETAKE, ReasonCode.RESOLUTION_NOT_REACHED, "9.0 px"),
    (
        {"center_px": None, "center_offset_px": None, "center_confidence": 0.0},
        True,
        Decision.UNKNOWN,
        ReasonCode.CENTER_UNKNOWN,
        "not found",
    ),
    ({"flat_drift": 0.3}, True, Decision.RETAKE, ReasonCode.BEAM_DRIFTED, "30 %"),
    ({"dim_noise": 0.2}, True, Decision.RETAKE, ReasonCode.BEAM_DRIFTED, "the noise 20 % larger (limit 10 %)"),
    ({"dim_noise": 0.2}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, ""),
    ({"dim_noise": 0.05}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    (
        {"flicker": 0.1, "flicker_noise": 0.2},
        True,
        Decision.RETAKE,
        ReasonCode.BEAM_DRIFTED,
        "differs by 10 % rms from one projection to the next, which makes errors of 0.2 times the noise of a voxel",
    ),
    ({"flicker": 0.1, "flicker_noise": 0.2}, False, Decision.CONTINUE, ReasonCode.NOTHING_WRONG, ""),
    ({"flicker": 0.05, "flicker_noise": 0.08}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    # Of a voxel without noise, a hundredth of the sample's attenuation is what counts.
    ({"flicker": 0.01, "flicker_noise": 0.2, "voxel_snr": 300.0}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, ""),
    ({"voxel_snr": 0.7}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, "resolution 2.4 px"),
    ({"flat_drift": 0.02, "peak_attenuation": 0.1}, True, Decision.RETAKE, ReasonCode.BEAM_DRIFTED, "limit 1.3 %"),
    ({"truncation": 0.7}, True, Decision.ENOUGH, ReasonCode.NOTHING_WRONG, "70 %"),
    (
        {
            "snr": None,
            "peak_attenuation": None,
            "motion_px": None,
            "saturation": None,
            "flat_drift": None,
            "truncation": None,
            "resolution_px": None,
        },
        True,
        Decision.ENOUGH,
        ReasonCode.NOTHING_WRONG,
        "",
    ),
]


@pytest.mark.parametrize(("change", "final", "decision", "code", "words"), TABLE)
def test_judgement(change: dict[str, object], final: bool, decision: Decision, code: ReasonCode, words: str) -> None:
    verdict = judge(replace(GOOD, **change), Limits(max_resolution_px=5.0), final, columns=1024)
    assert verdict.decision is decision
    assert verdict.final is final
    assert verdict.codes[0] is code
    assert code.decision in (None, decision)
    assert words in " | ".join(reason.text for reason in verdict.reasons)


def test_a_misfit_counts_against_the_resolution() -> None:
    fine, coarse = (judge(replace(GOOD, misfit_px=0.06, resolution_px=px), Limits(), True) for px in (2.0, 8.0))
    assert (fine.decision, fine.codes[0]) == (Decision.RETAKE, ReasonCode.MISFIT)
    assert coarse.decision is Decision.ENOUGH


def test_too_few_projections_are_taken_again_unless_a_resolution_is_wanted() -> None:
    few = replace(GOOD, projections_per_column=0.3, resolution_px=4.0)
    dim = replace(GOOD, voxel_snr=0.7, resolution_px=4.0)
    assert judge(dim, Limits(), True).codes[0] is ReasonCode.LITTLE_LIGHT
    assert judge(dim, Limits(max_resolution_px=5.0), True).decision is Decision.ENOUGH
    assert judge(few, Limits(), True).codes[0] is ReasonCode.FEW_PROJECTIONS
    assert judge(few, Limits(max_resolution_px=5.0), True).decision is Decision.ENOUGH
    assert judge(few, Limits(min_projections=0.25), True).decision is Decision.ENOUGH


def test_projections_that_were_taken_again_are_no_loss() -> None:
    lost = {"unusable": {"no light": "30-99"}, "unusable_counts": {"no light": 70}}
    again = replace(GOOD, projections=GOOD.expected, **lost)
    assert ReasonCode.UNUSABLE not in judge(again, Limits(), final=True).codes
    assert ReasonCode.SET_ASIDE in judge(again, Limits(), final=True).codes
    lacking = replace(again, projections=GOOD.expected - 1)
    assert judge(lacking, Limits(), final=True).codes[0] is ReasonCode.UNUSABLE


def test_an_empty_holder_does_not_lack_light() -> None:
    verdict = judge(replace(GOOD, snr=0.0, peak_attenuation=0.0, voxel_snr=0.0), Limits(), True)
    assert verdict.decision is Decision.EMPTY
    assert ReasonCode.LITTLE_LIGHT not in verdict.codes


def test_flats_that_hold_the_sample_are_told_before_an_empty_holder() -> None:
    verdict = judge(replace(GOOD, negative=0.4, snr=0.0), Limits(), True)
    assert (verdict.decision, verdict.codes[0]) == (Decision.UNKNOWN, ReasonCode.FLATS_WRONG)


def test_all_faults_are_told_the_deciding_one_first() -> None:
    bad = replace(GOOD, motion_px=60.0, center_offset_px=100.0, coverage=0.5)
    verdict = judge(bad, Limits(), True, columns=1024)
    assert verdict.codes == (ReasonCode.MOTION, ReasonCode.AXIS_OFF, ReasonCode.ANGLES_MISSING)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unusable": {"frozen": "44"}, "unusable_counts": {"frozen": 1}}, ReasonCode.SET_ASIDE),
        ({"odd_fields": "1 of 20 flats"}, ReasonCode.SET_ASIDE),
        ({"dead_columns": 2}, ReasonCode.DEAD_COLUMNS),
        ({"gap_deg": 3.5, "coverage": 0.981}, ReasonCode.GAP),
    ],
)
def test_a_remark_follows_the_reasons_and_decides_nothing(change: dict[str, object], code: ReasonCode) -> None:
    assert judge(replace(GOOD, **change), Limits(), True).codes == (ReasonCode.NOTHING_WRONG, code)
    moved = judge(replace(GOOD, motion_px=4.0, **change), Limits(), True)
    assert (moved.decision, moved.codes) == (Decision.RETAKE, (ReasonCode.MOTION, code))


def test_without_the_width_of_the_detector_the_axis_is_not_judged() -> None:
    assert judge(replace(GOOD, center_offset_px=300.0), Limits(), True).decision is Decision.ENOUGH


def test_a_sample_that_moved_has_no_resolution() -> None:
    assert without_shared_errors(GOOD, Limits()).resolution_px == GOOD.resolution_px
    assert without_shared_errors(replace(GOOD, motion_px=0.4), Limits()).resolution_px is None


def test_the_finest_resolution_is_a_bound() -> None:
    assert "2.0 px or better" in str(judge(replace(GOOD, resolution_px=2.0), Limits(), True))
