"""What is saved by stopping when the data are enough: golden steps and interlaced turns against a fixed half turn.

``python -m benchmarks.adaptive [--samples 30] [--first 0]`` writes results/adaptive.json. Samples of several families
with noise and a blurred detector come from ``benchmarks.verdict``, which shares no code with what is measured. A fixed
scan takes π/2 projections per column, evenly over half a turn, as one does without knowing the sample. The wanted
resolution is ``WANTED`` times the one that the product measures of that scan. An adaptive scan has the same number at
most, is pushed frame by frame, looked at as the daemon does, and stopped a moment after it is ENOUGH.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.record import record
from benchmarks.verdict.phantoms import FAMILIES, Pose, project, slices
from benchmarks.verdict.resolution import true_resolution, truth_of
from benchmarks.verdict.scans import Draft, expose, metas, spec_of
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.masks import circle_mask
from streamer.core.quality.verdict import Limits
from streamer.frames import Decision, FrameKind, Quality, Verdict
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
from streamer_plans.orders import golden_angles, interlaced_angles, interlaced_count

Array = NDArray[Any]

ROWS = 8
WANTED = (1.1, 1.15)
EQUAL = 1.05
TURNS = 8
LOOKS = 40
"""How often in a whole scan the verdict is asked for."""

STOPPING = 5
"""Projections that come between ENOUGH and the end of the exposures."""


@dataclass(frozen=True)
class Outcome:
    """How one scan ended after ``projections``, with the true resolution and the rms error of its tomogram."""

    projections: int
    verdict: Verdict
    quality: Quality
    true_px: float
    rmse: float


def case(seed: int) -> Draft:
    """Sample number ``seed``; families go round, the rest is drawn. The angles are those of the fixed scan."""
    rng = np.random.default_rng([77, seed])
    family = list(FAMILIES)[seed % len(FAMILIES)]
    columns = int(rng.integers(128, 177))
    half = columns * rng.uniform(0.3, 0.43)
    body = FAMILIES[family](rng, half, ROWS)
    count = interlaced_count(round(np.pi / 2 * columns), TURNS)
    center = (columns - 1) / 2 + rng.uniform(-2, 2)
    recorded = 180.0 * np.arange(count) / count
    pose = Pose.still(np.deg2rad(recorded))
    peak = float(np.percentile(project(body, pose.at(0), ROWS, columns, center), 99.5))
    body = body.scaled(rng.uniform(0.5, 2.0) / max(peak, 1e-6))
    photons = float(np.exp(rng.uniform(np.log(3e3), np.log(3e4))))
    beam = 1 - 0.1 * np.linspace(-1, 1, columns) ** 2 + 0.01 * rng.standard_normal((ROWS, columns))
    return Draft(
        rng, family, "half", body, ROWS, columns, center, photons, recorded, pose, np.ones(count), beam, 180.0,
        blur=float(rng.uniform(0.7, 1.1)), announced=count,
    )  # fmt: skip


def ordered(fixed: Draft, order: str) -> Draft:
    """The same sample in another order of angles."""
    count = fixed.count
    if order == "golden":
        angles, span = golden_angles(count), 180.0
    else:
        angles, span = interlaced_angles(count, TURNS), 180.0 * TURNS
    rng = np.random.default_rng([78, count, len(order)])
    recorded = np.array(angles)
    return replace(fixed, rng=rng, turn=order, recorded=recorded, pose=Pose.still(np.deg2rad(recorded)), range_deg=span)


def run(draft: Draft, backend: Backend, limits: Limits, adaptive: bool) -> Outcome:
    """Push a scan frame by frame; stop it when it is ENOUGH if ``adaptive``; judge and reconstruct what came."""
    pipeline = ScanPipeline(spec_of(draft), backend, Settings(limits=limits), planes=())
    last, every = draft.count, max(1, draft.count // LOOKS)
    for meta, pixels in metas(draft, expose(draft)):
        if pipeline.count >= last:
            break
        pipeline.push(meta, pixels)
        looks = adaptive and last == draft.count and meta.kind is FrameKind.PROJECTION
        if looks and pipeline.count % every == 0:
            look = pipeline.look(0, 0)()
            pipeline.follow(look)
            if look.verdict.decision is Decision.ENOUGH:
                last = min(draft.count, pipeline.count + STOPPING)
    pipeline.refine_center()
    quality, verdict = pipeline.judge(0, 0)
    volume = np.zeros(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(None):
        volume[first : first + len(block)] = block
    # The detector's blur mixes rows in every projection; within the plane it is part of the resolution.
    width = pipeline.shape[2]
    pixels, truth = (
        gaussian_filter1d(sharp, draft.blur, axis=0, mode="nearest")
        for sharp in (slices(draft.body, draft.pose.at(0), draft.rows, width), truth_of(draft, width))
    )
    rmse = float(np.sqrt(np.mean((volume - pixels)[:, circle_mask(width, 0.9)] ** 2)))
    return Outcome(pipeline.count, verdict, quality, true_resolution(volume, truth), rmse)


def compare(seed: int, backend: Backend, factors: tuple[float, ...] = WANTED) -> list[dict[str, Any]]:
    """One sample: the fixed scan, and both adaptive ones for each factor of the wanted resolution."""
    fixed = case(seed)
    full = run(fixed, backend, Limits(), adaptive=False)
    rows = []
    for factor in factors:
        measured = full.quality.resolution_px
        wanted = factor * (full.true_px if measured is None else measured)
        for order in ("golden", "interlaced"):
            stop = run(ordered(fixed, order), backend, Limits(max_resolution_px=wanted), adaptive=True)
            rows.append(
                {
                    "seed": seed,
                    "family": fixed.family,
                    "columns": fixed.columns,
                    "factor": factor,
                    "order": order,
                    "wanted_px": round(wanted, 2),
                    "full": fixed.count,
                    "projections": stop.projections,
                    "saved": round(1 - stop.projections / fixed.count, 3),
                    "told_px": stop.quality.resolution_px and round(stop.quality.resolution_px, 2),
                    "true_px": round(stop.true_px, 2),
                    "true_full_px": round(full.true_px, 2),
                    "told_full_px": measured and round(measured, 2),
                    "rmse_over_full": round(stop.rmse / full.rmse, 3),
                    "verdict": stop.verdict.decision.value,
                    "codes": [code.value for code in stop.verdict.codes],
                    "verdict_full": full.verdict.decision.value,
                    "regretted": regretted(stop, wanted, fixed.count),
                }
            )
            print(rows[-1], flush=True)
    return rows


def regretted(stop: Outcome, wanted_px: float, full: int) -> bool:
    """Whether a scan was stopped, and should not have been."""
    early = stop.projections < full
    return early and (stop.verdict.decision is not Decision.ENOUGH or stop.true_px > EQUAL * wanted_px)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures by factor and order."""
    table = {}
    for factor, order in sorted({(row["factor"], row["order"]) for row in rows}):
        some = [row for row in rows if (row["factor"], row["order"]) == (factor, order)]
        saved = np.array([row["saved"] for row in some])
        worse = np.array([row["true_px"] / row["true_full_px"] for row in some])
        table[f"{factor:g} x, {order}"] = {
            "samples": len(some),
            "saved_median": round(float(np.median(saved)), 3),
            "saved_quartiles": [round(float(x), 3) for x in np.percentile(saved, (25, 75))],
            "saved_at_least_0.3": int(np.count_nonzero(saved >= 0.3)),
            "true_over_full_median": round(float(np.median(worse)), 3),
            "true_over_full_worst": round(float(worse.max()), 3),
            "rmse_over_full_median": round(float(np.median([row["rmse_over_full"] for row in some])), 3),
            "true_within_wanted": int(sum(row["true_px"] <= EQUAL * row["wanted_px"] for row in some)),
            "equal": int(np.count_nonzero(worse <= EQUAL)),
            "saved_median_where_equal": round(float(np.median(saved[worse <= EQUAL])), 3)
            if (worse <= EQUAL).any()
            else None,
            "regretted": int(sum(row["regretted"] for row in some)),
        }
    return table


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--samples", type=int, default=30)
    parse.add_argument("--first", type=int, default=0, help="number of the first sample")
    given = parse.parse_args()
    backend, _ = select_backend("numba", threads=1)
    rows = [row for seed in range(given.first, given.first + given.samples) for row in compare(seed, backend)]
    record("adaptive", {"summary": summary(rows), "scans": rows})


if __name__ == "__main__":
    main()
