"""What the projections of a whole scan say of the detector, of the beam and of the darks and flats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamer.core.alignment.center_of_mass import BEAM_PARTS, MomentTrack, drift_since_flats
from streamer.core.arrays import Image, Mask, Values
from streamer.core.quality.beam_pattern import MovedPattern, around, flat_slopes, moved_pattern
from streamer.core.quality.fields import bridged, negative_share, pattern_rms, shadow_share
from streamer.core.quality.motion.consistency import always_covered, open_beam, pixel_noise
from streamer.core.quality.signal import dim_noise, flicker, flicker_error, voxel_snr
from streamer.pipeline.bands import Bands

TOUCHED = 0.2
"""Share of the projections that may touch an edge where the open beam is read between them."""

SAMPLE_LEVEL = 0.05
"""Share of the densest columns' mean attenuation that a column of the sample has."""

FREE, FREE_SIGMAS, FREE_VIEWS = 98.0, 4.0, 200
"""Percentile of some views in which a column that is free of the sample shows no more than noise."""


def flats_about(bands: Bands, dark: Image | None, flat: Image | None) -> list[Image]:
    """Of each band the rows about it of the mean flat less the dark (rows, columns); none without a flat."""
    if flat is None:
        return []
    parts = [around(start, bands.height, len(flat)) for start in bands.first_rows.tolist()]
    return [flat[part] - (0.0 if dark is None else np.nan_to_num(dark[part])) for part in parts]


def detector_figures(
    bands: Bands,
    track: MomentTrack,
    center: float | None,
    rows: int,
    flats: Sequence[Image],
    flats_taken: int,
    stripes: bool,
) -> dict[str, Any]:
    """Entries of a Quality, of one projection or more. ``stripes`` are taken care of.

    ``track`` followed the same projections, of ``rows`` detector rows, about the axis at column ``center``, if that is
    known; ``flats`` are those of ``flats_about``, the means of ``flats_taken``.
    """
    dead = bands.dead_columns()
    views = bridged(bands.sinograms, dead)
    thick = bands.height
    noise = pixel_noise(views) * np.sqrt(thick)
    mean = views.mean(axis=0)
    open_levels = open_beam(views)
    level = open_levels.mean(axis=1)
    beam, dim = float(np.median(level)), dim_noise(level)
    touched = (track.truncation or 0.0) > TOUCHED or always_covered(views)
    if touched:
        # What covers the margins may be the sample: only its change is the beam's.
        beam = min(beam, 0.0)
        level = level - np.median(level[: -(-level.size // BEAM_PARTS)])
    # Light that flickers is not the sample's peak.
    lines = views.mean(axis=1) - (beam if touched else level[:, None])
    free = _free_columns(views - open_levels[:, None].astype(np.float32), noise / np.sqrt(thick))
    moved = _moved_pattern(bands, views, rows, flats, free)
    flickers = flicker(np.array(bands.angles), np.array(bands.index), *track.sides)
    about = (mean.shape[1] - 1) / 2 if center is None else center
    return {
        "beam_moved": moved.attenuation,
        "beam_shift_px": moved.shift_px,
        "flat_drift": _beam_drift(bands, track, level, touched),
        "dim_noise": None if touched else dim,
        "flicker": flickers,
        "flicker_noise": None if flickers is None else flicker_error(flickers, mean.shape[1], about, noise),
        "noise": noise,
        "voxel_snr": voxel_snr(lines, noise, noise / np.sqrt(thick * len(bands.first_rows))),
        "projections_per_column": None if center is None else _per_column(bands, mean - beam, center),
        "dead_columns": int(np.count_nonzero(dead)),
        "shadow": shadow_share(mean),
        "negative": negative_share(mean, beam, noise / np.sqrt(thick * bands.count)),
        "pattern": pattern_rms(views, np.array(bands.angles), center, noise / np.sqrt(thick), max(1, flats_taken))
        if center is not None and not stripes
        else None,
    }


def _free_columns(net: Image, noise: float) -> Mask:
    """Mask (columns,) of those at both ends that no sample covers in net views (n, bands, columns), some seldom ones
    aside; ``noise`` of one pixel of them.
    """
    some = net[:: max(1, len(net) // FREE_VIEWS)]
    most = np.percentile(some, FREE, axis=0).max(axis=0)
    held = np.flatnonzero(most > SAMPLE_LEVEL * float(np.percentile(most, 99)) + FREE_SIGMAS * noise)
    free = np.ones(most.size, np.bool_)
    if held.size:
        guard = max(2, most.size // 50)
        free[max(0, held[0] - guard) : held[-1] + guard + 1] = False
    return free


def _moved_pattern(bands: Bands, views: Image, rows: int, flats: Sequence[Image], free: Mask) -> MovedPattern:
    if not flats:
        return MovedPattern(0.0, 0.0)
    height = bands.height
    slopes = [
        flat_slopes(flat, start - around(start, height, rows).start, height)
        for flat, start in zip(flats, bands.first_rows.tolist(), strict=True)
    ]
    order = np.argsort(bands.index[: len(views)], kind="stable")
    return moved_pattern(views[order], np.stack(slopes, axis=1), free)


def _beam_drift(bands: Bands, track: MomentTrack, level: Values, touched: bool) -> float | None:
    """Change of the open beam since the flats, by its ``level`` (n,); where the sample may have ``touched`` the
    margins, no more than they show by themselves."""
    shown = track.beam_drift
    if shown is None:
        return None
    drift = drift_since_flats(np.array(bands.angles[: level.size]), level)
    return min(drift, shown) if touched else drift


def _per_column(bands: Bands, mean: Image, center: float) -> float | None:
    """Projections in half a turn for each column of the sample's width, by the mean (bands, columns) of them."""
    edges = np.flatnonzero(mean.max(axis=0) > SAMPLE_LEVEL * float(np.percentile(mean, 99)))
    if not edges.size:
        return None
    width = 2 * max(center - edges[0], edges[-1] - center, 1.0)
    ordered = np.sort(np.mod(bands.angles, np.pi))
    # Views of a full turn may repeat those of its first half; interlaced turns lie between each other's.
    gaps = np.diff(ordered, append=ordered[0] + np.pi)
    directions = int(np.count_nonzero(gaps > 0.1 * np.pi / bands.count))
    return float(directions / min(width, mean.shape[1]))
