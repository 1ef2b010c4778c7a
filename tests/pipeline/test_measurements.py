"""Measurements of a scan, pushed projection by projection as the pipeline does, against scans whose axis is known."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from benchmarks.reconstruction.center import random_scan
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.frames import ScanSpec
from streamer.phantoms import body_projections, half_turn, random_body
from streamer.pipeline.measurements import Measurements
from tests.paths import DATA


def begin(numba_backend: Backend, frames: np.ndarray, range_deg: float = 180.0, **more: float) -> Measurements:
    count, rows, columns = frames.shape
    return Measurements(ScanSpec("scan", "sample", rows, columns, count, range_deg=range_deg, **more), numba_backend)


def push(measured: Measurements, angles: np.ndarray, frames: np.ndarray) -> None:
    for angle, frame, moments in zip(angles, frames, row_moments_of(frames), strict=True):
        measured.projections([float(angle)], [measured.count], frame[None], moments[None])


def noisy(angles: np.ndarray, center: float, rows: int = 32, columns: int = 128, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = body_projections(random_body(rng, columns), rows, columns, angles, center)
    return (frames + rng.normal(0, 0.03, frames.shape)).astype(np.float32)


def check(found: CenterEstimate, truth: float, px: float, confidence: float) -> None:
    assert found.center == pytest.approx(truth, abs=px)
    assert found.confidence >= confidence
    assert abs(truth - found.center) < 4 * found.sigma_px


@pytest.mark.parametrize("seed", [1003, 1008, 1014, 1019, 1032])
def test_the_centre_of_random_scans(numba_backend: Backend, seed: int) -> None:
    scan = random_scan(seed)
    measured = begin(numba_backend, scan.frames, 360.0 if scan.turn == "full" else 180.0)
    push(measured, scan.angles, scan.frames)
    check(measured.refine_center(), scan.truth, 0.1, 0.7)
    found = measured.refine_center(scan.frames)
    check(found, scan.truth, 0.1, 0.7)
    assert measured.center is found
    assert found.curve is not None
    candidates, score = found.curve
    assert candidates[score.argmin()] == pytest.approx(scan.truth, abs=2)


def test_opposite_views_tell_the_centre_while_the_scan_runs(numba_backend: Backend) -> None:
    angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    frames = noisy(angles, 67.3)
    measured = begin(numba_backend, frames, 360.0)
    push(measured, angles[:100], frames[:100])
    assert "pairs" not in measured.estimate_center().method
    push(measured, angles[100:124], frames[100:124])
    found = measured.estimate_center()
    assert "pairs" in found.method
    check(found, 67.3, 0.1, 0.9)
    push(measured, angles[124:], frames[124:])
    before = measured.estimate_center()
    assert before.sigma_px <= found.sigma_px
    check(before, 67.3, 0.1, 0.95)


def test_half_acquisition_is_known_after_the_first_turn(numba_backend: Backend) -> None:
    scan = random_scan(1003)
    measured = begin(numba_backend, scan.frames, 360.0)
    half = len(scan.frames) // 2
    push(measured, scan.angles[: half - 5], scan.frames[: half - 5])
    assert measured.estimate_center().center is None
    push(measured, scan.angles[half - 5 :], scan.frames[half - 5 :])
    for _ in range(8):
        found = measured.estimate_center()
    check(found, scan.truth, 0.2, 0.5)


def test_the_angles_may_come_in_any_order(numba_backend: Backend) -> None:
    angles = half_turn(180)
    frames = noisy(angles, 60.8)
    order = np.concatenate([np.arange(k, 180, 4) for k in (0, 2, 1, 3)])
    interlaced, backwards = (
        begin(numba_backend, frames),
        begin(numba_backend, frames, start_deg=180.0, range_deg=-180.0),
    )
    push(interlaced, angles[order], frames[order])
    push(backwards, angles[::-1], frames[::-1])
    for measured in (interlaced, backwards):
        found = measured.refine_center()
        assert "pairs" in found.method
        check(found, 60.8, 0.1, 0.95)


def test_an_axially_symmetric_sample_on_a_small_detector(numba_backend: Backend) -> None:
    """A round rod off the axis's middle column: its edges stand still in the sinogram, as stripes do."""
    angles, center = half_turn(90), 39.6
    rng = np.random.default_rng(2)
    t = np.arange(64)[None, :] - center
    chord = np.sqrt(np.maximum(21.2**2 - t**2, 0)) / 40 + np.sqrt(np.maximum(5.3**2 - t**2, 0)) / 20
    pores = [(17.0, 0.4, 12), (15.0, 2.1, 40), (18.0, 4.0, 25)]
    frames = np.repeat(chord[None].repeat(64, axis=1), 90, axis=0)
    for radius, turn, row in pores:
        shift = radius * np.cos(angles - turn)
        frames[:, row - 3 : row + 4] -= 0.05 * np.sqrt(np.maximum(9 - (t - shift[:, None]) ** 2, 0))[:, None, :]
    frames = (frames + rng.normal(0, 0.02, frames.shape)).astype(np.float32)
    measured = begin(numba_backend, frames)
    push(measured, angles, frames)
    check(measured.refine_center(frames), center, 0.1, 0.9)


