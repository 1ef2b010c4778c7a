"""What goes wrong with the beam, and with flats and darks."""

from __future__ import annotations

import numpy as np

from benchmarks.verdict_voxels.kinds import block, kind, some_frames
from benchmarks.verdict_voxels.setup import CEILING, DARK_LEVEL, Recording, Setup

Random = np.random.Generator


@kind("beam", (0.005, 0.03, 0.2), "of the frames")
def beam_dump(setup: Setup, amount: float, rng: Random) -> None:
    setup.light[block(setup.count, amount, rng)] = 0.0


@kind("beam", (0.01, 0.05, 0.2), "of the frames")
def shutter_trips(setup: Setup, amount: float, rng: Random) -> None:
    setup.light[some_frames(setup.count, amount, rng)] = 0.0


@kind("beam", (0.01, 0.05, 0.2), "of the frames")
def shutter_late(setup: Setup, amount: float, rng: Random) -> None:
    count = max(1, round(amount * setup.count))
    setup.light[:count] = 0.0
    setup.light[count : count + 2] *= (0.3, 0.8)


@kind("beam", (0.02, 0.1, 0.4), "of the frames")
def dim_frames(setup: Setup, amount: float, rng: Random) -> None:
    which = some_frames(setup.count, amount, rng)
    setup.light[which] *= rng.uniform(0.05, 0.5, len(which))


@kind("beam", (0.15, 0.4, 0.8), "of the beam")
def beam_decay(setup: Setup, amount: float, rng: Random) -> None:
    setup.light *= np.linspace(1, 1 - amount, setup.count)


@kind("beam", (0.02, 0.08, 0.3), "of the beam, rms")
def flicker(setup: Setup, amount: float, rng: Random) -> None:
    setup.light *= np.clip(1 + amount * rng.standard_normal(setup.count), 0.1, None)


@kind("beam", (0.7, 2.0, 6.0), "rows")
def beam_moves(setup: Setup, amount: float, rng: Random) -> None:
    setup.beam_z += np.linspace(0, amount, setup.count) * rng.choice([-1, 1])


def _screen(setup: Setup, frames: np.ndarray, part: tuple[slice, slice]) -> None:
    screen = np.ones((setup.rows, setup.columns))
    screen[part] = 0.0
    for frame in frames:
        setup.screens[int(frame)] = screen


@kind("beam", (0.01, 0.06, 0.3), "of the frames")
def half_shutter(setup: Setup, amount: float, rng: Random) -> None:
    which = block(setup.count, amount, rng)
    edge = int(setup.columns * rng.uniform(0.3, 0.7))
    _screen(setup, np.arange(setup.count)[which], (slice(None), slice(0, edge)))


@kind("beam", (0.01, 0.06, 0.3), "of the frames")
def half_shutter_rows(setup: Setup, amount: float, rng: Random) -> None:
    which = some_frames(setup.count, amount, rng)
    _screen(setup, which, (slice(0, int(setup.rows * rng.uniform(0.3, 0.7))), slice(None)))


@kind("beam", (1.0, 3.0, 6.0), "rows")
def shadow(setup: Setup, amount: float, rng: Random) -> None:
    _screen(setup, np.arange(setup.count), (slice(0, int(amount)), slice(None)))


@kind("beam", (0.95, 1.2, 2.0), "of the camera's ceiling")
def saturated(setup: Setup, amount: float, rng: Random) -> None:
    setup.photons = CEILING * amount


@kind("beam", (1.05, 0.85, 0.5), "of the beam, where the camera saturates")
def saturated_early(setup: Setup, amount: float, rng: Random) -> None:
    setup.ceiling = round(setup.photons * amount + DARK_LEVEL)


@kind("beam", (800.0, 200.0, 40.0), "quanta")
def low_dose(setup: Setup, amount: float, rng: Random) -> None:
    setup.photons = amount


@kind("beam", (1.0, 2.0, 4.0), "px rms")
def defocus(setup: Setup, amount: float, rng: Random) -> None:
    setup.blur = amount


@kind("fields", (1.0, 8.0, 20.0), "of 20 flats")
def sample_in_flats(setup: Setup, amount: float, rng: Random) -> None:
    setup.flat_holds[rng.permutation(len(setup.flat_holds))[: int(amount)]] = 1.0


@kind("fields", (1.0, 6.0, 15.0), "of 20 flats")
def dark_flats(setup: Setup, amount: float, rng: Random) -> None:
    setup.flat_light[rng.permutation(len(setup.flat_light))[: int(amount)]] = 0.0


@kind("fields", (0.02, 0.1, 0.4), "of the beam")
def dimmer_flats(setup: Setup, amount: float, rng: Random) -> None:
    setup.flat_light *= 1 - amount


@kind("fields", (0.7, 2.0, 6.0), "rows")
def old_flats(setup: Setup, amount: float, rng: Random) -> None:
    setup.flat_z = amount * float(rng.choice([-1, 1]))


@kind("fields", (1.0,), "", always=True)
def no_flats(setup: Setup, amount: float, rng: Random) -> None:
    def drop(recording: Recording, _: Random) -> None:
        recording.flats = None

    setup.edits.append(drop)


@kind("fields", (1.0,), "")
def no_darks(setup: Setup, amount: float, rng: Random) -> None:
    def drop(recording: Recording, _: Random) -> None:
        recording.darks = None

    setup.edits.append(drop)


@kind("fields", (2.0, 8.0, 20.0), "of 20 darks")
def lit_darks(setup: Setup, amount: float, rng: Random) -> None:
    setup.dark_light[rng.permutation(len(setup.dark_light))[: int(amount)]] = 0.5


@kind("fields", (0.01, 0.05, 0.2), "of the beam")
def leaking_darks(setup: Setup, amount: float, rng: Random) -> None:
    setup.dark_light += amount


@kind("fields", (0.005, 0.03, 0.15), "of the beam")
def offset_drifts(setup: Setup, amount: float, rng: Random) -> None:
    def drift(recording: Recording, _: Random) -> None:
        added = np.round(np.linspace(0, amount * setup.photons, len(recording.projections)))
        higher = recording.projections + added[:, None, None]
        recording.projections = np.clip(higher, 0, CEILING).astype(np.uint16)

    setup.edits.append(drift)
