"""Motors, shutter and changer with time as an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.sim.hardware.noise import gauss
from streamer.sim.hardware.stage import BeamShutter, Motor, StorageRing

reals = st.floats(-1000, 1000)


@given(origin=reals, target=reals, velocity=st.floats(0.1, 100), part=st.floats(0, 1))
def test_motor_is_where_it_said_it_would_be(origin: float, target: float, velocity: float, part: float) -> None:
    axis = Motor(origin, origin, velocity).move(target, now=5.0)
    goal = origin + part * (target - origin)
    moment = axis.time_at(goal)
    assert moment is not None
    assert axis.position(moment) == pytest.approx(goal, abs=1e-6)
    assert axis.position(5.0) == origin
    arrival = 5.0 + abs(target - origin) / velocity
    assert axis.position(arrival + 1e-6) == pytest.approx(target, abs=1e-3)
    assert not axis.moving(arrival + 1e-9)


def test_motor_does_not_pass_what_lies_behind_or_beyond() -> None:
    axis = Motor(0.0, 0.0, 10.0).move(90.0, now=0.0)
    assert axis.time_at(-1.0) is None
    assert axis.time_at(91.0) is None
    assert axis.time_at(45.0) == 4.5
    assert Motor(3.0, 3.0).time_at(4.0) is None


def test_new_command_starts_from_where_the_motor_is() -> None:
    axis = Motor(0.0, 0.0, 10.0).move(90.0, now=0.0).move(0.0, now=3.0, velocity=30.0)
    assert axis.position(3.0) == 30.0
    assert axis.position(4.0) == 0.0


def test_stuck_shutter_tells_the_truth_and_a_lying_one_does_not() -> None:
    assert BeamShutter().command(True).readback == "open"
    stuck, lying = BeamShutter(stuck=True).command(True), BeamShutter(stuck=True, lying=True).command(True)
    assert (stuck.open, stuck.readback) == (False, "closed")
    assert (lying.open, lying.readback) == (False, "open")


def test_light_needs_the_ring_and_the_front_end() -> None:
    ring = StorageRing()
    assert ring.light == 1.0
    assert ring.set(0.25, None).light == 0.25
    assert ring.set(None, "closed").light == 0.0
    assert ring.set(None, "closed").set(0.5, "open") == StorageRing(0.5, True)


def test_hashed_deviates_are_normal() -> None:
    deviates = [gauss(1, k) for k in range(4000)]
    mean = sum(deviates) / 4000
    assert abs(mean) < 0.06
    assert sum(d * d for d in deviates) / 4000 == pytest.approx(1.0, abs=0.08)
    assert gauss(1, 5) == gauss(1, 5) != gauss(2, 5)
