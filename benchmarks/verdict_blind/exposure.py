"""From a draft to the frames as a detector would send them: beam, sample, blur, quanta, electronics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.verdict_blind.kernels import project
from benchmarks.verdict_blind.scan import DARK, FLAT, PROJECTION, Array, Draft

MANY = 60.0
"""Quanta above which the Poisson distribution is drawn as its normal limit."""


@dataclass(frozen=True)
class Scan:
    """A scan as it is handed over. ``pixels`` (k, rows, columns) of the k frames sent, with their ``index``, ``kind``
    and ``angle_deg``; an index may be sent twice or never. The rest is announced before."""

    rows: int
    columns: int
    projections: int
    flats: int
    darks: int
    dtype: str
    start_deg: float
    range_deg: float
    ceiling: float | None
    index: Array
    kind: Array
    angle_deg: Array
    pixels: Array


def line_integrals(draft: Draft, sub: int = 2) -> Array:
    """Attenuation (n, rows, columns) of the body as it moves, without noise."""
    angles = np.deg2rad(draft.true_deg)
    inverse, shift, weight = draft.motion.poses(angles)
    field = draft.center, draft.rows, draft.columns
    lines: Array = project(draft.phantom.parts, inverse, shift, weight, angles, *field, sub)
    return lines


def beam(draft: Draft, rng: np.random.Generator) -> Array:
    """Open beam (frames, rows, columns), mean near 1: a hump with a multilayer's stripes, and a weaker pattern."""
    row = np.arange(draft.rows) - (draft.rows - 1) / 2 + draft.beam_shift[:, :1]
    column = np.arange(draft.columns) - (draft.columns - 1) / 2 + draft.beam_shift[:, 1:]
    tall, wide = draft.rows * rng.uniform(0.8, 2.0), draft.columns * rng.uniform(0.6, 1.5)
    total = np.zeros((draft.frames, draft.rows, draft.columns), np.float32)
    for strength, fine in ((1.0, 0.15), (0.04, 1.0)):
        across = np.exp(-0.5 * (column / wide) ** 2) if strength == 1.0 else np.zeros_like(column)
        down = np.exp(-0.5 * (row / tall) ** 2) if strength == 1.0 else np.zeros_like(row)
        for wave in (0.9, 1.7, 2.6):
            down += fine * rng.normal(0, 0.4) * np.sin(wave * row * rng.uniform(0.8, 1.2) + rng.uniform(0, 6.3))
            period = rng.uniform(9, 60)
            across += fine * rng.normal(0, 0.25) * np.sin(2 * np.pi * column / period + rng.uniform(0, 6.3))
        total += np.float32(strength) * down[:, :, None].astype(np.float32) * across[:, None, :].astype(np.float32)
    total *= np.float32(1 / total[0].mean())
    return np.maximum(total, 0.02) * draft.light[:, None, None].astype(np.float32)


def counts(draft: Draft) -> Array:
    """Frames (frames, rows, columns) float32 in counts, before the range of the detector cuts them."""
    rng = np.random.default_rng([draft.seed, 3])
    image = beam(draft, rng)
    pixel = rng.normal(1, 0.015, image.shape[1:]).astype(np.float32)
    pattern = rng.normal(0, 3.0, draft.columns) + draft.offset
    hot = rng.random(pixel.shape) < 5e-4
    glow = np.where(hot, rng.uniform(0.05, 0.5, pixel.shape) * draft.quanta * draft.gain, 0).astype(np.float32)
    image[: draft.darks] *= draft.dark_light
    through = np.exp(-line_integrals(draft))
    image[draft.projections] *= through * (draft.mask * draft.response).astype(np.float32)
    image[draft.sample_in_flat] *= through[0]
    if draft.mask_flats:
        image[draft.is_flat] *= draft.mask.astype(np.float32)
    if draft.blur:
        image = gaussian_filter(image, (0, draft.blur, draft.blur))
    image *= np.float32(draft.quanta)
    seen = _quanta(image, rng)
    seen *= draft.gain * pixel
    seen += pattern.astype(np.float32) + glow
    seen += rng.standard_normal(seen.shape, np.float32) * np.float32(draft.read_noise)
    for touch in draft.touch:
        touch(seen)
    return seen


def _quanta(mean: Array, rng: np.random.Generator) -> Array:
    drawn = rng.standard_normal(mean.shape, np.float32)
    drawn *= np.sqrt(mean)
    drawn += mean
    few = mean < MANY
    drawn[few] = rng.poisson(mean[few])
    return drawn


def expose(draft: Draft) -> Scan:
    """All frames of a draft, in the order in which they are handed over."""
    number = np.arange(draft.frames)
    kind = np.where(draft.is_flat, FLAT, PROJECTION)
    kind[: draft.darks] = DARK
    if draft.swapped:
        kind = np.choose(kind, (PROJECTION, DARK, FLAT))
    angle = np.full(draft.frames, draft.told_deg[0])
    angle[draft.projections] = draft.told_deg
    raw = counts(draft)[draft.pixels_of]
    if draft.as_float:
        pixels, dtype = raw, "<f4"
    else:
        pixels, dtype = np.clip(np.rint(raw), 0, draft.ceiling).astype("<u2"), "<u2"
    sent = draft.hand_over
    return Scan(
        draft.rows,
        draft.columns,
        draft.announced,
        int((kind == FLAT).sum()),
        int((kind == DARK).sum()),
        dtype,
        draft.start_deg,
        draft.range_deg,
        draft.announced_ceiling,
        number[sent],
        kind[sent],
        angle[sent],
        pixels[sent],
    )
