from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from scipy.ndimage import gaussian_filter

from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.eigen_flats import add_weighted
from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.core.preprocessing.flat_pair import add_late
from streamer.core.preprocessing.live_stripes import steady_offset
from streamer.core.preprocessing.paganin import Paganin, solve_rows
from streamer.core.preprocessing.zingers import find_zingers
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import random_body, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.preparation.warmup import warm_preparation
from tests.paths import DATA

ROWS, COLUMNS, PROJECTIONS = 48, 64, 96
DARK = 100.0


def only(**chosen):
    """Options without the defects, which are on by default."""
    return PreparationOptions(**{"defects": False, **chosen})


OFF = only()
SPEC = ScanSpec("scan", "rod", ROWS, COLUMNS, PROJECTIONS, flats=4, darks=2, dtype="<f4")
OPTICAL = structs.replace(SPEC, energy_kev=25.0, distance_m=0.02, pixel_size_m=1.5e-6)
Y, X = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
NUMBERS = np.arange(PROJECTIONS)
ANGLES = NUMBERS * np.pi / PROJECTIONS


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Attenuation (projection, row, column) of a rod off the axis that becomes thicker with the rows."""
    middle = (COLUMNS - 1) / 2 + 8 * np.cos(ANGLES)[:, None, None]
    radius = 9 + 4 * Y / ROWS
    rod = 0.08 * np.sqrt(np.maximum(0, radius**2 - (X - middle) ** 2))
    return gaussian_filter(rod, (0, 1, 1), truncate=3.0)


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


def test_two_sets_of_flats_give_the_exact_attenuation(truth: np.ndarray) -> None:
    fraction = NUMBERS[:, None, None] / (PROJECTIONS - 1)
    now = (1 - fraction) * beam() + fraction * beam(1.0)
    raw = counts(now * np.exp(-truth))
    preparation, stored = prepared(raw, OFF, before=beam(), after=beam(1.0))
    assert preparation.plain
    assert np.abs(stored - truth).max() > 0.1
    assert np.abs(late(preparation, stored) - truth).max() < 1e-5
    some = slice(10, 20)
    part = stored[:, some].copy()
    result = np.empty_like(part)
    assert preparation.apply_late(part, NUMBERS, some, result) is result
    np.testing.assert_allclose(result, truth[:, some], atol=1e-5)
    assert np.array_equal(part, stored[:, some])
    one = preparation.apply_late(stored[7].copy(), 7)
    np.testing.assert_array_equal(one, late(preparation, stored)[7])


def test_flats_that_come_only_after_the_scan_are_as_good_as_those_before(truth: np.ndarray) -> None:
    net = beam()
    flats = net.copy()
    net[5, 9] = flats[5, 9] = 0.0  # a dead pixel that nobody knows of while the scan runs
    raw = counts(net * np.exp(-truth))
    early, wanted = prepared(raw, OFF, before=flats)
    preparation, stored = prepared(raw, OFF, before=None, after=flats)
    assert not early.late
    assert np.abs(stored - wanted).max() > 0.1
    np.testing.assert_allclose(late(preparation, stored), wanted, atol=1e-5)
    rows = slice(4, 7)
    block = preparation.apply_late(stored[:, rows].copy(), NUMBERS, rows)
    np.testing.assert_allclose(block, wanted[:, rows], atol=1e-5)


def test_a_closed_shutter_after_the_scan_does_not_cost_the_scan(truth: np.ndarray) -> None:
    preparation, stored = prepared(counts(beam() * np.exp(-truth)), OFF, before=beam(), after=np.zeros((ROWS, COLUMNS)))
    assert "beam" in preparation.flats_refused
    assert np.array_equal(late(preparation, stored), stored)


@pytest.mark.parametrize("mode", ["margins", "monitor"])
def test_the_fading_of_the_beam_is_taken_off(truth: np.ndarray, mode: str) -> None:
    level = np.exp(-0.2 * NUMBERS / PROJECTIONS + 0.02 * np.sin(NUMBERS))
    raw = counts(level[:, None, None] * beam() * np.exp(-truth))
    options = only(flat_drift=mode)
    monitors = 50 * np.append(level, level[-1])
    preparation, stored = prepared(raw, options, before=beam(), after=level[-1] * beam(), monitors=monitors)
    assert not preparation.plain
    assert np.abs(stored - truth).max() < 1e-4
    # The flats after the scan show the same fading, which must not be taken off twice.
    assert np.abs(late(preparation, stored) - truth).max() < 1e-4
    assert preparation.drift.last == pytest.approx(-np.log(level[-1]), abs=1e-3)
    assert preparation.drift.unknown == 0


def test_a_monitor_that_fails_keeps_the_last_reading(truth: np.ndarray) -> None:
    raw = counts(0.9 * beam() * np.exp(-truth[:3]))
    monitors = np.array([1.0, 0.9, np.nan, 1.0])
    preparation, stored = prepared(raw, only(flat_drift="monitor"), before=beam(), monitors=monitors)
    assert preparation.drift.unknown == 1
    np.testing.assert_allclose(stored[1:], truth[1:3], atol=1e-4)


def test_eigen_flats_follow_a_moving_beam(truth: np.ndarray) -> None:
    rng = np.random.default_rng(0)

    def moved(shift: float) -> np.ndarray:
        return 20_000 * (1 + 0.15 * np.sin(0.7 * (Y - 1.5 * shift)))

    preparation = Preparation(structs.replace(SPEC, flats=20), 2, only(flat_drift="eigen"))
    shifts = rng.normal(size=20)
    preparation.dark(counts(np.zeros((ROWS, COLUMNS))))
    for shift in shifts:
        preparation.flat(counts(rng.poisson(moved(shift))))
    mean = np.mean([moved(shift) for shift in shifts], axis=0)
    before, after = [], []
    for number in range(6):
        now = moved(rng.normal())
        stored = take_one(preparation, counts(now * np.exp(-truth[number])), number, ANGLES[number])
        before.append(np.log(mean / now))
        after.append(stored - truth[number])
    assert preparation.drift.eigen is not None
    assert len(preparation.drift.eigen.components) > 0
    assert np.std(after) < 0.35 * np.std(before)
    with pytest.raises(BadInput, match="three flats"):
        Preparation(structs.replace(SPEC, flats=2), 2, only(flat_drift="eigen"))


def noisy(truth: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw projections with photon noise, and the attenuation of these counts without any defect."""
    rng = np.random.default_rng(seed)
    net = rng.poisson(beam() * np.exp(-truth)).astype(np.float64)
    return counts(net), np.log(beam() / net).astype(np.float32)


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


