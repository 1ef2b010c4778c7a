"""Neighbouring projections of a sample that is wider than the detector."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.motion.neighbours import sudden_between_px

COUNT, COLUMNS, NOISE = 150, 64, 0.003
THETA, TIME = np.pi * np.arange(COUNT) / COUNT, np.linspace(0, 1, COUNT)
SPOTS = np.random.default_rng(4).uniform((0.02, 4.0, -45, -45), (0.06, 9.0, 45, 45), (30, 4))


def scan(shift=0.0):
    """Projections (n, 2, columns) of Gaussian spots in a field wider than the columns; each row has half of them."""
    at = np.arange(COLUMNS) - 30.4
    out = np.random.default_rng(0).normal(0, NOISE, (COUNT, 2, COLUMNS))
    for k, (value, sigma, x, y) in enumerate(SPOTS):
        place = at - (x * np.cos(THETA) + y * np.sin(THETA) + shift)[:, None]
        out[:, k % 2] += value * sigma * np.sqrt(2 * np.pi) * np.exp(-0.5 * (place / sigma) ** 2)
    return out.astype(np.float32)


def test_a_wide_sample_that_only_turns_does_not_move():
    assert sudden_between_px(scan(), NOISE) < 0.2


@pytest.mark.parametrize("px", [1.0, 3.0])
def test_a_jump_is_found_with_its_size(px):
    assert sudden_between_px(scan(px * (TIME > 0.4)), NOISE) == pytest.approx(px, abs=0.5)


def test_vibration_is_found():
    shaken = scan(np.random.default_rng(1).normal(0, 0.5, COUNT))
    assert sudden_between_px(shaken, NOISE) == pytest.approx(1.0, rel=0.4)


def test_noise_has_no_place():
    noise = np.random.default_rng(2).normal(0, NOISE, (COUNT, 2, COLUMNS))
    assert sudden_between_px(noise, NOISE) is None
    assert sudden_between_px(scan()[:8], NOISE) is None
