"""The engine of real GPUs, and the only module that imports CuPy: when an engine is made, not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array
from streamer.core.backend import cuda_source as cuda
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory, Shape

OUT_OF_MEMORY = ("ALLOC_FAILED", "MemoryAllocation", "OUT_OF_MEMORY")
"""In what cuFFT, CUDA's runtime and its driver say when the device's memory does not suffice."""


class CupyEngine:
    """Kernels on a GPU by CuPy, on the current device and CuPy's current stream.

    Raises ImportError without CuPy, DeviceError where there is no usable GPU or the sources do not compile on it.
    """

    def __init__(self) -> None:
        self._cupy = importlib.import_module("cupy")
        self._fft = importlib.import_module("cupyx.scipy.fft")
        self._modules: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        try:
            with self.errors():
                if not self._cupy.cuda.runtime.getDeviceCount():
                    raise DeviceError("CuPy sees no GPU")
                for kernel in cuda.kernels().values():
                    self._functions[kernel.name] = self._module(kernel.unit).get_function(kernel.name)
        except (RuntimeError, OSError) as error:  # of whatever looks for the libraries of CUDA: they may be missing
            raise DeviceError(_first_line(error)) from error

    @property
    def xp(self) -> Any:
        return self._cupy

    @property
    def device_name(self) -> str:
        """What the driver calls the GPU, for the log."""
        properties = self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)
        return str(properties["name"].decode())

    def resident(self, array: Any) -> bool:
        return isinstance(array, self._cupy.ndarray)

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        with self.errors():
            return self._cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any:
        with self.errors():
            return self._cupy.zeros(shape, dtype)

    def upload(self, array: Array) -> Any:
        # CuPy copies pageable memory into a buffer of its own at once, but reads page-locked memory when it gets to it.
        blocking = self.pinned(array)
        with self.errors():
            return self._cupy.asarray(array, order="C", blocking=blocking)

    def download(self, array: Any, out: Array) -> None:
        with self.errors():
            if out.flags.c_contiguous:
                array.get(out=out)
            else:
                out[...] = array.get()

    def transform_lines(self, array: Any) -> Any:
        with self.errors():
            return self._fft.fft(array, axis=-1, overwrite_x=True)

    def transform_planes(self, array: Any) -> Any:
        with self.errors():
            return self._fft.ifft2(array, axes=(-2, -1), norm="forward")

    def launch(self, kernel: str, grid: Shape, block: Shape, arguments: tuple[Any, ...]) -> None:
        null = np.uintp(0)
        with self.errors():
            self._functions[kernel](grid, block, tuple(null if a is None else a for a in arguments))

    def transfer(self) -> CupyTransfer:
        return CupyTransfer(self)

    def pin(self, array: Array) -> None:
        with self.errors():
            self._cupy.cuda.runtime.hostRegister(array.ctypes.data, array.nbytes, 0)

    def unpin(self, array: Array) -> None:
        with self.errors():
            self._cupy.cuda.runtime.hostUnregister(array.ctypes.data)

    def pinned(self, array: Array) -> bool:
        runtime = self._cupy.cuda.runtime
        with self.errors():
            return bool(runtime.pointerGetAttributes(array.ctypes.data).type == runtime.memoryTypeHost)

    def free_bytes(self) -> int:
        with self.errors():
            pool = self._cupy.get_default_memory_pool()
            return int(self._cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())

    def memory_bytes(self) -> tuple[int, int]:
        with self.errors():
            free, whole = self._cupy.cuda.runtime.memGetInfo()
            return int(whole) - int(free), int(whole)

    def release(self) -> None:
        with self.errors():
            self._cupy.fft.config.get_plan_cache().clear()  # of this thread; its plans keep their work areas
            self._cupy.get_default_memory_pool().free_all_blocks()

    def _module(self, unit: str) -> Any:
        if unit not in self._modules:
            self._modules[unit] = self._cupy.RawModule(code=cuda.flattened(unit), options=("--std=c++17",))
        return self._modules[unit]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """CuPy's errors as ours: no memory, or anything else that the driver or the compiler says."""
        try:
            yield
        except MemoryError as error:
            raise DeviceOutOfMemory(str(error)) from error
        except Exception as error:
            module = type(error).__module__
            if not module.startswith("cupy"):
                raise
            kind = DeviceOutOfMemory if any(name in str(error) for name in OUT_OF_MEMORY) else DeviceError
            raise kind(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class CupyTransfer:
    """``Transfer`` by CuPy: copies on a stream of their own, kernels on the current one."""

    def __init__(self, engine: CupyEngine) -> None:
        self._engine, self._cupy = engine, engine.xp
        self._copies = self._cupy.cuda.Stream(non_blocking=True)

    def pinned(self, shape: Shape, dtype: DTypeLike) -> Array:
        with self._engine.errors():
            memory = self._cupy.cuda.alloc_pinned_memory(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        return self._engine.empty(shape, dtype)

    def copy(self, source: Array, target: Any) -> Any:
        with self._engine.errors():
            target.data.copy_from_host_async(source.ctypes.data, source.nbytes, self._copies)
        return self._mark(self._copies)

    def computed(self) -> Any:
        return self._mark(self._cupy.cuda.get_current_stream())

    def _mark(self, stream: Any) -> Any:
        with self._engine.errors():
            return stream.record(self._cupy.cuda.Event(disable_timing=True))

    def copying_waits(self, mark: Any) -> None:
        with self._engine.errors():
            self._copies.wait_event(mark)

    def computing_waits(self, mark: Any) -> None:
        with self._engine.errors():
            self._cupy.cuda.get_current_stream().wait_event(mark)

    def wait(self, mark: Any) -> None:
        with self._engine.errors():  # what failed on the device shows here
            mark.synchronize()
