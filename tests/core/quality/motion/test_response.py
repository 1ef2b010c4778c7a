"""What the detector's response leaves over is no misfit; what moved is."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from streamer.core.quality.motion import reprojection
from streamer.core.quality.motion.reprojection import misfit

COLUMNS, COUNT, CENTER = 96, 120, 47.2
THETA = np.arange(COUNT) * np.pi / COUNT
FINE = 6


def rods(step: float = 1.0) -> np.ndarray:
    """Line integrals (n, 1, columns · FINE) of dense rods; the true angles are ``step`` times those written down."""
    at = (np.arange(COLUMNS * FINE) + 0.5) / FINE - 0.5 - CENTER
    out = np.zeros((COUNT, 1, COLUMNS * FINE))
    for value, radius, x, y in ((0.05, 30.0, 1.0, 2.0), (0.25, 4.0, 15.0, 3.0), (0.3, 3.0, -8.0, 12.0)):
        d = at - (x * np.cos(step * THETA) + y * np.sin(step * THETA))[:, None]
        out[:, 0] += 2 * value * np.sqrt(np.clip(radius**2 - d**2, 0.0, None))
    return out


def seen(lines: np.ndarray, blur: float) -> np.ndarray:
    """Attenuation (n, 1, columns) by a detector whose optics blur the light."""
    light = gaussian_filter1d(np.exp(-lines), blur * FINE, axis=2, mode="nearest")
    light = light.reshape(COUNT, 1, COLUMNS, FINE).mean(axis=3)
    noise = np.random.default_rng(1).normal(0, 0.002, light.shape)
    return (noise - np.log(light)).astype(np.float32)


def compared(backend, views, center=CENTER):
    return misfit(backend, views, THETA, center, 0.002, np.ones(COUNT, bool))


def test_a_blur_of_the_light_is_no_misfit(numba_backend, monkeypatch):
    views = seen(rods(), 1.0)
    explained = compared(numba_backend, views)
    monkeypatch.setattr(reprojection, "SUSPECT_PX", np.inf)
    assert compared(numba_backend, views).alike_px > 0.03
    assert explained.alike_px < 0.015
    assert explained.errors.turning_px < 0.015


def test_an_axis_that_is_off_by_a_little_is_told_by_itself(numba_backend, monkeypatch):
    views = seen(rods(), 0.4)
    explained = compared(numba_backend, views, CENTER + 0.08)
    monkeypatch.setattr(reprojection, "SUSPECT_PX", np.inf)
    assert explained.alike_px < 0.6 * compared(numba_backend, views, CENTER + 0.08).alike_px


def test_wrong_angles_remain(numba_backend):
    assert compared(numba_backend, seen(rods(1.01), 1.0)).errors.turning_px > 0.05