def test_a_sample_that_jumped_has_no_certain_centre(numba_backend: Backend) -> None:
    angles = half_turn(180)
    frames = noisy(angles, 64.0)
    frames[100:] = noisy(angles, 68.0)[100:]
    measured = begin(numba_backend, frames)
    push(measured, angles, frames)
    assert measured.refine_center().confidence < 0.5
    assert measured.quality(0, 0, None, final=True).motion_px > 1.0
    assert measured.quality(0, 0, None).motion_px == pytest.approx(4.0, abs=0.6), "one step, seen while it runs"


def test_an_empty_holder_has_no_centre(numba_backend: Backend) -> None:
    angles = half_turn(120)
    frames = np.random.default_rng(0).normal(0, 0.03, (120, 24, 96)).astype(np.float32)
    measured = begin(numba_backend, frames)
    assert measured.refine_center().center is None
    push(measured, angles, frames)
    assert measured.estimate_center().confidence < 0.5
    assert measured.refine_center(frames).center is None


def test_more_projections_than_announced_are_measured_all_the_same(numba_backend: Backend) -> None:
    angles = half_turn(120)
    frames = noisy(angles, 66.0)
    measured = Measurements(ScanSpec("scan", "sample", 32, 128, 100), numba_backend)
    push(measured, angles, frames)
    assert measured.count == 120
    check(measured.refine_center(), 66.0, 0.15, 0.8)
    assert measured.coverage() == pytest.approx(1.0)


def test_directions_that_lack_though_all_projections_came_are_not_covered(numba_backend: Backend) -> None:
    angles = half_turn(120) * (172 / 180)
    measured = begin(numba_backend, noisy(angles, 66.0))
    push(measured, angles, noisy(angles, 66.0))
    assert measured.coverage() == pytest.approx(1 - 8 / 180, abs=0.005)


@pytest.mark.parametrize("moves_px", [0.0, 2.0])
def test_a_beam_whose_stripes_move_is_told_from_a_sample_that_turns(numba_backend: Backend, moves_px: float) -> None:
    angles, column = half_turn(120), np.arange(128)
    frames = noisy(angles, 63.0)
    shift = moves_px * np.arange(120)[:, None] / 120
    stripes = 0.1 * np.sin((column - shift) / 2.5) - 0.1 * np.sin(column / 2.5)
    measured = begin(numba_backend, frames)
    measured.begin(None, np.tile(1000 * np.exp(0.1 * np.sin(column / 2.5)), (32, 1)).astype(np.float32))
    push(measured, angles, (frames - stripes[:, None]).astype(np.float32))
    measured.refine_center()
    found = measured.quality(0, 0, None, final=True)
    assert found.beam_shift_px == pytest.approx(moves_px / np.sqrt(3), rel=0.2)
    assert (found.beam_moved > 0.02) == (moves_px > 0)


