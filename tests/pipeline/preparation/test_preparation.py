from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.eigen_flats import add_weighted
from streamer.core.preprocessing.flat_pair import add_late
from streamer.core.preprocessing.live_stripes import steady_offset
from streamer.core.preprocessing.paganin import Paganin, solve_rows
from streamer.core.preprocessing.zingers import find_zingers
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.warmup import warm_preparation
from tests.pipeline.preparation.scan import (
    ANGLES,
    COLUMNS,
    OPTICAL,
    PROJECTIONS,
    ROWS,
    SPEC,
    X,
    Y,
    beam,
    counts,
    late,
    noisy,
    only,
    prepared,
    take_one,
)


def test_zingers_go_and_are_counted(truth: np.ndarray) -> None:
    raw, clean = noisy(truth)
    hit = np.random.default_rng(1).random(raw.shape) < 3e-4
    raw[hit] += 30_000
    preparation, stored = prepared(raw, only(zingers=8.0), before=beam())
    assert preparation.zingers == hit.sum() > 50
    assert np.abs(stored - clean)[~hit].max() < 1e-5
    assert np.abs(stored - clean)[hit].max() < 0.15
    assert preparation.spoiled == 0
    assert preparation.describe()["zingers_removed"] == preparation.zingers


def fields() -> tuple[np.ndarray, np.ndarray]:
    return counts(np.zeros((ROWS, COLUMNS))), counts(beam())


def propagated(truth: np.ndarray, optics: Paganin) -> np.ndarray:
    """What the detector sees of attenuation (rows, cols): the differences of the transport of intensity equation."""
    transmission = np.exp(-truth)
    padded = np.pad(transmission, 1, mode="symmetric")
    bend = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * transmission
    return transmission - optics.alpha_px2 * bend


def test_phase_retrieval_undoes_propagation_early_and_late(truth: np.ndarray) -> None:
    options = only(delta_beta=200.0)
    optics = Preparation(OPTICAL, 2, options).optics
    assert optics is not None
    smooth = np.exp(-0.5 * ((X - 32) ** 2 + (Y - 24) ** 2) / 36)[None] * np.linspace(0.5, 1, 12)[:, None, None]
    seen = np.stack([propagated(image, optics) for image in smooth])
    assert np.abs(-np.log(seen) - smooth).max() > 0.02
    preparation, stored = prepared(counts(beam() * seen), options, before=beam(), spec=OPTICAL)
    assert np.abs(stored - smooth).max() < 0.01 * smooth.max()
    # Flats from after the scan pass through the linear part of the retrieval: right to first order.
    faded = beam(0.5)
    raw = counts(faded * seen)
    preparation, stored = prepared(raw, options, before=None, after=faded, spec=OPTICAL)
    assert np.abs(stored - smooth).max() > 0.1
    assert np.abs(late(preparation, stored) - smooth).max() < 0.03


def test_without_flats_darks_or_frames(truth: np.ndarray) -> None:
    preparation = Preparation(SPEC, 2)
    with pytest.raises(BadInput, match="no projection"):
        _ = preparation.correction
    assert not preparation.refresh(final=True)
    assert not preparation.late
    assert preparation.describe()["flats_before"] == 0
    flat = np.full((ROWS, COLUMNS), 20_000.0)
    stored = take_one(preparation, (flat * np.exp(-truth[0])).astype("<u2"), 0, 0.0)
    assert np.abs(stored - truth[0]).max() < 1e-3
    preparation.dark(np.zeros((ROWS, COLUMNS)))
    assert preparation.late_darks == 1
    for number in (-1, PROJECTIONS):
        with pytest.raises(BadInput, match="of 96"):
            take_one(preparation, flat.astype("<u2"), number, 0.0)


@pytest.mark.parametrize("shape", [(1, 4), (1, 64), (3, 2), (40, 5)])
def test_frames_of_few_pixels(shape: tuple[int, int]) -> None:
    spec = ScanSpec("s", "s", *shape, 40, flats=1, energy_kev=20.0, distance_m=0.1, pixel_size_m=1e-6)
    everything = PreparationOptions(zingers=8.0, flat_drift="margins", stripes="full", delta_beta=100.0)
    preparation = Preparation(spec, 2, everything)
    preparation.flat(np.full(shape, 1000, "<u2"))
    for number in range(40):
        image = take_one(preparation, np.full(shape, 900, "<u2"), number, number * np.pi / 40)
    preparation.flat(np.full(shape, 900, "<u2"))
    preparation.refresh(final=True)
    image = preparation.apply_late(image, 39)
    assert np.isfinite(image).all()
    block = np.repeat(image[None], 40, axis=0)
    preparation.finish_block(block, np.arange(40) * np.pi / 40)
    assert np.isfinite(block).all()


def test_not_a_number_never_comes_out(truth: np.ndarray) -> None:
    spec = structs.replace(SPEC, energy_kev=25.0, distance_m=0.02, pixel_size_m=1.5e-6)
    preparation = Preparation(spec, 2, PreparationOptions(zingers=8.0, flat_drift="margins", delta_beta=200.0))
    dark, flat = fields()
    dark[1, 1], flat[2, 3], flat[2, 4] = np.nan, np.nan, np.inf
    preparation.dark(dark)
    preparation.flat(flat)
    raw = counts(beam() * np.exp(-truth))
    raw[:, 7, 7], raw[:, 8, 8], raw[:, 9, 9] = np.nan, np.inf, -np.inf
    for number, image in enumerate(raw):
        stored = take_one(preparation, image, number, ANGLES[number])
        assert np.isfinite(stored).all()
    flat[11, 12] = np.nan
    preparation.flat(flat)
    preparation.refresh(final=True)
    assert np.isfinite(preparation.apply_late(stored, 95)).all()


def test_options_are_checked_against_the_scan_too() -> None:
    wrong = {"zingers": -1, "defects": 1, "flat_drift": "on", "stripes": "all", "delta_beta": float("nan")}
    for name, value in wrong.items():
        with pytest.raises(BadInput, match=name):
            PreparationOptions(**{name: value})
    with pytest.raises(BadInput, match="rings"):
        PreparationOptions(rings=True)
    with pytest.raises(BadInput, match="energy_kev, distance_m, pixel_size_m"):
        Preparation(SPEC, 2, PreparationOptions(delta_beta=10.0))


def test_after_warming_no_kernel_is_compiled(numba_backend: Backend, truth: np.ndarray) -> None:
    warm_preparation(numba_backend)
    before = [len(kernel.signatures) for kernel in (add_late, add_weighted, find_zingers, steady_offset, solve_rows)]
    options = PreparationOptions(zingers=8.0, flat_drift="margins", stripes="full", delta_beta=200.0)
    preparation, stored = prepared(
        counts(beam() * np.exp(-truth)), options, before=beam(), after=beam(0.3), spec=OPTICAL
    )
    late(preparation, stored)
    assert before == [
        len(kernel.signatures) for kernel in (add_late, add_weighted, find_zingers, steady_offset, solve_rows)
    ]
    assert min(before) > 0
    assert preparation.nbytes > 100 * ROWS * COLUMNS
