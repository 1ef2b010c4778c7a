"""Geometries beside algotom: full turns, half acquisition, region of interest, missing wedge, odd angles, lost frames.

``python -m benchmarks.reconstruction.geometries [--quick] [--pictures DIR] [--data DIR]`` writes
results/geometries.json. The phantoms are analytic; the error is against their truth within 0.95 of the field of view
(0.9, where it is cut off). Ours finds axis, tilt and layout from the data, as the pipeline does. algotom is told the
true axis of the row and gets its best chance: the better of two paddings, over-scan cut to half a turn, half
acquisition by the better of its own two ways and of two roundings of the axis; and a second figure after the gain that
fits the truth best. --data is the folder of the measured scans, of which the stripes are looked at; without it they are
left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from algotom.prep.conversion import convert_sinogram_360_to_180, extend_sinogram
from algotom.rec.reconstruction import fbp_reconstruction

from benchmarks.reconstruction.center import center_of
from benchmarks.reconstruction.measured import measured_scans
from benchmarks.reconstruction.pages import Panel, span, write_page
from benchmarks.record import record
from streamer.core.alignment.tilt import find_tilt
from streamer.core.arrays import Array
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.frames import ScanSpec
from streamer.phantoms import half_turn, image, random_body, shepp_logan, sinogram
from streamer.pipeline.layout.choice import choose_layout
from streamer.pipeline.layout.evidence import sinogram_evidence
from streamer.pipeline.layout.layout import Layout

BALLS = 60
BANDS = 8


@dataclass(frozen=True)
class Case:
    """A scan: ``frames`` (angles, rows, columns) and the truth of the slice of one ``row``, for any width of it.

    ``center`` at the middle row and ``tilt`` (radian) are the truth. ``rival`` first projections are what algotom is
    better off with.
    """

    frames: Array
    angles: Array
    truth: Callable[[int], Array]
    center: float
    range_deg: float = 180.0
    half: bool = False
    share: float = 0.95
    row: int = 0
    tilt: float = 0.0
    rival: int | None = None

    @property
    def row_center(self) -> float:
        return self.center + float(np.tan(self.tilt)) * (self.row - (self.frames.shape[1] - 1) / 2)


def cases(size: int) -> dict[str, Case]:
    """All cases; ``size`` columns of the field of view."""
    rng = np.random.default_rng(0)
    step = 180.0 / size
    golden = np.arange(size) * np.pi * (np.sqrt(5) - 1) / 2
    even, over = half_turn(size), np.deg2rad(np.arange(0, 199, step))
    passes = np.concatenate([even[first::4] for first in (0, 2, 1, 3)])[: 7 * size // 8]
    full = np.arange(size + 1) * 2 * np.pi / (size + 1)
    whole = _phantom(size, 0.0)
    return {
        "half turn": whole(even),
        "full turn": replace(_phantom(size, 1.4)(full), range_deg=360.0),
        "half acquisition": _half(size, 0.73),
        "half acquisition, axis left, wider than it sees": _half(size, 0.27, 1.5),
        "half acquisition, tilt of 0.3 degrees": _tilted(size),
        "region of interest": _region(size),
        "missing wedge of 40 degrees": whole(even[: int(size * 140 / 180)]),
        "golden ratio": whole(golden),
        "interlaced, half of the last pass missing": whole(passes),
        "over-scan of 199 degrees": replace(whole(over), range_deg=199.0, rival=size),
        "5 % of the frames lost": whole(np.delete(even, rng.choice(size, size // 20, replace=False))),
    }


def _phantom(size: int, off: float) -> Callable[[Array], Case]:
    center = (size - 1) / 2 + off
    parts = shepp_logan(int(0.97 * size))

    def scan(angles: Array) -> Case:
        return Case(sinogram(parts, size, angles, center)[:, None], angles, lambda width: image(parts, width), center)

    return scan


def _half(size: int, place: float, wider: float = 1.0) -> Case:
    """Half acquisition with the axis at a share of the columns; the sample fits the field of view, or is wider."""
    columns = int(size / (2 * max(place, 1 - place)))
    center = place * columns + 0.37
    parts = (
        shepp_logan(int(0.97 * size)) if wider == 1.0 else random_body(np.random.default_rng(1), int(1.7 * 1.5 * size))
    )
    angles = np.arange(2 * size) * np.pi / size
    frames = sinogram(parts, columns, angles, center)[:, None]
    return Case(frames, angles, lambda width: image(parts, width), center, 360.0, True, 0.95 if wider == 1.0 else 0.9)


def _region(size: int) -> Case:
    """Half of the width of a body that fills the whole."""
    parts = random_body(np.random.default_rng(1), int(1.7 * size))
    columns = size // 2
    frames = sinogram(parts, columns, half_turn(size), (columns - 1) / 2)[:, None]
    return Case(frames, half_turn(size), lambda width: image(parts, width), (columns - 1) / 2, share=0.9)


def _tilted(size: int) -> Case:
    """Round Gaussians, whose projections are known about any axis; a row far from the middle."""
    rng = np.random.default_rng(3)
    columns, rows, tilt = int(size / 1.5), size // 4, np.deg2rad(0.3)
    center, row = 0.75 * columns - 0.4, int(0.88 * (size // 4))
    radius = 0.9 * center * np.sqrt(rng.uniform(0, 1, BALLS))
    turn, sigma = rng.uniform(0, 2 * np.pi, BALLS), rng.uniform(0.006, 0.02, BALLS) * size
    place = np.stack([radius * np.cos(turn), radius * np.sin(turn), rng.uniform(-0.5, 0.5, BALLS) * rows], axis=1)
    place[: BALLS // 2, 2] = row - (rows - 1) / 2 + rng.normal(0, 2, BALLS // 2)
    angles = np.arange(size) * 2 * np.pi / size
    y, x = np.meshgrid(np.arange(rows) - (rows - 1) / 2, np.arange(columns) - center, indexing="ij")
    across, along = np.cos(tilt) * x - np.sin(tilt) * y, np.sin(tilt) * x + np.cos(tilt) * y
    frames = np.zeros((size, rows, columns), np.float32)
    for (bx, by, bz), width in zip(place, sigma, strict=True):
        height = 0.02 * width * np.sqrt(2 * np.pi) * np.exp(-0.5 * ((along - bz) / width) ** 2)
        path = bx * np.cos(angles) + by * np.sin(angles)
        near = slice(*np.clip([bz + rows / 2 - 6 * width - 5, bz + rows / 2 + 6 * width + 5], 0, rows).astype(int))
        for frame, at in zip(frames, path, strict=True):
            frame[near] += height[near] * np.exp(-0.5 * ((across[near] - at) / width) ** 2)

    def truth(wide: int) -> Array:
        grid, z = np.arange(wide) - (wide - 1) / 2, row - (rows - 1) / 2
        flat = [
            0.02 * np.exp(-0.5 * ((grid[None] - bx) ** 2 + (grid[:, None] - by) ** 2 + (z - bz) ** 2) / width**2)
            for (bx, by, bz), width in zip(place, sigma, strict=True)
        ]
        return np.sum(flat, axis=0)

    return Case(frames, angles, truth, center, 360.0, True, row=row, tilt=tilt)


def ours(backend: Backend, case: Case) -> tuple[Array, Layout]:
    """The slice, and the layout that was chosen."""
    rows = case.frames.shape[1]
    heights = np.unique(np.linspace(0.06 * rows, 0.94 * rows, BANDS).astype(int)) if rows > 1 else np.zeros(1, int)
    bands = np.ascontiguousarray(case.frames[:, heights])
    spec = ScanSpec("case", "case", *case.frames.shape[1:], len(case.frames), range_deg=case.range_deg)
    estimate = center_of(backend, bands, case.angles, case.range_deg)
    tilt = find_tilt(case.frames, case.angles) if rows >= 16 else None
    seen = sinogram_evidence(spec, case.angles, bands, estimate)
    layout = choose_layout(spec, replace(seen, tilt=lambda: tilt, band_rows=heights.tolist()))
    first, last = layout.source_rows(case.row, case.row + 1)
    placed = layout.place(case.frames[:, first:last], first_row=first)[:, case.row - first][:, None]
    weights = layout.weights(case.angles)
    slice_ = reconstruct_rows_fourier(
        backend, np.ascontiguousarray(placed), case.angles, weights, layout.center(), extend=layout.extend
    )[0]
    return slice_, layout


def algotom(case: Case) -> Array:
    """The slice by algotom's filtered backprojection, its y axis turned to ours: the best of what can be tried."""
    lines, angles = case.frames[: case.rival, case.row], case.angles[: case.rival]
    order = np.argsort(np.mod(angles, 2 * np.pi if case.half or case.range_deg != 180.0 else np.pi))
    lines, angles = lines[order], angles[order]
    tried = _stitched(lines, angles, case.row_center) if case.half else [(lines, angles, case.row_center)]
    made = [
        fbp_reconstruction(
            np.ascontiguousarray(rows, np.float32), center, theta, None, filter_name=None, pad=pad, apply_log=False,
            gpu=False,
        )[::-1]
        for rows, theta, center in tried
        for pad in (None, rows.shape[1])
    ]  # fmt: skip
    return min(made, key=lambda found: rmse(found, case.truth(len(found)), case.share))


