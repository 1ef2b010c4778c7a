"""The third generator of scans says what it does: projector, noise, good scans, and each fault. No verdict is asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.verdict_voxels.bodies import FAMILIES, band_limited, grid, truth
from benchmarks.verdict_voxels.damage import Truth, field_of_view, fitted, plain
from benchmarks.verdict_voxels.examine import Finding, plan
from benchmarks.verdict_voxels.kinds import KINDS
from benchmarks.verdict_voxels.projector import PAD, Pose, Projector, backproject
from benchmarks.verdict_voxels.report import report
from benchmarks.verdict_voxels.setup import Setup, expose
from benchmarks.verdict_voxels.specimens import HARD, specimen

ROWS, COLUMNS, AXIS = 4, 64, 30.3
SMALL = (48, 52)


@pytest.fixture(scope="module")
def base() -> Setup:
    setup = specimen(3, 1, SMALL)  # fibres: they differ along the axis
    _, lines = expose(setup)
    setup.known = setup.pose.table(), lines
    return setup


def disc(x: float, y: float, radius: float) -> np.ndarray:
    p = grid(COLUMNS // 2, ROWS, PAD)
    return np.asarray((np.hypot(p.x - x, p.y - y) < radius) * np.ones(p.shape), np.float32)


def chords(angles_deg: np.ndarray, x: float, y: float, radius: float, axis: float) -> np.ndarray:
    """Line integrals of a disc, the mean over each of 64 columns."""
    theta = np.deg2rad(angles_deg)[:, None]
    s = (np.arange(COLUMNS * 16) + 0.5) / 16 - 0.5 - axis
    distance = s - x * np.cos(theta) - y * np.sin(theta)
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0)).reshape(len(theta), COLUMNS, 16).mean(axis=2)


def test_projector_gives_the_chords_of_a_disc() -> None:
    angles = np.array([0.0, 17.0, 45.0, 90.0, 133.0, 180.0, 271.0])
    lines = Projector(disc(6, -4, 15), ROWS, COLUMNS).lines(Pose(angles), AXIS)
    wanted = chords(angles, 6, -4, 15, AXIS)
    assert np.abs(lines - wanted[:, None]).max() < 1.0  # of 30, at the edge; a voxel is half a pixel
    assert np.sqrt(np.mean((lines - wanted[:, None]) ** 2)) < 0.25
    np.testing.assert_allclose(lines.sum(axis=2), np.pi * 15**2, rtol=2e-3)


@pytest.mark.parametrize(
    ("field", "amount", "moved"),
    [("x", 3.0, (9, -4, AXIS)), ("y", 2.5, (6, -1.5, AXIS)), ("across", 1.3, (6, -4, AXIS + 1.3))],
)
def test_a_shifted_pose_shifts_the_disc(field: str, amount: float, moved: tuple[float, float, float]) -> None:
    pose = Pose(np.array([20.0, 75.0, 160.0]))
    setattr(pose, field, getattr(pose, field) + amount)
    lines = Projector(disc(6, -4, 15), ROWS, COLUMNS).lines(pose, AXIS)
    assert np.sqrt(np.mean((lines[:, 1] - chords(pose.angle, *moved[:2], 15, moved[2])) ** 2)) < 0.25


def test_scale_and_density() -> None:
    pose = Pose(np.array([30.0]))
    pose.scale *= 0.9
    pose.density *= 0.5
    lines = Projector(disc(0, 0, 15), ROWS, COLUMNS).lines(pose, AXIS)
    wanted = 0.5 / 0.9**3 * chords(pose.angle, 0, 0, 13.5, AXIS)
    assert np.sqrt(np.mean((lines[:, 1] - wanted) ** 2)) < 0.25


def test_motion_along_the_axis_moves_rows_and_roll_turns_the_image() -> None:
    body = disc(0, 0, 10)
    body[: PAD + 2] = 0  # only rows 2 and 3 show it
    pose = Pose(np.zeros(3))
    pose.along[:] = (0, 1, -1)
    lit = Projector(body, ROWS, COLUMNS).lines(pose, AXIS).max(axis=2) > 10
    assert lit.tolist() == [[False, False, True, True], [False, False, False, True], [False, True, True, True]]
    pose = Pose(np.zeros(2))
    pose.roll[1] = 10.0
    straight, turned = Projector(disc(0, 0, 10), ROWS, COLUMNS).lines(pose, AXIS)
    middles = turned @ np.arange(COLUMNS) / turned.sum(axis=1)
    np.testing.assert_allclose(np.diff(middles), -np.sin(np.deg2rad(10.0)) / np.cos(np.deg2rad(10.0)), atol=0.02)
    assert np.ptp(straight @ np.arange(COLUMNS) / straight.sum(axis=1)) < 1e-9


def test_backprojection_of_chords_is_the_disc() -> None:
    angles = np.arange(120) * 1.5
    found = backproject(chords(angles, 6, -4, 15, AXIS)[:, None], angles, AXIS)[0]
    wanted = truth(disc(6, -4, 15), COLUMNS)[PAD]
    view = field_of_view(COLUMNS)
    inside = wanted[view] == 1
    assert np.mean(found[view][inside]) == pytest.approx(1, abs=0.02)
    assert np.corrcoef(found[view], wanted[view])[0, 1] > 0.97


def test_a_band_limited_truth_is_the_body_without_what_pixels_cannot_hold() -> None:
    body = disc(6, -4, 15)
    pixels, limited = truth(body, COLUMNS)[PAD], band_limited(body, COLUMNS)[PAD]
    assert limited.sum() == pytest.approx(pixels.sum(), rel=1e-4)
    low = [gaussian_filter(image, 2) for image in (pixels, limited)]
    np.testing.assert_allclose(*low, atol=0.01)  # also: not moved by a part of a pixel


def test_the_true_resolution_is_that_of_the_verdict_benchmark(base: Setup) -> None:
    body, columns = Truth(base), base.columns
    sharp = band_limited(base.body, columns)[body.rows + PAD]
    k = np.fft.fftfreq(columns)
    passed = np.hypot(k[:, None], k[None, :]) <= 1 / 4.0
    noise = np.random.default_rng(1).normal(0, sharp.std(), sharp.shape)
    cut = np.fft.ifft2(np.fft.fft2(sharp) * passed + np.fft.fft2(noise) * ~passed).real
    assert body.resolution(sharp) < 2.2  # but for the blur along the axis
    assert body.resolution(cut) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_a_good_scan_reconstructs_to_its_body(number: int) -> None:
    setup = specimen(3, number, (64, 72))
    recording, _ = expose(setup)
    body = Truth(setup)
    slices = plain(recording, setup.axis)
    view = field_of_view(setup.columns)
    wanted = np.stack([body.seen(np.zeros(4), view)])[0]
    assert body.error(slices) < 0.25 * wanted.std()
    assert np.polyfit(wanted.ravel(), slices[:, view].ravel(), 1)[0] == pytest.approx(1, abs=0.05)
    assert body.resolution(slices) < 4
    assert body.posed_error(slices) <= body.error(slices)


def test_the_best_pose_takes_a_rigid_displacement_away(base: Setup) -> None:
    setup = base.twin()
    setup.pose.x += 1.5
    setup.pose.along += 1.0
    setup.pose.angle += 2.0
    body, slices = Truth(setup), plain(expose(setup)[0], setup.axis)
    good = body.error(plain(expose(base)[0], base.axis))
    assert body.error(slices) > 3 * good
    assert body.posed_error(slices) < 1.3 * good


def test_counts_have_poisson_and_read_out_noise(base: Setup) -> None:
    flats = expose(base)[0].flats.astype(float)
    light = flats.mean() - 100
    assert flats.var(axis=0, ddof=1).mean() == pytest.approx(light + base.read_noise**2, rel=0.1)


def test_a_scan_is_the_same_again_and_its_untouched_frames_those_of_the_twin(base: Setup) -> None:
    again = specimen(3, 1, SMALL)
    np.testing.assert_array_equal(expose(again)[0].projections, expose(base)[0].projections)
    setup = base.twin()
    setup.light[10:13] = 0.0
    spoiled, good = expose(setup)[0].projections, expose(base)[0].projections
    changed = (spoiled != good).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == [10, 11, 12]


def test_the_plan_takes_every_kind_and_size() -> None:
    pairs = {(name, size) for name, kind in KINDS.items() for size in range(len(kind.sizes))}
    assert len(KINDS) >= 40
    specimens = -(-len(pairs) // 4)
    assert {pair for faults in plan(1, specimens) for pair in faults} == pairs
    assert plan(1, 10) == plan(1, 10) != plan(2, 10)


def spoiled(base: Setup, name: str, size: int) -> Setup:
    setup, kind = base.twin(), KINDS[name]
    kind.apply(setup, kind.sizes[size], np.random.default_rng(8))
    return setup


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_fault_changes_what_it_says(base: Setup, name: str) -> None:
    good, kind, setup = expose(base)[0], KINDS[name], spoiled(base, name, 0)
    bad = expose(setup)[0]
    shown = bad.projections.shape == good.projections.shape and (bad.projections != good.projections).any()
    fields = (bad.flats, bad.darks)
    same_fields = all(
        ours is not None and (ours == theirs).all()
        for ours, theirs in zip(fields, (good.flats, good.darks), strict=True)
    )
    same_angles = np.array_equal(bad.angles_deg, good.angles_deg)
    if kind.group == "angles":
        off = bad.angles_deg.shape != setup.pose.angle.shape or (bad.angles_deg != setup.pose.angle).any()
        assert off or len(bad.angles_deg) < len(good.angles_deg)
        assert same_fields
    elif kind.group == "fields":
        assert same_angles
        assert shown if name == "offset_drifts" else not same_fields
    elif name in ("lost_frames", "lost_block"):
        assert 0.9 * len(good.angles_deg) < len(bad.angles_deg) < len(good.angles_deg)
    else:
        assert shown
        assert same_angles
        assert same_fields or name in ("saturated", "saturated_early", "low_dose")


# What is left of an empty holder is less of a change; of little light the noise grows, hardly the counts.
SIZED = sorted(name for name, kind in KINDS.items() if len(kind.sizes) == 3 and name not in ("empty", "low_dose"))


@pytest.mark.parametrize("name", SIZED)
def test_gross_faults_change_more_than_barely_visible_ones(base: Setup, name: str) -> None:
    good = expose(base)[0]

    def change(size: int) -> float:
        bad = expose(spoiled(base, name, size))[0]
        if len(bad.projections) < len(good.projections):
            return float(len(good.projections) - len(bad.projections))
        pairs = (
            (bad.projections, good.projections),
            (bad.angles_deg, good.angles_deg),
            (bad.flats, good.flats),
            (bad.darks, good.darks),
        )
        return float(sum(np.abs(np.nan_to_num(ours.astype(float)) - theirs).mean() for ours, theirs in pairs))

    assert change(2) > 1.2 * change(0)


@pytest.mark.parametrize("name", sorted(HARD))
def test_hard_scans_stay_faithful(base: Setup, name: str) -> None:
    setup = base.twin()
    HARD[name](setup, np.random.default_rng(5))
    body, slices = Truth(setup), plain(expose(setup)[0], setup.axis)
    view = field_of_view(setup.columns)
    assert np.corrcoef(body.seen(np.zeros(4), view).ravel(), slices[:, view].ravel())[0, 1] > 0.95


def test_edges_touched_by_one_or_two_columns(base: Setup) -> None:
    setup = base.twin()
    HARD["edges touched"](setup, np.random.default_rng(5))
    _, lines = expose(setup)
    at_edge = (lines[:, :, [0, -1]] > 0).any(axis=(1, 2))
    assert 0 < at_edge.mean() < 0.5


def test_slices_of_another_width_keep_their_middle() -> None:
    wide = np.zeros((1, 71, 71), np.float32)
    wide[0, 35, 35] = 1.0
    assert fitted(wide, 65)[0, 32, 32] == 1.0
    assert fitted(wide, 64)[0, 31:33, 31:33].min() > 0.2


def test_the_report_counts_what_it_says() -> None:
    def finding(kind: str, verdict: str, damage: float, **more: object) -> Finding:
        return Finding(
            0, "foam", "half turn", kind, 1, 2.0, 1.0, None, verdict, damage=damage, plain_damage=damage, **more
        )

    found = [
        finding("good", "ENOUGH", 1.0, codes=["nothing_wrong"]),
        finding("hard: low dose", "RETAKE", 1.2, codes=["motion"]),
        finding("vibration", "RETAKE", 3.0, codes=["motion"]),
        finding("vibration", "ENOUGH", 3.0, codes=["nothing_wrong"], resolution=5.0, wanted=4.0),
        finding("vibration", "CONTINUE", 1.3, codes=["nothing_wrong"]),
        finding("vibration", "RETAKE", 1.0, codes=["motion"]),
        finding("radians", "refused", 0.9),
    ]
    text = report(found)
    for name, value in (
        ("caught, of faults that count", "2/4 = 50.0 %"),
        ("… with a wanted resolution", "3/4 = 75.0 %"),
        ("false alarms, good", "0/1 = 0.0 %"),
        ("false alarms, hard but good", "1/1 = 100.0 %"),
        ("harmless faults with an alarm", "1/1 = 100.0 %"),
        ("×1.5 missed, of all spoiled", "1/5 = 20.0 %"),
    ):
        assert f"{name:36} {value}" in text
