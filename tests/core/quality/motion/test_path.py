"""Movements in the path of the centre of mass, beside slow functions of the angle that are none."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.motion.path import movement_px

N, NOISE = 180, 0.03
TIME = np.linspace(0.0, 1.0, N)
HALF, FULL = np.pi * np.arange(N) / N, 2 * np.pi * np.arange(N) / N
GOLDEN = np.pi * np.mod(np.arange(N) * (np.sqrt(5) - 1) / 2, 1.0)


def found(angle: np.ndarray, moved: np.ndarray, seed: int) -> float:
    rng = np.random.default_rng(seed)
    uneven = 0.3 * np.cos(2 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(3 * angle)
    circle = 7.0 + 4.0 * np.cos(angle - rng.uniform(0, 6))
    return movement_px(angle, TIME, circle + uneven + moved + rng.normal(0, NOISE, N), NOISE)


@pytest.mark.parametrize("angle", [HALF, FULL, GOLDEN])
@pytest.mark.parametrize("seed", range(5))
def test_a_rigid_sample_in_an_uneven_beam_does_not_move(angle: np.ndarray, seed: int) -> None:
    assert found(angle, np.zeros(N), seed) == 0.0


@pytest.mark.parametrize("angle", [HALF, FULL, GOLDEN])
@pytest.mark.parametrize("when", [0.3, 0.52, 0.8])
def test_a_step_is_measured_in_pixels(angle: np.ndarray, when: float) -> None:
    step = 0.4 * (when < TIME)
    assert found(angle, step, 1) == pytest.approx(float(np.std(step)), rel=0.15)


def test_a_drift_shows_where_the_angles_come_back() -> None:
    drift = 0.6 * TIME
    assert found(GOLDEN, drift, 2) == pytest.approx(float(np.std(drift)), rel=0.15)
    assert found(HALF, drift, 2) == 0.0  # so would another rigid sample look


def test_a_sample_that_was_elsewhere_for_a_while_is_seen() -> None:
    away = np.where(abs(TIME - 0.4) < 0.06, 0.8, 0.0)
    assert found(HALF, away, 3) == pytest.approx(float(np.std(away)), rel=0.2)


def test_few_projections_show_nothing() -> None:
    assert movement_px(HALF[:15], TIME[:15], np.arange(15.0), NOISE) == 0.0