def _stitched(lines: Array, angles: Array, center: float) -> list[tuple[Array, Array, float]]:
    """algotom's two ways, each for the true axis and for that of a whole overlap, next to it: it rounds the overlap."""
    columns = lines.shape[1]
    edge = columns - 1 if center > (columns - 1) / 2 else 0
    whole = edge + np.sign(center - edge) * (round(2 * abs(center - edge) + 1) - 1) / 2
    tried = []
    for axis in (center, float(whole)):
        rows, at = convert_sinogram_360_to_180(np.concatenate([lines, lines[:1]]), axis, norm=False)
        tried.append((rows, angles[: len(rows)], at))
        rows, at = extend_sinogram(lines, axis, apply_log=False)
        tried.append((rows, angles, at))
    return tried


def disc(side: int, share: float) -> Array:
    grid = np.arange(side) - (side - 1) / 2
    return np.hypot(grid[:, None], grid[None, :]) < share * side / 2


def rmse(found: Array, truth: Array, share: float) -> float:
    return float(np.sqrt(np.mean((found - truth)[disc(len(truth), share)] ** 2)))


def compare(backend: Backend, name: str, case: Case, pictures: Path | None) -> dict[str, Any]:
    """Errors against the truth as a share of its span, and a page of pictures."""
    start = time.perf_counter()
    mine, layout = ours(backend, case)
    seconds = time.perf_counter() - start
    theirs = algotom(case)
    truth, their_truth = case.truth(len(mine)), case.truth(len(theirs))
    size = float(np.ptp(truth))
    inside = disc(len(theirs), case.share)
    gain = float(theirs[inside] @ their_truth[inside] / max(float(theirs[inside] @ theirs[inside]), 1e-30))
    errors = {
        "ours": rmse(mine, truth, case.share) / size,
        "algotom": rmse(theirs, their_truth, case.share) / size,
        "algotom_best_gain": rmse(gain * theirs, their_truth, case.share) / size,
    }
    if pictures is not None:
        _page(pictures, name, layout, errors, (truth, mine, theirs, their_truth))
    return {
        **{key: float(f"{value:.4g}") for key, value in errors.items()},
        "ratio_to_algotom": round(errors["ours"] / errors["algotom"], 3),
        "center_error_px": round(layout.detector_center - case.center, 3),
        "tilt_error_deg": round(float(np.rad2deg(layout.tilt_rad - case.tilt)), 4),
        "width": layout.width,
        "angles": len(case.angles),
        "layout": layout.reason,
        "seconds": round(seconds, 2),
    }


