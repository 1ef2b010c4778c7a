"""The blind examination's own scans: line integrals against closed forms, motion and faults that are really there."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdict_blind import detector_faults as det
from benchmarks.verdict_blind import object_faults as obj
from benchmarks.verdict_blind.cases import GOOD, Case, Outcome
from benchmarks.verdict_blind.damage import Truth, deviation, judged_rows, true_resolution
from benchmarks.verdict_blind.exposure import Scan, expose, line_integrals
from benchmarks.verdict_blind.kernels import project, voxels
from benchmarks.verdict_blind.kinds import KINDS, Edit, Kind
from benchmarks.verdict_blind.phantoms import FAMILIES, Phantom, box, cylinder, ellipsoid, frame_along, make, turned
from benchmarks.verdict_blind.product import verdict_of
from benchmarks.verdict_blind.report import figures, tables
from benchmarks.verdict_blind.scan import FLAT, PROJECTION, Array, Draft, draw, strain

ROWS, COLUMNS, CENTER = 24, 48, 22.3
UNIT, REST = np.eye(3), np.zeros(3)
ANGLES = np.deg2rad([0.0, 30.0, 75.0, 90.0, 140.0])
U = np.arange(COLUMNS) - CENTER
Z = (np.arange(ROWS) - (ROWS - 1) / 2)[:, None]


def seen(*parts: Array, sub: int = 1) -> Array:
    n = len(ANGLES)
    inverse = np.broadcast_to(UNIT, (n, 3, 3)).copy()
    lines: Array = project(
        np.array(parts), inverse, np.zeros((n, 3)), np.ones(n), ANGLES, CENTER, ROWS, COLUMNS, sub
    )  # fmt: skip
    return lines


def test_an_ellipsoid_is_projected_as_its_closed_form_says() -> None:
    value, (a, b, c), (x, y, z) = 0.3, (9.0, 5.0, 7.0), (2.0, -3.0, 1.5)
    lines = seen(ellipsoid(value, (x, y, z), (a, b, c)))
    for angle, image in zip(ANGLES, lines, strict=True):
        square = (a * np.cos(angle)) ** 2 + (b * np.sin(angle)) ** 2
        distance = U - (x * np.cos(angle) + y * np.sin(angle))
        inside = np.maximum(1 - distance**2 / square - ((Z - z) / c) ** 2, 0)
        np.testing.assert_allclose(image, 2 * value * a * b * np.sqrt(inside / square), atol=1e-5)


def test_an_upright_and_a_lying_cylinder_are_projected_as_their_closed_forms_say() -> None:
    upright = seen(cylinder(0.2, (4.0, 0.0, 0.0), (0, 0, 1), 6.0, 5.25))
    chord = 2 * 0.2 * np.sqrt(np.maximum(36 - (U - 4 * np.cos(ANGLES)[:, None]) ** 2, 0))
    np.testing.assert_allclose(upright, chord[:, None, :] * (np.abs(Z) <= 5.25), atol=1e-5)
    lying = seen(cylinder(0.2, (0.0, 0.0, 0.0), (0, 1, 0), 4.0, 8.0))[0]  # along the ray at 0 degrees
    np.testing.assert_allclose(lying, 0.2 * 16 * (U**2 + Z**2 <= 16), atol=1e-5)


def test_a_box_is_as_thick_as_it_is() -> None:
    lines = seen(box(0.1, (1.0, 2.0, 0.0), (3.2, 6.7, 4.2)))
    inside = (np.abs(U - 1) <= 3.2) & (np.abs(Z) <= 4.2)
    np.testing.assert_allclose(lines[0], 0.1 * 2 * 6.7 * inside, atol=1e-5)


TILTED = frame_along(np.array([1.0, 2.0, 3.0]))
BODIES = {
    "ellipsoid": (ellipsoid(0.5, (1, 2, 0), (8, 4, 5), TILTED), 4 / 3 * np.pi * 160),
    "cylinder": (cylinder(0.5, (1, 2, 0), (1, 2, 3), 4, 7, 0.8), np.pi * 16 * 0.8 * 14),
    "box": (box(0.5, (1, 2, 0), (6, 3, 4), TILTED), 8 * 72),
}


@pytest.mark.parametrize("name", BODIES)
def test_projections_and_voxels_of_a_tilted_body_hold_all_of_its_mass(name: str) -> None:
    part, volume = BODIES[name]
    np.testing.assert_allclose(seen(part, sub=4).sum(axis=(1, 2)), 0.5 * volume, rtol=0.01)
    heights = np.arange(ROWS) - (ROWS - 1) / 2
    assert voxels(part[None], UNIT, REST, heights, 41, 3).sum() == pytest.approx(0.5 * volume, rel=0.01)


@pytest.mark.parametrize("name", BODIES)
def test_voxels_lie_where_projections_see_them(name: str) -> None:
    part, _ = BODIES[name]
    lines = seen(part, sub=4)
    heights = np.arange(ROWS) - (ROWS - 1) / 2
    slices = voxels(part[None], turned(0.3).T.copy(), np.array([2.0, -1.0, 1.0]), heights, 41, 3)
    grid = np.arange(41) - 20.0
    x, y, z = (float((slices * w).sum() / slices.sum()) for w in (grid, grid[:, None], heights[:, None, None]))
    moved = turned(0.3) @ (1, 2, 0) + (2, -1, 1)
    np.testing.assert_allclose((x, y, z), moved, atol=0.02)
    for angle, image in zip(ANGLES, lines, strict=True):
        assert (image * U).sum() / image.sum() == pytest.approx(np.cos(angle) + 2 * np.sin(angle), abs=0.02)


def still(n: int = 40) -> Draft:
    """A small draft with a body about the middle of the field."""
    draft = draw(7, "clusters")
    draft = Draft(
        draft.phantom, draft.rows, draft.columns, (draft.columns - 1) / 2, "half", 0.0, 180.0,
        np.arange(n) * 180.0 / n, darks=3, flats=6, flats_after=2, quanta=1e4, seed=7,
    )  # fmt: skip
    draft.phantom = Phantom("drop", ellipsoid(0.05, (3.0, -2.0, 0.5), (9.0, 6.0, 2.5))[None], 13.0)
    return draft


def middles(draft: Draft) -> Array:
    """Column and row, from the axis and the middle row, of the mean of each projection (n, 2)."""
    lines = line_integrals(draft, 4)
    total = lines.sum(axis=(1, 2))
    columns, rows = np.arange(draft.columns) - draft.center, np.arange(draft.rows) - (draft.rows - 1) / 2
    return np.stack([(lines * columns).sum(axis=(1, 2)) / total, (lines.sum(axis=2) * rows).sum(axis=1) / total], 1)


def test_motion_in_the_lab_and_of_the_sample_moves_what_is_seen() -> None:
    draft = still()
    before, angles, rng = middles(draft), np.deg2rad(draft.true_deg), np.random.default_rng(1)
    draft.motion.lab += rng.uniform(-1, 1, (draft.n, 2)) * (4, 1)
    draft.motion.sample += rng.uniform(-2, 2, (draft.n, 3)) * (1, 1, 0)
    x, y, _ = draft.motion.sample.T
    expected = before + draft.motion.lab
    expected[:, 0] += x * np.cos(angles) + y * np.sin(angles)
    np.testing.assert_allclose(middles(draft), expected, atol=0.02)


def test_a_slip_is_a_look_from_another_angle_and_a_tip_is_not() -> None:
    draft, other = still(), still()
    draft.motion.slip[:] = 25.0
    other.true_deg = other.true_deg - 25.0
    np.testing.assert_allclose(line_integrals(draft), line_integrals(other), atol=1e-5)
    draft = still()
    draft.motion.tip[:] = 20.0
    cos, sin = np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0))
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    other.true_deg = draft.true_deg
    other.phantom = Phantom("drop", ellipsoid(0.05, about_x @ (3.0, -2.0, 0.5), (9, 6, 2.5), about_x)[None], 13.0)
    np.testing.assert_allclose(line_integrals(draft), line_integrals(other), atol=1e-5)


def test_shrinking_keeps_the_mass_and_what_fell_off_is_gone() -> None:
    draft = still()
    before = line_integrals(draft, 4).sum(axis=(1, 2))
    obj.shrinking(draft, np.random.default_rng(0), 0.2)
    after = line_integrals(draft, 4)
    np.testing.assert_allclose(after.sum(axis=(1, 2)), before, rtol=0.01)
    assert np.count_nonzero(after[-1]) < 0.8 * np.count_nonzero(after[0])
    draft = still()
    obj.falls_off(draft, np.random.default_rng(0), 0.25)
    there = np.asarray(line_integrals(draft).any(axis=(1, 2)))
    assert there[:29].all()
    assert not there[30:].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_body_absorbs_what_its_family_says_and_stays_within_its_radius(family: str) -> None:
    _, low, high = FAMILIES[family]
    for seed in range(2):
        phantom = make(family, np.random.default_rng(seed), 40.0, 12)
        still_pose = np.broadcast_to(UNIT, (60, 3, 3)).copy()
        angles = np.deg2rad(np.arange(0.0, 180.0, 3.0))
        lines = project(phantom.parts, still_pose, np.zeros((60, 3)), np.ones(60), angles, 60.0, 12, 121, 2)
        assert lines.min() > -1e-3 * lines.max()
        assert 0.6 * low < lines.max() < 1.6 * high
        reached = np.abs(np.flatnonzero(lines.max(axis=(0, 1)) > 1e-3 * lines.max()) - 60).max()
        assert 30 < reached < 44


@pytest.mark.parametrize("seed", range(8))
def test_good_scans_are_within_the_range_of_the_detector_and_the_same_each_time(seed: int) -> None:
    first, second = draw(seed, "tooth"), draw(seed, "tooth")
    if seed % 2:
        strain(first)
        strain(second)
    scan = expose(first)
    np.testing.assert_array_equal(scan.pixels, expose(second).pixels)
    assert np.percentile(scan.pixels, 99.9) < 0.98 * 65535
    flat = scan.pixels[scan.kind == FLAT].mean() - first.offset
    assert flat > 0.3 * first.quanta * first.gain
    ideal = np.exp(-line_integrals(first))
    flats, darks = (scan.pixels[scan.kind == k].mean(axis=0) for k in (FLAT, 2))
    sent = scan.index[scan.kind == PROJECTION] - first.first
    through = (scan.pixels[scan.kind == PROJECTION] - darks) / (flats - darks)
    assert np.median(np.abs(through - ideal[sent])) < 0.06


def differences(scan: Scan, twin: Scan) -> list[str]:
    found = [name for name in ("projections", "flats", "range_deg") if getattr(scan, name) != getattr(twin, name)]
    for name in ("index", "kind", "angle_deg", "pixels"):
        ours, theirs = getattr(scan, name), getattr(twin, name)
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
            found.append(name)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_fault_is_there_and_its_twin_is_without(kind: Kind) -> None:
    size = kind.low if kind.name in ("encoder wraps", "too few projections", "too low dose") else kind.high
    case = Case(0, 11, "clusters", False, kind, size)
    good, spoiled = case.drafts()
    assert spoiled is not None
    twin = expose(good)
    assert differences(expose(spoiled), twin)
    assert differences(expose(case.drafts()[0]), twin) == []
    assert "ENOUGH" not in kind.right or kind.name == "duplicates"


def spoiled(edit: Edit, size: float) -> tuple[Draft, Scan]:
    draft = still()
    edit(draft, np.random.default_rng(0), size)
    return draft, expose(draft)


def test_faults_of_the_detector_do_what_they_say() -> None:
    plain = expose(still())
    projections = plain.pixels[plain.kind == PROJECTION].astype(float)
    draft, scan = spoiled(det.frozen_frames, 0.3)
    assert np.sum([np.array_equal(a, b) for a, b in zip(scan.pixels[9:-2], scan.pixels[8:-3], strict=True)]) >= 11
    _, scan = spoiled(det.nan_pixels, 0.05)
    assert scan.dtype == "<f4"
    assert 0 < np.isnan(scan.pixels).mean() < 0.2
    _, scan = spoiled(det.saturation_12, 1.2)
    assert scan.pixels.max() == 4095
    assert (scan.pixels == 4095).mean() > 0.2
    _, scan = spoiled(det.zingers, 0.01)
    jumps = scan.pixels[scan.kind == PROJECTION] - projections > 0.1 * draft.quanta
    assert jumps.mean() == pytest.approx(0.01, rel=0.2)
    _, scan = spoiled(det.lost_together, 0.25)
    assert len(scan.index) == len(plain.index) - 10
    assert np.diff(scan.index).max() == 11
    _, scan = spoiled(det.duplicates, 0.25)
    assert len(scan.index) - len(np.unique(scan.index)) == 10
    _, scan = spoiled(det.swapped, 1.0)
    assert scan.pixels[scan.kind == FLAT].mean() < 0.2 * projections.mean()
    draft, scan = spoiled(det.beam_dump, 0.2)
    dark = scan.pixels[scan.kind == PROJECTION].mean(axis=(1, 2)) < 2 * draft.offset
    assert dark.sum() == 8
    _, scan = spoiled(det.sample_in_all_flats, 1.0)
    ratio = scan.pixels[scan.kind == FLAT].mean(axis=0) / plain.pixels[plain.kind == FLAT].mean(axis=0)
    assert ratio.min() < 0.7 < 0.98 < np.median(ratio)
    draft, scan = spoiled(det.torn_frames, 0.2)
    changed = (scan.pixels != plain.pixels).any(axis=2)
    assert 4 <= changed.any(axis=1).sum() <= 8
    assert not changed[:, 0].any()


def test_faults_of_the_stage_do_what_they_say() -> None:
    step = 180.0 / 40
    draft, _ = spoiled(obj.stall, 0.25)
    assert np.sum(np.diff(draft.true_deg) == 0) == 9
    draft, _ = spoiled(obj.skipped_angle, 12.0)
    assert sorted(set(np.round(np.abs(np.diff(draft.true_deg) - step), 6))) == [0.0, 12.0]
    draft, _ = spoiled(obj.wedge, 50.0)
    assert np.diff(draft.true_deg).max() == pytest.approx(50 + step * (1 - 50 / 180))
    np.testing.assert_array_equal(draft.told_deg, draft.true_deg)
    draft, scan = spoiled(obj.wraps, 0.5)
    assert np.ptp(scan.angle_deg) < 90
    assert np.ptp(draft.true_deg) > 170
    draft, _ = spoiled(obj.outliers, 0.1)
    assert np.sum(draft.told_deg != draft.true_deg) == 4


def test_the_truth_has_no_error_and_a_pose_is_found() -> None:
    draft = draw(3, "grains")
    truth = Truth(draft)
    pose = np.array([1.3, -0.8, 0.4, 0.02])
    slices = truth.at(pose)
    assert truth.errors(slices, pose) == (0.0, 0.0)
    off = np.abs(truth.register(slices, np.zeros(4)) - pose)
    assert (off < (0.05, 0.05, 0.2, 0.005)).all()


def test_what_is_blurred_is_coarser_and_further_from_the_truth() -> None:
    draft = draw(3, "grains")
    tomogram = np.zeros((draft.rows, draft.columns, draft.columns))
    tomogram[judged_rows(draft.rows)] = Truth(draft).at(np.zeros(4))
    noisy = tomogram + np.random.default_rng(0).normal(0, 0.3 * tomogram.max(), tomogram.shape)
    assert true_resolution(draft, tomogram, np.zeros(4)) == 2.0
    assert true_resolution(draft, noisy, np.zeros(4)) > 3.0
    assert deviation(draft, noisy)[0] > deviation(draft, tomogram)[0]
    noisy[draft.rows // 2, 50, 50] = np.nan
    assert deviation(draft, noisy)[0] == (np.inf, np.inf)


def test_the_product_is_asked_and_makes_a_tomogram() -> None:
    draft = draw(2, "porous")
    opinion = verdict_of(expose(draft))
    assert opinion.tomogram is not None
    (error, _), pose = deviation(draft, opinion.tomogram)
    assert error < 0.4 * np.sqrt(np.mean(Truth(draft).at(pose) ** 2))
    assert opinion.reasons
    assert opinion.quality["projections"] == draft.n


def test_figures_and_tables_count_what_was_found() -> None:
    def spoiled_case(decision: str, growth: float | None, counts: bool) -> Outcome:
        right = ["RETAKE"] if counts else ["ENOUGH", "RETAKE"]
        return Outcome(1, "vibration", "pin", "half", [], decision, ["why"], 1.0, growth, counts, right)

    outcomes = [
        Outcome(0, GOOD, "pin", "half", [], "ENOUGH", [], resolution=4.0, true_resolution=2.0),
        Outcome(1, GOOD, "tube", "full", ["rare zingers"], "RETAKE", ["it seems to move"]),
        spoiled_case("RETAKE", 2.0, True),
        spoiled_case("UNKNOWN", 1.2, True),
        spoiled_case("ENOUGH", 2.5, True),
        spoiled_case("ENOUGH", 1.0, False),
    ]  # fmt: skip
    result = figures(outcomes)
    assert (result["false_alarms"], result["alarms_where_harmless"]) == (0.5, 0.0)
    assert (result["sensitivity"], result["right_advice"]) == (0.6667, 0.3333)
    assert result["error_above_1.5_called_ENOUGH"] == 0.25
    assert result["kinds"]["vibration"]["caught_by_growth"] == {
        "up to 1.1": "0/0", "to 1.5": "1/1", "to 3": "1/2", "more": "0/0",
    }  # fmt: skip
    assert result["resolution_reported_to_true"]["median"] == 2.0
    assert result["families"] == {"pin": {"good": 1, "alarms": 0}, "tube": {"good": 1, "alarms": 1}}
    assert len(result["missed"]) == len(result["false"]) == 1
    assert any(line.split()[:3] == ["vibration", "2/3", "1"] for line in tables(result).splitlines())
