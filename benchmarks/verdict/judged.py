"""One scan through the pipeline as the daemon runs it, its verdict, and the error of its tomogram against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from benchmarks.verdict.resolution import true_resolution, truth_of
from benchmarks.verdict.scans import Draft, Frames, metas, spec_of, truths
from streamer.core.backend.selection import Backend
from streamer.core.masks import circle_mask
from streamer.core.quality.verdict import Limits, judge
from streamer.frames import Quality, Verdict
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

Array = NDArray[Any]

LOOKS = 8
"""How often in a scan the daemon looks at it."""


@dataclass(frozen=True)
class Judged:
    """What came out. ``errors`` rmse of the tomogram, and of both smoothed; ``live`` verdicts while it ran; ``true_px``
    its resolution against the sample, if that was asked for.
    """

    quality: Quality
    verdict: Verdict
    errors: tuple[float, float]
    live: tuple[Verdict, ...]
    columns: int
    center: float
    family: str
    true_px: float | None = None


def run(d: Draft, frames: Frames, backend: Backend, live: bool = False, resolution: bool = False) -> Judged:
    """Push all frames, then judge and reconstruct."""
    pipeline = ScanPipeline(spec_of(d), backend, Settings(), planes=())
    pushed = metas(d, frames)
    every = max(1, len(pushed) // LOOKS)
    seen = []
    for first in range(0, len(pushed), every):
        part = pushed[first : first + every]
        pipeline.push_batch([meta for meta, _ in part], np.stack([pixels for _, pixels in part]))
        if live:
            look = pipeline.look(0, 0)()
            pipeline.follow(look)
            seen.append(look.verdict)
    pipeline.refine_center()
    missing = int(np.count_nonzero(~frames.kept))
    quality, verdict = pipeline.judge(missing, 0)
    volume = np.zeros(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(None):
        volume[first : first + len(block)] = block
    true_px = true_resolution(volume, truth_of(d, volume.shape[2])) if resolution else None
    worst = errors(volume, truths(d, volume.shape[2]))
    return Judged(quality, verdict, worst, tuple(seen), d.columns, d.center, d.family, true_px)


def judged_again(result: Judged, max_resolution_px: float) -> Verdict:
    """The final verdict if this resolution had been wanted."""
    return judge(result.quality, Limits(max_resolution_px=max_resolution_px), True, result.columns)


def errors(volume: Array, targets: list[Array]) -> tuple[float, float]:
    """Rmse within a circle, by pixels and smoothed, against the pose that fits best, after a shift in the plane."""
    mask = circle_mask(volume.shape[2], 0.9)
    best = [np.inf, np.inf]
    for target in targets:
        fitted = _shifted(volume, target)
        for k, sigma in enumerate((0.0, 1.5)):
            difference = fitted - target
            if sigma:
                difference = gaussian_filter(difference, (0, sigma, sigma))
            best[k] = min(best[k], float(np.sqrt(np.mean(difference[:, mask] ** 2))))
    return best[0], best[1]


def _shifted(volume: Array, target: Array) -> Array:
    """The volume moved in its plane, by up to some pixels, to where it correlates best with the target."""
    a, b = (scipy.fft.fft2(x.mean(axis=0)) for x in (volume, target))
    cross = scipy.fft.ifft2(b * np.conj(a)).real
    peak = np.unravel_index(int(np.argmax(cross)), cross.shape)
    shift = []
    for axis, top in enumerate(peak):
        line = cross[:, peak[1]] if axis == 0 else cross[peak[0]]
        y0, y1, y2 = (line[(top + k) % line.size] for k in (-1, 0, 1))
        curve = y0 - 2 * y1 + y2
        place = top + (0.5 * (y0 - y2) / curve if curve else 0.0)
        shift.append(place - line.size if place > line.size / 2 else place)
    if max(map(abs, shift)) > 12:
        return volume
    return np.asarray(scipy.fft.ifftn(fourier_shift(scipy.fft.fftn(volume), (0, *shift))).real)
