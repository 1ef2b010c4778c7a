"""Scans whose attenuation stays on a device: the same numbers as on the CPU, and what crosses the bus."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.backend.on_device import OnDevice
from streamer.core.backend.selection import Backend
from streamer.core.planes.plane import Plane
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.device_store import DeviceStore
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings
from streamer.pipeline.store import AttenuationStore
from tests.core.shim import LateTransfer, ShimArray, ShimEngine, shim_backend

ROWS, N, COUNT, BATCH = 20, 48, 70, 5
DARK, BEAM = 100, 20_000
SLOPE = float(np.sqrt(0.5))
TILTED = Plane("tilted", (0.0, 10.0, 3.0), (1.0, 0, 0), (0.0, SLOPE, SLOPE), (16, N))
KINDS = {
    "plain": {},
    "flats after": {"after": True},
    "flats only after": {"after": True, "flats": 0},
    "half acquisition": {"center": 38.0, "range_deg": 360.0, "geometry": "half"},
    "tilted": {"tilt": 2.0},
    "tilted, half, flats after": {"center": 9.0, "range_deg": 360.0, "geometry": "half", "tilt": -1.5, "after": True},
    "in any order": {"golden": True},
    "found centre": {"fixed": False},
}


class Scan:
    """Counts of two smooth bodies, and how the pipeline takes them."""

    def __init__(
        self,
        center: float = 24.3,
        range_deg: float = 180.0,
        flats: int = 3,
        after: bool = False,
        golden: bool = False,
        fixed: bool = True,
        count: int = COUNT,
        **options: Any,
    ) -> None:
        self.fixed, self.after, self.options = center if fixed else None, after, options
        steps = np.mod(np.arange(count) * 0.618034, 1.0) if golden else np.arange(count) / count
        self.angles = steps * range_deg
        theta, row, column = np.deg2rad(self.angles)[:, None, None], np.arange(ROWS)[:, None], np.arange(N)
        shadow = np.zeros((count, ROWS, N))
        for density, radius, x, y in ((0.7, 4.0, 5.0, -3.0), (0.5, 3.0, -4.0, 6.0)):
            away = (column - center - x * np.cos(theta) - y * np.sin(theta)) / radius
            shadow += density * np.exp(-np.square(away)) * (0.6 + 0.02 * row)
        rng = np.random.default_rng(2)
        beam = BEAM * (1 + 0.1 * np.sin(column / 5)) * np.ones((ROWS, 1))
        later = beam * (1 + 0.05 * np.cos(column / 7))
        if after:
            later[3, 11] = -DARK  # a pixel that only the late flats show to be dead
        self.fields = [np.round(DARK + rng.normal(beam, 40)).astype("<u2") for _ in range(flats)]
        self.late = [np.round(DARK + np.maximum(rng.normal(later, 40), -DARK)).astype("<u2") for _ in range(3)]
        self.raw = np.round(DARK + rng.normal(beam * np.exp(-shadow), 20)).astype("<u2")
        self.spec = ScanSpec("scan", "sample", ROWS, N, count, flats=flats + 3 * after, darks=1, range_deg=range_deg)

    def pipeline(self, backend: Backend, **preparation: Any) -> ScanPipeline:
        settings = Settings(
            reconstruction=ReconstructionOptions(**self.options), preparation=PreparationOptions(**preparation)
        )
        return ScanPipeline(self.spec, backend, settings, fixed_center=self.fixed)

    def push_fields(self, pipeline: ScanPipeline) -> None:
        pipeline.push(FrameMeta("scan", 0, FrameKind.DARK, 0.0), np.full((ROWS, N), DARK, "<u2"))
        for k, flat in enumerate(self.fields, 1):
            pipeline.push(FrameMeta("scan", k, FrameKind.FLAT, 0.0), flat)

    def push(self, pipeline: ScanPipeline, first: int, last: int) -> None:
        before = 1 + len(self.fields)
        metas = [
            FrameMeta("scan", before + n, FrameKind.PROJECTION, float(self.angles[n]))
            for n in range(first, min(last, len(self.angles)))
        ]
        pipeline.push_batch(metas, self.raw[first:last].copy())

    def push_late(self, pipeline: ScanPipeline) -> None:
        before = 1 + len(self.fields) + len(self.angles)
        for k, flat in enumerate(self.late if self.after else ()):
            pipeline.push(FrameMeta("scan", before + k, FrameKind.FLAT, 0.0), flat)

    def run(self, pipeline: ScanPipeline) -> dict[str, NDArray[np.float32]]:
        """Planes in the middle of the scan, moved ones, planes and tomogram at its end."""
        seen: dict[str, NDArray[np.float32]] = {}
        self.push_fields(pipeline)
        for first in range(0, len(self.angles), BATCH):
            self.push(pipeline, first, first + BATCH)
            pipeline.work()
            if first == 40:
                pipeline.follow(pipeline.look(0, 0)())
                seen |= {f"{name} in between": image for name, image in pipeline.planes.images().items()}
                pipeline.view.watch([*pipeline.view.wanted, TILTED])
                while pipeline.planes.move():
                    pass
                moved = pipeline.planes.moved()
                assert moved is not None
                assert (moved.plane, moved.count, moved.factor) == (TILTED, pipeline.count, 1)
                seen["moved"] = moved.images()["tilted"]
        self.push_late(pipeline)
        pipeline.refine_center()
        pipeline.view.catch_up()
        seen |= pipeline.planes.images()
        tomogram = np.empty(pipeline.shape, np.float32)
        for first, block in pipeline.tomogram(nothing_to_read):
            tomogram[first : first + len(block)] = block
        seen |= {"tomogram": tomogram, "newest": pipeline.store.newest, "sinogram": pipeline.store.sinogram(7)[1]}
        lines, _, _ = pipeline.projections(3, 9, nothing_to_read)
        return seen | {"lines": lines}


def nothing_to_read(first: int, last: int) -> Any:
    raise AssertionError(f"rows {first} to {last} are read from the file though all is stored")


def alike(found: dict[str, NDArray[np.float32]], expected: dict[str, NDArray[np.float32]]) -> None:
    assert found.keys() == expected.keys()
    for name, image in expected.items():
        assert found[name].shape == image.shape, name
        off = np.abs(found[name] - image)
        # Horizontal planes interpolate differently on a device, where they are not smooth; see ``gpu_accumulator``.
        share, error = (5e-3, np.sqrt(np.mean(off**2))) if name.startswith("xy") else (1e-3, off.max())
        assert float(error) < share * float(np.abs(image).max()), (name, error)


class StoreSuite:
    """Needs the fixtures ``backend``, whose device has room for the scan, and ``numba_backend``."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_scan_is_that_of_the_cpu(self, backend: Backend, numba_backend: Backend, kind: str) -> None:
        scan = Scan(**KINDS[kind])  # type: ignore[arg-type]
        pipeline, reference = scan.pipeline(backend), scan.pipeline(numba_backend)
        assert isinstance(pipeline.store, DeviceStore)
        assert pipeline.plan.way == "grows with the scan"
        alike(scan.run(pipeline), scan.run(reference))
        assert isinstance(pipeline.store.all, OnDevice)
        assert pipeline.center == pytest.approx(reference.center, abs=2e-3)
        assert pipeline.layout.to_dict() == pytest.approx(reference.layout.to_dict(), abs=2e-3)
        (quality, verdict), (wanted, judged) = pipeline.judge(0, 0), reference.judge(0, 0)
        assert verdict.decision == judged.decision
        assert quality.snr == pytest.approx(wanted.snr, rel=1e-3)
        assert quality.truncation == wanted.truncation
        assert not any(backend.fallbacks.events.values())

    def test_the_tomogram_is_made_after_the_scan_where_both_do_not_fit(
        self, backend: Backend, numba_backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        where = "streamer.pipeline.reconstruction.growing_tomogram.fits_on_device"
        monkeypatch.setattr(where, lambda *sizes: False)
        scan = Scan(after=True)
        pipeline = scan.pipeline(backend)
        assert pipeline.plan.way == "after the scan, from memory"
        found = scan.run(pipeline)
        assert pipeline.brick(None, 8) is None
        monkeypatch.undo()
        alike(found, scan.run(scan.pipeline(numba_backend)))

    def test_tomograms_of_a_series(self, backend: Backend, numba_backend: Backend) -> None:
        scan = Scan(range_deg=720.0, count=72)
        scan.spec = ScanSpec("scan", "s", ROWS, N, 72, flats=3, darks=1, range_deg=720.0, tomogram_deg=180.0)
        made = []
        for chosen in (backend, numba_backend):
            pipeline = scan.pipeline(chosen)
            scan.push_fields(pipeline)
            for first in range(0, 72, BATCH):
                scan.push(pipeline, first, first + BATCH)
            pipeline.refine_center()
            tomograms = []
            while (moment := pipeline.next_moment()) is not None:
                blocks = [block.copy() for _, block in pipeline.moment(moment, nothing_to_read)]
                tomograms.append(np.concatenate(blocks))
            made.append({str(k): tomogram for k, tomogram in enumerate(tomograms)})
        assert len(made[0]) == 4
        alike(*made)


class TestStoreOnTheShim(StoreSuite):
    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)


