"""From a sample, its poses and a detector to the frames of one scan, as the pipeline gets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from benchmarks.verdict.phantoms import FAMILIES, Body, Pose, project, slices
from streamer.frames import FrameKind, FrameMeta, ScanSpec

Array = NDArray[Any]

TURNS = ("half", "half", "golden", "full", "backwards", "inclusive")
DARK_LEVEL, READ_NOISE = 100.0, 2.0
FLATS, DARKS = 10, 5


@dataclass
class Frames:
    """Raw frames of one scan, ``kept`` those that reach the daemon."""

    darks: Array
    flats: Array
    projections: Array
    kept: Array


@dataclass
class Draft:
    """A scan before its frames are made. Faults change what is here, or add to ``after`` what changes the frames."""

    rng: np.random.Generator
    family: str
    turn: str
    body: Body
    rows: int
    columns: int
    center: float
    photons: float
    recorded: Array
    """Angles (n,) in degrees, as they are written down."""
    pose: Pose
    light: Array
    """Share of the beam in each projection (n,)."""
    beam: Array
    """(rows, columns), relative."""
    range_deg: float
    top: float = 60_000.0
    blur: float = 0.0
    announced: int = 0
    after: list[Callable[[Frames], None]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.recorded)

    @property
    def when(self) -> Array:
        """Time of each projection, 0 … 1."""
        return np.arange(self.count) / (self.count - 1)


def draft(seed: int, hard: str = "") -> Draft:
    """Scan number ``seed``: family and order of the angles go round, the rest is drawn.

    ``hard``: "decay" the beam loses 5 %, "dose" few photons, "edge" the sample touches the edge of the detector now
    and then, "worn" the first and the last together, "wander" the beam moves by 0.3 px, "unrest" the stage shakes by
    0.1 px, "shimmer" the light changes by 0.3 %; all of them good scans.
    """
    rng = np.random.default_rng(seed)
    family, turn = list(FAMILIES)[seed % len(FAMILIES)], TURNS[seed // len(FAMILIES) % len(TURNS)]
    columns, rows = int(rng.integers(88, 121)), int(rng.integers(8, 17))
    count = int(columns * rng.uniform(1.35, 1.7)) * (2 if turn == "full" else 1)
    half = columns * (rng.uniform(0.3, 0.43) if hard not in ("edge", "worn") else 0.47)
    body = FAMILIES[family](rng, half, rows)
    center = (columns - 1) / 2 + rng.uniform(-0.035, 0.035) * columns * (hard not in ("edge", "worn"))
    start = float(rng.choice([0.0, 30.0, -90.0]))
    recorded = start + angles(turn, count)
    pose = Pose.still(np.deg2rad(recorded))
    peak = float(np.percentile(project(body, pose.at(0), rows, columns, center), 99.5))
    thinnest = 0.6 if hard in ("dose", "decay", "worn") else 0.15  # these would spoil a scan of a thin sample
    body = body.scaled(float(np.exp(rng.uniform(np.log(thinnest), np.log(2.5)))) / max(peak, 1e-6))
    photons = 400.0 if hard == "dose" else float(np.exp(rng.uniform(np.log(3e3), np.log(3e4))))
    ramp = np.linspace(-1, 1, columns)
    profile = 1 - rng.uniform(0, 0.15) * ramp**2 + rng.uniform(-0.05, 0.05) * ramp
    beam = profile * (1 + 0.01 * rng.standard_normal((rows, columns)))
    light = np.linspace(1.0, 0.95 if hard in ("decay", "worn") else 1.0, count)
    if hard == "shimmer":
        light = light * (1 + 0.003 * rng.standard_normal(count))
    if hard == "unrest":
        pose = replace(pose, columns=0.1 * rng.standard_normal(count))
    span = 360.0 if turn == "full" else -180.0 if turn == "backwards" else 180.0
    d = Draft(
        rng, family, turn, body, rows, columns, center, photons, recorded, pose, light, beam, span, announced=count
    )
    if hard == "wander":
        d.after.append(lambda frames: wander(frames, beam, rng.uniform(-0.3, 0.3, 2)))
    return d


def wander(frames: Frames, beam: Array, by: Array) -> None:
    """Move the beam (rows, columns) over the detector, in the end ``by`` (rows, columns) pixels."""
    for part, frame in zip(np.linspace(0, 1, len(frames.projections)), frames.projections, strict=True):
        moved = shift(beam, part * by, order=1, mode="nearest")
        frame[...] = (frame - DARK_LEVEL) * moved / beam + DARK_LEVEL


def angles(turn: str, count: int) -> Array:
    """Angles (count,) in degrees from 0 on."""
    k = np.arange(count)
    if turn == "golden":
        return 180.0 * np.mod(k * (np.sqrt(5) - 1) / 2, 1.0)
    if turn == "inclusive":
        return 180.0 * k / (count - 1)
    return {"half": 180.0, "backwards": -180.0, "full": 360.0}[turn] * k / count


def expose(d: Draft) -> Frames:
    """The raw frames of a draft, uint16."""
    lines = project(d.body, d.pose, d.rows, d.columns, d.center)
    through = np.exp(-lines)
    if d.blur:
        from scipy.ndimage import gaussian_filter1d

        for axis in (1, 2):
            through = gaussian_filter1d(through, d.blur, axis=axis, mode="nearest")
    beam = d.photons * d.beam
    frames = Frames(
        d.rng.normal(DARK_LEVEL, READ_NOISE, (DARKS, d.rows, d.columns)),
        detected(d, np.broadcast_to(beam, (FLATS, d.rows, d.columns))),
        detected(d, beam * d.light[:, None, None] * through),
        np.ones(d.count, bool),
    )
    for change in d.after:
        change(frames)
    for name in ("darks", "flats", "projections"):
        setattr(frames, name, np.clip(np.rint(getattr(frames, name)), 0, 65_535).astype("<u2"))
    return frames


def detected(d: Draft, photons: Array) -> Array:
    """Counts for expected photons (n, rows, columns)."""
    counts = d.rng.poisson(np.maximum(photons, 0)) + d.rng.normal(DARK_LEVEL, READ_NOISE, photons.shape)
    return np.minimum(counts, d.top)


def spec_of(d: Draft) -> ScanSpec:
    return ScanSpec(
        "scan", "sample", d.rows, d.columns, d.announced, flats=FLATS, darks=DARKS,
        start_deg=float(d.recorded[0]), range_deg=d.range_deg,
    )  # fmt: skip


def metas(d: Draft, frames: Frames) -> list[tuple[FrameMeta, Array]]:
    """What is pushed, one after the other."""
    out = [(FrameMeta("scan", k, FrameKind.DARK, 0.0), pixels) for k, pixels in enumerate(frames.darks)]
    first = DARKS
    out += [(FrameMeta("scan", first + k, FrameKind.FLAT, 0.0), pixels) for k, pixels in enumerate(frames.flats)]
    first += FLATS
    out += [
        (FrameMeta("scan", first + k, FrameKind.PROJECTION, float(d.recorded[k])), frames.projections[k])
        for k in np.flatnonzero(frames.kept).tolist()
    ]
    return out


def truths(d: Draft, width: int) -> list[Array]:
    """The sample (rows, width, width) in the poses of the beginning, the middle and the end of the scan."""
    return [slices(d.body, d.pose.at(k), d.rows, width) for k in sorted({0, d.count // 2, d.count - 1})]
