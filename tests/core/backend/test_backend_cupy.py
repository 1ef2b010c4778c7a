from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.core.backend import cupy_engine, selection
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory
from streamer.core.backend.selection import Backend, BackendError, select_backend
from streamer.core.backend.staging import UploadQueue
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.gpu_grid import GpuGrid
from streamer.phantoms import gaussians, half_turn, image, sinogram
from tests.core.plane_suite import PlaneSuite
from tests.core.suites import BackendSuite, VolumeSuite


@pytest.mark.gpu
class TestCupy(BackendSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


@pytest.mark.gpu
class TestVolumesOnCupy(VolumeSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


@pytest.mark.gpu
class TestPlanesOnCupy(PlaneSuite):
    @pytest.fixture
    def backend(self, gpu: Backend) -> Backend:
        return gpu


@pytest.mark.gpu
def test_frames_go_through_the_queue_into_the_fourier_volume(gpu: Backend, numba_backend: Backend) -> None:
    """The whole way on a real device: pinned memory, copy stream, kernels, cuFFT."""
    n = 64
    theta = half_turn(96)
    lines = sinogram(gaussians(n), n, theta).astype(np.float32)[:, None]
    engine = gpu.kernels.engine
    queue = UploadQueue(cupy_engine.CupyTransfer(engine), 3, (1, n), np.float32)
    volume = GpuGrid(gpu.kernels, 1, n, (n - 1) / 2)
    for line, angle, weight in zip(lines, theta, angular_weights(theta), strict=True):
        queue.put(line)
        volume.add(queue.take()[None], np.array([angle]), np.array([weight]))
        queue.done()
    result = volume.finish(0, 1, np.empty((1, n, n), np.float32))[0]
    reference = reconstruct_block(numba_backend, lines, theta, (n - 1) / 2)[0]
    truth = image(gaussians(n), n)
    assert np.sqrt(np.mean((result - truth) ** 2)) < 1.1 * np.sqrt(np.mean((reference - truth) ** 2)) + 1e-4


@pytest.mark.gpu
def test_too_much_memory_is_said_so(gpu: Backend) -> None:
    engine = gpu.kernels.engine
    with pytest.raises(DeviceOutOfMemory):
        engine.empty((2 * engine.free_bytes(),), np.uint8)


@pytest.mark.gpu
def test_memory_in_use_grows_with_an_array_and_stays_below_all_of_it(gpu: Backend) -> None:
    engine = gpu.kernels.engine
    engine.release()
    before, whole = engine.memory_bytes()
    held = engine.empty((2**28,), np.uint8)
    after, _ = engine.memory_bytes()
    assert after - before >= held.nbytes
    assert 0 < after < whole


class PretendedEngine:
    """What ``select_backend`` needs of an engine, computing on the host, with an arithmetic that may be broken."""

    device_name = "Pretended GPU"
    error = 0.0

    def resident(self, array: Any) -> bool:
        return False

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def download(self, array: np.ndarray, out: np.ndarray) -> None:
        out[...] = array

    def launch(self, kernel: str, grid: Any, block: Any, arguments: tuple[Any, ...]) -> None:
        raw, dark, log_flat, low, high, *_, out = arguments
        out[...] = log_flat - np.log(np.clip(raw - dark, low, high)) + self.error


def test_a_gpu_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy_engine, "CupyEngine", PretendedEngine)
    backend, reason = select_backend("cupy")
    assert backend.name == "cupy"
    assert "Pretended GPU" in reason


def test_auto_does_not_take_a_gpu_that_nobody_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy_engine, "CupyEngine", PretendedEngine)
    monkeypatch.setattr(selection, "GPU", tmp_path)
    backend, reason = select_backend("auto")
    assert backend.name == "numba"
    assert "not been measured" in reason


def test_a_gpu_that_computes_wrongly_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy_engine, "CupyEngine", PretendedEngine)
    monkeypatch.setattr(PretendedEngine, "error", 0.001)
    with pytest.raises(BackendError, match=r"cupy.*arithmetic is wrong"):
        select_backend("cupy")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'cupy'"), "CuPy cannot be imported"),
        (DeviceError("cudaErrorInsufficientDriver"), "cudaErrorInsufficientDriver"),
        (DeviceOutOfMemory("out of memory"), "out of memory"),
    ],
)
def test_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cupy_engine, "CupyEngine", fail)
    with pytest.raises(BackendError, match=words):
        select_backend("cupy")
