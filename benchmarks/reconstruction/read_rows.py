"""Rows of all frames of a raw file: by the HDF5 library, and past it. ``python -m benchmarks.reconstruction.read_rows``

This is what a tomogram costs to read where the scan does not fit into memory. Both read the same blocks in turns, from
the page cache, so that the disk is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.io.layouts.plain_stack import PlainStack

AT_ONCE = 32
"""Frames in one read of the library: 8 MiB, as ``ScanFile`` reads."""

Read = Callable[[slice, NDArray[Any]], None]


def measure(size: int, frames: int, rows: int) -> dict[str, float]:
    """GB/s and CPU seconds per GB of either way, of blocks of ``rows``, from ``frames`` of size × size."""
    image = np.random.default_rng(0).integers(0, 4000, (size, size)).astype("<u2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data", (frames, size, size), "<u2", chunks=(1, size, size))
            for number in range(frames):
                data[number] = image
        with h5py.File(path) as file:
            data = file["data"]
            stack = PlainStack.of(data)
            assert stack is not None

            def library(part: slice, out: NDArray[Any]) -> None:
                for first in range(0, frames, AT_ONCE):
                    out[first : first + AT_ONCE] = data[first : first + AT_ONCE, part]

            def plain(part: slice, out: NDArray[Any]) -> None:
                stack.read(0, part, out)

            with stack:
                return _in_turns({"library": library, "plain": plain}, (frames, rows, size), size)


def _in_turns(ways: dict[str, Read], shape: tuple[int, int, int], size: int) -> dict[str, float]:
    out = np.empty(shape, "<u2")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn, first in enumerate(range(0, size - shape[1] + 1, shape[1])):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            began = time.perf_counter(), time.process_time()
            ways[name](slice(first, first + shape[1]), out)
            taken[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    result = {}
    for name, times in taken.items():
        result[f"{name}, GB/s"] = 1e-9 * out.nbytes / median(wall for wall, _ in times)
        result[f"{name}, CPU s/GB"] = median(cpu for _, cpu in times) / (1e-9 * out.nbytes)
    result["times faster"] = result["plain, GB/s"] / result["library, GB/s"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of a frame (default 1024)")
    parser.add_argument("--frames", type=int, default=1024, help="frames (default 1024)")
    parser.add_argument("--rows", type=int, default=128, help="rows in a block (default 128)")
    wanted = parser.parse_args()
    result = measure(wanted.size, wanted.frames, wanted.rows)
    record("read_rows", result)


if __name__ == "__main__":
    main()
