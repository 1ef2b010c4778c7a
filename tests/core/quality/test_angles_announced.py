"""Angles that cannot be, one by one and all together."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.angles import AngleWatch, check_angles, wrong_at_first

STEP = 1.5


def golden(count):
    return 180.0 * np.mod(np.arange(count) * (np.sqrt(5) - 1) / 2, 1.0)


ORDERS = {
    "half turn": np.arange(120) * STEP,
    "backwards": 30.0 - np.arange(120) * STEP,
    "full turn across zero": np.mod(300.0 + np.arange(120) * 3.0, 360.0),
    "golden": golden(120),
    "golden, not folded": np.arange(120) * 111.246,
    "interlaced": np.concatenate([np.arange(k, 120, 4) * STEP for k in (0, 2, 1, 3)]),
}


def wrong(angles, index=None):
    watch = AngleWatch()
    index = range(len(angles)) if index is None else index
    return [k for k, angle in zip(index, angles, strict=True) if watch.wrong(k, float(angle))]


@pytest.mark.parametrize("order", ORDERS)
def test_good_angles_in_any_order_are_left_alone(order):
    rng = np.random.default_rng(1)
    assert wrong(ORDERS[order]) == []
    assert wrong(ORDERS[order] + rng.normal(0, 0.05, 120)) == []
    kept = np.sort(rng.choice(120, 100, replace=False))
    assert wrong(ORDERS[order][kept], kept.tolist()) == []


@pytest.mark.parametrize("order", ["half turn", "backwards", "golden"])
def test_single_wrong_angles_are_named(order):
    angles = ORDERS[order].copy()
    angles[[40, 77]] += (60.0, -45.0)
    assert wrong(angles) == [40, 77]


@pytest.mark.parametrize("order", ["half turn", "backwards", "golden"])
@pytest.mark.parametrize("at", [0, 2, 5])
def test_wrong_angles_before_the_step_is_known_are_named_in_the_end(order, at):
    angles = ORDERS[order].copy()
    assert wrong_at_first(np.arange(120), angles) == []
    angles[at] += 60.0
    assert wrong(angles) == []
    assert wrong_at_first(np.arange(120), angles) == [at]
    range_deg = -180.0 if order == "backwards" else 180.0
    assert [f"frames {at} " in words for words in found(angles, range_deg)] == [True]


def test_an_angle_that_is_no_number_is_wrong_at_once():
    assert wrong([0.0, np.nan, 3.0]) == [1]


def test_a_rotation_that_goes_on_from_elsewhere_is_followed_after_three_frames():
    angles = np.arange(100) * STEP
    angles[50:] += 20.0
    assert wrong(angles) == [50, 51]


def found(angles, range_deg=180.0, projections=None, index=None):
    index = np.arange(len(angles)) if index is None else index
    return check_angles(index, angles, range_deg, projections or len(angles)).words


@pytest.mark.parametrize("order", ["half turn", "backwards", "golden", "interlaced"])
def test_good_angles_of_any_order_are_not_complained_about(order):
    span = -180.0 if order == "backwards" else 180.0
    assert found(ORDERS[order], span) == ()
    assert found(np.linspace(0, 180, 121)) == ()
    assert found(ORDERS["half turn"][:60], projections=120) == ()


@pytest.mark.parametrize(
    ("angles", "word"),
    [
        (np.zeros(120), "the same"),
        (np.deg2rad(np.arange(120) * STEP), "radian"),
        (np.arange(120) * STEP * 1.05, "counts per degree"),
        (np.concatenate([np.arange(60) * STEP, np.full(20, 59 * STEP), 90 + np.arange(40) * STEP]), "stand still"),
        (np.where(np.arange(120) < 80, np.arange(120) * STEP, np.arange(120) * STEP - 120.0), "wrapped"),
    ],
)
def test_what_is_wrong_with_all_of_them_is_said(angles, word):
    assert word in " ".join(found(angles))


def test_the_order_of_arrival_does_not_matter():
    index = np.random.default_rng(2).permutation(120)
    assert found((np.arange(120) * STEP)[index], index=index) == ()


@pytest.mark.parametrize("turns", [2, 3, 4, 5, 8])
def test_some_of_several_interlaced_turns_are_as_announced(turns: int) -> None:
    evenly = np.arange(90) * 2.0
    angles = np.concatenate([evenly[turn::turns] for turn in range(turns)])
    for done in range(1, turns + 1):
        some = angles[: 90 * done // turns]
        assert check_angles(np.arange(some.size), some, 180.0, 90).words == ()


def test_twice_the_counts_per_degree_are_no_interlaced_turns() -> None:
    assert check_angles(np.arange(90), np.arange(90) * 4.0, 180.0, 90).words
