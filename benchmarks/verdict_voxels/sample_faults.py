"""What goes wrong with the sample: it moves, changes, or is the wrong one for the field. And with its rotation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from benchmarks.verdict_voxels.kinds import block, kind, later, some_frames
from benchmarks.verdict_voxels.setup import Recording, Setup
from benchmarks.verdict_voxels.specimens import scaled

Random = np.random.Generator
MOTION = (0.6, 2.0, 6.0)


def _sign(rng: Random) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _in_plane(setup: Setup, course: np.ndarray, rng: Random) -> None:
    where = rng.uniform(0, 2 * np.pi)
    setup.pose.x += course * np.cos(where)
    setup.pose.y += course * np.sin(where)


def _step(setup: Setup, rng: Random) -> np.ndarray:
    course = np.zeros(setup.count)
    course[later(setup.count, rng)] = 1.0
    return course


def _ramp(setup: Setup) -> np.ndarray:
    return np.linspace(-0.5, 0.5, setup.count)


@kind("motion", MOTION, "px", moves=True)
def jump_in_plane(setup: Setup, amount: float, rng: Random) -> None:
    _in_plane(setup, amount * _step(setup, rng), rng)


@kind("motion", MOTION, "px", moves=True)
def jump_across(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.across += amount * _sign(rng) * _step(setup, rng)


@kind("motion", MOTION, "px", moves=True)
def jump_along(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.along += amount * _sign(rng) * _step(setup, rng)


@kind("motion", MOTION, "px", moves=True)
def drift_in_plane(setup: Setup, amount: float, rng: Random) -> None:
    _in_plane(setup, amount * _ramp(setup), rng)


@kind("motion", MOTION, "px", moves=True)
def drift_across(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.across += amount * _sign(rng) * _ramp(setup)


@kind("motion", MOTION, "px", moves=True)
def drift_along(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.along += amount * _sign(rng) * _ramp(setup)


@kind("motion", (1.0, 3.0, 8.0), "px", moves=True)
def settling(setup: Setup, amount: float, rng: Random) -> None:
    course = amount * np.exp(-np.arange(setup.count) / (setup.count * rng.uniform(0.03, 0.12)))
    setup.pose.across += course * _sign(rng)
    setup.pose.along += 0.5 * course * _sign(rng)


@kind("motion", (0.4, 1.2, 4.0), "px rms", moves=True)
def vibration(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.across += amount * rng.standard_normal(setup.count)
    setup.pose.along += 0.5 * amount * rng.standard_normal(setup.count)


@kind("motion", (0.5, 1.5, 5.0), "px", moves=True)
def sway(setup: Setup, amount: float, rng: Random) -> None:
    periods = rng.uniform(2, 15)
    _in_plane(setup, amount * np.sin(2 * np.pi * periods * np.linspace(0, 1, setup.count)), rng)


@kind("motion", (1.0, 3.0, 8.0), "px", moves=True)
def excursion(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.across[block(setup.count, rng.uniform(0.04, 0.15), rng)] += amount * _sign(rng)


@kind("motion", MOTION, "px", moves=True)
def several_jumps(setup: Setup, amount: float, rng: Random) -> None:
    for _ in range(3):
        _in_plane(setup, 0.7 * amount * _step(setup, rng), rng)
        setup.pose.along += 0.4 * amount * _sign(rng) * _step(setup, rng)


@kind("motion", (0.4, 1.5, 5.0), "px", moves=True)
def runout(setup: Setup, amount: float, rng: Random) -> None:
    turn = np.deg2rad(setup.pose.angle)
    setup.pose.across += amount * np.sin(float(rng.choice([2, 3, 5])) * turn + rng.uniform(0, 6))


@kind("motion", (0.3, 1.0, 4.0), "°", moves=True)
def wobble(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.roll += amount * np.sin(2 * np.deg2rad(setup.pose.angle) + rng.uniform(0, 6))


@kind("motion", (0.3, 1.0, 3.0), "°", moves=True)
def axis_tilt(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.roll += amount * _sign(rng)


@kind("motion", (0.7, 2.5, 8.0), "°", moves=True)
def slip(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.angle += amount * _sign(rng) * _step(setup, rng)


@kind("sample", (0.1, 0.3, 1.0), "columns per row", moves=True)
def bending(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.bend += amount * _sign(rng) * np.linspace(0, 1, setup.count)


@kind("sample", (0.005, 0.02, 0.08), "of its size", moves=True)
def shrinking(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.scale *= np.linspace(1, 1 - amount, setup.count)


@kind("sample", (0.01, 0.05, 0.25), "of its density")
def drying(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.density *= np.linspace(1, 1 - amount, setup.count)


@kind("sample", (0.15, 0.5, 1.0), "of the rows")
def falls_off(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.gone[later(setup.count, rng)] = amount


@kind("sample", (0.0, 0.001, 0.003), "attenuation", always=True)
def empty(setup: Setup, amount: float, rng: Random) -> None:
    setup.body = scaled(setup.body, setup.rows, setup.columns, amount)
    setup.known = None


@kind("sample", (1.05, 1.3, 1.7), "of the field", moves=True)
def truncated(setup: Setup, amount: float, rng: Random) -> None:
    factor = amount * setup.columns / 2 / setup.radius
    attenuation = float(np.percentile(setup.lines(), 99))
    wide = ndimage.zoom(setup.body, (1, factor, factor), order=1)
    even = wide[:, : wide.shape[1] // 2 * 2, : wide.shape[2] // 2 * 2]
    setup.body, setup.known = scaled(even, setup.rows, setup.columns, attenuation), None


@kind("sample", (0.1, 0.2, 0.35), "of the field beyond its edge", moves=True)
def off_field(setup: Setup, amount: float, rng: Random) -> None:
    # The sample leaves the field on one side, then on the other.
    away, where = (setup.columns / 2 - setup.radius) + amount * setup.columns, rng.uniform(0, 2 * np.pi)
    setup.pose.x += away * np.cos(where)
    setup.pose.y += away * np.sin(where)


@kind("sample", (0.1, 0.15, 0.22), "of the field", always=True)
def off_axis(setup: Setup, amount: float, rng: Random) -> None:
    setup.axis, setup.known = (setup.columns - 1) / 2 + amount * setup.columns * _sign(rng), None


def _spacing(setup: Setup) -> float:
    return float(np.median(np.diff(np.sort(setup.reported_deg))))


@kind("angles", (1.0, 3.0, 10.0), "steps", moves=True)
def skip(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.angle -= amount * _spacing(setup) * _step(setup, rng)


@kind("angles", (0.02, 0.08, 0.25), "of the scan", moves=True)
def stall(setup: Setup, amount: float, rng: Random) -> None:
    which = block(setup.count, amount, rng)
    setup.pose.angle[which.start + 1 : which.stop + 1] = setup.pose.angle[which.start]


@kind("angles", (0.01, 0.03, 0.1), "of the step", moves=True)
def wrong_step(setup: Setup, amount: float, rng: Random) -> None:
    setup.pose.angle *= 1 + amount * _sign(rng)


@kind("angles", (0.005, 0.03, 0.1), "of the frames")
def angle_outliers(setup: Setup, amount: float, rng: Random) -> None:
    which = some_frames(setup.count, amount, rng)
    setup.reported_deg[which] += rng.uniform(20, 80, len(which)) * rng.choice([-1, 1], len(which))


@kind("angles", (0.3, 1.0, 4.0), "° rms", moves=True)
def angle_noise(setup: Setup, amount: float, rng: Random) -> None:
    setup.reported_deg += amount * rng.standard_normal(setup.count)


@kind("angles", (0.3, 1.0, 4.0), "°", moves=True)
def encoder_off_center(setup: Setup, amount: float, rng: Random) -> None:
    setup.reported_deg += amount * np.sin(np.deg2rad(setup.pose.angle) + rng.uniform(0, 6))


@kind("angles", (170.0, 120.0, 60.0), "°, where the encoder begins again")
def wrapped_encoder(setup: Setup, amount: float, rng: Random) -> None:
    setup.reported_deg = np.mod(setup.reported_deg, amount)


@kind("angles", (1.0,), "", always=True)
def radians(setup: Setup, amount: float, rng: Random) -> None:
    setup.reported_deg = np.deg2rad(setup.reported_deg)


@kind("angles", (1.0,), "", always=True)
def equal_angles(setup: Setup, amount: float, rng: Random) -> None:
    setup.reported_deg = np.zeros(setup.count)


@kind("angles", (0.93, 0.8, 0.55), "of half a turn", moves=True)
def short_range(setup: Setup, amount: float, rng: Random) -> None:
    def cut(recording: Recording, _: Random) -> None:
        recording.keep(np.mod(recording.angles_deg, 180) < 180 * amount)

    setup.edits.append(cut)


@kind("angles", (0.55, 0.3, 0.12), "of the projections")
def too_few(setup: Setup, amount: float, rng: Random) -> None:
    wanted = np.arange(round(setup.count * amount))
    setup.thin_out(np.asarray(np.round(wanted / amount), np.intp).clip(max=setup.count - 1))
