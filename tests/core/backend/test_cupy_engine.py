"""What CuPy does otherwise than one would think: how it fails, without a GPU; how it copies, on one."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from streamer.core.backend.cupy_engine import CupyEngine
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory
from streamer.core.backend.selection import Backend, BackendError, select_backend
from streamer.core.backend.staging import lock_pages
from streamer.frames import StreamerError
from streamer.io.shared import SharedBuffer


def error_of(module: str, text: str, base: type[Exception] = RuntimeError) -> Exception:
    """An error as if it was defined there."""
    return type("SomeError", (base,), {"__module__": module})(text)


class TestErrors:
    @pytest.fixture
    def engine(self) -> CupyEngine:
        """Without a GPU; good for nothing but to translate errors."""
        return CupyEngine.__new__(CupyEngine)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (error_of("cupy.cuda.memory", "Out of memory allocating 5 bytes", MemoryError), DeviceOutOfMemory),
            (error_of("cupy.cuda.cufft", "CUFFT_ALLOC_FAILED"), DeviceOutOfMemory),
            (
                error_of("cupy_backends.cuda.api.runtime", "cudaErrorMemoryAllocation: out of memory"),
                DeviceOutOfMemory,
            ),
            (error_of("cupy_backends.cuda.api.driver", "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), DeviceOutOfMemory),
            (error_of("cupy_backends.cuda.api.driver", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many"), DeviceError),
            (error_of("cupy_backends.cuda.api.runtime", "cudaErrorIllegalAddress: an illegal address"), DeviceError),
            (error_of("cupy.cuda.cufft", ""), DeviceError),
        ],
    )
    def test_of_cupy_are_ours(self, engine: CupyEngine, error: Exception, kind: type[StreamerError]) -> None:
        with pytest.raises(kind) as caught, engine.errors():
            raise error
        assert type(caught.value) is kind
        assert str(caught.value).strip()

    def test_of_others_pass(self, engine: CupyEngine) -> None:
        with pytest.raises(ZeroDivisionError), engine.errors():
            raise ZeroDivisionError

    @pytest.mark.parametrize(
        "error",
        [
            error_of("cuda.pathfinder._dynamic_libs", 'Failure finding "libnvrtc.so"\nNo such file'),
            RuntimeError("CuPy failed to load libnvrtc.so.12"),
            OSError("libcufft.so.11: cannot open shared object file"),
        ],
    )
    def test_cuda_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        """CuPy can be imported without the libraries, and fails when it first needs one."""

        def fail() -> int:
            raise error

        cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=fail)))
        monkeypatch.setattr(importlib, "import_module", lambda name: cupy)
        with pytest.raises(BackendError, match=r"cannot be used .*lib(nvrtc|cufft)"):
            select_backend("cupy")


@pytest.mark.gpu
class TestCopies:
    @pytest.mark.parametrize("locked", [False, True])
    def test_the_source_may_change_at_once(self, gpu: Backend, locked: bool) -> None:
        engine = gpu.kernels.engine
        source = np.zeros(2**26, np.uint8)
        if locked:
            engine.pin(source)
        try:
            there = [engine.upload(source)]
            source[...] = 1
            there.append(engine.upload(source))
            source[...] = 2
        finally:
            if locked:
                engine.unpin(source)
        back = np.empty_like(source)
        for value, array in enumerate(there):
            engine.download(array, back)
            assert (back == value).all()

    def test_every_order_becomes_that_of_the_kernels(self, gpu: Backend) -> None:
        engine = gpu.kernels.engine
        turned = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
        for source in (turned, turned[::2, 1:], turned.T):
            there = engine.upload(source)
            assert there.flags.c_contiguous
            back = np.empty(source.shape, np.float32)
            engine.download(there, back)
            np.testing.assert_array_equal(back, source)

    def test_memory_is_locked_once(self, gpu: Backend) -> None:
        engine, array = gpu.kernels.engine, np.zeros(2**20, np.uint8)
        assert not engine.pinned(array)
        engine.pin(array)
        assert engine.pinned(array)
        assert engine.pinned(array[2**10 :])
        with pytest.raises(DeviceError, match="AlreadyRegistered"):
            engine.pin(array)
        engine.unpin(array)
        with pytest.raises(DeviceError, match="NotRegistered"):
            engine.unpin(array)
        assert not engine.pinned(array)
        assert engine.pinned(engine.transfer().pinned((100,), np.uint8))

    def test_memory_that_processes_share_can_be_locked(self, gpu: Backend) -> None:
        with SharedBuffer.create(2**22) as shared:
            memory = np.frombuffer(shared.memory, np.uint8)
            unlock = lock_pages(gpu.kernels.engine, memory, "the ring")
            assert gpu.kernels.engine.pinned(memory)
            unlock()
            del memory
