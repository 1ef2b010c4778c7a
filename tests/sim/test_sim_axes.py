"""The smaller motors: where the sample, the axis and the pixels are, in the projections and in the truth."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.flow.wire.axes import MoveAxis
from streamer.frames import BadInput, ScanSpec
from streamer.sim.presets import PRESETS
from streamer.sim.scan import VirtualScan
from streamer.sim.scene.phantom import Body, compile_bodies
from streamer.sim.scene.samples import STIR_MM
from streamer.sim.station import Setup, VirtualStation
from streamer.sim.truth import truth_bodies, truth_volume

COLUMNS = 64


def station(preset: str = "demo", kinds: tuple[str, ...] | None = None) -> VirtualStation:
    found = VirtualStation(Setup(PRESETS[preset], COLUMNS, COLUMNS, seed=3, kinds=kinds))
    found.changer = found.changer.mount(0, 0.0)
    return found


def scene(at: VirtualStation):
    slot, found = at.expected_scene()
    assert slot == 0
    assert found is not None
    return found


def mass_center(at: VirtualStation, angle_deg: float) -> tuple[float, float]:
    """(column, row) of the attenuation that does not reach the edge."""
    view = scene(at).view
    bodies = scene(at).quadrics.moved(np.asarray(scene(at).placed_mm))
    paths = view.paths(bodies, angle_deg)[0].astype(float)
    return (
        float((paths.sum(axis=0) @ np.arange(COLUMNS)) / paths.sum()),
        float((paths.sum(axis=1) @ np.arange(COLUMNS)) / paths.sum()),
    )


def moved(at: VirtualStation, **targets: float) -> VirtualStation:
    for name, target in targets.items():
        at.command_axis(name, target, 100.0)
    return at


def test_the_stages_on_top_move_the_sample_with_the_rotation() -> None:
    pixel = PRESETS["demo"].pixel_mm(COLUMNS)
    for angle, shift in ((0.0, 3.0), (90.0, 0.0), (180.0, -3.0)):
        before, after = mass_center(station(), angle), mass_center(moved(station(), top_x=3 * pixel), angle)
        assert after[0] - before[0] == pytest.approx(shift, abs=0.02)
    before, after = mass_center(station(), 20.0), mass_center(moved(station(), z=-0.5 * pixel), 20.0)
    assert after[1] - before[1] == pytest.approx(-0.5, abs=0.06)


def test_magnification_makes_pixels_smaller_and_keeps_the_axis_where_it_is() -> None:
    plain, large = scene(station()).view, scene(moved(station(), magnification=2.0)).view
    assert large.pixel_mm == plain.pixel_mm / 2
    middle = (COLUMNS - 1) / 2
    assert (large.axis_column - middle) / 2 == pytest.approx(plain.axis_column - middle)


def test_roll_adds_to_the_tilt_of_the_beamline() -> None:
    assert scene(moved(station("highres"), roll=0.4)).view.roll_deg == pytest.approx(0.5)


def test_the_truth_is_where_the_stages_have_brought_the_sample() -> None:
    at = moved(station(), top_x=0.2, z=0.1, magnification=2.0)
    scan = VirtualScan(ScanSpec("s", "s", COLUMNS, COLUMNS, 10), 10.0, 1, at.faults)
    at.begin(scan)
    truth = scan.truth(at.setup.preset, 3, COLUMNS, COLUMNS, None)
    assert truth["geometry"]["pixel_size_m"] == pytest.approx(PRESETS["demo"].pixel_mm(COLUMNS) / 2e3)
    assert truth["geometry"]["placed_mm"] == [0.2, 0.0, 0.1]
    moved_by = truth_bodies(truth).centers - truth_bodies({**truth, "geometry": {}}).centers
    np.testing.assert_allclose(moved_by, np.broadcast_to([0.2, 0.0, 0.1], moved_by.shape), atol=1e-9)
    assert truth_volume(truth, slice(0, 1)).shape == (1, COLUMNS, COLUMNS)


def test_only_the_last_bodies_move() -> None:
    bodies = [Body("ellipsoid", (0.1 * k, 0.0, 0.0), (0.1, 0.1, 0.1), "water") for k in range(3)]
    quadrics = compile_bodies(bodies, (20.0,))
    after = quadrics.moved(np.array([0.0, 1.0, 0.0]), None, 1)
    np.testing.assert_allclose(after.centers, [[0, 0, 0], [0.1, 0, 0], [0.2, 1, 0]])
    np.testing.assert_array_equal(after.forms, quadrics.forms)
    assert len(after.mu) == len(after.halves) == len(after.normals) == 3


def test_the_bead_of_the_stirrer_goes_round_in_every_scan() -> None:
    at = station("cine", ("stirrer",))
    motion = scene(at).motion
    shift, _ = motion.state(0.125)
    scale = PRESETS["cine"].field_mm / 1.8688
    np.testing.assert_allclose(shift[:2], [0.0, STIR_MM * scale], atol=1e-6)
    scan = VirtualScan(ScanSpec("s", "s", COLUMNS, COLUMNS, 10), 10.0, 1, at.faults)
    at.begin(scan)
    scan.projections = 10
    at.conclude(scan)
    assert not scene(at).motion.still


@pytest.mark.parametrize(("axis", "target"), [("z", 5.5), ("magnification", 0.5), ("roll", -4.0)])
def test_targets_beyond_the_limits_are_refused(axis, target) -> None:
    with pytest.raises(BadInput, match=rf"axis {axis}: the target is {target:g}, it goes from"):
        MoveAxis(axis, target)
