"""The pipeline on analytic scans: whichever way a tomogram comes about, it is the same one, and the right one."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.masks import circle_mask
from streamer.core.planes.plane import Plane
from streamer.frames import BadInput, Decision, FrameKind, FrameMeta, ScanSpec
from streamer.phantoms import Ellipse, Gaussian, image, sinogram
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.reconstruction.growing_tomogram import expected_weights
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

N, ROWS, ANGLES = 64, 20, 90
CENTER = 33.2
OBJECT = [Ellipse(0.02, 22.0, 17.0, 1.0, -2.0, 0.4), Gaussian(0.03, 3.0, 8.0, 6.0), Gaussian(0.02, 2.5, -9.0, 1.0)]
PLAIN = PreparationOptions(zingers=0.0, stripes="off")
HEIGHT = np.linspace(0.6, 1.0, ROWS)
GOLDEN = (np.sqrt(5) - 1) / 2


class Scan:
    """Frames of an analytic object, as counts."""

    def __init__(self, angles, center=CENTER, columns=N, parts=OBJECT, start_deg=0.0, range_deg=180.0, flats=6):
        self.angles = np.asarray(angles, np.float64)
        self.spec = ScanSpec(
            "scan", "sample", ROWS, columns, len(self.angles), flats=flats, darks=2, start_deg=start_deg,
            range_deg=range_deg,
        )  # fmt: skip
        rng = np.random.default_rng(3)
        beam = 40_000 * (1 + 0.05 * rng.standard_normal((ROWS, columns)))
        lines = sinogram(parts, columns, self.angles, center)
        self.attenuation = lines[:, None, :] * HEIGHT[:, None]
        self.flats = [rng.normal(beam + 100, 30.0) for _ in range(flats)]
        flat = np.mean([counts(f) for f in self.flats], axis=0) - 100
        self.projections = counts(flat * np.exp(-self.attenuation) + 100)
        self.truth = image(parts, columns)

    def push_fields(self, pipeline):
        for index in range(2):
            pipeline.push(FrameMeta("scan", index, FrameKind.DARK, 0.0), np.full((ROWS, self.spec.columns), 100, "<u2"))
        for k, flat in enumerate(self.flats):
            pipeline.push(FrameMeta("scan", 2 + k, FrameKind.FLAT, 0.0), counts(flat))

    def push(self, pipeline, only=None, between=lambda: None):
        self.push_fields(pipeline)
        for number, (angle, raw) in enumerate(zip(self.angles, self.projections, strict=True)):
            if only is None or number in only:
                meta = FrameMeta("scan", 2 + len(self.flats) + number, FrameKind.PROJECTION, float(np.rad2deg(angle)))
                pipeline.push(meta, raw)
                between()

    def rows(self, only=None):
        """As the raw file gives them."""
        kept = np.arange(len(self.angles)) if only is None else only
        index = 2 + len(self.flats) + kept
        return lambda first, last: (index, self.angles[kept], self.projections[kept, first:last])


def counts(pixels):
    return np.round(pixels).astype("<u2")


def new(numba_backend, scan, center=None, preparation=PLAIN, memory_bytes=2**30, **options):
    reconstruction = ReconstructionOptions(memory_mb=memory_bytes / 2**20, **options)
    settings = Settings(reconstruction=reconstruction, preparation=preparation)
    return ScanPipeline(scan.spec, numba_backend, settings, fixed_center=center)


def finish(pipeline, read=None):
    pipeline.refine_center()
    volume = np.empty(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(read or no_rows):
        volume[first : first + len(block)] = block
    return volume


def no_rows(first, last):
    raise AssertionError(f"rows {first}:{last} were read from the file though all projections are stored")


def even(count=ANGLES):
    return np.arange(count) * np.pi / count


def golden(count=ANGLES):
    return np.pi * np.mod(np.arange(count) * GOLDEN, 1.0)


def interlaced(turns=6, count=ANGLES):
    return np.concatenate([np.arange(turn, count, turns) for turn in (0, 3, 1, 4, 2, 5)]) * np.pi / count


def rms(a, b, share=0.95):
    mask = circle_mask(a.shape[-1], share)
    return float(np.sqrt(np.mean((a - b)[..., mask] ** 2)))


def reference(numba_backend, scan, center):
    return reconstruct_block(numba_backend, scan.attenuation.astype(np.float32), scan.angles, center)


def test_the_final_planes_are_those_of_the_tomogram(numba_backend):
    """Also where half of the projections were read from the file at the end, and never seen."""
    scan = Scan(even())
    pipeline = new(numba_backend, scan)
    scan.push(pipeline, only=range(0, ANGLES, 2))
    before = pipeline.planes.images()
    metas = [FrameMeta("scan", 8 + k, FrameKind.PROJECTION, float(np.rad2deg(scan.angles[k]))) for k in range(ANGLES)]
    pipeline.push_batch(metas, scan.projections, shown=False)
    assert (pipeline.count, pipeline.view.count) == (ANGLES, ANGLES // 2)
    np.testing.assert_array_equal(pipeline.planes.images()["xy"], before["xy"])
    volume = finish(pipeline)
    images, middle = pipeline.planes.images(), pipeline.shape[1] // 2
    np.testing.assert_allclose(images["xy"], volume[ROWS // 2], rtol=1e-6)
    np.testing.assert_allclose(images["xz"], volume[:, middle], rtol=1e-6)
    np.testing.assert_allclose(images["yz"], volume[:, :, middle], rtol=1e-6)
    whole = new(numba_backend, scan)
    scan.push(whole)
    whole.refine_center()
    whole.view.catch_up()
    assert rms(images["xy"], whole.planes.images()["xy"]) < 0.02 * whole.planes.images()["xy"].max()


@pytest.mark.parametrize("way", ["gathered while scanning", "from the store", "from the file"])
def test_the_tomogram_is_that_of_direct_backprojection(numba_backend, way):
    scan = Scan(even())
    pipeline = new(numba_backend, scan, CENTER, memory_bytes=2**18 if way == "from the file" else 2**30)
    scan.push(pipeline, between=pipeline.work if way == "gathered while scanning" else lambda: None)
    volume = finish(pipeline, scan.rows() if way == "from the file" else None)
    assert rms(volume, reference(numba_backend, scan, CENTER)) < 0.01 * volume.max()
    assert rms(volume[10], HEIGHT[10] * scan.truth) < 0.1 * volume[10].max()


@pytest.mark.parametrize("angles", [golden(), interlaced(), even()[::-1], 1.1 * even(), 2 * even(), 2 * even(91)])
def test_what_was_gathered_while_scanning_is_what_is_made_afterwards(numba_backend, angles):
    span = float(np.rad2deg(np.ptp(angles))) * len(angles) / (len(angles) - 1)
    scan = Scan(angles, range_deg=180.0 if span < 180.5 else span)
    early, late = new(numba_backend, scan, CENTER), new(numba_backend, scan, CENTER)
    scan.push(early, between=early.work)
    scan.push(late)
    assert rms(finish(early), finish(late)) < 2e-3 * scan.truth.max()


def test_lost_frames_are_made_up_for_by_their_neighbours(numba_backend):
    scan = Scan(even())
    kept = np.delete(np.arange(ANGLES), [11, 12, 13, 40, 77])
    early, late = new(numba_backend, scan, CENTER), new(numba_backend, scan, CENTER)
    scan.push(early, set(kept), early.work)
    scan.push(late, set(kept))
    early_volume = finish(early)
    assert rms(early_volume, finish(late)) < 2e-3 * scan.truth.max()
    assert early_volume[10][circle_mask(N, 0.3)].mean() == pytest.approx(
        (HEIGHT[10] * scan.truth)[circle_mask(N, 0.3)].mean(), rel=0.01
    )


@pytest.mark.parametrize("wrong_by", [0.01, 0.2, 3.0])
def test_a_centre_that_is_set_late_counts_as_if_it_had_been_known(numba_backend, wrong_by):
    scan = Scan(even())
    pipeline, known = new(numba_backend, scan, CENTER + wrong_by), new(numba_backend, scan, CENTER)
    scan.push(pipeline, between=pipeline.work)
    pipeline.fix_center(CENTER)
    scan.push(known)
    limit = 2e-3 if wrong_by > 1 or wrong_by < 0.02 else 0.02
    assert rms(finish(pipeline), finish(known)) < limit * scan.truth.max()
    assert pipeline.center == CENTER


def test_the_centre_is_found_while_the_scan_runs_and_the_planes_move_there(numba_backend):
    scan = Scan(even())
    pipeline = new(numba_backend, scan)

    def between():
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.work()

    scan.push(pipeline, between=between)
    assert pipeline.center == pytest.approx(CENTER, abs=0.2)
    volume = finish(pipeline)
    assert pipeline.center == pytest.approx(CENTER, abs=0.1)
    pipeline.view.catch_up()
    assert pipeline.view.count == ANGLES
    planes = pipeline.planes.images()
    assert rms(planes["xy"], volume[(ROWS - 1) // 2 : ROWS // 2 + 1].mean(axis=0)) < 0.02 * volume.max()


def test_planes_asked_for_in_mid_scan_show_all_that_came(numba_backend):
    scan = Scan(even())
    pipeline = new(numba_backend, scan, CENTER)
    cut = Plane("cut", (0.0, 0.0, 12.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (N, N))
    pushed = []

    def between():
        pushed.append(1)
        if len(pushed) == 50:
            pipeline.view.watch([cut])

    scan.push(pipeline, between=between)
    pipeline.view.catch_up()
    assert pipeline.view.count == ANGLES
    volume = finish(pipeline)
    assert rms(pipeline.planes.images()["cut"], volume[12]) < 0.02 * volume.max()


def test_half_acquisition_is_recognised_and_doubles_the_field_of_view(numba_backend):
    columns, center = 64, 54.3
    parts = [Ellipse(0.02, 38.0, 33.0, 1.0, -2.0, 0.4), Gaussian(0.03, 3.0, 25.0, 6.0), Gaussian(0.03, 4.0, -20.0, 5.0)]
    scan = Scan(2 * even(181), center, columns, parts, range_deg=360.0)
    pipeline = new(numba_backend, scan)

    def between():
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.work()

    scan.push(pipeline, between=between)
    volume = finish(pipeline)
    width = volume.shape[2]
    assert width > 1.5 * columns, pipeline.layout.reason
    assert pipeline.center == pytest.approx(center, abs=0.15)
    truth = image(parts, width)
    assert rms(volume[10], HEIGHT[10] * truth, 0.9) < 0.1 * truth.max()
    pipeline.view.catch_up()
    assert pipeline.planes.images()["xy"].shape == (width, width)
    assert pipeline.layout.to_dict()["geometry"] == "half acquisition"
    quality, verdict = pipeline.judge(0, 0)
    assert verdict.decision is Decision.ENOUGH, verdict
    assert quality.coverage == 1.0


def test_flats_after_the_scan_correct_what_was_gathered(numba_backend):
    scan = Scan(even(), flats=6)
    darker = np.linspace(1.0, 0.9, ANGLES)[:, None, None]
    scan.projections = counts((scan.projections - 100.0) * darker + 100)
    scan.spec = structs.replace(scan.spec, flats=12)
    plain, both = new(numba_backend, scan, CENTER), new(numba_backend, scan, CENTER)
    for pipeline in (plain, both):
        scan.push(pipeline, between=pipeline.work)
    for k, flat in enumerate(scan.flats):
        both.push(FrameMeta("scan", 8 + ANGLES + k, FrameKind.FLAT, 0.0), counts((flat - 100) * 0.9 + 100))
    truth = HEIGHT[:, None, None] * scan.truth
    error = rms(finish(plain), truth)
    assert rms(finish(both), truth) < 0.8 * error
    assert both.parameters()["flats_after"] == 6


def test_planes_of_any_prefix(numba_backend):
    scan = Scan(golden())
    pipeline = new(numba_backend, scan, CENTER)
    scan.push(pipeline, set(range(55)))
    middle = 0.5 * (HEIGHT[9] + HEIGHT[10])
    exact = reconstruct_block(
        numba_backend,
        scan.attenuation[:55, 9:11].mean(axis=1, keepdims=True).astype(np.float32),
        scan.angles[:55],
        CENTER,
    )[0]
    truth = middle * scan.truth
    assert rms(pipeline.planes.images()["xy"], truth) < 1.5 * rms(exact, truth)


def test_flats_without_any_noise_are_no_reason_to_distrust_the_detector(numba_backend):
    scan = Scan(even())
    scan.flats = [np.round(np.mean(scan.flats, axis=0))] * len(scan.flats)
    pipeline = new(numba_backend, scan, CENTER)
    scan.push(pipeline)
    assert pipeline.parameters()["defect_pixels"] == 0
    pipeline.refine_center()
    _, verdict = pipeline.judge(0, 0)
    assert verdict.decision is not Decision.UNKNOWN


def test_frames_of_another_shape_are_refused_by_name(numba_backend):
    pipeline = new(numba_backend, Scan(even()))
    with pytest.raises(BadInput, match=r"frame 3 is .*announced"):
        pipeline.push(FrameMeta("scan", 3, FrameKind.FLAT, 0.0), np.zeros((ROWS, N + 1), "<u2"))


def test_a_frame_that_comes_twice_counts_once(numba_backend):
    scan = Scan(even())
    pipeline = new(numba_backend, scan, CENTER)
    scan.push(pipeline)
    seen = pipeline.arrivals.seen
    scan.push(pipeline)
    assert (pipeline.arrivals.seen, pipeline.count) == (seen, ANGLES)


WAYS = {
    "fused": {},
    "prepared": {"preparation": PreparationOptions(zingers=6.0, stripes="off")},
    "no memory": {"memory_bytes": 300_000},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("together", [2, 5, 8, 100])
def test_frames_that_waited_are_folded_in_together_with_the_same_result(numba_backend, way, together):
    scan = Scan(np.linspace(0, np.pi, ANGLES, endpoint=False))
    fields = [(FrameKind.DARK, np.full((ROWS, N), 100, "<u2"))] * 2 + [(FrameKind.FLAT, counts(f)) for f in scan.flats]
    frames = [(FrameMeta("scan", k, kind, 0.0), pixels) for k, (kind, pixels) in enumerate(fields)]
    frames += [
        (FrameMeta("scan", 8 + k, FrameKind.PROJECTION, float(np.rad2deg(angle))), raw)
        for k, (angle, raw) in enumerate(zip(scan.angles, scan.projections, strict=True))
    ]
    # Twice the same, in one call and from one to another; a flat in the middle of the scan.
    frames = [*frames[:6], *frames[8:20], frames[19], frames[6], *frames[20:40], frames[12], *frames[40:], frames[7]]
    single, joined = (new(numba_backend, scan, CENTER, **WAYS[way]) for _ in range(2))
    for meta, raw in frames:
        single.push(meta, raw)
    for first in range(0, len(frames), together):
        part = frames[first : first + together]
        joined.push_batch([meta for meta, _ in part], np.stack([raw for _, raw in part]))
    assert joined.count == single.count == ANGLES
    assert joined.arrivals.seen == single.arrivals.seen == len(frames) - 2
    for name, image_of in single.planes.images().items():
        np.testing.assert_array_equal(joined.planes.images()[name], image_of)
    for pipeline in (single, joined):
        pipeline.refine_center()
    assert joined.judge(0, 0)[0] == single.judge(0, 0)[0]
    ours, theirs = (np.concatenate([b.copy() for _, b in p.tomogram(scan.rows())]) for p in (joined, single))
    np.testing.assert_array_equal(ours, theirs)


def test_more_projections_than_announced_do_no_harm(numba_backend):
    scan = Scan(np.linspace(0, np.pi, ANGLES, endpoint=False), flats=6)
    pipeline = new(numba_backend, scan, CENTER)
    metas = [FrameMeta("scan", k, FrameKind.PROJECTION, 2.0 * k) for k in range(scan.spec.frames)]
    raw = np.concatenate((scan.projections, scan.projections[: scan.spec.frames - ANGLES]))
    pipeline.push_batch(metas, raw)
    assert pipeline.count == ANGLES
    assert pipeline.arrivals.seen == scan.spec.frames


def test_a_scan_without_projections_has_no_tomogram_and_no_opinion(numba_backend):
    scan = Scan(even())
    pipeline = new(numba_backend, scan)
    scan.push_fields(pipeline)
    pipeline.refine_center()
    _, verdict = pipeline.judge(ANGLES, 0)
    assert verdict.decision is Decision.UNKNOWN
    assert sum(pipeline.work() for _ in range(9)) < 9  # what can be done ahead is done, and that is all


@pytest.mark.parametrize("name", ["geometry", "tilt"])
def test_an_option_that_makes_no_sense_is_named(name):
    with pytest.raises(BadInput, match=name):
        LayoutOptions(**{name: "sideways"})


def test_weights_are_foreseen_in_the_scans_that_are_usual():
    def foreseen(angles, spec, first=16, last=32, period=np.pi):
        return expected_weights(np.asarray(angles), first, last, spec, period)

    spec = Scan(even()).spec
    step = np.pi / ANGLES
    np.testing.assert_allclose(foreseen(even(), spec), step)
    np.testing.assert_allclose(foreseen(golden(), spec), step)
    np.testing.assert_allclose(foreseen(even()[::-1], structs.replace(spec, start_deg=180.0, range_deg=-180.0)), step)
    uneven = even() + 0.3 * step * np.sin(np.arange(ANGLES))
    np.testing.assert_allclose(foreseen(uneven, spec), (uneven[17:33] - uneven[15:31]) / 2)
    np.testing.assert_allclose(foreseen(2 * even(), structs.replace(spec, range_deg=360.0)), step)
    np.testing.assert_allclose(foreseen(2 * even(), structs.replace(spec, range_deg=360.0), period=2 * np.pi), 2 * step)
    twice = foreseen(1.1 * even(), structs.replace(spec, range_deg=198.0), 0, ANGLES - 1)
    covered_twice = 1.1 * even()[:-1] % np.pi < np.deg2rad(18) - 1e-6
    np.testing.assert_allclose(twice, np.where(covered_twice, 0.55, 1.1) * step)


def test_the_plan_tells_how_and_with_what_memory_before_the_first_frame(numba_backend):
    scan = Scan(even())
    assert new(numba_backend, scan).plan.way == "grows with the scan"
    assert "from memory" in new(numba_backend, scan, memory_bytes=2**19).plan.way
    blocks = new(numba_backend, scan, memory_bytes=2**18).plan
    assert "raw file" in blocks.way
    assert blocks.to_dict() == {"tomogram": blocks.way, "memory_mb": 0.2}
    with pytest.raises(BadInput, match="one detector row needs"):
        new(numba_backend, scan, memory_bytes=2**14)


def test_a_centre_beyond_reason_is_refused_and_the_scan_goes_on(numba_backend):
    scan = Scan(even())
    with pytest.raises(BadInput, match="centre 500"):
        new(numba_backend, scan, 500.0)
    pipeline = new(numba_backend, scan, CENTER)
    scan.push(pipeline)
    with pytest.raises(BadInput, match="centre -70"):
        pipeline.fix_center(-70.0)
    pipeline.refine_center()
    assert pipeline.center == CENTER


def test_a_full_turn_laid_out_wide_is_gathered_anew_when_its_axis_is_set(numba_backend):
    columns, center = 64, 54.3
    parts = [Ellipse(0.02, 38.0, 33.0, 1.0, -2.0, 0.4), Gaussian(0.03, 3.0, 25.0, 6.0)]
    scan = Scan(2 * even(181), center, columns, parts, range_deg=360.0)
    pipeline = new(numba_backend, scan, center + 1.5, geometry="half")

    def between():
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.work()

    scan.push(pipeline, between=between)
    pipeline.fix_center(center)
    volume = finish(pipeline)
    truth = image(parts, volume.shape[2])
    assert rms(volume[10], HEIGHT[10] * truth, 0.9) < 0.1 * truth.max()