def _page(pictures: Path, name: str, layout: Layout, errors: dict[str, float], images: tuple[Array, ...]) -> None:
    truth, mine, theirs, their_truth = images
    low, high = span(truth)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    limit = 0.15 * (high - low)
    mark = [
        f"ours {errors['ours']:.4f}, algotom {errors['algotom']:.4f} rms error, as a share of the span of the truth"
    ]
    panels = [
        Panel("truth", truth, low, high),
        Panel("ours", mine, low, high),
        Panel("algotom", theirs, low, high),
        Panel("ours - truth", mine - truth, -limit, limit, True),
        Panel("algotom - truth", theirs - their_truth, -limit, limit, True),
    ]
    file = pictures / f"{name.replace(' %', '_percent').replace(',', '').replace(' ', '_')}.png"
    write_page(file, name, [*mark, layout.reason], panels)


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--quick", action="store_true", help="a third of the size")
    parse.add_argument("--pictures", type=Path, help="folder for a page of pictures of each case")
    parse.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    args = parse.parse_args()
    backend, _ = select_backend("numba")
    size = 180 if args.quick else 512
    result: dict[str, Any] = {
        "size": size,
        "error": "rms within the field of view, as a share of the span of the truth",
    }
    for name, case in cases(size).items():
        result[name] = compare(backend, name, case, args.pictures)
        print(name, result[name], flush=True)
    result["stripes"] = measured_scans(backend, args.data, args.pictures)
    record("geometries", result)


if __name__ == "__main__":
    main()
