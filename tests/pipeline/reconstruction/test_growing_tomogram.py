"""The tomogram that grows on a device from frames that are there already, against that of the CPU from the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_volume import MAX_PROJECTIONS, GpuFourierVolume
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.core.memory import Memory
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.reconstruction import growing_tomogram
from streamer.pipeline.reconstruction.growing_tomogram import GrowingTomogram
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
from streamer.pipeline.store import AttenuationStore
from tests.core.shim import ShimEngine, shim_backend

ROWS, COLUMNS, COUNT, CENTER = 20, 24, 150, 11.3
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT)
FRAMES = np.random.default_rng(5).standard_normal((COUNT, ROWS, COLUMNS)).astype(np.float32)
ANGLES = np.arange(COUNT) * np.pi / COUNT
NOWHERE = np.full_like(FRAMES, np.nan)
LAYOUT = Layout(ROWS, COLUMNS, CENTER)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """How many projections each call brings, and whether they were on the device."""
    seen: list[tuple[int, bool]] = []
    add = GpuFourierVolume.add

    def watched(self: GpuFourierVolume, batch: ProjectionBatch, **more: Any) -> None:
        seen.append((len(batch), batch.on_device is not None))
        add(self, batch, **more)

    monkeypatch.setattr(GpuFourierVolume, "add", watched)
    return seen


def room(engine: ShimEngine, slots: int) -> RecentProjections:
    return RecentProjections(engine.empty((slots, ROWS, COLUMNS), np.float32))


class Scan:
    """Projections as they come: into the store, onto the device, and into the tomogram in idle moments."""

    def __init__(
        self,
        backend: Backend,
        recent: RecentProjections | None = None,
        layout: Layout = LAYOUT,
        part_of: int | None = None,
    ) -> None:
        self.store, self.recent = AttenuationStore(ROWS, COLUMNS, COUNT, 2**30), recent or RecentProjections()
        preparation = Preparation(SPEC, 1, PreparationOptions(zingers=0.0, stripes="off"))
        stored = StoredProjections(self.store, preparation, layout, 1, self.recent)
        self.growing = GrowingTomogram(backend, SPEC, stored, layout.detector_center, "ramp", Memory(), part_of)

    def come(
        self,
        on_host: NDArray[np.float32],
        on_device: NDArray[np.float32],
        idle: Callable[[int], bool] = lambda number: True,
        left_out: Callable[[int], bool] = lambda number: False,
        angles: NDArray[np.float64] = ANGLES,
    ) -> Scan:
        """All projections, by threes, with an idle moment after some of them."""
        for first in range(0, COUNT, 3):
            some = slice(first, first + 3)
            if self.recent.capacity and not left_out(first):
                slot = self.recent.slot(self.recent.next, 3)
                assert slot is not None
                slot._values[...] = on_device[some]
            self.store.next(3)[...] = on_host[some]
            self.store.add(angles[some])
            self.recent.arrived(self.store.count)
            while idle(first) and self.growing.work():
                pass
        return self

    def tomogram(self, center: float = CENTER) -> NDArray[np.float32]:
        return np.concatenate([block.copy() for _, block in self.growing.finish(center)])


def same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return bool(np.sqrt(np.mean((found - expected) ** 2)) < 1e-4 * np.sqrt(np.mean(expected**2)))


def on_the_cpu(numba_backend: Backend, layout: Layout = LAYOUT, center: float = CENTER) -> NDArray[np.float32]:
    return Scan(numba_backend, layout=layout).come(FRAMES, NOWHERE, idle=lambda number: False).tomogram(center)


@pytest.mark.parametrize("late", [0.0, 0.004, -0.2, 2.0])
def test_the_tomogram_does_not_depend_on_when_its_frames_came(numba_backend: Backend, late: float) -> None:
    """It grew about an axis that turned out to be off by ``late`` px, with weights that the last angle changed."""
    angles = ANGLES + np.random.default_rng(3).normal(0.0, 0.004, COUNT)
    grown, made = (
        Scan(numba_backend).come(FRAMES, NOWHERE, idle, angles=angles).tomogram(CENTER + late)
        for idle in (lambda number: True, lambda number: False)
    )
    assert np.abs(grown - made).max() < 1e-5 * np.abs(made).max()


def test_the_axis_of_a_large_scan_moves_by_little(numba_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_tomogram, "SMALL", 0)
    exact = on_the_cpu(numba_backend, center=CENTER + growing_tomogram.MAX_FINAL_MOVE_PX)
    for move, kept in ((0.9, True), (1.1, False)):
        scan = Scan(numba_backend).come(FRAMES, NOWHERE)
        volume = scan.growing._volume
        found = scan.tomogram(CENTER + move * growing_tomogram.MAX_FINAL_MOVE_PX)
        assert (scan.growing._volume is volume) is kept
        assert np.sqrt(np.mean((found - exact) ** 2)) < 0.1 * np.sqrt(np.mean(exact**2))
    nothing_yet = Scan(numba_backend).come(FRAMES, NOWHERE, idle=lambda number: False)
    assert np.array_equal(nothing_yet.tomogram(CENTER + growing_tomogram.MAX_FINAL_MOVE_PX), exact)


@pytest.mark.parametrize(("part_of", "kept"), [(None, False), (2 * ROWS, True)])
def test_rows_of_a_large_detector_are_gridded_again_only_where_all_would_be(
    numba_backend: Backend, monkeypatch: pytest.MonkeyPatch, part_of: int | None, kept: bool
) -> None:
    monkeypatch.setattr(growing_tomogram, "SMALL", COUNT * ROWS * COLUMNS)
    scan = Scan(numba_backend, part_of=part_of).come(FRAMES, NOWHERE)
    volume = scan.growing._volume
    scan.tomogram(CENTER + 0.9 * growing_tomogram.MAX_FINAL_MOVE_PX)
    assert (scan.growing._volume is volume) is kept


def test_nothing_crosses_the_bus_again(
    engine: ShimEngine, numba_backend: Backend, batches: list[tuple[int, bool]]
) -> None:
    scan = Scan(shim_backend(engine), room(engine, 2 * MAX_PROJECTIONS))
    assert same(scan.come(NOWHERE, FRAMES).tomogram(), on_the_cpu(numba_backend))
    jump = 2 * MAX_PROJECTIONS // 3 * 3
    assert batches == [(MAX_PROJECTIONS, True), (jump - MAX_PROJECTIONS, True), (COUNT - jump, True)]


@pytest.mark.parametrize(
    ("slots", "idle", "left_out", "used"),
    [
        (COUNT, lambda number: number % 27 == 0, lambda number: number in (0, 90), {False, True}),
        (MAX_PROJECTIONS, lambda number: number in (84, 87), lambda number: False, {False, True}),
        (9, lambda number: True, lambda number: False, {False}),
    ],
)
def test_what_is_not_there_comes_from_the_store(
    engine: ShimEngine,
    numba_backend: Backend,
    batches: list[tuple[int, bool]],
    slots: int,
    idle: Callable[[int], bool],
    left_out: Callable[[int], bool],
    used: set[bool],
) -> None:
    """Some were prepared on the host; some were overwritten before there was an idle moment; there is little room."""
    scan = Scan(shim_backend(engine), room(engine, slots))
    assert same(scan.come(FRAMES, FRAMES, idle, left_out).tomogram(), on_the_cpu(numba_backend))
    assert {there for _, there in batches} == used
    assert sum(count for count, _ in batches) == COUNT


def test_another_layout_is_not_what_is_there(
    engine: ShimEngine, numba_backend: Backend, batches: list[tuple[int, bool]]
) -> None:
    layout = Layout(ROWS, COLUMNS, CENTER, tilt_rad=0.05)
    scan = Scan(shim_backend(engine), room(engine, COUNT), layout)
    assert same(scan.come(FRAMES, NOWHERE).tomogram(), on_the_cpu(numba_backend, layout))
    assert set(batches) == {(PROJECTIONS_PER_BATCH, False), (COUNT % PROJECTIONS_PER_BATCH, False)}


def test_what_became_known_late_is_not_in_what_is_there(
    engine: ShimEngine, numba_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = on_the_cpu(numba_backend)
    monkeypatch.setattr(Preparation, "late", property(lambda self: True))
    monkeypatch.setattr(
        Preparation, "apply_late", lambda self, frames, numbers, rows, out: np.multiply(frames, 2, out=out)
    )
    scan = Scan(shim_backend(engine), room(engine, COUNT))
    assert same(scan.come(FRAMES, NOWHERE).tomogram(), 2 * expected)


def test_another_centre_gathers_again_from_both(
    engine: ShimEngine, numba_backend: Backend, batches: list[tuple[int, bool]]
) -> None:
    scan = Scan(shim_backend(engine), room(engine, 2 * MAX_PROJECTIONS)).come(FRAMES, FRAMES)
    batches.clear()
    assert same(scan.tomogram(CENTER + 2), on_the_cpu(numba_backend, center=CENTER + 2))
    assert {there for _, there in batches} == {False, True}


def test_a_device_that_keeps_no_frames(
    engine: ShimEngine, numba_backend: Backend, batches: list[tuple[int, bool]]
) -> None:
    assert same(Scan(shim_backend(engine)).come(FRAMES, NOWHERE).tomogram(), on_the_cpu(numba_backend))
    assert set(batches) == {(PROJECTIONS_PER_BATCH, False), (COUNT % PROJECTIONS_PER_BATCH, False)}


def test_slices_come_down_into_page_locked_memory(engine: ShimEngine) -> None:
    blocks = Scan(shim_backend(engine)).come(FRAMES, NOWHERE).growing.finish(CENTER)
    _, first = next(blocks)
    assert engine.pinned(first)
    assert len(list(blocks)) == 1
    assert not engine.pinned(first)


def test_a_whole_scan_crosses_the_bus_once(
    numba_backend: Backend, engine: ShimEngine, batches: list[tuple[int, bool]]
) -> None:
    away = np.arange(COLUMNS) - CENTER - 4.0 * np.cos(ANGLES)[:, None, None]
    shadow = np.exp(-np.square(away / 3.0)) * np.linspace(0.5, 1.0, ROWS)[:, None]
    raw = (100 + 19_900 * np.exp(-shadow)).astype("<u2")
    spec = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=2, darks=1, center_px=CENTER)
    options = PreparationOptions(defects=False)
    results = []
    for backend in (numba_backend, shim_backend(engine)):
        pipeline = ScanPipeline(spec, backend, Settings(preparation=options), fixed_center=CENTER)
        pipeline.push(FrameMeta("scan", 0, FrameKind.DARK, 0.0), np.full((ROWS, COLUMNS), 100, "<u2"))
        for k in (1, 2):
            pipeline.push(FrameMeta("scan", k, FrameKind.FLAT, 0.0), np.full((ROWS, COLUMNS), 20_000, "<u2"))
        for k in range(0, COUNT, 5):
            metas = [
                FrameMeta("scan", 3 + n, FrameKind.PROJECTION, float(np.rad2deg(ANGLES[n]))) for n in range(k, k + 5)
            ]
            pipeline.push_batch(metas, raw[k : k + 5])
            for _ in range(4):
                pipeline.work()
        pipeline.refine_center()
        images = pipeline.planes.images()
        tomogram = np.concatenate([block.copy() for _, block in pipeline.tomogram(lambda a, b: (ANGLES, raw[:, a:b]))])
        results.append((images, tomogram))
    (images, tomogram), (device_images, device_tomogram) = results
    scale = float(np.abs(tomogram).max())
    np.testing.assert_allclose(device_tomogram, tomogram, atol=5e-4 * scale)
    for name, image in images.items():
        # Planes of one height interpolate differently on a device; see ``gpu_accumulator``.
        assert float(np.abs(device_images[name] - image).max()) < 1e-2 * float(np.abs(image).max())
    assert batches
    assert all(on_device for _, on_device in batches)
