"""Faults of the beam, of darks and flats, of the detector and of the delivery. Each edits a draft.

``size`` is in the unit that ``kinds`` names.
"""

from __future__ import annotations

import numpy as np

from benchmarks.verdict_blind.scan import Array, Draft

Rng = np.random.Generator


def _chosen(draft: Draft, rng: Rng, share: float, together: bool) -> Array:
    """Numbers of the frames of a share of the projections, at least one: a block of them, or anywhere."""
    count = max(1, round(share * draft.n))
    if together:
        return draft.first + int(rng.integers(0, draft.n - count + 1)) + np.arange(count)
    return draft.first + np.sort(rng.choice(draft.n, count, replace=False))


def beam_dump(draft: Draft, rng: Rng, size: float) -> None:
    dark = _chosen(draft, rng, size, together=True)
    draft.light[dark] = 0
    if rng.random() < 0.5:  # it comes back slowly
        back = np.arange(dark[-1] + 1, min(dark[-1] + 1 + len(dark) // 2, draft.frames))
        draft.light[back] *= np.linspace(0.3, 1, len(back))


def beam_decay(draft: Draft, rng: Rng, size: float) -> None:
    draft.light *= (1 - size) ** np.linspace(0, 1, draft.frames)


def flicker(draft: Draft, rng: Rng, size: float) -> None:
    draft.light *= np.maximum(rng.normal(1, size, draft.frames), 0.05)


def beam_moves(draft: Draft, rng: Rng, size: float) -> None:
    time = np.linspace(0, 1, draft.frames)
    course = time if rng.random() < 0.6 else (time > rng.uniform(0.2, 0.9)).astype(float)
    draft.beam_shift += size * rng.choice([-1, 1]) * course[:, None] * ((1.0, 0.0), (0.8, 0.6))[rng.integers(2)]


def _saturate(draft: Draft, rng: Rng, size: float, ceiling: int) -> None:
    draft.ceiling, draft.gain = ceiling, size * ceiling / draft.quanta
    if rng.random() < 0.5:
        draft.announced_ceiling = float(ceiling)


def saturation_16(draft: Draft, rng: Rng, size: float) -> None:
    _saturate(draft, rng, size, 65535)


def saturation_12(draft: Draft, rng: Rng, size: float) -> None:
    _saturate(draft, rng, size, 4095)


def _shutter(draft: Draft, rng: Rng, masked: Array) -> None:
    masked[:] = rng.choice([0.0, 0.003])
    draft.mask_flats = bool(rng.random() < 0.4)


def shutter_columns(draft: Draft, rng: Rng, size: float) -> None:
    mask = draft.mask if rng.random() < 0.5 else draft.mask[:, ::-1]
    _shutter(draft, rng, mask[:, : max(1, round(size * draft.columns))])


def shutter_rows(draft: Draft, rng: Rng, size: float) -> None:
    mask = draft.mask if rng.random() < 0.5 else draft.mask[::-1]
    _shutter(draft, rng, mask[: max(1, round(size * draft.rows))])


def sample_in_some_flats(draft: Draft, rng: Rng, size: float) -> None:
    flats = np.flatnonzero(draft.is_flat)
    count = min(max(1, round(size * len(flats))), len(flats) - 1)
    draft.sample_in_flat[rng.choice(flats, count, replace=False)] = True


def sample_in_all_flats(draft: Draft, rng: Rng, size: float) -> None:
    draft.sample_in_flat = draft.is_flat


def no_flats(draft: Draft, rng: Rng, size: float) -> None:
    draft.hand_over = draft.hand_over[~draft.is_flat[draft.hand_over]]


def dark_flats(draft: Draft, rng: Rng, size: float) -> None:
    draft.light[draft.is_flat] *= 1 - size


def light_in_darks(draft: Draft, rng: Rng, size: float) -> None:
    draft.dark_light = size


def swapped(draft: Draft, rng: Rng, size: float) -> None:
    draft.swapped = True


def stripes(draft: Draft, rng: Rng, size: float) -> None:
    """The gain of columns is another one than when the flats were taken."""
    share = rng.choice([0.05, 1.0])
    change = rng.normal(0, size, draft.columns) * (rng.random(draft.columns) < share)
    draft.response *= np.maximum(1 + change / np.sqrt(share), 0.05)


def hot_pixels(draft: Draft, rng: Rng, size: float) -> None:
    hot = rng.random((draft.rows, draft.columns)) < size
    level = rng.uniform(0.1, 2, int(hot.sum())) * draft.quanta * draft.gain
    first = draft.projections

    def touch(counts: Array) -> None:
        counts[first][:, hot] += level

    draft.touch.append(touch)


def zingers(draft: Draft, rng: Rng, size: float) -> None:
    part = draft.projections

    def touch(counts: Array) -> None:
        hits = rng.random(counts[part].shape) < size
        counts[part][hits] += rng.uniform(0.2, 3, int(hits.sum())) * draft.quanta * draft.gain

    draft.touch.append(touch)


def torn_frames(draft: Draft, rng: Rng, size: float) -> None:
    """The first rows of one projection, the last rows of the next."""
    torn = _chosen(draft, rng, size, together=False)
    torn = torn[torn < draft.first + draft.n - 1]
    cut = int(rng.integers(1, draft.rows))

    def touch(counts: Array) -> None:
        counts[torn, cut:] = counts[torn + 1, cut:]

    draft.touch.append(touch)


def nan_pixels(draft: Draft, rng: Rng, size: float) -> None:
    """Pixels that are always NaN, or pixels of single frames, or whole frames."""
    draft.as_float = True
    where = rng.integers(3)
    part = draft.projections

    def touch(counts: Array) -> None:
        if where == 0:
            counts[:, rng.random(counts.shape[1:]) < size] = np.nan
        elif where == 1:
            counts[part][rng.random(counts[part].shape) < size] = np.nan
        else:
            counts[part][rng.random(draft.n) < size] = np.nan

    draft.touch.append(touch)


def frozen_frames(draft: Draft, rng: Rng, size: float) -> None:
    """The detector sends the frame before once more, identical in each byte."""
    frozen = _chosen(draft, rng, size, together=bool(rng.random() < 0.6))
    for number in frozen[frozen > draft.first]:
        draft.pixels_of[number] = draft.pixels_of[number - 1]


def _lose(draft: Draft, lost: Array) -> None:
    draft.hand_over = draft.hand_over[~np.isin(draft.hand_over, lost)]


def lost_anywhere(draft: Draft, rng: Rng, size: float) -> None:
    _lose(draft, _chosen(draft, rng, size, together=False))


def lost_together(draft: Draft, rng: Rng, size: float) -> None:
    _lose(draft, _chosen(draft, rng, size, together=True))


def duplicates(draft: Draft, rng: Rng, size: float) -> None:
    """Frames come twice, with the index that they had the first time."""
    twice = np.isin(draft.hand_over, _chosen(draft, rng, size, together=False))
    draft.hand_over = np.repeat(draft.hand_over, 1 + twice)


def defocus(draft: Draft, rng: Rng, size: float) -> None:
    draft.blur = size


def planned(draft: Draft, rng: Rng, size: float) -> None:
    """Nothing is left to do: the fault is in what was planned."""
