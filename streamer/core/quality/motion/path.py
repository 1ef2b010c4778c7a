"""Does the centre of mass leave its path at some time? Movements are told from what depends on the angle alone.

An uneven beam and light that came past the sample displace the centre of mass as slow functions of the angle. A step, a
sample that settles, and where turns or golden angles come back to the same directions also a drift, are functions of
the time, which the path of a rigid sample and slow functions of the angle cannot have. They are fitted together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Series = NDArray[np.float64]

SLOW = 3
"""Order of the harmonics in the angle that no movement is needed for: the circle of a rigid sample, and two more."""

STEPS = 160
"""Times, at most, at which a step is looked for."""

SETTLING = (0.03, 0.07, 0.15)
"""Times, as a share of the scan, in which a sample may come to rest."""

EXCURSIONS = (0.06, 0.12, 0.24)
"""Shares of the scan for which a sample or a stage may have been elsewhere."""

CERTAIN = 8.0
"""Standard errors by which a movement must stand out: hundreds are tried, and what is left is no white noise."""

VISIBLE = 0.02
"""Share of a movement, in its square, that must be left beside the slow functions of the angle to be measured."""


def movement_px(angle_rad: Series, time: Series, x: Series, noise: float) -> float:
    """Rms displacement (pixels) by the largest certain movement in the path x (n,) of the centre of mass; 0 if none.

    ``time`` (n,) is 0 … 1 and grows; ``noise`` of one value of the path. Tried are steps at any time, excursions,
    settling and a steady drift, each of the stage across the beam and of the sample, with which it turns.
    """
    if x.size < 4 * SLOW + 4:
        return 0.0
    slow = _slow(angle_rad)
    rest = x - slow @ (slow.T @ x)
    steps = time[2:-2][:: max(1, x.size // STEPS)]
    courses = np.concatenate(
        [
            time > steps[:, None],
            *(abs(time - steps[::4, None]) < width / 2 for width in EXCURSIONS),
            [np.exp(-time / tau) for tau in SETTLING],
            time[None],
        ]
    )
    turned = np.stack([np.cos(angle_rad), np.sin(angle_rad)])
    ways = courses[:, None], courses[:, None] * turned
    return max(_best(some, slow, rest, noise) for some in ways)[1]


def without_slow(angle_rad: Series, x: Series) -> Series:
    """What slow functions of the angle leave of x (n,)."""
    slow = _slow(angle_rad)
    return np.asarray(x - slow @ (slow.T @ x))


def _slow(angle_rad: Series) -> Series:
    """Harmonics (n, 2 · SLOW + 1) of the angle that no movement is needed for, orthonormal."""
    harmonics = [f(k * angle_rad) for k in range(1, SLOW + 1) for f in (np.cos, np.sin)]
    return np.asarray(np.linalg.qr(np.stack([np.ones_like(angle_rad), *harmonics], axis=1))[0])


def _best(ways: Array, slow: Series, rest: Series, noise: float) -> tuple[float, float]:
    """What the best one of the movements ``ways`` (m, k, n) of k components each explains of a ``rest`` (n,) without
    the ``slow`` functions (n, s), and its rms over the scan; zeros where none is certain.
    """
    left = ways - (ways @ slow) @ slow.T
    normal = left @ left.transpose(0, 2, 1)
    visible = np.linalg.eigvalsh(normal)[:, 0] > VISIBLE * np.square(ways).sum(axis=2).min(axis=1)
    if not visible.any():
        return 0.0, 0.0
    ways, left, normal = ways[visible], left[visible], normal[visible]
    right = left @ rest
    found = np.linalg.solve(normal, right[..., None])[..., 0]
    gains = np.einsum("mk,mk->m", found, right)
    best = int(np.argmax(gains))
    after = rest - found[best] @ left[best]
    # Neighbours that agree are not noise: fewer values than there are.
    alike = float(np.clip(after[1:] @ after[:-1] / max(float(after @ after), 1e-30), 0.0, 0.95))
    scatter = max(noise, float(np.std(after))) * np.sqrt((1 + alike) / (1 - alike))
    if gains[best] <= (CERTAIN * scatter) ** 2:
        return 0.0, 0.0
    return float(gains[best]), float(np.std(found[best] @ ways[best]))
