"""The CUDA kernels on the CPU: the sources that a GPU gets, compiled by g++, one thread after the other.

The engine below is stricter than a GPU. It checks the type of every argument against the source, surrounds every array
with NaN and looks whether that was written to, starts with NaN where content is undefined, knows device arrays from
host arrays, and has a memory that can be small or can run out. It says nothing about speed.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import DTypeLike, NDArray

from streamer.core.backend import cuda_source as cuda
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory
from streamer.core.backend.gpu_kernels import Kernels
from streamer.core.backend.selection import Backend

GUARD = 256  # bytes of NaN before and behind every array of the engine

LAUNCHING = threading.Lock()
"""Held by a kernel: where it is, is in global variables."""

C_TYPES = {
    "unsigned char": np.uint8,
    "unsigned short": np.uint16,
    "unsigned int": np.uint32,
    "int": np.int32,
    "long long": np.int64,
    "float": np.float32,
    "double": np.float64,
    "float2": np.complex64,
}


class ShimArray:
    """An array "on the device". The host can only get at it through the engine."""

    def __init__(self, memory: NDArray[np.uint8], values: NDArray[Any]) -> None:
        self._memory, self._values = memory, values

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def ndim(self) -> int:
        return self._values.ndim

    @property
    def size(self) -> int:
        return self._values.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    def __getitem__(self, key: slice | None) -> ShimArray:
        return ShimArray(self._memory, self._values[key])

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("an array on the device was used as if it lay on the host")

    def unharmed(self) -> bool:
        return bool((self._memory[:GUARD] == 0xFF).all() and (self._memory[-GUARD:] == 0xFF).all())


class ShimEngine:
    """``Engine`` on the CPU. ``backwards`` turns the order of threads.

    ``memory`` (bytes) limits single arrays, ``capacity`` all that are alive. ``claims`` is what ``free_bytes`` says, if
    it shall not be the truth. From allocation number ``fails_from`` on until ``fails_until`` there is no memory.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.backwards = False
        self.memory = self.capacity = 2**40
        self.claims: int | None = None
        self.fails_from = self.fails_until = 2**40
        self.used = self.peak = self.allocations = 0
        self.launched: Counter[str] = Counter()
        self._locked: list[tuple[int, int]] = []  # addresses and sizes

    def resident(self, array: Any) -> bool:
        return isinstance(array, ShimArray)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> ShimArray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.allocations += 1
        refused = self.fails_from <= self.allocations < self.fails_until
        if refused or size > self.memory or self.used + size > self.capacity:
            raise DeviceOutOfMemory(f"{size} bytes asked for")
        room = np.full(size + 2 * GUARD + 64, 0xFF, np.uint8)
        self.used += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(room, self._freed, size)
        start = -room.ctypes.data % 64
        memory = room[start : start + size + 2 * GUARD]
        return ShimArray(memory, memory[GUARD : GUARD + size].view(dtype).reshape(shape))

    def _freed(self, size: int) -> None:
        self.used -= size

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> ShimArray:
        return self.upload(np.zeros(shape, dtype))

    def upload(self, array: NDArray[Any]) -> ShimArray:
        device = self.empty(array.shape, array.dtype)
        device._values[...] = array
        return device

    def download(self, array: ShimArray, out: NDArray[Any]) -> None:
        assert array.shape == out.shape
        out[...] = array._values

    def transform_lines(self, array: ShimArray) -> ShimArray:
        return self.upload(scipy.fft.fft(array._values, axis=-1))

    def transform_planes(self, array: ShimArray) -> ShimArray:
        return self.upload(scipy.fft.ifft2(array._values, axes=(-2, -1), norm="forward"))

    def launch(self, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        declared = cuda.kernels()[kernel]
        assert np.prod(block) == declared.threads
        assert all(extent >= 1 for extent in grid)
        assert max(grid[1:]) <= 65_535
        assert len(arguments) == len(declared.parameters)
        values = []
        for argument, parameter in zip(arguments, declared.parameters, strict=True):
            dtype = C_TYPES[parameter.removesuffix("*")]
            if parameter.endswith("*"):
                if argument is None:
                    values.append(np.uintp(0))
                    continue
                assert isinstance(argument, ShimArray), f"{kernel}: {type(argument)} for {parameter}"
                assert argument.dtype == dtype, f"{kernel}: {argument.dtype} for {parameter}"
                assert argument._values.flags.c_contiguous
                values.append(np.uintp(argument._values.ctypes.data))
            else:
                assert type(argument) is dtype, f"{kernel}: {type(argument)} for {parameter}"
                values.append(argument)
        boxes = [np.array(value) for value in values]
        pointers = (ctypes.c_void_p * len(boxes))(*(box.ctypes.data for box in boxes))
        three = ctypes.c_uint * 3
        entry = getattr(self._library, f"shim_{kernel}")
        with LAUNCHING:
            failed = entry(three(*grid), three(*block), int(self.backwards), pointers)
        assert failed == 0, f"{kernel}: barriers diverge"
        assert all(a.unharmed() for a in arguments if isinstance(a, ShimArray)), f"{kernel} wrote out of bounds"
        self.launched[kernel] += 1

    def transfer(self) -> LateTransfer:
        return LateTransfer(self)

    def pin(self, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        if self.pinned(array):
            raise DeviceError("pinned already")
        self._locked.append((array.ctypes.data, array.nbytes))

    def lock(self, array: NDArray[Any]) -> NDArray[Any]:
        """Page-locked memory of its own, for as long as it is there."""
        place = array.ctypes.data, array.nbytes
        self._locked.append(place)
        weakref.finalize(array, self._locked.remove, place)
        return array

    def unpin(self, array: NDArray[Any]) -> None:
        if (array.ctypes.data, array.nbytes) not in self._locked:
            raise DeviceError("not pinned")
        self._locked.remove((array.ctypes.data, array.nbytes))

    def pinned(self, array: NDArray[Any]) -> bool:
        return any(start <= array.ctypes.data < start + size for start, size in self._locked)

    def free_bytes(self) -> int:
        return min(self.memory, self.capacity - self.used) if self.claims is None else self.claims

    def memory_bytes(self) -> tuple[int, int]:
        return self.used, self.capacity

    def release(self) -> None:
        pass


class LateTransfer:
    """``Transfer`` whose copies are made when somebody waits for them, and no sooner. Kernels are done when queued."""

    def __init__(self, engine: ShimEngine) -> None:
        self._engine = engine
        self._copies: list[tuple[NDArray[Any], ShimArray]] = []
        self._made = 0

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return self._engine.lock(np.zeros(shape, dtype))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> ShimArray:
        return self._engine.empty(shape, dtype)

    def copy(self, source: NDArray[Any], target: ShimArray) -> int:
        assert source.shape == target.shape
        assert source.dtype == target.dtype
        assert source.flags.c_contiguous
        self._copies.append((source, target))
        return len(self._copies)

    def computed(self) -> int:
        return 0

    def copying_waits(self, mark: int) -> None:
        self.wait(mark)

    def computing_waits(self, mark: int) -> None:
        self.wait(mark)

    def wait(self, mark: int) -> None:
        for source, target in self._copies[self._made : mark]:
            target._values[...] = source
        self._made = max(self._made, mark)


def build(folder: Path, text: str) -> ctypes.CDLL:
    """Compile C++ text that stands in the package's folder of CUDA sources."""
    here = str(Path(cuda.__file__).parent)
    (folder / "shim.cpp").write_text(text)
    command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    command += [
        "-Wno-unused-function",
        "-Wno-missing-braces",
        f"-I{here}",
        f"-I{Path(__file__).parent}",
        "shim.cpp",
        "-o",
        "shim.so",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "shim.so"))


def compile_kernels(folder: Path) -> ctypes.CDLL:
    """All kernels, compiled for the host."""
    lines = ['#include "host_shim.hpp"', *(f'#include "{unit}.cu"' for unit in cuda.UNITS)]
    lines += [f"SHIM_ENTRY({name})" for name in cuda.kernels()]
    return build(folder, "\n".join(lines) + "\n")


def shim_backend(engine: ShimEngine, threads: int = 2) -> Backend:
    return Backend("shim", threads, Kernels(engine))


def device(engine: ShimEngine, array: NDArray[Any]) -> ShimArray:
    return engine.upload(np.ascontiguousarray(array))


def host(array: ShimArray) -> NDArray[Any]:
    return array._values.copy()


def both_orders(engine: ShimEngine, work: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The result of ``work``, which must not depend on the order in which threads and blocks run."""
    engine.backwards = False
    forwards = work()
    engine.backwards = True
    assert np.array_equal(forwards, work())
    return forwards
