"""Transmissions that are rendered ahead are those that would be rendered on demand, within the memory they may have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from streamer.sim.prerender import SHOTS_AHEAD, Ahead, Renderer, Shot
from streamer.sim.presets import PRESETS
from streamer.sim.scene.render import Scene
from streamer.sim.station import Setup, VirtualStation

SIZE = 24
KINDS = ("good", "loose")
SHOTS = [Shot(float(angle), angle / 180) for angle in range(0, 180, 15)]


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """What is in the beam with each kind of sample on the stage."""
    found = {}
    for slot, kind in enumerate(KINDS):
        station = VirtualStation(Setup(PRESETS["demo"], SIZE, SIZE, seed=3, kinds=KINDS))
        station.changer = station.changer.mount(slot, 0.0)
        _, scene = station.expected_scene()
        assert scene is not None
        found[kind] = scene
    return found


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    made = Renderer(2**20)
    yield made
    made.close()


def wait_for(renderer: Renderer, scene: Scene, shots: list[Shot]) -> None:
    for shot in shots:
        renderer.get(scene, shot)


@pytest.mark.parametrize("kind", ["good", "loose"])
def test_a_planned_transmission_is_that_of_the_scene(renderer: Renderer, scenes: dict[str, Scene], kind: str) -> None:
    batch = renderer.plan(scenes[kind], SHOTS)
    for shot in SHOTS:
        assert renderer.holds(scenes[kind], shot)
        np.testing.assert_array_equal(
            renderer.get(scenes[kind], shot), scenes[kind].transmission(shot.angle_deg, shot.progress)
        )
    assert batch.done
    assert renderer.plan(scenes[kind], SHOTS) is batch, "the same plan again costs nothing"


def test_a_sample_at_rest_looks_the_same_at_any_progress_and_a_moving_one_does_not(
    renderer: Renderer, scenes: dict[str, Scene]
) -> None:
    for kind in ("good", "loose"):
        renderer.plan(scenes[kind], SHOTS)
        wait_for(renderer, scenes[kind], SHOTS)  # a plan that is not done goes when the next one comes
    assert renderer.holds(scenes["good"], Shot(15.0, 0.9))
    assert not renderer.holds(scenes["loose"], Shot(15.0, 0.9))
    early, late = (renderer.get(scenes["loose"], Shot(15.0, progress)).astype(int) for progress in (0.0, 0.9))
    assert np.abs(early - late).max() > 655, "more than 1 % of the light"


def test_plans_of_other_angles_are_other_plans(renderer: Renderer, scenes: dict[str, Scene]) -> None:
    """−1 and −2 have the same hash in Python."""
    one, other = [Shot(-1.0, 0.0)], [Shot(-2.0, 0.0)]
    renderer.plan(scenes["good"], one)
    wait_for(renderer, scenes["good"], one)
    renderer.plan(scenes["good"], other)
    assert renderer.holds(scenes["good"], other[0])
    np.testing.assert_array_equal(renderer.get(scenes["good"], other[0]), scenes["good"].transmission(-2.0, 0.0))


def test_older_plans_make_room_and_what_does_not_fit_is_rendered_on_demand(scenes: dict[str, Scene]) -> None:
    good, frame = scenes["good"], scenes["good"].view.nbytes
    renderer = Renderer(8 * frame)
    try:
        assert renderer.capacity(good) == 8
        renderer.plan(good, SHOTS[:6])
        wait_for(renderer, good, SHOTS[:6])
        renderer.plan(good, SHOTS)
        assert not renderer.holds(good, SHOTS[11])
        assert sum(renderer.holds(good, shot) for shot in SHOTS) == 8
        for shot in (SHOTS[0], SHOTS[11]):
            np.testing.assert_array_equal(renderer.get(good, shot), good.transmission(shot.angle_deg, shot.progress))
    finally:
        renderer.close()


def test_without_memory_nothing_is_kept_and_everything_is_right(scenes: dict[str, Scene]) -> None:
    renderer = Renderer(0)
    try:
        renderer.plan(scenes["good"], SHOTS)
        assert not any(renderer.holds(scenes["good"], shot) for shot in SHOTS)
        seen = renderer.get(scenes["good"], SHOTS[3])
        np.testing.assert_array_equal(seen, scenes["good"].transmission(45.0, SHOTS[3].progress))
    finally:
        renderer.close()


def test_shots_that_were_announced_are_taken_as_they_are_and_the_others_are_forgotten(
    renderer: Renderer, scenes: dict[str, Scene]
) -> None:
    ahead, scene = Ahead(renderer), scenes["loose"]
    assert all(ahead.expect(scene, shot) for shot in SHOTS)
    assert len(ahead._waiting) == SHOTS_AHEAD
    for shot in (SHOTS[0], SHOTS[7]):  # the second one was one too many to be announced
        np.testing.assert_array_equal(ahead.take(scene, shot), scene.transmission(shot.angle_deg, shot.progress))
    assert ahead._waiting == {}
    renderer.plan(scene, SHOTS)
    assert not ahead.expect(scene, SHOTS[0]), "it is in the cache, or will be"
