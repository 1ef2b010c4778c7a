"""``streamer bench end-to-end``: scans of the virtual beamline through the daemon, each a process of its own."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from streamer.cli.bench.figures import Figure, Step, Task, limits_figures
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.core.backend.selection import Backend
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.daemon import Report
from streamer.io.messaging.sockets import until_done

PATIENCE_S = 600.0
WRITTEN_BYTES = 2**28
RATE_HZ = 100_000.0
"""Requested of the camera. It gets what the chain sustains, as a full ring holds the detector back."""

DARKS, FLATS = 10, 10
PROJECTIONS_PER_COLUMN = 4
"""More than a tomogram needs, so that the scan lasts long enough to measure it."""


def end_to_end(backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Take scans of 4·N projections of N×N pixels for each size, with raw file, planes, verdict and tomogram.

    The first scan of a daemon finds memory and compiled code cold and does not count. The second one runs as fast as
    the ring accepts frames, the third one as fast as the whole chain sustains.
    """
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    for size in task.sizes:
        with TemporaryDirectory(prefix="streamer-bench-") as folder:
            figures += _scan(Path(folder), size, task, backend.name, step)
    return figures


def _scan(folder: Path, size: int, task: Task, backend: str, step: Step) -> list[Figure]:
    with until_done() as context, ExitStack() as stack:
        step(f"{size}²: starting")
        plain = _written_per_s(folder, size)
        # Rendered ahead, the frames cost the beamline nothing during the scan.
        cache_mb = 256 + PROJECTIONS_PER_COLUMN * 2 * size**3 // 2**20
        options = ("--size", size, "--samples", 1, "--mount-s", 0, "--rate-limit", RATE_HZ, "--cache-mb", cache_mb)
        beamline = start_beamline(folder, *map(str, options))
        stack.callback(beamline.stop, timeout_s=30.0)
        daemon = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            reconstruction={"backend": backend, "threads": task.threads},
            writer={"directory": folder / "data", "reserve_mb": 64},
        )
        stack.callback(daemon.stop, timeout_s=30.0)
        daemon.wait_ready()
        bench = _Bench(ScanDriver(context, beamline, daemon, PATIENCE_S))
        step(f"{size}²: first scan")
        bench.scan("first", size, RATE_HZ)
        step(f"{size}²: as fast as it goes")
        measured = bench.scan("fastest", size, RATE_HZ)
        whole, to_tomogram = (measured.projections / s for s in (measured.whole_s, measured.tomogram_s))
        step(f"{size}²: {whole:.0f} frames/s")
        paced = bench.scan("paced", size, whole)
    name, after = f"{size}×{size}", "last frame → tomogram on disk"
    latency = paced.report.latency_ms
    lost = [scan.report.frames.missing + scan.report.frames.corrupt for scan in (measured, paced)]
    return [
        Figure(
            f"{name}, {measured.projections} projections, received",
            measured.received_per_s,
            "frames/s",
            "write them to a plain file",
            plain,
        ),
        Figure(f"{name}, {measured.projections} projections, first → tomogram on disk", to_tomogram, "frames/s"),
        Figure(f"{name}, {measured.projections} projections, first → judged and read back", whole, "frames/s"),
        Figure(f"{name}, bytes from first to tomogram", to_tomogram * 2e-9 * size * size, "GB/s"),
        Figure(f"{name}, {after}", measured.report.last_frame_to_tomogram_s or 0.0, "s"),
        Figure(f"{name} at {whole:.0f} frames/s, frame received → planes, p50", latency.p50 or 0.0, "ms"),
        Figure(f"{name} at {whole:.0f} frames/s, frame received → planes, p99", latency.p99 or 0.0, "ms"),
        Figure(f"{name} at {whole:.0f} frames/s, {after}", paced.report.last_frame_to_tomogram_s or 0.0, "s"),
        Figure(f"{name}, frames lost", float(sum(lost)), "frames"),
    ]


def _written_per_s(folder: Path, size: int) -> float:
    """Frames of this size per second that a plain file takes."""
    frame, count = bytes(2 * size * size), max(1, WRITTEN_BYTES // (2 * size * size))
    began = time.perf_counter()
    with (folder / "plain").open("wb") as file:
        for _ in range(count):
            file.write(frame)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    (folder / "plain").unlink()
    return count / seconds


@dataclass(frozen=True)
class _Measured:
    """From the first projection: ``tomogram_s`` until the tomogram is on the disk, ``whole_s`` until the scan is judged
    as well, and its raw file read back."""

    report: Report
    projections: int
    received_per_s: float
    tomogram_s: float
    whole_s: float


class _Bench:
    """Takes and times scans."""

    def __init__(self, driver: ScanDriver) -> None:
        self._driver = driver

    def scan(self, name: str, size: int, rate_hz: float) -> _Measured:
        """One scan, from mounting to the tomogram."""
        driver, projections = self._driver, PROJECTIONS_PER_COLUMN * size
        spec = driver.spec(name, rows=size, columns=size, projections=projections, flats=FLATS, darks=DARKS)
        driver.begin(spec, rate_hz)
        driver.fly(spec, rate_hz)
        began = time.perf_counter()
        rate = self._projections_per_s(name, projections)
        received_s = time.perf_counter() - began
        driver.until(driver.at_rest, "the end of the exposures")
        driver.command(Finish(name))
        report = driver.final(name)
        tomogram_s = received_s + (report.last_frame_to_tomogram_s or 0.0)
        return _Measured(report, projections, rate, tomogram_s, time.perf_counter() - began)

    def _projections_per_s(self, name: str, wanted: int) -> float:
        """Projections per second that the daemon received, from the first tenth of them to the last one.

        From the first one where all come between two looks.
        """
        moments: list[tuple[float, int]] = []
        start = time.perf_counter(), 0

        def all_came() -> bool:
            # Received ones: those that the ring overtakes are folded in only after the scan.
            got = self._driver.report(name).frames.received - DARKS - FLATS
            if got >= wanted // 10 and (not moments or got > moments[-1][1]):
                moments.append((time.perf_counter(), got))
            return got >= wanted

        self._driver.until(all_came, "all projections")
        (began, first), (ended, last) = moments[0] if len(moments) > 1 else start, moments[-1]
        return (last - first) / (ended - began)
