"""A scan of a rod that the tests of the preparation share."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.frames import ScanSpec
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections

ROWS, COLUMNS, PROJECTIONS = 48, 64, 96
DARK = 100.0
SPEC = ScanSpec("scan", "rod", ROWS, COLUMNS, PROJECTIONS, flats=4, darks=2, dtype="<f4")
OPTICAL = structs.replace(SPEC, energy_kev=25.0, distance_m=0.02, pixel_size_m=1.5e-6)
Y, X = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
NUMBERS = np.arange(PROJECTIONS)
ANGLES = NUMBERS * np.pi / PROJECTIONS


def only(**chosen: object) -> PreparationOptions:
    """Options without the defects, which are on by default."""
    return PreparationOptions(**{"defects": False, **chosen})


OFF = only()


def beam(change: float = 0.0) -> np.ndarray:
    """Net counts; ``change`` tilts it and lets it fade."""
    pattern = 1 + 0.2 * np.sin(X / 5) * np.cos(Y / 7)
    return 20_000 * pattern * (1 + change * (0.08 * X / COLUMNS - 0.1 + 0.05 * np.sin(Y / 4)))


def counts(net: np.ndarray) -> np.ndarray:
    return (net + DARK).astype(np.float32)


def take(
    preparation: Preparation, pixels: np.ndarray, number: int, angles: np.ndarray, monitors: np.ndarray | None = None
) -> np.ndarray:
    """Attenuation of raw projections (n, rows, columns), the first of which is the ``number``-th."""
    monitors, index = np.ones(len(pixels)) if monitors is None else monitors, number + np.arange(len(pixels))
    attenuation, moments = np.empty(pixels.shape, np.float32), np.empty((*pixels.shape[:2], 4))
    preparation.prepare(RawProjections(pixels, number, angles, monitors, index), attenuation, moments)
    np.testing.assert_array_equal(moments, row_moments_of(attenuation))
    return attenuation


def take_one(preparation: Preparation, pixels: np.ndarray, number: int, angle: float) -> np.ndarray:
    return take(preparation, pixels[None], number, np.array([angle]))[0]


def prepared(
    raw: np.ndarray,
    options: PreparationOptions,
    *,
    before: np.ndarray | None,
    after: np.ndarray | None = None,
    spec: ScanSpec = SPEC,
    monitors: np.ndarray | None = None,
) -> tuple[Preparation, np.ndarray]:
    """A scan with darks, flats before, projections ``raw``, flats after; what was stored of it."""
    monitors = np.ones(len(raw) + 1) if monitors is None else monitors
    preparation = Preparation(spec, 2, options)
    preparation.dark(counts(np.zeros((ROWS, COLUMNS))))
    if before is not None:
        for _ in range(4):
            preparation.flat(counts(before), float(monitors[0]))
    stored = take(preparation, raw, 0, ANGLES[: len(raw)], monitors[: len(raw)])
    if after is not None:
        preparation.flat(counts(after), float(monitors[-1]))
    preparation.refresh(final=True)
    return preparation, stored


def late(preparation: Preparation, stored: np.ndarray) -> np.ndarray:
    return preparation.apply_late(stored.copy(), NUMBERS[: len(stored)])


def noisy(truth: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw projections with photon noise, and the attenuation of these counts without any defect."""
    rng = np.random.default_rng(seed)
    net = rng.poisson(beam() * np.exp(-truth)).astype(np.float64)
    return counts(net), np.log(beam() / net).astype(np.float32)
