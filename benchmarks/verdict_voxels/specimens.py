"""Specimens and their good scans, and hard but good variants of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import ConvexHull

from benchmarks.verdict_voxels.bodies import FAMILIES, VOXEL, Volume, grid
from benchmarks.verdict_voxels.projector import PAD, Floats, Pose, Projector
from benchmarks.verdict_voxels.setup import Setup

GOLDEN = 180 * (np.sqrt(5) - 1) / 2
ORDERS = ("half turn", "half turn with its end", "full turn", "golden")
Size = tuple[int, int]
"""Least and greatest number of columns."""


def make_body(family: str, radius: float, half: int, rows: int, rng: np.random.Generator) -> Volume:
    """A body (z, y, x) a little off the axis, in densities per pixel still to be scaled."""
    x, y = rng.uniform(-0.06, 0.06, 2) * radius
    points = grid(half, rows, PAD).moved(float(x), float(y))
    return np.asarray(FAMILIES[family](points, 0.94 * radius, rng), np.float32)


def scaled(body: Volume, rows: int, columns: int, attenuation: float) -> Volume:
    """The body made so dense that 1 of 100 rays is attenuated by more than ``attenuation``."""
    lines = Projector(body, rows, columns).lines(Pose(np.array([0.0, 50.0, 100.0])), (columns - 1) / 2)
    return np.asarray(body * (attenuation / np.percentile(lines, 99)), np.float32)


def filled(body: Volume) -> Floats:
    """Points (x, y) in pixels from the axis, at which the body is in any row of the detector."""
    where = np.argwhere(body[PAD:-PAD].any(axis=0))[:, ::-1]
    return np.asarray((where - (body.shape[1] - 1) / 2) * VOXEL)


def overhang(setup: Setup, shift: Floats) -> float:
    """Columns by which the body, shifted by (x, y), leaves the field in the worst projection; negative: it does not."""
    points = filled(setup.body)
    outer = points[ConvexHull(points).vertices] + shift
    theta = np.deg2rad(setup.pose.angle)
    across = np.stack([np.cos(theta), np.sin(theta)], axis=1) @ outer.T + setup.axis
    return float(max(across.max() - setup.columns + 0.5, -0.5 - across.min()))


def angles(order: str, count: int) -> Floats:
    """Angles in degrees, in the order in which they are taken."""
    steps = np.arange(count)
    if order == "half turn with its end":
        return np.asarray(steps * 180 / (count - 1))
    if order == "full turn":
        return np.asarray(steps * 360 / count)
    return np.asarray(np.mod(steps * GOLDEN, 180) if order == "golden" else steps * 180 / count)


def specimen(seed: int, number: int, size: Size = (96, 144)) -> Setup:
    """Specimen ``number`` and its good scan; the same seed and number give the same one."""
    rng = np.random.default_rng([seed, number])
    family = list(FAMILIES)[number % len(FAMILIES)]
    columns, rows = int(rng.integers(size[0], size[1] + 1)), int(rng.integers(10, 15))
    order = str(rng.choice(ORDERS, p=[0.45, 0.2, 0.2, 0.15]))
    radius = columns * rng.uniform(0.29, 0.4)
    count = int(np.ceil(2 * radius * rng.uniform(1.35, 1.65) * (2 if order == "full turn" else 1)))
    body = make_body(family, radius, columns // 2 + 2, rows, rng)
    attenuation = rng.uniform(0.7, 2.2)
    given = angles(order, count)
    return Setup(
        seed=int(rng.integers(2**31)),
        family=family,
        order=order,
        body=scaled(body, rows, columns, attenuation),
        rows=rows,
        columns=columns,
        pose=Pose(given.copy()),
        reported_deg=given,
        axis=(columns - 1) / 2 + rng.uniform(-0.02, 0.02) * columns,
        photons=float(rng.uniform(8_000, 30_000)),
        read_noise=float(rng.uniform(2, 8)),
        blur=float(rng.uniform(0.3, 0.6)),
        radius=float(np.hypot(*filled(body).T).max()),
    )


def _decay(setup: Setup, rng: np.random.Generator) -> None:
    setup.light *= np.linspace(1, 0.95, setup.count)


def _dose(setup: Setup, rng: np.random.Generator) -> None:
    setup.photons = float(rng.uniform(1_500, 2_500))


def _touching(setup: Setup, rng: np.random.Generator) -> None:
    # The body stands so far off the axis that some projections lose a column or two.
    where, lost = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2)
    direction = np.array([np.cos(where), np.sin(where)])
    away = next(away for away in np.arange(0, setup.columns, VOXEL) if overhang(setup, direction * away) >= lost)
    setup.body = _shifted(setup.body, direction * away)
    setup.known = None


def _shifted(body: Volume, shift: Floats) -> Volume:
    x, y = np.round(2 * shift).astype(int)
    reach = int(max(abs(x), abs(y))) + 1
    wide = np.pad(body, ((0, 0), (reach, reach), (reach, reach)))
    return np.asarray(np.roll(wide, (y, x), axis=(1, 2)), np.float32)


def _off_center(setup: Setup, rng: np.random.Generator) -> None:
    room = max((setup.columns - 1) / 2 - setup.radius - 1, 0)
    setup.axis = (setup.columns - 1) / 2 + float(rng.choice([-1, 1])) * min(0.04 * setup.columns, room)
    setup.known = None


def _thin(setup: Setup, rng: np.random.Generator) -> None:
    _attenuate(setup, rng.uniform(0.12, 0.2))
    setup.photons = max(setup.photons, 20_000.0)


def _dense(setup: Setup, rng: np.random.Generator) -> None:
    _attenuate(setup, rng.uniform(3.4, 4.0))
    setup.photons = max(setup.photons, 25_000.0)


def _attenuate(setup: Setup, attenuation: float) -> None:
    setup.body = scaled(setup.body, setup.rows, setup.columns, attenuation)
    setup.known = None


def _few(setup: Setup, rng: np.random.Generator) -> None:
    # As many in half a turn as the sample has columns.
    full = setup.order == "full turn"
    given = angles(setup.order, int(2 * setup.radius * (2 if full else 1)))
    setup.pose, setup.reported_deg, setup.known = Pose(given.copy()), given, None
    setup.light, setup.beam_z = np.ones(setup.count), np.zeros(setup.count)


def _stepping(setup: Setup, rng: np.random.Generator) -> None:
    # A stage reports what it reached, to a hundredth of a step or so.
    off = rng.normal(0, 0.02, setup.count)
    setup.pose.angle = setup.pose.angle + off
    setup.reported_deg = setup.reported_deg + off


def _breathing(setup: Setup, rng: np.random.Generator) -> None:
    setup.light *= 1 + 0.01 * np.sin(np.arange(setup.count) / rng.uniform(5, 30))


HARD: dict[str, Callable[[Setup, np.random.Generator], None]] = {
    "decay by 5 %": _decay,
    "low dose": _dose,
    "edges touched": _touching,
    "axis off the middle": _off_center,
    "thin sample": _thin,
    "dense sample": _dense,
    "few projections": _few,
    "uneven steps, reported": _stepping,
    "beam breathes by 1 %": _breathing,
}
"""Imperfections of a usual day that leave a scan good."""