@pytest.mark.gpu
class TestStoreOnCupy(StoreSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


class Bus:
    """Bytes that cross it: raw frames, what else goes up, and what comes down."""

    def __init__(self, engine: ShimEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames = self.beside = self.down = 0
        bus = self

        class Watched(LateTransfer):
            def copy(self, source: NDArray[Any], target: ShimArray) -> int:
                bus.frames += source.nbytes
                return super().copy(source, target)

        upload, download, zeros = engine.upload, engine.download, engine.zeros
        making = []

        def counted_upload(array: NDArray[Any]) -> ShimArray:
            bus.beside += 0 if making else array.nbytes
            return upload(array)

        def counted_zeros(*arguments: Any) -> ShimArray:
            making.append(True)  # the shim makes them by an upload
            try:
                return zeros(*arguments)
            finally:
                making.pop()

        def counted_download(array: ShimArray, out: NDArray[Any]) -> None:
            bus.down += out.nbytes
            download(array, out)

        def transformed(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def made(array: Any) -> Any:
                making.append(True)
                try:
                    return work(array)
                finally:
                    making.pop()

            return made

        monkeypatch.setattr(engine, "upload", counted_upload)
        monkeypatch.setattr(engine, "zeros", counted_zeros)
        monkeypatch.setattr(engine, "download", counted_download)
        monkeypatch.setattr(engine, "transfer", lambda: Watched(engine))
        monkeypatch.setattr(engine, "transform_lines", transformed(engine.transform_lines))
        monkeypatch.setattr(engine, "transform_planes", transformed(engine.transform_planes))

    def taken(self) -> tuple[int, int, int]:
        """Since it was asked before."""
        counted = self.frames, self.beside, self.down
        self.frames = self.beside = self.down = 0
        return counted


def test_a_frame_crosses_the_bus_once(engine: ShimEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up as it came; down its moments, the means of eight bands, and its share of a sum of binned rows. Then nothing,
    whatever is made of it, until the slices of the tomogram come down.
    """
    bus, scan = Bus(engine, monkeypatch), Scan(after=True, count=240)
    pipeline = scan.pipeline(shim_backend(engine))
    scan.push_fields(pipeline)
    scan.push(pipeline, 0, 8)
    bus.taken()
    scan.push(pipeline, 8, 16)
    frames, beside, down = bus.taken()
    raw, planes = scan.raw[:8].nbytes, 8 * 3 * 4 * 8
    assert frames == raw
    moments, bands, binned = 8 * ROWS * 4 * 8, 8 * 8 * N * 4, ROWS * N * 4
    assert down == moments + bands + binned
    assert beside == planes
    pipeline.fix_center(25.0)
    while pipeline.view.work():
        pass
    frames, beside, down = bus.taken()
    assert (pipeline.view.center, frames, down) == (25.0, 0, 0)
    tables = beside - 16 * 3 * 4 * 8
    for first in range(16, 240, 8):
        scan.push(pipeline, first, first + 8)
        while pipeline.work():
            pass
    frames, beside, down = bus.taken()
    assert frames == scan.raw[16:].nbytes
    assert 0 < tables < 3 * N * ROWS * 4 + 60_000
    scan.push_late(pipeline)
    pipeline.follow(pipeline.look(0, 0)())
    assert pipeline.view.building, "the late flats change every projection"
    bus.taken()
    pipeline.view.catch_up()
    frames, beside, down = bus.taken()
    pattern = 4 * ROWS * N
    assert (frames, down) == (0, 0)
    assert beside < pattern + 240 * 3 * 4 * 8 + 240 * 8 + 8 * N + 60_000
    for _, _block in pipeline.tomogram(nothing_to_read):
        pass
    frames, beside, down = bus.taken()
    assert (frames, down) == (0, 4 * ROWS * N * N)
    assert beside < 240 * 64 + 60_000


@pytest.mark.parametrize(
    ("options", "named"),
    [({"zingers": 8.0}, "zingers"), ({"flat_drift": "margins", "stripes": "live"}, "flat_drift, stripes")],
)
def test_options_that_need_the_host(
    engine: ShimEngine, caplog: pytest.LogCaptureFixture, options: dict[str, Any], named: str
) -> None:
    with caplog.at_level(logging.INFO):
        pipeline = Scan().pipeline(shim_backend(engine), **options)
    assert isinstance(pipeline.store, AttenuationStore)
    assert f"in the memory of the host, which {named} needs" in caplog.text


def test_too_little_memory_is_told_and_the_host_keeps_the_projections(
    engine: ShimEngine, numba_backend: Backend
) -> None:
    scan, backend = Scan(), shim_backend(engine)
    engine.claims = 400_000
    pipeline = scan.pipeline(backend)
    assert isinstance(pipeline.store, AttenuationStore)
    assert backend.fallbacks.events["does_not_fit"] == 1
    assert backend.fallbacks.reason.startswith("projections: in the memory of the host: ")
    engine.claims = None
    alike(scan.run(pipeline), scan.run(scan.pipeline(numba_backend)))
    engine.claims, engine.memory = 2**40, 1000
    assert isinstance(scan.pipeline(backend).store, AttenuationStore)
    assert backend.fallbacks.events["does_not_fit"] >= 2


def test_memory_that_runs_out_in_the_middle_loses_nothing(engine: ShimEngine, numba_backend: Backend) -> None:
    """From some allocation on there is none left: the CPU prepares what comes, and reads what is on the device."""
    scan = Scan(after=True, tilt=1.0)
    expected = scan.run(scan.pipeline(numba_backend))
    before = engine.allocations
    scan.run(scan.pipeline(shim_backend(engine)))
    total, told = engine.allocations - before, []
    for failing in np.linspace(2, total - 1, 9).astype(int).tolist():
        backend = shim_backend(engine)
        pipeline = scan.pipeline(backend)
        engine.fails_from = engine.allocations + failing
        alike(scan.run(pipeline), expected)
        engine.fails_from = 2**40
        told.append(any(backend.fallbacks.events.values()))
    assert all(told[:6]), "of the last ones only some rows are read for somebody who looks"