def test_hot_and_dead_pixels_are_mended(truth: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    preparation = Preparation(SPEC, 2, only(defects=True))
    gain, pedestal = np.ones((ROWS, COLUMNS)), np.full((ROWS, COLUMNS), DARK)
    gain[20, 30], pedestal[30, 12] = 0.05, 9000.0
    for _ in range(3):
        preparation.dark(rng.poisson(pedestal).astype("<u2"))
    for _ in range(6):
        preparation.flat(rng.poisson(gain * beam() + pedestal).astype("<u2"))
    raw = rng.poisson(gain * beam() * np.exp(-truth[0]) + pedestal).astype("<u2")
    stored = take_one(preparation, raw, 0, 0.0)
    assert preparation.defects == 2
    assert np.abs(stored - truth[0]).max() < 0.08


WIDE = ScanSpec("wide", "body", 2, 320, 192, flats=1, dtype="<f4")
TURN = np.arange(192) * np.pi / 192


def body(noise: float, stripe: float) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (projection, 2, 320) of a body with noise, and offsets (2, 320) of a tenth of the columns."""
    rng = np.random.default_rng(3)
    clean = sinogram(random_body(rng, 320), 320, TURN)
    hit = rng.random((2, 320)) < 0.1
    offset = np.where(hit, rng.choice([-stripe, stripe], hit.shape), 0.0)
    return clean[:, None] + rng.normal(0, noise, (192, 2, 320)), offset


def scanned(attenuation: np.ndarray, stripes: str) -> tuple[Preparation, np.ndarray]:
    preparation = Preparation(WIDE, 2, only(stripes=stripes))
    preparation.flat(np.full((2, 320), 5000.0, np.float32))
    raw = (5000 * np.exp(-attenuation)).astype(np.float32)
    return preparation, take(preparation, raw, 0, TURN)


def test_stripes_are_found_while_scanning() -> None:
    clean, offset = body(0.01, 0.04)
    preparation, stored = scanned(clean + offset, "live")
    assert preparation.refresh(final=True)
    fixed = preparation.apply_late(stored.copy(), np.arange(192))
    assert np.std(fixed - clean) < 0.65 * np.std(stored - clean)
    assert 0.8 < preparation.stripe_columns / np.count_nonzero(offset) < 1.1


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_good_detector_is_left_alone(noise: float) -> None:
    """Although the mean of its projections does stand out in columns: edges of the sample near the axis."""
    clean, _ = body(noise, 0.0)
    preparation, stored = scanned(clean, "live")
    preparation.refresh(final=True)
    fixed = preparation.apply_late(stored.copy(), np.arange(192))
    assert np.sqrt(np.mean((fixed - stored) ** 2)) < 1e-3 * clean.max()


def test_refresh_says_when_a_replay_is_worth_it() -> None:
    clean, offset = body(0.01, 0.04)
    raw = (5000 * np.exp(-clean - offset)).astype(np.float32)
    preparation = Preparation(WIDE, 2, only(stripes="live"))
    preparation.flat(np.full((2, 320), 5000.0, np.float32))
    changes = []
    for number, image in enumerate(raw):
        take_one(preparation, image, number, TURN[number])
        if preparation.refresh():
            changes.append(number)
    assert changes
    assert changes[0] >= 31
    assert len(changes) < 6
    assert not preparation.refresh()


def test_full_stripe_removal_of_the_neutron_sinogram() -> None:
    from PIL import Image

    from streamer.core.quality.artefacts import stripe_index

    path = DATA / "neutron_sinogram_360.tif"
    transmitted = np.asarray(Image.open(path)).astype(np.float32)
    angles, columns = transmitted.shape
    spec = ScanSpec("neutrons", "rods", 1, columns, angles, dtype="<f4", range_deg=360.0)
    preparation = Preparation(spec, 2, only(stripes="full"))
    preparation.flat(np.full((1, columns), 46_900.0, np.float32))
    angle_rad = np.linspace(0, 2 * np.pi, angles)
    stored = take(preparation, transmitted[:, None], 0, angle_rad)
    before = stripe_index(stored)
    preparation.refresh(final=True)
    block = preparation.apply_late(stored, np.arange(angles))
    count = preparation.finish_block(block, angle_rad)
    assert before > 0.03
    assert stripe_index(block) < 0.001
    assert count.dead > 0
    untouched = stored.copy()
    assert Preparation(spec, 2, OFF).finish_block(untouched, angle_rad).large == 0
    assert np.array_equal(untouched, stored)


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


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (OFF, 0.0),
        (only(zingers=8.0, flat_drift="margins"), 0.0),
        (PreparationOptions(zingers=8.0, flat_drift="monitor", stripes="full"), 0.0),
        (only(zingers=8.0, delta_beta=200.0), 2e-5),
    ],
)
def test_raw_rows_read_again_give_the_same_numbers(
    truth: np.ndarray, options: PreparationOptions, tolerance: float
) -> None:
    raw = noisy(truth[:8])[0]
    raw[np.random.default_rng(5).random(raw.shape) < 1e-3] += 30_000
    monitors = 1 + 0.1 * np.sin(np.arange(9))
    preparation, stored = prepared(raw, options, before=beam(), spec=OPTICAL, monitors=monitors)
    for first, last in ((0, ROWS), (0, 5), (20, 23), (ROWS - 1, ROWS)):
        rows = preparation.rows(first, last)
        assert rows.read.start == max(0, first - preparation.halo_rows)
        again = rows.projections(raw[:, rows.read], NUMBERS[:8])
        assert np.abs(again - stored[:, first:last]).max() <= tolerance
    with pytest.raises(BadInput, match="48"):
        preparation.rows(40, 49)
    with pytest.raises(BadInput, match="wanted"):
        preparation.rows(0, 4).projections(raw[:, :1], NUMBERS[:8])


@pytest.mark.parametrize("mode", ["off", "eigen"])
@pytest.mark.parametrize("late", [0, 2])
def test_what_was_worked_out_ahead_is_what_would_have_been_worked_out(truth: np.ndarray, mode: str, late: int) -> None:
    """Idle moments between the flats and the first projection change nothing, even if more flats come after all."""
    rng = np.random.default_rng(4)
    flats = [counts(rng.normal(beam(0.3 * k), 100.0)) for k in range(SPEC.flats)]
    raw = counts(beam() * np.exp(-truth[0]))
    results = []
    for idle in (True, False):
        preparation = Preparation(SPEC, 2, PreparationOptions(zingers=8.0, flat_drift=mode))
        assert not preparation.prepare_ahead()
        for _ in range(SPEC.darks):
            preparation.dark(counts(np.zeros((ROWS, COLUMNS))))
        for flat in flats[: len(flats) - late]:
            preparation.flat(flat)
        waited = 0
        while idle and not preparation.prepare_ahead():
            waited += 1
        assert not idle or (waited > 0) == (late > 0), "flats that are announced are waited for, but not for ever"
        while idle and preparation.prepare_ahead():
            pass
        for flat in flats[len(flats) - late :]:
            preparation.flat(flat)
        results.append(take_one(preparation, raw, 0, 0.0))
        assert not preparation.prepare_ahead()
        assert preparation.describe()["flats_before"] == len(flats)
    np.testing.assert_array_equal(*results)


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
