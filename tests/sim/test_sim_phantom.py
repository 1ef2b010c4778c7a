"""Line integrals and volumes against closed forms, brute force and the moments of Helgason and Ludwig."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.frames import BadInput
from streamer.sim.presets import PRESETS
from streamer.sim.scene.materials import ATTENUATION_PER_CM, attenuation_per_cm
from streamer.sim.scene.motion import Knot, Motion, slip
from streamer.sim.scene.phantom import Body, compile_bodies, view_basis
from streamer.sim.scene.render import Scene, View
from streamer.sim.scene.samples import KINDS, arranged, magazine
from streamer.sim.scene.volume import attenuation_volume

SIZE, PIXEL = 64, 0.03
VIEW = View(SIZE, SIZE, PIXEL, (SIZE - 1) / 2)
MU = 20.7  # hydroxyapatite at 20 keV, 1/cm

small = st.floats(-0.3, 0.3)
directions = st.tuples(small, small, small).filter(lambda v: np.linalg.norm(v) > 0.05)
bodies = st.builds(
    Body,
    kind=st.sampled_from(["ellipsoid", "cylinder"]),
    center_mm=st.tuples(small, small, small),
    size_mm=st.tuples(st.floats(0.1, 0.5), st.floats(0.1, 0.5), st.floats(0.1, 0.5)),
    material=st.just("hydroxyapatite"),
    axis=directions,
    roll_deg=st.floats(0, 180),
)


def mesh(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Column and row coordinates in mm from the axis and the middle row."""
    columns = (np.arange(view.columns) - view.axis_column) * view.pixel_mm
    rows = (np.arange(view.rows) - (view.rows - 1) / 2) * view.pixel_mm
    return np.meshgrid(columns, rows)


def test_sphere_has_the_chord_of_the_textbook() -> None:
    sphere = compile_bodies([Body("ellipsoid", (0.2, -0.1, 0.3), (0.4, 0.4, 0.4), "hydroxyapatite")], (20.0,))
    column, row = mesh(VIEW)
    for angle in (0.0, 33.0, 90.0, 211.0):
        turn = np.deg2rad(angle)
        square = (column - 0.2 * np.cos(turn) + 0.1 * np.sin(turn)) ** 2 + (row - 0.3) ** 2
        expected = 0.2 * MU * np.sqrt(np.maximum(0.0, 0.16 - square))
        np.testing.assert_allclose(VIEW.paths(sphere, angle)[0], expected, atol=2e-6)


