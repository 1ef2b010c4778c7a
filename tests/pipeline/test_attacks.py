"""Hostile but realistic detectors and operators: whatever they do, the pipeline keeps its numbers and its feet."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.masks import circle_mask
from streamer.frames import DTYPES, Decision, FrameKind, FrameMeta, ReasonCode, ScanSpec
from streamer.phantoms import Ellipse, Gaussian, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

N, ROWS, CENTER = 48, 18, 24.7
OBJECT = [Ellipse(0.02, 17.0, 13.0, 1.0, -2.0, 0.4), Gaussian(0.03, 3.0, 6.0, 5.0)]
ODD = (0.0, 65_535.0, 1e9, -1e9, np.nan, np.inf, -np.inf)


def steps(count, range_deg=180.0):
    return np.arange(count) * np.deg2rad(range_deg) / count


def interlaced(count, turns=4):
    return np.concatenate([np.arange(first, count, turns) for first in range(turns)]) * np.pi / count


def scan(angles, dtype="<u2", range_deg=180.0, noise=0.0, columns=N):
    """The announcement, and (kind, index, angle, pixels) of each frame."""
    spec = ScanSpec("s", "s", ROWS, columns, len(angles), flats=4, darks=2, dtype=dtype, range_deg=range_deg)
    full = 220.0 if dtype == "|u1" else 40_000.0
    rng = np.random.default_rng(7)
    height = np.linspace(0.6, 1.0, ROWS)[:, None]
    lines = sinogram(OBJECT, columns, angles, CENTER)
    beam = full * (1 + noise * rng.standard_normal((ROWS, columns)))
    images = [np.full((ROWS, columns), 9.0)] * 2 + [beam] * 4 + [beam * np.exp(-line * height) for line in lines]
    kinds = [FrameKind.DARK] * 2 + [FrameKind.FLAT] * 4 + [FrameKind.PROJECTION] * len(angles)
    degrees = [0.0] * 6 + np.rad2deg(angles).tolist()
    pixels = [image if dtype == "<f4" else np.round(image) for image in images]
    return spec, list(zip(kinds, range(spec.frames), degrees, [p.astype(dtype) for p in pixels], strict=True))


def new(numba_backend, spec, center=CENTER, preparation=None, **settings):
    chosen = PreparationOptions() if preparation is None else preparation
    options = Settings(reconstruction=ReconstructionOptions(**settings), preparation=chosen)
    return ScanPipeline(spec, numba_backend, options, fixed_center=center)


def push(pipeline, frames, after=lambda number: None):
    for number, (kind, index, angle, pixels) in enumerate(frames):
        pipeline.push(FrameMeta("s", index, kind, angle), pixels)
        after(number)


def volume(pipeline):
    result = np.empty(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(lambda first, last: pytest.fail("the raw file was read")):
        result[first : first + len(block)] = block
    return result


def distance(a, b):
    """Rms of the difference within the circle that all angles see, over the spread of b."""
    mask = circle_mask(b.shape[-1], 0.95)
    return float(np.sqrt(np.mean((a - b)[..., mask] ** 2)) / b[..., mask].std())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", [{}, {"zingers": 8.0, "stripes": "full"}, {"flat_drift": "eigen"}])
def test_a_buffer_that_is_used_for_every_frame_gives_what_fresh_arrays_give(numba_backend, dtype, choice):
    spec, frames = scan(steps(48), dtype, noise=0.02)
    frames = frames + frames[2:4]
    later = [(FrameKind.FLAT, 4, 0.0, frames[4][3]), (FrameKind.FLAT, 5, 0.0, frames[5][3])]
    frames = [frame for frame in frames if frame[1] not in (4, 5)] + later
    fresh, reused = (new(numba_backend, spec, None, PreparationOptions(**choice)) for _ in range(2))
    buffer = np.empty((ROWS, N), dtype)

    def through_the_buffer():
        for kind, index, angle, pixels in frames:
            np.copyto(buffer, pixels)
            yield kind, index, angle, buffer

    def both_look(pipeline):
        return lambda number: (pipeline.work(), number % 9 == 0 and pipeline.follow(pipeline.look(0, 0)()))

    push(fresh, frames, both_look(fresh))
    push(reused, through_the_buffer(), both_look(reused))
    buffer[...] = 0
    for pipeline in (fresh, reused):
        pipeline.refine_center()
        pipeline.view.catch_up()
    assert reused.center == fresh.center
    assert reused.judge(0, 0) == fresh.judge(0, 0)
    np.testing.assert_array_equal(volume(reused), volume(fresh))
    for name, image in fresh.planes.images().items():
        np.testing.assert_array_equal(reused.planes.images()[name], image)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("choice", [{}, {"zingers": 8.0, "stripes": "live", "flat_drift": "margins"}])
def test_damaged_pixels_never_make_a_picture_of_no_numbers(numba_backend, value, choice):
    spec, frames = scan(steps(40), "<f4")
    for kind, index, _, pixels in frames:
        if kind is not FrameKind.DARK and index % 3 == 0:
            pixels[index % ROWS, index % N] = value
        if index == 20:
            pixels[...] = value
    pipeline = new(numba_backend, spec, None, PreparationOptions(**choice))
    push(pipeline, frames, lambda number: (pipeline.follow(pipeline.look(0, 0)()), pipeline.work()))
    pipeline.refine_center()
    assert np.isfinite(volume(pipeline)).all()
    assert all(np.isfinite(image).all() for image in pipeline.planes.images().values())


@pytest.mark.parametrize(("rows", "columns", "projections"), [(1, 2, 3), (1, 3, 2), (17, 2, 9), (2, 5, 1), (3, 33, 40)])
def test_the_smallest_detectors_and_scans(numba_backend, rows, columns, projections):
    spec = ScanSpec("s", "s", rows, columns, projections, flats=1, darks=1)
    pipeline = new(numba_backend, spec, None)
    assert all((image == 0).all() for image in pipeline.planes.images().values())
    rng = np.random.default_rng(1)
    for index in range(spec.frames):
        kind = (FrameKind.DARK, FrameKind.FLAT, FrameKind.PROJECTION)[min(index, 2)]
        level = (10, 900, 500)[min(index, 2)]
        pixels = rng.integers(level, level + 9, (rows, columns)).astype("<u2")
        pipeline.push(FrameMeta("s", index, kind, 180.0 * index / projections), pixels)
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.work()
    pipeline.refine_center()
    pipeline.judge(0, 0)
    assert np.isfinite(volume(pipeline)).all()


@pytest.mark.parametrize("gathered", [30, 60, 120])
@pytest.mark.parametrize("range_deg", [180.0, 200.0, -360.0])
def test_an_axis_that_moves_a_little_while_the_tomogram_lags_behind(numba_backend, range_deg, gathered):
    """What came after the last idle moment may make the scan longer than half a turn, where no axis can be moved."""
    spec, frames = scan(steps(120, range_deg), range_deg=range_deg)
    pipeline, exact = new(numba_backend, spec), new(numba_backend, spec, CENTER + 0.1)
    push(pipeline, frames, lambda number: [pipeline.work() for _ in range(3)] if number < gathered else None)
    push(exact, frames)
    pipeline.fix_center(CENTER + 0.1)
    for each in (pipeline, exact):
        each.refine_center()
    assert distance(volume(pipeline), volume(exact)) < 0.02


def test_a_tomogram_that_is_asked_for_again_is_the_same(numba_backend):
    spec, frames = scan(interlaced(90))
    pipeline, exact = new(numba_backend, spec), new(numba_backend, spec)
    push(pipeline, frames, lambda number: [pipeline.work() for _ in range(3)])
    push(exact, frames)
    for each in (pipeline, exact):
        each.refine_center()
    next(iter(pipeline.tomogram(lambda first, last: pytest.fail("the raw file was read"))))
    assert distance(volume(pipeline), volume(exact)) < 0.01
    assert distance(volume(pipeline), volume(exact)) < 0.01


def test_live_planes_take_stripes_off_the_frames_that_come_after_they_were_found(numba_backend):
    """The kernel that takes raw frames knows nothing of stripes; with a limit for zingers it is not used."""
    spec, frames = scan(steps(160), noise=0.01)
    for kind, _, _, pixels in frames:
        if kind is FrameKind.PROJECTION:
            pixels[:, 15] = np.round(0.95 * pixels[:, 15])
    quick, slow = (new(numba_backend, spec, None, PreparationOptions(stripes="live", zingers=z)) for z in (0.0, 1000.0))
    for pipeline in (quick, slow):

        def between(number, pipeline=pipeline):
            pipeline.follow(pipeline.look(0, 0)())
            while pipeline.work():
                pass

        push(pipeline, frames, between)
    assert distance(quick.planes.images()["xy"], slow.planes.images()["xy"]) < 0.01


def test_a_detector_that_calls_its_flats_projections_does_not_end_the_scan(numba_backend):
    spec, frames = scan(steps(40))
    pipeline = new(numba_backend, spec)
    push(pipeline, [(FrameKind.PROJECTION, index, angle, pixels) for _, index, angle, pixels in frames[::-1]])
    assert pipeline.count == 40
    pipeline.refine_center()
    assert np.isfinite(volume(pipeline)).all()


@pytest.mark.parametrize("center", [1.0, N - 1.5, -20.0])
def test_half_acquisition_about_an_axis_beside_the_detector_does_not_end_the_scan(numba_backend, center):
    spec, frames = scan(steps(60, 360.0), range_deg=360.0)
    pipeline = new(numba_backend, spec, 40.0, geometry="half")

    def between(number):
        if number == 40:
            pipeline.fix_center(center)
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.work()

    push(pipeline, frames, between)
    pipeline.refine_center()
    assert np.isfinite(volume(pipeline)).all()
    assert pipeline.center == center


def test_an_axis_that_was_given_is_not_looked_for(numba_backend):
    spec, frames = scan(steps(60))
    pipeline = new(numba_backend, spec, 20.0)
    push(pipeline, frames, lambda number: pipeline.follow(pipeline.look(0, 0)()))
    pipeline.refine_center()
    assert pipeline.center == 20.0


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_flats_that_were_taken_with_the_shutter_closed_are_named(numba_backend, noise):
    spec, frames = scan(steps(60))
    rng = np.random.default_rng(3)
    dark = 100.0 + noise * rng.standard_normal((6, ROWS, N))

    def closed(kind, index, pixels):
        return pixels if kind is FrameKind.PROJECTION else np.round(dark[index]).astype(pixels.dtype)

    pipeline = new(numba_backend, spec)
    push(pipeline, [(kind, index, angle, closed(kind, index, pixels)) for kind, index, angle, pixels in frames])
    _, verdict = pipeline.judge(0, 0)
    assert verdict.decision is Decision.UNKNOWN
    assert verdict.codes[0] is ReasonCode.NO_LIGHT


@pytest.mark.parametrize("zingers", [0.0, 5.0])
@pytest.mark.parametrize("before", [16, 17, 21, 26])
def test_planes_that_are_finished_in_the_middle_of_a_batch_hold_every_frame_once(numba_backend, zingers, before):
    """With zingers looked for, frames are prepared one by one, but stored and folded in together."""
    spec, frames = scan(steps(60))
    options = PreparationOptions(zingers=zingers)
    moved, plain = new(numba_backend, spec, CENTER + 3, options), new(numba_backend, spec, CENTER, options)
    push(plain, frames)
    push(moved, frames[:before])
    moved.fix_center(CENTER)
    for first in range(before, len(frames), 8):
        some = frames[first : first + 8]
        metas = [FrameMeta("s", index, kind, angle) for kind, index, angle, _ in some]
        moved.push_batch(metas, np.stack([pixels for *_, pixels in some]))
    moved.view.catch_up()
    assert moved.view.count == moved.count == 60
    for name, image in plain.planes.images().items():
        np.testing.assert_allclose(moved.planes.images()[name], image, atol=2e-3 * np.abs(image).max())


@pytest.mark.parametrize("memory_bytes", [2**30, 2**17], ids=["stored", "read again"])
def test_pixels_that_are_no_numbers_are_filled_and_counted(numba_backend, memory_bytes):
    spec, frames = scan(steps(60), "<f4")
    reference = new(numba_backend, spec, memory_mb=memory_bytes / 2**20)
    push(reference, frames)
    raw = np.stack([pixels for kind, _, _, pixels in frames if kind is FrameKind.PROJECTION])
    rng = np.random.default_rng(1)
    lost = rng.random(raw.shape) < 1e-3
    raw[lost] = rng.choice([np.nan, np.inf, -np.inf], np.count_nonzero(lost))
    spoiled = new(numba_backend, spec, memory_mb=memory_bytes / 2**20)
    push(spoiled, frames[:6] + [(*frame[:3], pixels) for frame, pixels in zip(frames[6:], raw, strict=True)])
    assert spoiled.parameters()["nonfinite_pixels"] == np.count_nonzero(lost) > 0
    clean = np.stack([pixels for kind, _, _, pixels in frames if kind is FrameKind.PROJECTION])
    good, mended = finished(reference, steps(60), clean), finished(spoiled, steps(60), raw)
    assert np.isfinite(mended).all()
    assert np.abs(mended - good).max() < 0.1 * np.abs(good).max()


def finished(pipeline, angles, raw):
    """The tomogram; ``raw`` (projections, rows, columns) is what the file holds."""
    pipeline.refine_center()
    volume = np.empty(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(lambda top, bottom: (6 + np.arange(len(raw)), angles, raw[:, top:bottom])):
        volume[first : first + len(block)] = block
    return volume
