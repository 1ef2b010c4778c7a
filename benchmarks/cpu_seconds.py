"""Where each CPU second of a scan goes: ``python -m benchmarks.cpu_seconds [--size PX] [--rate HZ] [--scans N]``.

Scans of the virtual beamline through the daemon, as ``streamer bench end-to-end`` takes them: 4·N projections of N×N
pixels with raw file, planes, verdict and tomogram. What every thread of every process has used is read from the system
when the projections begin, when the last one is received, when the tomogram is on the disk and when the scan is over.
There is one scan that is not counted, then ``--scans``; of each figure the median is kept.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import record
from streamer.cli.rig.processes import ManagedProcess, start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.flow.wire.beamline import Finish
from streamer.io.messaging.sockets import until_done

AS_FAST_AS_IT_GOES_HZ = 100_000
PROJECTIONS_PER_COLUMN = 4
PATIENCE_S = 600.0
PARTS = ("acquisition", "to the tomogram", "to the end")
LEAST_S = 0.01
"""Threads that use less in a part of the scan are summed up as others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, action="append", help="rows and columns (default 256 and 512)")
    parser.add_argument("--rate", type=float, default=AS_FAST_AS_IT_GOES_HZ, help="of the camera (default: no limit)")
    parser.add_argument("--scans", type=int, default=3, help="of each size (default 3)")
    args = parser.parse_args()
    result: dict[str, Any] = {"rate_hz": args.rate, "scans": args.scans}
    for size in args.size or (256, 512):
        with TemporaryDirectory(prefix="streamer-cpu-") as folder:
            result[f"{size}²"] = measure(size, args.rate, args.scans, Path(folder))
    record("cpu_seconds", result)


def measure(size: int, rate_hz: float, scans: int, folder: Path) -> dict[str, Any]:
    """Medians over the scans of seconds and CPU seconds of each part of a scan, these by thread."""
    with until_done() as context, ExitStack() as stack:
        cache_mb = 256 + PROJECTIONS_PER_COLUMN * 2 * size**3 // 2**20  # rendered ahead
        options = ("--size", size, "--samples", 1, "--mount-s", 0, "--rate-limit", rate_hz, "--cache-mb", cache_mb)
        beamline = start_beamline(folder, *map(str, options))
        stack.callback(beamline.stop, timeout_s=30.0)
        daemon = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 64},
        )
        stack.callback(daemon.stop, timeout_s=30.0)
        daemon.wait_ready()
        driver, load = ScanDriver(context, beamline, daemon, PATIENCE_S), os.getloadavg()[0]
        found = []
        for number in range(scans + 1):
            found.append(scan(driver, f"scan-{number}", size, rate_hz, beamline, daemon))
            for path in (folder / "data").rglob("*"):
                if path.is_file():
                    path.unlink()
    counted = found[1:]
    names = sorted({name for one in counted for name in one})
    figures = {name: round(median(one.get(name, 0.0) for one in counted), 3) for name in names}
    return {"load_before": round(load, 2), **{name: value for name, value in figures.items() if value >= LEAST_S}}


def scan(
    driver: ScanDriver, scan_id: str, size: int, rate_hz: float, beamline: ManagedProcess, daemon: ManagedProcess
) -> dict[str, float]:
    """Seconds, and CPU seconds of each thread, of each part of one scan."""
    projections = PROJECTIONS_PER_COLUMN * size
    spec = driver.spec(scan_id, rows=size, columns=size, projections=projections, flats=10, darks=10)
    driver.begin(spec, rate_hz)

    def used() -> tuple[float, Counter[str]]:
        total = of_process(beamline.pid, "beamline")
        for pid in (daemon.pid, *children(daemon.pid)):
            total.update(of_process(pid, "daemon" if pid == daemon.pid else "raw writer"))
        return time.perf_counter(), total

    moments = [used()]
    driver.fly(spec, rate_hz)
    driver.until(lambda: driver.report(scan_id).frames.received >= spec.frames, "all projections")
    moments.append(used())
    driver.until(driver.at_rest, "the end of the exposures")
    driver.command(Finish(scan_id))
    driver.until(lambda: driver.report(scan_id).last_frame_to_tomogram_s is not None, "the tomogram")
    moments.append(used())
    report = driver.final(scan_id)
    moments.append(used())
    figures = {"last frame to tomogram, s": report.last_frame_to_tomogram_s or 0.0}
    if report.latency_ms.n:
        figures |= {f"planes {name}, ms": getattr(report.latency_ms, name) or 0.0 for name in ("p50", "p99")}
    for part, (began, before), (ended, after) in zip(PARTS, moments, moments[1:], strict=False):
        figures[f"{part}, s"] = ended - began
        # Threads that have ended since take what they used with them.
        spent = {name: max(0.0, seconds - before[name]) for name, seconds in after.items()}
        figures |= {f"{part}, CPU s, {name}": seconds for name, seconds in spent.items()}
        figures[f"{part}, CPU s"] = sum(spent.values())
    figures["in all, s"] = moments[-1][0] - moments[0][0]
    figures["in all, CPU s"] = sum(figures[f"{part}, CPU s"] for part in PARTS)
    figures["frames per s"] = projections / figures["in all, s"]
    return figures


def children(pid: int) -> list[int]:
    """Of any thread of a process."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def of_process(pid: int, name: str) -> Counter[str]:
    """CPU seconds of the threads of a process since it began, by their names.

    What a library starts beside a thread has the same name as that: it is called a helper.
    """
    total: Counter[str] = Counter()
    seen: set[str] = set()
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
        with suppress(OSError):  # it has ended since
            thread = (task / "comm").read_text(encoding="utf-8").strip()
            label = f"{name}: {thread} helper" if thread in seen else f"{name}: {thread}"
            seen.add(thread)
            total[label] += int((task / "schedstat").read_text(encoding="utf-8").split()[0]) * 1e-9
    return total


if __name__ == "__main__":
    main()
