"""What the raw writer costs for each frame: ``python -m benchmarks.streams.raw_writer [--beside TREE]``.

The writer's own process takes frames out of the ring as fast as they are put there. Its processor time is what counts:
on a machine that others use as well, and beside a receiver that needs the same cores. ``--beside`` measures the sources
of another state of the project in turns with these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.record import record
from streamer.flow.ring.ring import Ring
from streamer.flow.wire import checksum
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.raw.writer import WriterProcess
from streamer.io.shared import SharedBuffer

RING_BYTES = 2**27
BYTES = 2**30  # of each scan
ROOT = Path(__file__).resolve().parent.parent.parent


def measure(size: int) -> dict[str, float]:
    """Microseconds for each frame of size × size: processor and clock until all are safe, processor to verify them."""
    frames = BYTES // (2 * size * size)
    pixels = np.random.default_rng(0).integers(0, 60_000, (size, size)).astype("<u2").data.cast("B")
    spec, check = ScanSpec("bench", "bench", size, size, projections=frames, flats=0, darks=0), checksum(pixels)
    with SharedBuffer.create(RING_BYTES) as shared, tempfile.TemporaryDirectory() as folder:
        ring = Ring(shared.memory)
        ring.format((size, size), "<u2", 512)
        writer = WriterProcess(shared, Path(folder))
        writer.open(spec, Path(folder) / "bench.nx", "")
        pid, began = writer.pid, time.perf_counter()
        started = _cpu_s(pid)
        for index in range(frames):
            while (slot := ring.acquire()) is None:
                writer.poll_events(0.001)
            slot[:] = pixels
            ring.commit(FrameMeta("bench", index, FrameKind.PROJECTION, 0.0, index, checksum=check))
            writer.notify()
        assert writer.await_written()
        written, took = _cpu_s(pid), time.perf_counter() - began
        result = writer.finish("complete")
        assert (result.written, result.lost) == (frames, 0)
        verified = _cpu_s(pid)
        writer.stop()
    micro = 1e6 / frames
    return {"cpu_us": (written - started) * micro, "us": took * micro, "verify_cpu_us": (verified - written) * micro}


def _cpu_s(pid: int) -> float:
    """Processor time of a process with one thread."""
    return 1e-9 * int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, action="append", help="rows and columns of a frame (default 512, 2048)")
    parser.add_argument("--rounds", type=int, default=5, help="in turns (default 5)")
    parser.add_argument("--beside", type=Path, help="folder with another state of the project")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    sizes = wanted.size or [512, 2048]
    if wanted.once:
        print(json.dumps({str(size): measure(size) for size in sizes}))
        return
    trees = {"this": ROOT, **({} if wanted.beside is None else {"beside": wanted.beside})}
    command = [sys.executable, __file__, "--once", *(word for size in sizes for word in ("--size", str(size)))]
    found: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in trees}
    for _ in range(wanted.rounds):
        for name, tree in trees.items():
            env = {**os.environ, "PYTHONPATH": str(tree)}
            done = subprocess.run(command, cwd=tree, env=env, check=True, stdout=subprocess.PIPE)
            found[name].append(json.loads(done.stdout))
    record(
        "raw_writer",
        {
            f"{size}² {name}": {
                key: {"median": median(values), "all": values}
                for key in ("cpu_us", "us", "verify_cpu_us")
                for values in [[one[str(size)][key] for one in rounds]]
            }
            for size in sizes
            for name, rounds in found.items()
        },
    )


if __name__ == "__main__":
    main()
