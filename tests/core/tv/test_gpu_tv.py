"""The iterative reconstruction on a device against the one on the CPU: projectors, prior, whole runs."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.engine import Engine
from streamer.core.backend.selection import Backend
from streamer.core.tv import kernels as kernels_iterative
from streamer.core.tv.fista import FistaSolver, HostFistaSolver, TotalVariation
from streamer.core.tv.gpu_fista import DeviceFistaSolver
from streamer.core.tv.gpu_projector import IterativeKernels
from streamer.core.tv.projector import Projector
from streamer.core.tv.reconstruction import reconstruct_tv
from streamer.frames import BadInput
from streamer.phantoms import half_turn, shepp_logan, sinogram
from tests.core.shim import ShimEngine, shim_backend

SINGLE = 3e-6
"""Of the largest number, what sums in another order may differ by where they are short."""

RUN = 3e-5
"""Of the largest number, what a whole run may differ by: its iterations are the same, their rounding is not."""


def scan(n: int, rows: int, angles: NDArray[np.float64], center: float) -> Image:
    """Noisy projections (angles, rows, n), each row with other noise."""
    lines = sinogram(shepp_logan(n), n, angles, center)[:, None].repeat(rows, axis=1)
    noise = np.random.default_rng(5).normal(0, 0.02 * lines.max(), lines.shape)
    return (lines + noise).astype(np.float32)


def close(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


class IterativeSuite:
    """What a device must reproduce of the CPU's numbers. Needs the fixture ``backend``."""

    @pytest.fixture
    def engine(self, backend: Backend) -> Engine:
        engine: Engine = backend.kernels.engine
        return engine

    @pytest.mark.parametrize("depth", [1, 2, 5, 33, 130])
    @pytest.mark.parametrize("center", [16.0, 14.3, -2.0, 40.0])
    def test_projectors(self, backend: Backend, numba_backend: Backend, depth: int, center: float) -> None:
        """All directions, axes on and off the detector, volumes that are not square, rows that fill no block."""
        rng = np.random.default_rng(0)
        angles = np.concatenate((rng.uniform(-7, 7, 5), np.arange(9) * np.pi / 4))
        here, there = (Projector(one, angles, 33, center, (29, 31)) for one in (numba_backend, backend))
        volume = rng.normal(size=(29, 31, depth)).astype(np.float32)
        lines = here.padded(rng.normal(size=(angles.size, depth, 33)))
        expected = here.forward(volume)
        close(there.forward(volume), expected, SINGLE)
        close(there.forward(volume, measured=lines), expected - lines, SINGLE)
        assert not there.forward(volume)[:, [0, 1, -2, -1]].any()
        close(there.backward(lines, -0.7, volume.copy()), here.backward(lines, -0.7, volume.copy()), SINGLE)
        base = rng.normal(size=volume.shape).astype(np.float32)
        out = np.empty_like(volume)
        close(there.backward(lines, 0.3, out, base), here.backward(lines, 0.3, base.copy()), SINGLE)

    @pytest.mark.parametrize("center", [16.0, 3.9, 1e12, -1e12])
    def test_the_projectors_are_transposes(self, backend: Backend, center: float) -> None:
        rng = np.random.default_rng(1)
        projector = Projector(backend, rng.uniform(-7, 7, 9), 33, center, (29, 31))
        volume = rng.normal(size=(29, 31, 3)).astype(np.float32)
        lines = projector.padded(rng.normal(size=(9, 3, 33)))
        seen = projector.forward(volume).astype(np.float64)
        back = projector.backward(lines, 1.0, np.zeros_like(volume)).astype(np.float64)
        assert abs(np.vdot(seen, lines) - np.vdot(volume, back)) <= 1e-6 * np.linalg.norm(seen) * np.linalg.norm(lines)
        assert seen.any() == (abs(center) < 100)

    def test_a_subset_is_some_of_the_angles(self, backend: Backend) -> None:
        projector = Projector(backend, half_turn(8), 20, 9.5, (20, 20))
        volume = np.random.default_rng(2).normal(size=(20, 20, 3)).astype(np.float32)
        part = slice(3, 6)
        assert projector.subset(part).angles == 3
        np.testing.assert_array_equal(projector.subset(part).forward(volume), projector.forward(volume)[part])

    @pytest.mark.parametrize("shape", [(5, 7, 1), (6, 3, 4), (1, 1, 1), (4, 1, 5), (9, 40, 11), (2100, 2, 1)])
    @pytest.mark.parametrize("low", [0.0, -np.inf])
    def test_the_prior(self, engine: Engine, shape: tuple[int, int, int], low: float) -> None:
        """Steps with momentum from any state, against the CPU's two kernels; then the image and its sums."""
        rng = np.random.default_rng(3)
        kernels, weight, step = IterativeKernels(engine), 0.3, 0.7
        noisy, ahead, before = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
        old, dual = (np.zeros((3, *shape), np.float32) for _ in range(2))
        kernels_iterative.tv_dual(rng.normal(size=shape).astype(np.float32), step, 0.0, 1, old.copy(), old)
        kernels_iterative.tv_dual(rng.normal(size=shape).astype(np.float32), step, 0.0, 1, dual.copy(), dual)
        fields = engine.upload(old), engine.upload(dual), engine.zeros(dual.shape, np.float32)
        looked = dual + np.float32(0.4) * (dual - old)
        kernels_iterative.tv_primal(noisy, looked, weight, low, 1, image := np.empty_like(noisy))
        kernels_iterative.tv_dual(image, step, 0.0, 1, looked, expected := dual.copy())
        on_device = [engine.upload(array) for array in (noisy, ahead, before)]
        kernels.tv_step(on_device[0], weight, low, step, 0.4, fields)
        found = np.empty_like(dual)
        engine.download(fields[2], found)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        for field in (None, fields[2]):
            now = engine.empty(shape, np.float32)
            sums = kernels.tv_image(on_device[0], weight, low, field, on_device[1], on_device[2], now)
            known = np.zeros_like(found) if field is None else found
            kernels_iterative.tv_primal(noisy, known, weight, low, 1, image)
            got = np.empty(shape, np.float32)
            engine.download(now, got)
            np.testing.assert_allclose(got, image, atol=1e-6)
            exact, change = got.astype(np.float64), got.astype(np.float64) - before
            wanted = np.vdot(ahead - exact, change), np.vdot(change, change), np.vdot(exact, exact)
            np.testing.assert_allclose(sums, wanted, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("weight", [0.0, 0.02])
    def test_move_by_move(self, backend: Backend, numba_backend: Backend, engine: Engine, weight: float) -> None:
        rng = np.random.default_rng(4)
        start = rng.normal(size=(3, 17, 17)).astype(np.float32)
        prior, angles = TotalVariation(weight, 0.0), half_turn(7)
        here, there = HostFistaSolver(start, prior, 2), DeviceFistaSolver(engine, start, prior)
        pair: list[tuple[FistaSolver, Projector]] = [(here, Projector(numba_backend, angles, 17, 8.2, (17, 17)))]
        pair.append((there, Projector(backend, angles, 17, 8.2, (17, 17))))
        lines = rng.normal(size=(7, 3, 17))
        for factor in (0.0, 0.4, 0.7):
            moved = []
            for at, projector in pair:
                at.descend(projector, at.measured(projector.padded(lines)), -0.02)
                moved.append(at.settle())
                at.look_ahead(factor)
            for name in ("uphill", "change", "size"):
                assert getattr(moved[1], name) == pytest.approx(getattr(moved[0], name), rel=1e-4)
        close(there.result(), here.result(), SINGLE)

    @pytest.mark.parametrize("iterations", [0, 1, 4, 25])
    @pytest.mark.parametrize(
        ("n", "rows", "options"),
        [
            (24, 1, {}),
            (21, 1, {"subsets": 3}),
            (20, 5, {"subsets": 3}),
            (19, 34, {"subsets": 2}),
            (24, 3, {"strength": 0.0, "subsets": 2}),
            (24, 2, {"nonnegative": False}),
            (24, 1, {"strength": 4.0, "nonnegative": False, "subsets": 5}),
        ],
    )
    def test_whole_runs(
        self, backend: Backend, numba_backend: Backend, n: int, rows: int, options: dict[str, Any], iterations: int
    ) -> None:
        angles, center = half_turn(14), (n - 1) / 2 + 0.8
        frames = scan(n, rows, angles, center)
        found, expected = (
            reconstruct_tv(one, frames, angles, center, iterations=iterations, **options)
            for one in (backend, numba_backend)
        )
        close(found, expected, RUN)
        assert expected.any()

    def test_a_warm_start_and_progress(self, backend: Backend, numba_backend: Backend) -> None:
        """From a given start, until it is at rest: as many iterations, with the same changes."""
        angles = half_turn(12)
        frames = scan(20, 2, angles, 9.5)
        start = np.random.default_rng(6).normal(0.1, 0.2, (2, 20, 20)).astype(np.float32)
        seen: dict[str, list[tuple[int, int, float]]] = {}

        def run(one: Backend) -> Image:
            told = seen.setdefault(one.name, [])
            return reconstruct_tv(
                one, frames, angles, 9.5, start=start, iterations=200, progress=lambda *now: told.append(now)
            )

        close(run(backend), run(numba_backend), RUN)
        found, expected = seen[backend.name], seen[numba_backend.name]
        assert len(found) == len(expected) < 200
        np.testing.assert_allclose(found[:20], expected[:20], rtol=1e-3)

    def test_repeats_bit_for_bit(self, backend: Backend) -> None:
        angles = half_turn(12)
        frames = scan(20, 3, angles, 9.1)
        runs = {reconstruct_tv(backend, frames, angles, 9.1, iterations=8).tobytes() for _ in range(3)}
        assert len(runs) == 1

    def test_what_makes_no_sense_is_refused(self, backend: Backend) -> None:
        frames = np.zeros((6, 1, 8), np.float32)
        assert not reconstruct_tv(backend, frames, half_turn(6), 3.5).any()
        for center in (np.nan, 99.0):
            with pytest.raises(BadInput):
                reconstruct_tv(backend, frames, half_turn(6), center)


@pytest.mark.gpu
class TestOnCupy(IterativeSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


class TestOnTheShim(IterativeSuite):
    @pytest.fixture
    def engine(self, library: ctypes.CDLL) -> ShimEngine:
        return ShimEngine(library)

    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)

    def test_the_order_of_threads_does_not_matter(self, backend: Backend, engine: ShimEngine) -> None:
        angles = half_turn(12)
        frames = scan(20, 34, angles, 9.1)
        runs = set()
        for backwards in (False, True):
            engine.backwards = backwards
            runs.add(reconstruct_tv(backend, frames, angles, 9.1, iterations=3).tobytes())
        assert len(runs) == 1
        assert {"project_strips_many", "backproject_strips_many", "tv_step", "tv_image"} <= engine.launched.keys()

    def test_only_numbers_come_back_while_it_iterates(
        self, backend: Backend, engine: ShimEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        angles, shape = half_turn(12), (3, 20, 20)
        frames = scan(20, 3, angles, 9.1)
        fetched: list[int] = []
        download = engine.download

        def counted(array: Any, out: NDArray[Any]) -> None:
            fetched.append(out.size)
            download(array, out)

        sent: list[int] = []
        upload = engine.upload

        def sends(array: NDArray[Any]) -> Any:
            sent.append(array.size)
            return upload(array)

        monkeypatch.setattr(engine, "download", counted)
        monkeypatch.setattr(engine, "upload", sends)

        def begins(done: int, _of: int, _change: float) -> None:
            if done == 1:
                fetched.clear()
                sent.clear()

        start = np.zeros(shape, np.float32)
        reconstruct_tv(backend, frames, angles, 9.1, start=start, iterations=9, subsets=1, progress=begins)
        assert fetched == [3] * 8 + [start.size]
        assert sent == []
