"""The tomogram of a scan larger than memory: ``python -m benchmarks.reconstruction.larger [--beside TREE]``.

After the last frame the raw file is read once more, in blocks of rows, and the tomogram is written. Beside that, what
reading the file once and writing the tomogram once take by themselves. ``--beside`` measures the sources of another
state of the project in turns with these.
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

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.core.backend.selection import select_backend
from streamer.core.memory import Memory
from streamer.daemon.compute.finish import write_blocks
from streamer.daemon.compute.read_back import raw_rows
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.direct import BulkWriter
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import TomogramFile
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
TOGETHER = 8  # frames pushed at once, as by the daemon
PIECE = 2**24
FLAT, DARK = 30_000.0, 100.0


def make(path: Path, size: int, projections: int) -> None:
    """A raw file of balls of soft edges about an axis 3.3 pixels right of the middle."""
    spec = ScanSpec("larger", "balls", size, size, projections, flats=4, darks=2)
    rng, line, axis = np.random.default_rng(1), np.arange(size), (size - 1) / 2 + 3.3
    places = rng.uniform((-0.6, -0.6, 0.1), (0.6, 0.6, 0.9), (12, 3)) * (size / 2, size / 2, size)
    width, height = rng.uniform(0.03, 0.12, 12) * size, rng.uniform(0.3, 1, 12)
    down = height * np.exp(-(((line[:, None] - places[:, 2]) / width) ** 2) / 2)
    noise = rng.normal(0, 60, (size, size))
    file = NXtomoFile.create(path, spec, "")

    def append(kind: FrameKind, angle_deg: float, image: NDArray[np.float64]) -> None:
        index = file.frames
        file.append(FrameMeta("larger", index, kind, angle_deg, index, index), np.round(image).astype("<u2"))
        if index % 32 == 0:
            file.flush()

    for _ in range(2):
        append(FrameKind.DARK, 0.0, np.full((size, size), DARK))
    for _ in range(4):
        append(FrameKind.FLAT, 0.0, DARK + FLAT + noise)
    for angle in np.arange(projections) * np.pi / projections:
        column = axis + places[:, 0] * np.cos(angle) + places[:, 1] * np.sin(angle)
        across = np.exp(-(((line - column[:, None]) / width[:, None]) ** 2) / 2)
        append(FrameKind.PROJECTION, float(np.rad2deg(angle)), DARK + FLAT * np.exp(-down @ across) + noise)
    file.close("complete")


def measure(path: Path, memory_mb: float) -> dict[str, float]:
    """Seconds by the clock and of the processor for the tomogram of the raw file ``path``."""
    memory, backend = Memory(), select_backend("numba")[0]
    with ScanFile.open(path) as scan:
        spec = scan.spec()
        settings = Settings(reconstruction=ReconstructionOptions(memory_mb=memory_mb))
        pipeline = ScanPipeline(
            spec, backend, settings, planes=(), fixed_center=(spec.columns - 1) / 2 + 3.3, memory=memory
        )
        for metas, pixels in scan.some(lambda _: True, TOGETHER):
            pipeline.push_batch(metas, pixels, shown=False)
    assert not pipeline.store.whole, "it fits: give it less memory"
    pipeline.refine_center()
    _forget(path)
    began, cpu_s = time.perf_counter(), time.process_time()
    out = path.with_name(f"{os.getpid()}.h5")
    with TomogramFile.create(out, pipeline.shape, spec, unit=pipeline.unit) as volume:
        write_blocks(volume, pipeline.tomogram(raw_rows(path, memory)))
    result = {"tomogram_s": time.perf_counter() - began, "tomogram_cpu_s": time.process_time() - cpu_s}
    nbytes = out.stat().st_size
    out.unlink()
    return result | _once(path, nbytes)


def _once(path: Path, nbytes: int) -> dict[str, float]:
    """Seconds to read the file once and to write so many bytes once."""
    _forget(path)
    piece, began = Memory().array((PIECE,), np.dtype(np.uint8))[0], time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece.data):
            pass
    read_s, out = time.perf_counter() - began, path.with_name("once")
    out.touch()
    began, writer = time.perf_counter(), BulkWriter(out)
    for place in range(0, nbytes, PIECE):
        writer.write(place, piece)
    writer.close()
    written_s = time.perf_counter() - began
    out.unlink()
    return {"read_once_s": read_s, "write_once_s": written_s}


def _forget(path: Path) -> None:
    """Have the system drop the file from its page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a frame (default 512)")
    parser.add_argument("--projections", type=int, default=2048, help="default 2048")
    parser.add_argument("--memory-mb", type=float, default=700.0, help="reconstruction.memory_mb (default 700)")
    parser.add_argument("--rounds", type=int, default=3, help="in turns (default 3)")
    parser.add_argument("--beside", type=Path, help="folder with another state of the project")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.file is not None:
        print(json.dumps(measure(wanted.file, wanted.memory_mb)))
        return
    trees = {"this": ROOT, **({} if wanted.beside is None else {"beside": wanted.beside})}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "larger.nx"
        make(path, wanted.size, wanted.projections)
        command = [sys.executable, __file__, "--file", str(path), "--memory-mb", str(wanted.memory_mb)]
        for _ in range(wanted.rounds):
            for name, tree in trees.items():
                env = {**os.environ, "PYTHONPATH": str(tree)}
                done = subprocess.run(command, cwd=tree, env=env, check=True, stdout=subprocess.PIPE)
                found[name].append(json.loads(done.stdout))
    what = {"size": wanted.size, "projections": wanted.projections, "memory_mb": wanted.memory_mb}
    record("larger", {**what, **found})


if __name__ == "__main__":
    main()
