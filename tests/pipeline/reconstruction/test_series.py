"""Many tomograms of one scan: which projections belong to which, and that each shows its own moment."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamer.core.backend.selection import select_backend
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.phantoms import Gaussian, image, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.reconstruction.series import Series
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

N, ROWS, EACH, TURNS = 48, 12, 60, 4
CENTER = (N - 1) / 2
STRENGTH = (1.0, 2.0, 0.5, 3.0)  # of the sample in each half turn
BODY = Gaussian(0.02, 4.0, 5.0, -3.0)
SPEC = ScanSpec(
    "scan", "sample", ROWS, N, EACH * TURNS, flats=4, darks=2, range_deg=-180.0 * TURNS, tomogram_deg=180.0,
    center_px=CENTER,
)  # fmt: skip
FIRST = 6


@pytest.fixture
def backend():
    return select_backend("numba", threads=1)[0]


def frames(modulo: float | None = None, center: float = CENTER):
    beam = np.full((ROWS, N), 40_000.0)
    yield from ((FrameMeta("scan", k, FrameKind.DARK, 0.0), np.zeros((ROWS, N), "<u2")) for k in range(2))
    yield from ((FrameMeta("scan", 2 + k, FrameKind.FLAT, 0.0), beam.astype("<u2")) for k in range(4))
    angles = -np.pi * np.arange(EACH * TURNS) / EACH
    lines = sinogram([BODY], N, angles, center)
    for k, (angle, line) in enumerate(zip(angles, lines, strict=True)):
        told = np.rad2deg(angle) if modulo is None else np.rad2deg(angle) % modulo
        pixels = np.round(beam * np.exp(-line * STRENGTH[k // EACH])).astype("<u2")
        yield FrameMeta("scan", FIRST + k, FrameKind.PROJECTION, float(told)), pixels


def pipeline_of(backend, spec=SPEC, memory_mb=4096.0, planes=()):
    settings = Settings(
        reconstruction=ReconstructionOptions(window="ramp", memory_mb=memory_mb),
        preparation=PreparationOptions(zingers=0.0, stripes="off", flat_drift="off"),
    )
    return ScanPipeline(spec, backend, settings, planes=planes)


def no_rows(first: int, last: int):
    raise AssertionError("everything is stored")


def volume(pipeline, moment, read=no_rows):
    out = np.zeros(pipeline.shape, np.float32)
    for first, block in pipeline.moment(moment, read):
        out[first : first + len(block)] = block
    return out


def errors(pipeline, moment, read=no_rows):
    truth = image([BODY], N) * STRENGTH[moment.number]
    return np.abs(volume(pipeline, moment, read) - truth).max() / truth.max()


@pytest.mark.parametrize("modulo", [None, 360.0])
def test_each_half_turn_is_a_tomogram_as_soon_as_its_projections_have_come(backend, modulo) -> None:
    pipeline = pipeline_of(backend)
    given = []
    for meta, pixels in frames(modulo):
        pipeline.push(meta, pixels)
        while (moment := pipeline.next_moment()) is not None:
            given.append((moment.number, pipeline.count))
            assert errors(pipeline, moment) < 0.03
    assert given == [(k, (k + 1) * EACH) for k in range(TURNS)]
    pipeline.refine_center()
    assert pipeline.next_moment() is None


def test_frames_that_lack_delay_their_tomogram_and_move_no_other(backend) -> None:
    pipeline = pipeline_of(backend)
    lost = {FIRST + EACH + 7, FIRST + EACH + 8}
    given = []
    for meta, pixels in frames():
        if meta.index not in lost:
            pipeline.push(meta, pixels)
        while (moment := pipeline.next_moment()) is not None:
            given.append(moment.number)
    assert given == [0, 2, 3]
    pipeline.refine_center()
    last = pipeline.next_moment()
    assert (last.number, len(last.numbers)) == (1, EACH - 2)
    assert errors(pipeline, last) < 0.05
    assert pipeline.next_moment() is None


def test_a_scan_that_was_stopped_has_the_tomograms_that_it_has_projections_for(backend) -> None:
    pipeline = pipeline_of(backend)
    for meta, pixels in frames():
        if meta.index < FIRST + 2 * EACH + 20:
            pipeline.push(meta, pixels)
    pipeline.refine_center()
    numbers = []
    while (moment := pipeline.next_moment()) is not None:
        numbers.append(moment.number)
    assert numbers == [0, 1]
    assert pipeline.series.made == 2


def test_from_the_raw_file_where_the_memory_is_too_small(backend) -> None:
    pipeline = pipeline_of(backend, memory_mb=4 * N * EACH * TURNS * 11 / 2**20)
    assert not pipeline.store.whole
    taken = list(frames())
    for meta, pixels in taken:
        pipeline.push(meta, pixels)
    pipeline.refine_center()
    while (moment := pipeline.next_moment()) is not None:
        some = [(meta, pixels) for meta, pixels in taken if meta.index in set(moment.index.tolist())]
        index = np.array([meta.index for meta, _ in some])
        angles = np.deg2rad([meta.angle_deg for meta, _ in some])

        def read(first, last, some=some, index=index, angles=angles):
            return index, angles, np.stack([pixels[first:last] for _, pixels in some])

        assert errors(pipeline, moment, read) < 0.03


def test_a_tomogram_is_made_about_the_axis_although_the_planes_are_not_there_yet(backend) -> None:
    axis = CENTER + 2.5
    pipeline = pipeline_of(backend, structs.replace(SPEC, center_px=None), planes=None)
    for meta, pixels in frames(center=axis):
        if meta.index < FIRST + EACH + 20:
            pipeline.push(meta, pixels)
    pipeline.follow(pipeline.look(0, 0)())
    moment = pipeline.next_moment()
    assert moment is not None
    assert abs(pipeline.center - axis) > 2.0, "of the planes"
    assert pipeline.parameters()["center_px"] == pytest.approx(axis, abs=0.1)
    assert errors(pipeline, moment) < 0.05


def test_the_angles_of_the_latest_turn_are_covered_in_whatever_order_frames_come(backend) -> None:
    pipeline = pipeline_of(backend)
    some = list(frames())
    late = [frame for frame in some if frame[0].index % 9 == 8 and frame[0].kind is FrameKind.PROJECTION]
    lag = {meta.index for meta, _ in late}
    for meta, pixels in [frame for frame in some if frame[0].index not in lag] + late:
        pipeline.push(meta, pixels)
    pipeline.refine_center()
    quality, _ = pipeline.judge(0, 0)
    assert quality.coverage == pytest.approx(1.0, abs=0.02)


def test_a_capture_on_demand_tells_the_angles_of_its_turns(backend) -> None:
    pipeline = pipeline_of(backend, structs.replace(SPEC, before_trigger=EACH))
    for meta, pixels in frames():
        pipeline.push(structs.replace(meta, angle_deg=meta.angle_deg - 180.0 * 7), pixels)
    pipeline.refine_center()
    moments = [pipeline.next_moment() for _ in range(TURNS)]
    assert [moment.from_deg for moment in moments if moment] == [-180.0 * (7 + k) for k in range(TURNS)]


def test_a_sample_that_changes_is_no_reason_for_a_verdict(backend) -> None:
    pipeline = pipeline_of(backend)
    for meta, pixels in frames():
        pipeline.push(meta, pixels)
    pipeline.refine_center()
    quality, _ = pipeline.judge(0, 0)
    assert (quality.motion_px, quality.misfit_px, quality.mass_change) == (None, None, None)


def test_turns_that_repeat_their_angles_nearly_leave_no_gap(backend) -> None:
    pipeline, rng = pipeline_of(backend), np.random.default_rng(2)
    for meta, pixels in frames():
        pipeline.push(structs.replace(meta, angle_deg=meta.angle_deg + rng.normal(0.0, 0.002)), pixels)
    pipeline.refine_center()
    quality, _ = pipeline.judge(0, 0)
    assert quality.coverage == pytest.approx(1.0, abs=0.02)
    assert quality.gap_deg == 0.0


@pytest.mark.parametrize("wanted", [2.0, 10_000.0])
def test_tomograms_of_too_few_projections_are_refused(wanted) -> None:
    with pytest.raises(BadInput, match="expected 4 or more, and not all"):
        Series(structs.replace(SPEC, tomogram_deg=wanted, projections=240))
