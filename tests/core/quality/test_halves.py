"""Halves of a scan: by time where both go all round, else every second projection."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.halves import clear_frequency, first_half, shared_aliasing

GOLDEN = (5**0.5 - 1) / 2
N = 173


def constant_step(turns: float, count: int = N) -> np.ndarray:
    return np.arange(count) * np.pi * turns / count


@pytest.mark.parametrize(
    "angles",
    [np.pi * np.mod(np.arange(N) * GOLDEN, 1.0), np.arange(N) * np.pi * GOLDEN, constant_step(2), constant_step(8)],
    ids=["golden", "golden unfolded", "full turn", "interlaced"],
)
def test_halves_are_the_first_and_the_second_part_of_the_scan(angles: np.ndarray) -> None:
    index = np.arange(N) + 30
    np.testing.assert_array_equal(first_half(angles, index), index < 30 + 87)
    came = np.random.default_rng(1).permutation(N)
    np.testing.assert_array_equal(first_half(angles[came], index[came]), index[came] < 30 + 87)


def test_parts_of_interlaced_turns_are_halved_by_time_too() -> None:
    angles = constant_step(8)
    for count in range(2 * N // 8, N):
        half = first_half(angles[:count], np.arange(count))
        assert half.sum() == (count + 1) // 2
        assert half[: (count + 1) // 2].all() or count < 3 * N // 8


@pytest.mark.parametrize("angles", [constant_step(1), constant_step(1.2), -constant_step(1), constant_step(1)[:90]])
def test_a_half_turn_is_halved_by_every_second_projection(angles: np.ndarray) -> None:
    index = np.arange(len(angles))
    np.testing.assert_array_equal(first_half(angles, index), index % 2 == 0)


def test_a_full_turn_that_does_not_repeat_is_halved_by_every_second_projection() -> None:
    np.testing.assert_array_equal(first_half(constant_step(2), np.arange(N), 2 * np.pi), np.arange(N) % 2 == 0)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_projections(count: int) -> None:
    assert first_half(np.zeros(count), np.arange(count)).sum() == (count + 1) // 2


@pytest.mark.parametrize("center", [50.0, 50.5, 50.1, 50.25])
def test_neighbours_alias_alike_and_opposite_views_by_the_place_of_the_axis(center: float) -> None:
    def shared(angles: np.ndarray) -> float:
        return shared_aliasing(angles, first_half(angles, np.arange(len(angles))), center)

    opposite = np.cos(4 * np.pi * center)
    assert shared(constant_step(1)) == pytest.approx(1.0)
    assert shared(np.pi * np.mod(np.arange(N) * GOLDEN, 1.0)) == pytest.approx(1.0)
    assert shared(constant_step(2)) == pytest.approx(opposite, abs=0.03)
    # Of eight interlaced turns the sides alternate: some neighbours in the other half are opposite ones.
    assert min(opposite, 1.0) - 0.03 <= shared(constant_step(8)) <= 1.0


def test_aliasing_is_common_to_one_and_the_same_half() -> None:
    assert shared_aliasing(constant_step(2), np.ones(N, bool), 50.25) == 1.0
    assert -1.0 <= shared_aliasing(np.array([0.0, 4.0]), np.array([True, False]), 50.25) <= 1.0


def test_halves_have_no_gaps_up_to_a_frequency_that_grows_with_the_angles_and_falls_with_the_radius() -> None:
    def clear(angles: np.ndarray, radius: float) -> float:
        return clear_frequency(angles, first_half(angles, np.arange(len(angles))), radius, 100)

    # Every second of 200 angles, seen by a sample and a window of 50 + 37.5 px: 1 / (2 · π / 200 · 87.5).
    assert clear(constant_step(1, 200), 50.0) == pytest.approx(200 / (2 * np.pi * 87.5))
    assert clear(constant_step(1, 100), 50.0) == pytest.approx(100 / (2 * np.pi * 87.5))
    assert clear(constant_step(1, 100), 12.5) == pytest.approx(100 / (2 * np.pi * 50.0))
    # Each half of a full turn has the directions of all.
    assert clear(constant_step(2, 120), 50.0) == pytest.approx(60 / (np.pi * 87.5))
    assert clear(constant_step(1, 5000), 50.0) == 0.5
    # Where an arc is missing no frequency is clear.
    assert clear(constant_step(0.8, 200), 50.0) < 0.02
    assert clear_frequency(constant_step(1), np.ones(N, bool), 50.0, 100) == 0.0
