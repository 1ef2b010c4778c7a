"""What a GPU makes of the tomogram and of live planes: ``python -m benchmarks.gpu [--size PX] [--frames N]`` and more.

Needs a CUDA GPU and CuPy; without, it says so in one line and exits with 1. One run measures

- ``limits``: copies from and to pinned memory, and in-place batched transforms, in the same run;
- ``stream``: uint16 frames from pinned memory through the device ring, preparation, gridding: frames per second beside
  the copies alone and the kernels alone, and the share of the shorter of the two that the overlap hides;
- ``tomogram``: uint16 in, float32 out in pinned memory, with transfer and preparation, in chunks of rows that fit;
- ``small``: tomograms per second of 256³ from 200 projections;
- ``planes``: uint16 frames of 1024² into the sums of three live planes: milliseconds per frame, beside the copies alone
  (through the same ring, from memory that is not pinned), and per set of images;
- ``pipeline``: a whole scan of as many frames of the same size through the pipeline of the daemon, without sockets and
  files: frames per second, then seconds from the last frame to the last slice on the host.

Each time is the best of ``--repeat`` (default 3) after one run that is not counted.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.core.backend.chunks import USABLE_SHARE, plan_chunks
from streamer.core.backend.engine import Transfer
from streamer.core.backend.selection import Backend, BackendError, select_backend
from streamer.core.backend.staging import UploadQueue, upload_buffer
from streamer.core.fourier.gpu_grid import QUEUED_PROJECTIONS, GpuGrid, Gridding
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.preprocessing.gpu_preparation import QUEUED_BATCHES
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.device_store import DeviceStore
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import ReconstructionOptions, Settings

FLAT, SHOTS = 50_000.0, 8  # counts; different frames, after which they are shown again
PAIRS = 32  # of rows of which slices are made at once


class Scan:
    """Counts of a scan in pinned memory, and what their preparation needs on the device. Angles on half a turn."""

    def __init__(self, backend: Backend, rows: int, columns: int, count: int) -> None:
        self.kernels, self.engine = backend.kernels, backend.kernels.engine
        self.rows, self.columns, self.count = rows, columns, count
        self.transfer: Transfer = self.engine.transfer()
        self.frames = self.transfer.pinned((SHOTS, rows, columns), np.uint16)
        self.frames[...] = np.random.default_rng(0).integers(20_000, 50_000, self.frames.shape, np.uint16)
        self.angles, self.weights = np.arange(count) * np.pi / count, np.full(count, np.pi / count)

    def pour(self, volume: GpuGrid | None, first: int, last: int, batch: int, copy: bool = True) -> None:
        """Rows first … last-1 of all frames, in batches, through the ring into a volume; None: only copy them.

        Without ``copy`` the kernels get the same frames of the device over and over.
        """
        depth, engine = last - first, self.engine
        dark, log_flat = (engine.upload(np.full((depth, self.columns), v, np.float32)) for v in (0.0, np.log(FLAT)))
        # As many places as projections that are gridded at once: the next ones are copied meanwhile.
        ring = UploadQueue(self.transfer, max(batch, QUEUED_PROJECTIONS), (depth, self.columns), np.uint16)
        still = None if copy else engine.upload(np.ascontiguousarray(self.frames[0, first:last]))
        plain = engine.empty((batch, depth, self.columns), np.float32)
        put = 0
        for begin in range(0, self.count, batch):
            some = slice(begin, min(begin + batch, self.count))
            for index in range(some.stop - begin):
                while copy and put < self.count and not ring.full:
                    ring.put(self.frames[put % SHOTS, first:last], pinned=True)
                    put += 1
                raw = ring.take() if still is None else still
                if volume is not None:
                    target = plain[index : index + 1]
                    self.kernels.prepare(raw[None], dark, log_flat, np.float32(0.5), np.float32(1e6), None, target)
                if copy:
                    ring.done()
            if volume is not None:
                volume.add(plain[: some.stop - begin], self.angles[some], self.weights[some])
        ring.drain()

    def chunk_nbytes(self, plan: Gridding, batch: int) -> tuple[int, int]:
        """Device memory for one row of ``tomogram`` and for all, which cannot be cut."""
        row = (
            plan.row_nbytes()
            + plan.add_row_nbytes(batch)
            + (4 * batch + 2 * max(batch, QUEUED_PROJECTIONS) + 8) * self.columns
        )
        return row, PAIRS * plan.pair_nbytes()

    def tomogram(self, out: NDArray[np.float32], batch: int) -> int:
        """The whole way, in chunks of rows that fit; their number. ``out`` (rows, columns, columns), best pinned."""
        plan = Gridding(self.columns)
        memory = int(USABLE_SHARE * self.engine.free_bytes())
        chunks = plan_chunks(self.rows, *self.chunk_nbytes(plan, batch), memory, 16)
        for first, last in chunks:
            volume = GpuGrid(self.kernels, last - first, self.columns)
            self.pour(volume, first, last, batch)
            for row in range(0, last - first, 2 * PAIRS):
                end = min(row + 2 * PAIRS, last - first)
                volume.finish(row, end, out[first + row : first + end])
        return len(chunks)


class Clock:
    """Seconds of work on a device, the best of some, after once without counting."""

    def __init__(self, engine: Any, repeat: int) -> None:
        self._engine, self._repeat = engine, repeat
        self._mark, self._word = engine.zeros((1,), np.float32), np.empty(1, np.float32)

    def wait(self) -> None:
        """Until all kernels are done: they are in one queue with this copy."""
        self._engine.download(self._mark, self._word)

    def __call__(self, work: Callable[[], Any]) -> float:
        times = []
        for _ in range(self._repeat + 1):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return min(times[1:])


def limits(backend: Backend, clock: Clock, columns: int, mebibytes: int = 256) -> dict[str, float]:
    """Bytes per second of copies, of memory on the device, and transforms of a ``columns`` wide grid per second."""
    engine = backend.kernels.engine
    transfer, nbytes = engine.transfer(), mebibytes * 2**20
    host, there = transfer.pinned((nbytes,), np.uint8), engine.empty((nbytes,), np.uint8)
    size, most = Gridding(columns).size, 16
    planes = engine.zeros((most, size, size), np.complex64)
    transform = clock(lambda: engine.transform_planes(planes)) / most
    return {
        "to_device_gb_s": round(nbytes / clock(lambda: transfer.wait(transfer.copy(host, there))) / 1e9, 2),
        "to_host_gb_s": round(nbytes / clock(lambda: engine.download(there, host)) / 1e9, 2),
        "transform_side": size,
        "transforms_per_s": round(1 / transform, 1),
        "transform_gflop_s": round(10 * size**2 * np.log2(size) / transform / 1e9, 1),
    }


def stream(backend: Backend, clock: Clock, rows: int, columns: int, count: int, batch: int) -> dict[str, float]:
    """Frames per second into a resident volume, and how much of the copies is hidden behind the kernels."""
    scan = Scan(backend, rows, columns, count)
    volume = GpuGrid(backend.kernels, rows, columns)
    both = clock(lambda: scan.pour(volume, 0, rows, batch))
    copies = clock(lambda: scan.pour(None, 0, rows, batch))
    kernels = clock(lambda: scan.pour(volume, 0, rows, batch, copy=False))
    return {
        "rows": rows,
        "columns": columns,
        "frames_per_s": round(count / both, 1),
        "copies_alone_per_s": round(count / copies, 1),
        "kernels_alone_per_s": round(count / kernels, 1),
        "overlap": round((copies + kernels - both) / min(copies, kernels), 3),
        "copied_gb_s": round(2 * rows * columns * count / both / 1e9, 2),
    }


def tomogram(backend: Backend, clock: Clock, size: int, count: int, batch: int) -> dict[str, float]:
    """Seconds of size³ from ``count`` projections, from counts in pinned memory to slices in pinned memory."""
    scan = Scan(backend, size, size, count)
    out, chunks = scan.transfer.pinned((size, size, size), np.float32), []
    seconds = clock(lambda: chunks.append(scan.tomogram(out, batch)))
    return {"size": size, "projections": count, "seconds": round(seconds, 4), "chunks": chunks[-1]}


def planes(backend: Backend, clock: Clock, size: int, count: int) -> dict[str, float]:
    """Milliseconds per frame of ``size``² counts into three planes, of its copy alone, and per set of three images.

    ``staged`` from memory that is not page-locked; ``stored`` with the attenuation of every frame and its moments back
    in the host's memory, as the daemon has it where the device is too small; ``resident`` with the attenuation in the
    device's store and the moments on the host, ``measured`` with all else that the daemon measures of every frame.
    """
    staged = np.random.default_rng(0).integers(20_000, 50_000, (FRAMES_PER_FOLD, size, size), np.uint16)
    frames = upload_buffer(backend, staged.shape, staged.dtype)
    frames[...] = staged
    store, moments = np.empty(staged.shape, np.float32), np.empty((*staged.shape[:2], 4))
    angles = np.arange(FRAMES_PER_FOLD) * np.pi / FRAMES_PER_FOLD
    live = LivePlanes(backend, orthogonal_planes(size, size), size, size, (size - 1) / 2)
    correction = FlatFieldCorrection(None, np.full((size, size), FLAT))
    ring = UploadQueue(backend.kernels.engine.transfer(), QUEUED_BATCHES, frames.shape, frames.dtype)
    batches = -(-count // FRAMES_PER_FOLD)
    resident = DeviceStore(backend, size, size, FRAMES_PER_FOLD)
    measured = Measurements(ScanSpec("planes", "none", size, size, batches * FRAMES_PER_FOLD), backend)

    def keep(measure: bool) -> None:
        for _ in range(batches):
            place = resident.next(FRAMES_PER_FOLD)
            resident.add_raw(frames, correction, angles, place, moments)
            if measure:
                measured.projections(angles.tolist(), range(FRAMES_PER_FOLD), place, moments)
            live.add(place, angles)

    def fold(raw: NDArray[np.uint16], *filled: NDArray[Any]) -> None:
        for _ in range(batches):
            live.add_raw(raw, correction, angles, *filled)

    def copy(raw: NDArray[np.uint16], pinned: bool) -> None:
        for _ in range(batches):
            ring.put(raw, pinned)
            ring.take()
            ring.done()
        ring.drain()

    times = {
        "ms_per_frame": clock(lambda: fold(frames)),
        "staged_ms": clock(lambda: fold(staged)),
        "stored_ms": clock(lambda: fold(frames, store, moments)),
        "resident_ms": clock(lambda: keep(measure=False)),
        "measured_ms": clock(lambda: keep(measure=True)),
        "copies_alone_ms": clock(lambda: copy(frames, True)),
        "staged_copies_alone_ms": clock(lambda: copy(staged, False)),
    }
    result = {name: round(1e3 * seconds / (batches * FRAMES_PER_FOLD), 4) for name, seconds in times.items()}
    return {"size": size, **result, "images_ms": round(1e3 * clock(live.images), 3)}


def pipeline(backend: Backend, clock: Clock, size: int, count: int) -> dict[str, Any]:
    """Frames per second of ``size``² counts through the pipeline while the tomogram grows, and seconds after the last.

    As fast as they are taken, eight at a time; each is checked, measured, and in three planes and the store. ``store``
    says where that lies. The scan is made twice, and the second time counts.
    """
    shots = upload_buffer(backend, (SHOTS, size, size), np.dtype(np.uint16))
    shots[...] = np.random.default_rng(0).integers(20_000, 50_000, shots.shape, np.uint16)
    flat = np.full((size, size), FLAT, np.uint16)
    spec = ScanSpec("pipeline", "none", size, size, count, flats=2, center_px=(size - 1) / 2)
    settings = Settings(reconstruction=ReconstructionOptions(memory_mb=2**20))
    for _ in range(2):
        scan = ScanPipeline(spec, backend, settings, fixed_center=(size - 1) / 2)
        for index in range(2):
            scan.push(FrameMeta(spec.scan_id, index, FrameKind.FLAT, 0.0), flat + index)
        clock.wait()
        start = time.perf_counter()
        for first in range(0, count, SHOTS):
            numbers = range(first, min(first + SHOTS, count))
            metas = [FrameMeta(spec.scan_id, 2 + n, FrameKind.PROJECTION, 180.0 * n / count) for n in numbers]
            scan.push_batch(metas, shots[: len(metas)])
            scan.work()
        last = time.perf_counter()
        scan.refine_center()
        centered = time.perf_counter()
        rows = sum(len(block) for _, block in scan.tomogram(_nothing_to_read))
        end = time.perf_counter()
        assert (scan.count, rows) == (count, size), f"{scan.count} of {count} frames, {rows} of {size} rows"
        where, scan_s = type(scan.store).__name__, last - start
        del scan
        gc.collect()  # a pipeline is part of reference cycles
    return {
        "size": size,
        "frames": count,
        "store": where,
        "frames_per_s": round(count / scan_s, 1),
        "center_s": round(centered - last, 4),
        "last_frame_to_tomogram_s": round(end - last, 4),
    }


def _nothing_to_read(first: int, last: int) -> Any:
    raise AssertionError(f"rows {first} to {last} are not in memory")


def sections(backend: Backend, args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """All figures, one section after the other. Sizes as in ``arguments``."""
    clock, size = Clock(backend.kernels.engine, args.repeat), args.size
    plan = Gridding(size)
    fit = int(0.6 * backend.kernels.engine.free_bytes() / (plan.row_nbytes() + plan.add_row_nbytes(args.batch)))
    rows = min(size, max(16, fit // 16 * 16))  # those of which the volume fits, with room to spare
    small = tomogram(backend, clock, args.small, args.small_projections, args.batch)
    yield "small", {**small, "per_s": round(1 / max(small["seconds"], 1e-9), 1)}
    yield "limits", limits(backend, clock, size)
    yield "stream", stream(backend, clock, rows, size, args.frames, args.batch)
    yield "tomogram", tomogram(backend, clock, size, args.projections or size, args.batch)
    yield "planes", planes(backend, clock, args.planes, args.frames)
    yield "pipeline", pipeline(backend, clock, args.planes, args.frames)


def measure(backend: Backend, args: argparse.Namespace) -> dict[str, Any]:
    """All ``sections``."""
    return dict(sections(backend, args))


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="measure the tomogram and live planes on a GPU; needs CuPy")
    for name, default, text in (
        ("size", 2048, "rows and columns of the large detector and tomogram"),
        ("projections", 0, "of the large tomogram (default: as many as --size)"),
        ("frames", 512, "of the stream, and into the live planes"),
        ("small", 256, "side of the small tomogram"),
        ("small-projections", 200, "of the small tomogram"),
        ("planes", 1024, "side of the detector and of the live planes"),
        ("batch", 64, "projections that are gridded together"),
        ("repeat", 3, "times that each thing is measured"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    args = arguments(words)
    try:
        backend, why = select_backend("cupy")
    except BackendError as error:
        print(f"no GPU figures: {error}", file=sys.stderr)
        return 1
    print(why)
    result: dict[str, Any] = {"device": why}
    for name, figures in sections(backend, args):
        result[name] = figures
        record("gpu", result)  # what was measured is kept, whatever becomes of the rest
    return 0


if __name__ == "__main__":
    sys.exit(main())