def test_a_jolt_shows_where_all_projections_are_cut_off(numba_backend: Backend) -> None:
    angles = half_turn(180)
    wide, moved = (noisy(angles, center, columns=256)[..., 96:160] for center in (128.0, 130.0))
    jolted = np.where((np.arange(180) < 70)[:, None, None], wide, moved)
    found = []
    for frames in (wide, jolted):
        measured = begin(numba_backend, frames)
        push(measured, angles, np.ascontiguousarray(frames))
        measured.refine_center()
        found.append(measured.quality(0, 0, None, final=True))
    assert found[0].truncation > 0.5
    assert found[0].motion_px < 0.25
    assert found[1].motion_px == pytest.approx(2.0, abs=0.5)


GOLDEN = np.pi * np.mod(np.arange(120) * (5**0.5 - 1) / 2, 1.0)


@pytest.mark.parametrize(
    ("angles", "range_deg", "gap"),
    [
        (half_turn(120), 180.0, 0.0),
        (GOLDEN, 180.0, 0.0),
        (half_turn(120) * 8, 1440.0, 0.0),
        (half_turn(120) * 150 / 180, 150.0, 0.0),
        (np.delete(half_turn(120), [50]), 180.0, 0.0),
        (np.delete(half_turn(120), [50, 51]), 180.0, 3.0),
        (half_turn(120) * (176.5 / 180), 180.0, 3.5),
        (GOLDEN[(GOLDEN < 1.0) | (GOLDEN > 1.07)], 180.0, 4.0),
    ],
)
def test_an_arc_without_projections_is_measured(
    numba_backend: Backend, angles: np.ndarray, range_deg: float, gap: float
) -> None:
    measured = begin(numba_backend, np.zeros((120, 8, 64), np.float32), range_deg)
    push(measured, angles, np.zeros((len(angles), 8, 64), np.float32))
    found = measured.gap_deg()
    assert found == pytest.approx(gap, abs=0.05) if gap in (0.0, 3.0, 3.5) else 2.5 < found < 5.0


def through_measurements(
    numba_backend: Backend, angles: np.ndarray, frames: np.ndarray, range_deg: float
) -> CenterEstimate:
    measured = begin(numba_backend, frames, range_deg)
    push(measured, angles, frames)
    return measured.refine_center()


def test_tooth(numba_backend: Backend) -> None:
    with h5py.File(DATA / "tooth.h5") as file:
        exchange = file["exchange"]
        raw, theta = exchange["data"][:], np.deg2rad(exchange["theta"][:])
        dark, flat = exchange["data_dark"][:].mean(axis=0), exchange["data_white"][:].mean(axis=0)
    frames = -np.log(np.clip((raw - dark) / (flat - dark), 1e-3, None)).astype(np.float32)
    found = through_measurements(numba_backend, theta, frames, 180.0)
    assert found.center == pytest.approx(295.9, abs=0.5)
    assert found.confidence > 0.5


def test_neutron_sinogram_with_stripes(numba_backend: Backend) -> None:
    with Image.open(DATA / "neutron_sinogram_360.tif") as picture:
        counts = np.array(picture, np.float32)
    frames = -np.log(np.clip(counts / 46_900, 1e-3, None))[:, None].astype(np.float32)
    found = through_measurements(numba_backend, np.linspace(0, 2 * np.pi, len(frames)), frames, 360.0)
    assert found.center == pytest.approx(245.1, abs=0.5)
    assert found.confidence > 0.5


def test_what_is_known_at_a_moment_stays_while_projections_come(numba_backend: Backend) -> None:
    """Asked later, it answers as it would have at once; and the object goes on as if nobody had asked."""
    angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    frames = noisy(angles, 67.3)
    measured, unasked = (begin(numba_backend, frames, 360.0) for _ in range(2))
    push(measured, angles[:150], frames[:150])
    push(unasked, angles[:150], frames[:150])
    then = measured.so_far()
    push(measured, angles[150:], frames[150:])
    assert (then.count, measured.count) == (150, 240)
    assert then.estimate_center().center == unasked.estimate_center().center
    assert then.quality(0, 0, None) == unasked.quality(0, 0, None)
    push(unasked, angles[150:], frames[150:])
    assert measured.refine_center().center == unasked.refine_center().center
    assert measured.quality(0, 0, None, final=True) == unasked.quality(0, 0, None, final=True)
