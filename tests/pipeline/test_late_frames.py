"""The compute thread may be overtaken in the ring; what it skipped is read from the raw file in the end, out of turn.

What was decided about a projection must then be done again to that very projection, wherever it lies in the file.
"""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.planes.plane import Plane
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.phantoms import Ellipse, Gaussian, image, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

ROWS, COLUMNS, COUNT, FLATS = 20, 64, 120, 4
CENTER, DARK = 32.4, 100.0
PARTS = [Ellipse(0.02, 20.0, 16.0, 1.0, -2.0, 0.4), Gaussian(0.03, 3.0, 8.0, 6.0)]
ANGLES = np.arange(COUNT) * np.pi / COUNT
SPEC = ScanSpec("late", "rod", ROWS, COLUMNS, COUNT, flats=2 * FLATS, darks=2)
FIRST = SPEC.darks + FLATS
"""Frame index of the first projection."""
SKIPPED = [3, 4, 5, 40, 41, 77, 118]
LITTLE, ENOUGH = 2**18, 2**30
"""Memory for a few rows of all projections, and for all of them."""


class Frames:
    """A beam that fades unevenly from frame to frame, zingers, and some projections spoiled by a storm of them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.truth = sinogram(PARTS, COLUMNS, ANGLES, CENTER)[:, None].repeat(ROWS, axis=1)
        pattern = 20_000 * (1 + 0.1 * np.sin(np.arange(COLUMNS) / 5))
        self.monitor = 1 + 0.2 * rng.random(COUNT)
        net = pattern * self.monitor[:, None, None] * np.exp(-self.truth)
        net = rng.normal(net, np.sqrt(net))
        hit = rng.random(net.shape) < 2e-3
        hit[[5, 41, 90]] |= rng.random((3, ROWS, COLUMNS)) < 0.1
        net[hit] += 30_000
        self.raw = np.clip(net + DARK, 0, 65_535).astype("<u2")
        self.flats = rng.normal(pattern + DARK, np.sqrt(pattern), (2 * FLATS, ROWS, COLUMNS)).astype("<u2")

    def push(self, pipeline: ScanPipeline, numbers: list[int]) -> None:
        for number in numbers:
            angle = float(np.rad2deg(ANGLES[number]))
            meta = FrameMeta("late", FIRST + number, FrameKind.PROJECTION, angle, monitor=self.monitor[number])
            pipeline.push(meta, self.raw[number])

    def push_flats(self, pipeline: ScanPipeline, which: range) -> None:
        for k in which:
            index = SPEC.darks + k + (COUNT if k >= FLATS else 0)
            pipeline.push(FrameMeta("late", index, FrameKind.FLAT, 0.0), self.flats[k])

    def push_darks(self, pipeline: ScanPipeline) -> None:
        for k in range(SPEC.darks):
            pipeline.push(FrameMeta("late", k, FrameKind.DARK, 0.0), np.full((ROWS, COLUMNS), DARK, "<u2"))

    def file(self, numbers: list[int]):
        """Rows of the raw file, which has the projections in this order."""
        return lambda first, last: (FIRST + np.array(numbers), ANGLES[numbers], self.raw[numbers, first:last])


@pytest.fixture(scope="module")
def frames() -> Frames:
    return Frames()


def new(
    numba_backend: Backend, memory: int = LITTLE, preparation: PreparationOptions | None = None, **more
) -> ScanPipeline:
    options = PreparationOptions(zingers=8.0, flat_drift="margins") if preparation is None else preparation
    reconstruction = ReconstructionOptions(memory_mb=memory / 2**20, **more)
    settings = Settings(reconstruction=reconstruction, preparation=options)
    return ScanPipeline(SPEC, numba_backend, settings, fixed_center=CENTER)


def tomogram(pipeline: ScanPipeline, read) -> np.ndarray:
    pipeline.refine_center()
    return np.concatenate([block.copy() for _, block in pipeline.tomogram(read)])


def overtaken(numba_backend: Backend, frames: Frames, **options) -> ScanPipeline:
    """A pipeline that missed some projections, and got them after the flats at the end."""
    pipeline = new(numba_backend, **options)
    frames.push_darks(pipeline)
    frames.push_flats(pipeline, range(FLATS))
    frames.push(pipeline, [k for k in range(COUNT) if k not in SKIPPED])
    frames.push_flats(pipeline, range(FLATS, 2 * FLATS))
    frames.push(pipeline, SKIPPED)
    return pipeline


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


@pytest.mark.parametrize("drift", ["margins", "monitor"])
def test_decisions_belong_to_the_projection_they_were_made_for(
    numba_backend: Backend, frames: Frames, drift: str
) -> None:
    options = PreparationOptions(zingers=8.0, flat_drift=drift)
    everything = list(range(COUNT))
    stored = overtaken(numba_backend, frames, memory=ENOUGH, preparation=options)
    assert stored.store.whole
    wanted = tomogram(stored, None)
    again = overtaken(numba_backend, frames, preparation=options)
    assert not again.store.whole
    found = tomogram(again, frames.file(everything))
    assert again.parameters()["projections_left_with_zingers"] == 3
    assert rms(found - wanted) < 1e-4 * wanted.max()
    shuffled = np.random.default_rng(2).permutation(COUNT).tolist()
    assert rms(tomogram(again, frames.file(shuffled)) - wanted) < 1e-4 * wanted.max()


def test_flats_from_after_the_scan_count_by_when_a_projection_was_taken(numba_backend: Backend) -> None:
    """The beam fades evenly; each projection wants the flat of its own time, however late it came."""
    frames = Frames()
    frames.monitor = np.linspace(1.0, 0.7, COUNT)
    pattern = 20_000 * (1 + 0.1 * np.sin(np.arange(COLUMNS) / 5))
    frames.raw = (pattern * frames.monitor[:, None, None] * np.exp(-frames.truth) + DARK).astype("<u2")
    frames.flats = np.broadcast_to(pattern + DARK, (2 * FLATS, ROWS, COLUMNS)).copy()
    frames.flats[FLATS:] = 0.7 * pattern + DARK
    frames.flats = frames.flats.astype("<u2")
    for memory in (ENOUGH, LITTLE):
        pipeline = overtaken(numba_backend, frames, memory=memory, preparation=PreparationOptions(defects=False))
        found = tomogram(pipeline, frames.file(list(range(COUNT))))
        error = rms(found[10] - image(PARTS, COLUMNS))
        assert error < 0.05 * found.max(), memory
        line = pipeline.projections(10, 11, frames.file(list(range(COUNT))))
        index = np.argsort(line[1])
        np.testing.assert_allclose(line[0][index, 0], frames.truth[:, 10], atol=3e-3)


def test_flats_of_the_first_set_that_come_late_do_not_pass_for_the_second(
    numba_backend: Backend, frames: Frames
) -> None:
    pipeline = new(numba_backend)
    frames.push_darks(pipeline)
    frames.push_flats(pipeline, range(2))
    frames.push(pipeline, list(range(COUNT)))
    frames.push_flats(pipeline, range(FLATS, 2 * FLATS))
    frames.push_flats(pipeline, range(2, FLATS))
    pipeline.refine_center()
    told = pipeline.parameters()
    assert (told["flats_before"], told["flats_after"], told["late_flats"]) == (2, FLATS, 2)
    lost = new(numba_backend)
    frames.push_darks(lost)
    frames.push(lost, list(range(COUNT)))
    frames.push_flats(lost, range(FLATS))
    lost.refine_center()
    assert lost.parameters()["flats_after"] == FLATS  # all there is


def test_a_projection_of_the_file_that_never_came_is_left_out(numba_backend: Backend, frames: Frames) -> None:
    """As where there were more projections than announced: the tomogram is that of those that were judged."""
    kept = [k for k in range(COUNT) if k not in SKIPPED]
    pipelines = [new(numba_backend, memory) for memory in (LITTLE, ENOUGH)]
    for pipeline in pipelines:
        frames.push_darks(pipeline)
        frames.push_flats(pipeline, range(FLATS))
        frames.push(pipeline, kept)
    found, wanted = tomogram(pipelines[0], frames.file(list(range(COUNT)))), tomogram(pipelines[1], None)
    assert rms(found - wanted) < 1e-4 * wanted.max()


CUT = Plane("cut", (0.0, 0.0, 12.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (COLUMNS, COLUMNS))


@pytest.mark.parametrize("settings", [{}, {"sliding_deg": 90.0}], ids=str)
def test_planes_of_a_scan_that_does_not_fit_in_memory(numba_backend: Backend, frames: Frames, settings: dict) -> None:
    """They say how many projections they hold, and are those of these projections: through recentring and watching."""
    pipeline = new(numba_backend, preparation=PreparationOptions(zingers=8.0, flat_drift="monitor"), **settings)
    pipeline.fix_center(CENTER - 2)
    frames.push_darks(pipeline)
    frames.push_flats(pipeline, range(FLATS))
    assert pipeline.view.count == 0
    frames.push(pipeline, list(range(20)))
    pipeline.work()
    assert pipeline.view.count == 20
    pipeline.fix_center(CENTER)
    pipeline.view.catch_up()
    frames.push(pipeline, list(range(20, 30)))
    assert pipeline.view.count == 10, "nothing to replay from: the planes begin again"
    pipeline.view.watch([CUT])
    assert pipeline.view.count == 0
    frames.push(pipeline, list(range(30, COUNT)))
    pipeline.view.catch_up()
    if "sliding_deg" in settings:
        assert COUNT / 2 <= pipeline.view.count < 0.6 * COUNT, "a window of 90°, or a little more"
    else:
        assert pipeline.view.count == COUNT - 30
    seen = pipeline.planes.images()["cut"]
    whole = new(numba_backend, ENOUGH, PreparationOptions(zingers=8.0, flat_drift="monitor"), **settings)
    whole.view.watch([CUT])
    frames.push_darks(whole)
    frames.push_flats(whole, range(FLATS))
    frames.push(whole, list(range(30, COUNT)))
    whole.view.catch_up()
    assert whole.view.count == pipeline.view.count
    wanted = whole.planes.images()["cut"]
    assert rms(seen - wanted) < 0.05 * np.abs(wanted).max()
    pipeline.view.watch(None)
    frames.push(pipeline, [])
    assert set(pipeline.planes.images()) == {"xy", "xz", "yz"}
    pipeline.follow(pipeline.look(0, 0)())
    while pipeline.work():
        pass
