"""Faults of the sample and of the stage. Each edits a draft; ``size`` is in the unit that ``kinds`` names.

Time runs over the projections in the order of exposure, 0 to 1.
"""

from __future__ import annotations

import numpy as np

from benchmarks.verdict_blind.scan import Array, Draft

Rng = np.random.Generator


def _time(draft: Draft) -> Array:
    return np.arange(draft.n) / (draft.n - 1)


def _direction(rng: Rng) -> Array:
    """Unit vector in the sample's plane, as a row of ``Motion.sample``."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def _after(draft: Draft, rng: Rng) -> Array:
    """1 from some moment in the middle 80 % of the scan on, 0 before."""
    return (_time(draft) > rng.uniform(0.1, 0.9)).astype(float)


def vibration(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.lab += rng.normal(0, size, (draft.n, 2))


def sway(draft: Draft, rng: Rng, size: float) -> None:
    cycles = np.exp(rng.uniform(np.log(0.7), np.log(draft.n / 6)))
    wave = size * np.sin(2 * np.pi * (cycles * _time(draft) + rng.random()))
    draft.motion.lab += wave[:, None] * ((1.0, 0.0), (0.9, 0.4))[rng.integers(2)]


def drift_lab(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.lab[:, 0] += rng.choice([-1, 1]) * size * _time(draft)


def drift_sample(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.sample += size * _time(draft)[:, None] * _direction(rng)


def drift_axis(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.lab[:, 1] += rng.choice([-1, 1]) * size * _time(draft)


def settling(draft: Draft, rng: Rng, size: float) -> None:
    course = size * (1 - np.exp(-_time(draft) / rng.uniform(0.03, 0.3)))
    draft.motion.sample += course[:, None] * (_direction(rng) + np.array([0, 0, rng.choice([0.0, 0.7])]))


def jump_sample(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.sample += size * _after(draft, rng)[:, None] * _direction(rng)


def jump_stage(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.lab[:, 0] += rng.choice([-1, 1]) * size * _after(draft, rng)


def jump_axis(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.lab[:, 1] += rng.choice([-1, 1]) * size * _after(draft, rng)


def jumps(draft: Draft, rng: Rng, size: float) -> None:
    for _ in range(rng.integers(2, 7)):
        (jump_sample, jump_stage, jump_axis)[rng.integers(3)](draft, rng, size * rng.uniform(0.4, 1.0))


def excursion(draft: Draft, rng: Rng, size: float) -> None:
    width = rng.uniform(0.05, 0.4)
    start = rng.uniform(0.02, 0.98 - width)
    phase = np.clip((_time(draft) - start) / width, 0, 1)
    course = np.sin(np.pi * phase) if rng.random() < 0.5 else ((phase > 0) & (phase < 1)).astype(float)
    draft.motion.sample += size * course[:, None] * _direction(rng)


def slip(draft: Draft, rng: Rng, size: float) -> None:
    course = rng.choice([-1, 1]) * size * (_after(draft, rng) if rng.random() < 0.7 else _time(draft))
    if rng.random() < 0.7:
        draft.motion.slip += course
    else:
        draft.motion.tip += course


def shrinking(draft: Draft, rng: Rng, size: float) -> None:
    t = _time(draft)
    draft.motion.scale *= 1 - size * (t if rng.random() < 0.5 else 1 - np.exp(-t / 0.3))


def falls_off(draft: Draft, rng: Rng, size: float) -> None:
    """It is gone for the last share ``size``, and slides for three projections before."""
    gone = _time(draft) > 1 - size
    first = int(np.argmax(gone)) if gone.any() else draft.n
    draft.motion.present[first:] = 0
    sliding = np.arange(max(first - 3, 0), first)
    draft.motion.lab[sliding, 1] += 2.0 * np.arange(1, len(sliding) + 1)


def empty(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.present[:] = 0


def out_of_field(draft: Draft, rng: Rng, size: float) -> None:
    draft.motion.sample += size * draft.columns * _direction(rng)


def truncated(draft: Draft, rng: Rng, size: float) -> None:
    """The body reaches ``size`` times as far from the axis as the field does."""
    room = min(draft.center, draft.columns - 1 - draft.center)
    draft.phantom = draft.phantom.scaled(size * room / draft.phantom.radius)


def skipped_angle(draft: Draft, rng: Rng, size: float) -> None:
    draft.true_deg = draft.true_deg + rng.choice([-1, 1]) * size * _after(draft, rng)


def stall(draft: Draft, rng: Rng, size: float) -> None:
    """Stands still for the share ``size``; then it catches up, or goes on from where it stood."""
    length = max(1, int(size * draft.n))
    first = int(rng.integers(1, draft.n - length))
    true = draft.true_deg.copy()
    true[first : first + length] = true[first]
    if rng.random() < 0.5:
        true[first + length :] = draft.true_deg[first + 1 : draft.n - length + 1]
    draft.true_deg = true


def wrong_step(draft: Draft, rng: Rng, size: float) -> None:
    _stretch(draft, 1 + rng.choice([-1, 1]) * size)


def double_step(draft: Draft, rng: Rng, size: float) -> None:
    _stretch(draft, 2.0)


def _stretch(draft: Draft, factor: float) -> None:
    draft.true_deg = draft.start_deg + factor * (draft.true_deg - draft.start_deg)


def radians(draft: Draft, rng: Rng, size: float) -> None:
    draft.told_deg = np.deg2rad(draft.told_deg)


def equal_angles(draft: Draft, rng: Rng, size: float) -> None:
    draft.told_deg = np.full(draft.n, draft.start_deg)


def wraps(draft: Draft, rng: Rng, size: float) -> None:
    """The encoder starts again at the start after the share ``size`` of the range."""
    gone = draft.told_deg - draft.start_deg
    draft.told_deg = draft.start_deg + np.sign(gone) * np.mod(np.abs(gone), size * abs(draft.range_deg))


def outliers(draft: Draft, rng: Rng, size: float) -> None:
    wrong = rng.choice(draft.n, max(1, int(size * draft.n)), replace=False)
    draft.told_deg[wrong] += rng.choice([-1, 1], len(wrong)) * rng.uniform(3, 90, len(wrong))


def short_range(draft: Draft, rng: Rng, size: float) -> None:
    """The share ``size`` of the range is never reached; the range announced says so, or not."""
    _stretch(draft, 1 - size)
    draft.told_deg = draft.true_deg.copy()
    if rng.random() < 0.5:
        draft.range_deg *= 1 - size


def wedge(draft: Draft, rng: Rng, size: float) -> None:
    """No projection falls into ``size`` degrees somewhere in the turn; in full turns neither into those opposite."""
    gone = draft.true_deg - draft.start_deg
    within, piece = np.modf(np.abs(gone) / 180)
    width, start = size / 180, rng.uniform(0.1, 0.6)
    within *= 1 - width
    within[within > start] += width
    draft.true_deg = draft.start_deg + np.sign(gone) * (piece + within) * 180.0
    draft.told_deg = draft.true_deg.copy()