def test_cylinder_seen_end_on_and_from_the_side() -> None:
    rod = compile_bodies(
        [Body("cylinder", (0.0, 0.0, 0.0), (0.2, 0.2, 0.5), "hydroxyapatite", axis=(0, 1, 0))], (20.0,)
    )
    column, row = mesh(VIEW)
    end_on = np.where(column**2 + row**2 < 0.04, 0.1 * MU * 1.0, 0.0)
    np.testing.assert_allclose(VIEW.paths(rod, 0.0)[0], end_on, atol=1e-6)
    side = np.where(np.abs(column) < 0.5, 0.2 * MU * np.sqrt(np.maximum(0, 0.04 - row**2)), 0.0)
    np.testing.assert_allclose(VIEW.paths(rod, 90.0)[0], side, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(body=bodies, angle=st.floats(-360, 360), roll=st.floats(-5, 5), pitch=st.floats(-5, 5))
def test_any_body_at_any_view_agrees_with_brute_force(body: Body, angle: float, roll: float, pitch: float) -> None:
    view = View(24, 24, 0.08, 11.5, roll, pitch)
    paths = view.paths(compile_bodies([body], (20.0,)), angle)[0]
    np.testing.assert_allclose(paths, brute_force(body, view, angle), atol=0.1 * MU * 0.006)


def brute_force(body: Body, view: View, angle: float) -> np.ndarray:
    """Count sample points inside the body, with another description of its inside than the one under test."""
    step = 0.002
    column, row = mesh(view)
    depth = np.arange(-1.6, 1.6, step)
    u, v, d = view_basis(angle, view.roll_deg, view.pitch_deg)
    start = column[..., None] * u + row[..., None] * v - np.asarray(body.center_mm)
    e3 = np.asarray(body.axis) / np.linalg.norm(body.axis)
    helper = np.array([1.0, 0, 0]) if abs(e3[0]) < 0.9 else np.array([0, 1.0, 0])
    e1 = helper - (helper @ e3) * e3
    e1 /= np.linalg.norm(e1)
    turn = np.deg2rad(body.roll_deg)
    first = np.cos(turn) * e1 + np.sin(turn) * np.cross(e3, e1)
    along = [np.add.outer(start @ e, depth * (d @ e)) for e in (first, np.cross(e3, first), e3)]
    if body.kind == "cylinder":
        radial = (along[0] / body.size_mm[0]) ** 2 + (along[1] / body.size_mm[1]) ** 2
        inside = (radial <= 1) & (np.abs(along[2]) <= body.size_mm[2])
    else:
        inside = sum((a / s) ** 2 for a, s in zip(along, body.size_mm, strict=True)) <= 1
    return 0.1 * MU * step * inside.sum(axis=-1)


@settings(max_examples=20, deadline=None)
@given(body=bodies, angle=st.floats(0, 360))
def test_moments_of_helgason_and_ludwig(body: Body, angle: float) -> None:
    """The mass of a projection is that of the body at any angle; its centroid goes round on a circle."""
    quadrics = compile_bodies([body], (20.0,))
    paths = View(120, 120, 0.02, 55.5).paths(quadrics, angle)[0].astype(float)
    mass = paths.sum() * 0.02**2
    # Pixels see the ray through their middle: an edge along the columns or rows is off by up to half a pixel.
    assert mass == pytest.approx(0.1 * quadrics.attenuation_sum[0], rel=0.02 + 0.02 / min(body.size_mm))
    x, y, _ = body.center_mm
    turn = np.deg2rad(angle)
    centroid = (paths.sum(0) @ np.arange(120)) / paths.sum()
    assert centroid == pytest.approx(55.5 + (x * np.cos(turn) + y * np.sin(turn)) / 0.02, abs=0.55)


def test_rolled_axis_shifts_columns_with_the_row() -> None:
    ball = compile_bodies([Body("ellipsoid", (0.0, 0.0, 0.6), (0.3, 0.3, 0.3), "silica")], (20.0,))
    view = View(SIZE, SIZE, PIXEL, 30.0, roll_deg=2.0)
    for angle in (0.0, 70.0, 180.0):
        paths = view.paths(ball, angle)[0]
        centroid = (paths.sum(0) @ np.arange(SIZE)) / paths.sum()
        assert centroid == pytest.approx(30.0 + 0.6 * np.sin(np.deg2rad(2.0)) / PIXEL, abs=0.05)


def test_inclusion_replaces_its_host() -> None:
    host = Body("ellipsoid", (0, 0, 0), (0.5, 0.5, 0.5), "silica")
    pore = Body("ellipsoid", (0, 0, 0), (0.2, 0.2, 0.2), "air", 1.0, "silica")
    view = View(3, 3, 0.01, 1.0)
    assert view.paths(compile_bodies([host, pore], (20.0,)), 0.0)[0, 1, 1] == pytest.approx(0.06 * 5.60, rel=1e-5)


def test_affine_motion_keeps_the_projection_exact() -> None:
    ball = compile_bodies([Body("ellipsoid", (0.1, 0.2, 0.0), (0.2, 0.2, 0.2), "silica")], (20.0,))
    strain = (0.5, 0, 0, 0, 0, 0, 0, 0, -0.5)
    motion = Motion((Knot(0.0), Knot(1.0, (0.1, 0.0, 0.0), strain)))
    egg = compile_bodies([Body("ellipsoid", (0.15, 0.2, 0.0), (0.25, 0.2, 0.15), "silica")], (20.0,))
    half_way = ball.moved(*motion.state(0.5))
    half_way = half_way.moved(np.array([0.15 - 0.1 * 1.25 - 0.05, 0.0, 0.0]))
    for angle in (0.0, 50.0):
        np.testing.assert_allclose(VIEW.paths(half_way, angle), VIEW.paths(egg, angle), atol=1e-6)


def test_sheared_cylinder_is_not_cut_by_its_box() -> None:
    rod = Body("cylinder", (0, 0, 0), (0.2, 0.2, 0.5), "silica", axis=(0.1, 0.2, 1.0))
    strain = np.array([[0.1, 0.2, 0.4], [0.0, -0.1, 0.2], [0.1, 0.0, 0.0]])
    moved = compile_bodies([rod], (20.0,)).moved(np.array([0.05, 0.0, 0.02]), strain)
    mass = np.array([VIEW.paths(moved, angle)[0].sum() for angle in range(0, 180, 15)])
    volume = np.pi * 0.04 * 1.0 * np.linalg.det(np.eye(3) + strain)
    np.testing.assert_allclose(mass * PIXEL**2, 0.1 * 5.60 * volume, rtol=0.02)


def test_rest_after_a_slip() -> None:
    motion = slip(0.55, (0.1, 0.0, 0.2))
    assert not motion.still
    assert not motion.state(0.5)[0].any()
    np.testing.assert_allclose(motion.state(0.6)[0], (0.1, 0.0, 0.2))
    assert motion.rest().still
    np.testing.assert_allclose(motion.rest().state(0.0)[0], (0.1, 0.0, 0.2))
    assert Motion.from_dict(motion.to_dict()) == motion


def test_polychromatic_transmission_sums_over_the_spectrum() -> None:
    energies, weights = (15.0, 20.0, 30.0), (0.5, 0.3, 0.2)
    ball = compile_bodies([Body("ellipsoid", (0, 0, 0), (0.5, 0.5, 0.5), "aluminium")], energies)
    view = View(SIZE, SIZE, PIXEL, 31.5, weights=weights)
    expected = sum(w * np.exp(-p) for w, p in zip(weights, view.paths(ball, 0.0).astype(float), strict=True))
    np.testing.assert_allclose(view.transmission(ball, 0.0) / 65535.0, expected, atol=2e-5)


def test_blur_keeps_the_light() -> None:
    ball = compile_bodies([Body("ellipsoid", (0, 0, 0), (0.5, 0.5, 0.5), "aluminium")], (20.0,))
    sharp = VIEW.transmission(ball, 0.0).astype(float)
    soft = View(SIZE, SIZE, PIXEL, 31.5, blur_px=0.8).transmission(ball, 0.0).astype(float)
    assert soft.mean() == pytest.approx(sharp.mean(), rel=1e-5)
    assert np.abs(np.diff(soft, axis=1)).max() < np.abs(np.diff(sharp, axis=1)).max()


def test_volume_sums_to_the_projection() -> None:
    """The tomogram's y axis is the beam's at angle 0, its x axis at angle 90°."""
    shape = [
        Body("ellipsoid", (0.2, 0.1, 0.0), (0.4, 0.25, 0.5), "hydroxyapatite", axis=(0.2, 0.1, 1.0), roll_deg=20),
        Body("cylinder", (-0.4, 0.3, 0.1), (0.15, 0.15, 0.3), "aluminium", axis=(1.0, 0.3, 0.2)),
    ]
    quadrics = compile_bodies(shape, (20.0,))
    z = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
    volume = attenuation_volume(quadrics, z, SIZE, PIXEL).astype(float)
    assert volume.sum() * PIXEL**3 == pytest.approx(quadrics.attenuation_sum[0], rel=2e-3)
    fine = View(4 * SIZE, 4 * SIZE, PIXEL / 4, (4 * SIZE - 1) / 2)
    for angle, axis in ((0.0, 1), (90.0, 2)):
        seen = fine.paths(quadrics, angle)[0].reshape(SIZE, 4, SIZE, 4).mean(axis=(1, 3))
        np.testing.assert_allclose(volume.sum(axis=axis) * PIXEL * 0.1, seen, atol=0.02)


@pytest.mark.parametrize("columns", [64, 160])
def test_magazine_fits_the_field_of_view(columns: int) -> None:
    preset = PRESETS["demo"]
    pixel = preset.pixel_mm(columns)
    for slot, sample in enumerate(magazine(7, columns, pixel, 1.0, seed=3)):
        quadrics = compile_bodies(sample.bodies, preset.energies_kev)
        aligned = sample.axis_offset_px if slot != 1 else 0.4
        view = View(columns, columns, pixel, (columns - 1) / 2 + aligned)
        paths = np.max([view.paths(quadrics, angle)[0] for angle in range(0, 180, 20)], axis=0)
        margin = int(np.ceil(0.06 * columns))
        assert not paths[:, :margin].any()
        assert not paths[:, -margin:].any()
        assert (sample.axis_offset_px / columns > 0.11) == (slot == 1)
        if sample.bodies:
            assert 0.8 < paths.max() < 1.6
        rows = (np.arange(0, columns, 5) - (columns - 1) / 2) * pixel
        assert attenuation_volume(quadrics, rows, columns, pixel).min() > -1e-3


def test_a_magazine_may_hold_any_kinds_of_samples() -> None:
    columns = 64
    pixel = PRESETS["demo"].pixel_mm(columns)
    kinds = [*KINDS, "good"]
    samples = arranged(kinds, columns, pixel, 1.0, seed=3)
    assert [sample.name for sample in samples] == [f"{kind}-{slot}" for slot, kind in enumerate(kinds)]
    for kind, sample in zip(kinds, samples, strict=True):
        assert (sample.bodies == ()) == (kind == "empty")
        assert sample.motion.still == (kind not in ("slips", "loose", "stirrer"))
        assert sample.loose == (kind in ("loose", "stirrer"))
        assert (sample.axis_offset_px / columns > 0.11) == (kind == "off_axis")
        quadrics = compile_bodies(sample.bodies, (20.0,), sample.scale)
        paths = View(columns, columns, pixel, (columns - 1) / 2).paths(quadrics, 20.0)[0]
        assert bool(paths[:, 0].any()) == (kind == "wide")
    with pytest.raises(BadInput, match="slot 1 holds 'cat', expected one of good"):
        arranged(["good", "cat"], columns, pixel, 1.0, seed=3)


def test_scene_uses_its_motion() -> None:
    ball = compile_bodies([Body("ellipsoid", (0, 0, 0), (0.2, 0.2, 0.2), "silica")], (20.0,))
    scene = Scene("ball", ball, slip(0.5, (3 * PIXEL, 0.0, 0.0)), VIEW)
    before, after = scene.transmission(0.0, 0.0), scene.transmission(0.0, 1.0)
    np.testing.assert_array_equal(after[:, 3:], before[:, :-3])


def test_materials_interpolate_between_the_energies_of_the_table() -> None:
    assert attenuation_per_cm("water", 20.0) == pytest.approx(0.810)
    assert attenuation_per_cm("air", 20.0) == 0.0
    assert 0.508 < attenuation_per_cm("water", 22.0) < 0.810
    assert all(list(values) == sorted(values, reverse=True) for values in ATTENUATION_PER_CM.values())
    with pytest.raises(BadInput, match="unobtainium"):
        attenuation_per_cm("unobtainium", 20.0)
    with pytest.raises(BadInput, match="keV"):
        attenuation_per_cm("water", 5.0)


@pytest.mark.parametrize("wrong", [{"kind": "cube"}, {"size_mm": (0.0, 1.0, 1.0)}, {"axis": (0.0, 0.0, 0.0)}])
def test_impossible_bodies_are_refused(wrong: dict[str, object]) -> None:
    good = {"kind": "ellipsoid", "center_mm": (0, 0, 0), "size_mm": (1, 1, 1), "material": "water"}
    with pytest.raises(BadInput):
        Body(**(good | wrong))  # type: ignore[arg-type]
