"""What a detector's response adds to line integrals: no sample has it, and nothing moved.

Optics blur the light, not its logarithm: where the attenuation is steep, more light comes through than its mean says
(exponential edge-gradient effect; Joseph and Spital, Phys. Med. Biol. 26, 473, 1981), by half the blur's variance times
the square of the slope. Light that comes past the sample, hard X-rays, and the logarithm of few quanta make a function
of the attenuation itself. Both depend on what is in a ray and on nothing else. How strong they are is one number each
for the whole scan, and what they leave over is taken out of what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DENSEST = 6.0
"""Attenuation beyond which no light is left to tell anything."""

WEAKEST, STRONGEST = (-0.1, -1.2, -0.03), (0.1, 0.0, 0.03)
"""What the strengths may be: an axis that is off by so many pixels; minus half the variance of a blur of up to 1.5
pixels; and the share of light that comes past the sample, or the noise of so few quanta."""


def without_response(
    rest: Array,
    lines: Array,
    used: NDArray[np.bool_],
    smooth: Callable[[Array], Array],
    leave: Callable[[Array], Array],
) -> Array:
    """A ``rest`` (n, rows, columns) that no sample has, less what the response to ``lines`` (attenuation) explains.

    So is what an axis leaves that is off by a little: its error is told on its own. ``smooth`` is what was done to the
    rest's views, ``leave`` tells what views have that no sample has. The strengths are fitted to the views that are
    ``used`` (n,).
    """
    dense = np.clip(lines, 0.0, DENSEST)
    slope = np.gradient(lines, axis=2)
    effects = np.concatenate([slope, np.square(slope), np.expm1(dense) - dense], axis=1)
    left = np.stack(np.split(leave(smooth(effects)), 3, axis=1))
    moving = left[:, used] - left[:, used].mean(axis=1, keepdims=True)
    terms, wanted = moving.reshape(len(left), -1).astype(np.float64), rest[used] - rest[used].mean(axis=0)
    root = np.linalg.cholesky(terms @ terms.T + 1e-12 * np.eye(len(left)))
    from scipy.optimize import lsq_linear  # half a second, which who does not judge need not wait for

    strength = lsq_linear(root.T, np.linalg.solve(root, terms @ wanted.ravel()), (WEAKEST, STRONGEST)).x
    return np.asarray(rest - np.tensordot(strength, left, axes=1))
