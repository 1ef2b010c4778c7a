"""What single bad frames, fields and angles do to a scan: they are set aside, named, and the rest is judged."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.frames import Decision, FrameKind, FrameMeta, ReasonCode, ScanSpec
from streamer.phantoms import Ellipse, sinogram
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

COLUMNS, ROWS, COUNT, FIELDS = 96, 10, 150, 20
CENTER = 48.9
BODY = [
    Ellipse(0.02, 30.0, 24.0, 1.0, -2.0, 0.4),
    Ellipse(0.03, 5.0, 6.0, 14.0, 6.0),
    Ellipse(-0.015, 6.0, 4.0, -9.0, -8.0),
]


class Scan:
    """Counts of an analytic body, with darks, flats and angles that a test may spoil."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.angles = np.arange(COUNT) * 180.0 / COUNT
        beam = (
            20_000 * (1 + 0.1 * np.sin(np.arange(COLUMNS) / 17.0)) * (1 + 0.02 * rng.standard_normal((ROWS, COLUMNS)))
        )
        lines = (
            sinogram(BODY, COLUMNS, np.deg2rad(self.angles), CENTER)[:, None, :] * np.linspace(0.8, 1, ROWS)[:, None]
        )
        self.darks = 100 + rng.normal(0, 2, (FIELDS // 2, ROWS, COLUMNS))
        self.flats = 100.0 + rng.poisson(beam, (FIELDS // 2, ROWS, COLUMNS))
        self.projections = 100.0 + rng.poisson(beam * np.exp(-lines))
        self.noise = rng.normal(100, 2, self.projections.shape)

    def frames(self) -> list[tuple[FrameMeta, np.ndarray]]:
        parts = ((FrameKind.DARK, self.darks), (FrameKind.FLAT, self.flats), (FrameKind.PROJECTION, self.projections))
        angles = [0.0] * FIELDS + self.angles.tolist()
        pixels = [(kind, one) for kind, part in parts for one in part]
        return [
            (FrameMeta("scan", k, kind, angles[k]), np.clip(np.rint(one), 0, 65_535).astype("<u2"))
            for k, (kind, one) in enumerate(pixels)
        ]


@pytest.fixture
def scan() -> Scan:
    return Scan()


def judged(backend: Backend, scan: Scan, order: np.ndarray | None = None, together: int = 1):
    spec = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=FIELDS // 2, darks=FIELDS // 2)
    pipeline = ScanPipeline(spec, backend, Settings())
    frames = scan.frames()
    if order is not None:
        frames = frames[:FIELDS] + [frames[FIELDS + k] for k in order]
    for first in range(0, len(frames), together):
        part = frames[first : first + together]
        pipeline.push_batch([meta for meta, _ in part], np.stack([pixels for _, pixels in part]))
    pipeline.refine_center()
    return pipeline, *pipeline.judge(0, 0)


def test_a_good_scan_is_enough_without_a_remark(numba_backend, scan):
    _, quality, verdict = judged(numba_backend, scan)
    assert verdict.codes == (ReasonCode.NOTHING_WRONG,), verdict
    assert (quality.motion_px, quality.misfit_px, quality.unusable_counts) == (0.0, 0.0, {})


@pytest.mark.parametrize("first", [0, 70])
def test_three_frames_without_beam_are_left_out_and_named(numba_backend, scan, first):
    scan.projections[first : first + 3] = scan.noise[first : first + 3]
    pipeline, quality, verdict = judged(numba_backend, scan)
    assert pipeline.count == COUNT - 3
    frames = f"{FIELDS + first}-{FIELDS + first + 2}"
    assert (quality.unusable, quality.unusable_counts) == ({"no light": frames}, {"no light": 3})
    assert pipeline.checks.set_aside == [FIELDS + first + k for k in range(3)]
    assert ReasonCode.SET_ASIDE in verdict.codes
    assert frames in str(verdict)


def test_a_scan_that_lost_the_beam_for_a_fifth_is_taken_again(numba_backend, scan):
    scan.projections[90:120] = scan.noise[90:120]
    _, quality, verdict = judged(numba_backend, scan)
    assert (verdict.decision, quality.unusable_counts) == (Decision.RETAKE, {"no light": 30})
    assert {ReasonCode.UNUSABLE, ReasonCode.ANGLES_MISSING} <= set(verdict.codes)


@pytest.mark.parametrize("together", [1, 8])
def test_the_verdict_does_not_depend_on_the_order_of_arrival(numba_backend, scan, together):
    for shifted in (False, True):
        if shifted:
            scan.projections[COUNT // 2 :] = np.roll(scan.projections[COUNT // 2 :], 3, axis=2)
        straight = judged(numba_backend, scan)
        shuffled = judged(numba_backend, scan, np.random.default_rng(0).permutation(COUNT), together)
        reversed_ = judged(numba_backend, scan, np.arange(COUNT)[::-1], together)
        for _, quality, verdict in (shuffled, reversed_):
            assert verdict.decision is straight[2].decision is (Decision.RETAKE if shifted else Decision.ENOUGH)
            assert quality.motion_px == pytest.approx(straight[1].motion_px, abs=0.02)


def test_frozen_and_torn_frames_and_wrong_angles_are_told_apart(numba_backend, scan):
    scan.projections[41] = scan.projections[40]
    scan.projections[60, ROWS // 2 :] = 0
    scan.angles[100] += 70.0
    _, quality, _ = judged(numba_backend, scan)
    assert quality.unusable == {
        "frozen": f"{FIELDS + 41}",
        "torn": f"{FIELDS + 60}",
        "wrong angle": f"{FIELDS + 100}",
    }


def test_darks_with_light_and_flats_without_are_left_out(numba_backend, scan):
    scan.darks[:3], scan.flats[:4] = scan.flats[:3], scan.darks[3:7]
    _, quality, verdict = judged(numba_backend, scan)
    assert verdict.decision is Decision.ENOUGH
    assert "3 of 10 darks look different" in quality.odd_fields
    assert "4 of 10 flats look different" in quality.odd_fields


def test_darks_that_all_hold_light_are_no_darks(numba_backend, scan):
    scan.darks += 0.2 * (scan.flats - 100)
    assert judged(numba_backend, scan)[2].codes[0] is ReasonCode.DARKS_LIT


def test_a_sample_in_all_flats_is_found_by_what_is_brighter_without(numba_backend, scan):
    scan.flats = scan.projections[:10].copy()
    assert ReasonCode.FLATS_WRONG in judged(numba_backend, scan)[2].codes


@pytest.mark.parametrize(
    ("angles", "word"), [(np.zeros(COUNT), "the same"), (np.deg2rad(np.arange(COUNT) * 180.0 / COUNT), "radian")]
)
def test_angles_that_cannot_be_name_the_encoder(numba_backend, scan, angles, word):
    scan.angles = angles
    _, _, verdict = judged(numba_backend, scan)
    assert verdict.decision is Decision.UNKNOWN
    assert word in str(verdict)


def test_a_gap_between_modules_is_not_saturated(numba_backend, scan):
    for part in (scan.darks, scan.flats, scan.projections):
        part[..., 60:62] = 65_535
    _, quality, verdict = judged(numba_backend, scan)
    assert quality.saturation < 1e-3
    assert ReasonCode.SATURATED not in verdict.codes


def test_a_ceiling_below_the_types_maximum_is_saturation(numba_backend, scan):
    for name in ("flats", "projections"):
        setattr(scan, name, np.minimum(getattr(scan, name), 19_000))
    assert ReasonCode.SATURATED in judged(numba_backend, scan)[2].codes


def test_equal_pixels_without_noise_are_not_saturated(numba_backend, scan):
    """What a first try of the Python interface looks like: a computed scan in a uniform beam."""
    open_beam = 40_000.0
    lines = sinogram(BODY, COLUMNS, np.deg2rad(scan.angles), CENTER)
    scan.projections[...] = open_beam * np.exp(-lines[:, None])
    scan.flats[...], scan.darks[...] = open_beam, 0
    _, quality, verdict = judged(numba_backend, scan)
    assert quality.saturation == 0.0
    assert ReasonCode.SATURATED not in verdict.codes


def test_nothing_is_known_before_the_first_projection():
    checks = FrameChecks(ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT), False)
    found = checks.findings()
    assert (found["saturation"], found["zingers"], found["unusable_counts"]) == (None, None, {})


def test_a_wedge_that_is_missing_takes_no_mass_from_the_tomogram(numba_backend, scan):
    whole, cut = judged(numba_backend, scan)[0], judged(numba_backend, scan, np.arange(125))[0]
    sums = []
    for pipeline in (whole, cut):
        volume = np.concatenate([block.copy() for _, block in pipeline.tomogram(None)])
        sums.append(float(volume[:, 30:66, 30:66].mean()))
    assert sums[1] == pytest.approx(sums[0], rel=0.06)
