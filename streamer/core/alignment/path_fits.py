"""Fits to the path of the centre of mass: one that outliers do not bend, and the best step in it."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array, Values
from streamer.core.statistics import robust_sigma

LEAST_NOISE_PX = 0.03  # of a centre of mass: an uneven beam makes no less
SIGNIFICANT_GAIN = 30.0  # in chi-square, for a jump; 2 or 3 parameters and some 30 places are tried
LEAST_EXPLAINED = 0.5  # share of the unexplained path that one jump must explain to count as motion
BREAKS_TRIED = 32


def robust_fit(model: Values, y: Values) -> tuple[Values, Values]:
    """Solution and weights of a linear fit with Tukey's biweight, ten steps of reweighted least squares."""
    weight = np.ones_like(y)
    solution: Array = np.linalg.lstsq(model, y, rcond=None)[0]
    for _ in range(10):
        residual = y - model @ solution
        scale = max(robust_sigma(residual), 1e-9)
        weight = np.maximum(1.0 - (residual / (4.685 * scale)) ** 2, 0.0) ** 2
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(root[:, None] * model, root * y, rcond=None)[0]
    return solution, weight


def best_step(base: Values, extra: Values, y: Values) -> float:
    """Length of the best step in the coefficients of ``extra`` at any time, 0 when no step is significant.

    The normal equations of all breaks come from running sums: those of the frames behind a break are the total less
    what was before it.
    """
    n, known = y.size, base.shape[1]
    # Steps make few differences large; noise makes all of them so.
    rest = y - base @ np.linalg.lstsq(base, y, rcond=None)[0]
    noise = max(robust_sigma(np.diff(rest)) / np.sqrt(2.0), LEAST_NOISE_PX)
    before = float(rest @ rest)
    starts = np.unique(np.linspace(0.1 * n, 0.9 * n, BREAKS_TRIED).astype(int))
    both = np.hstack([base, extra])
    products = np.cumsum(both[:, :, None] * extra[:, None, :], axis=0)
    against = np.cumsum(extra * rest[:, None], axis=0)
    # What was summed up before each break; a break at the very first frame has nothing before it.
    cross = products[-1] - np.where((starts > 0)[:, None, None], products[starts - 1], 0.0)
    right = np.zeros((starts.size, both.shape[1]))
    right[:, known:] = against[-1] - np.where((starts > 0)[:, None], against[starts - 1], 0.0)
    normal = np.empty((starts.size, both.shape[1], both.shape[1]))
    normal[:, :known, :known] = base.T @ base
    normal[:, :, known:] = cross
    normal[:, known:, :known] = cross[:, :known].transpose(0, 2, 1)
    sound = np.linalg.cond(normal) <= 1e8
    if not sound.any():
        return 0.0
    inverse = np.linalg.inv(normal[sound])
    solution = np.einsum("bij,bj->bi", inverse, right[sound])
    after = np.maximum(before - np.sum(solution * right[sound], axis=1), 0.0)
    gain = (before - after) / noise**2
    step = np.linalg.norm(solution[:, known:], axis=1)
    spread = noise * np.sqrt(np.diagonal(inverse, axis1=1, axis2=2)[:, known:].max(axis=1))
    found = (gain > SIGNIFICANT_GAIN) & (after <= LEAST_EXPLAINED * before) & (step > 4.0 * spread)
    return float(step[np.argmax(np.where(found, gain, 0.0))]) if found.any() else 0.0
