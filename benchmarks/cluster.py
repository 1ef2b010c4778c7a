"""What it costs to share a scan out, and what a death costs: ``python -m benchmarks.cluster [--engine ray]``.

The whole daemon on the virtual beamline, which paces the frames: with one process, with two shards, with four; by
turns, so that all meet the same machine. Counted are the CPU seconds of the daemon and every process below it, from
before the scan is armed until its report is final, by process and by thread; they mean something on a busy machine
as well. The first scan of each is not counted; its tomogram is compared with the one that a single pipeline makes of
the same raw file. Then a shard is killed in the middle of a scan, with a spare and without one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.cpu_seconds import children, of_process
from benchmarks.record import record
from streamer.cli.rig.processes import ManagedProcess, start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.core.backend.selection import select_backend
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.daemon import FixCenter, Report
from streamer.io.messaging.sockets import until_done
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
from streamer.pipeline.store import FRAMES_PER_BATCH

SHARDS = (1, 2, 4)
RATES_HZ = {256: 300.0, 512: 150.0, 1024: 40.0}
PROJECTIONS_PER_COLUMN = 1.5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0


PROGRAMS = ("shard", "cutter", "nursery")
LEAST_S = 0.02
"""Threads that use less are summed up as others."""


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        with suppress(OSError):
            waiting += children(found[-1])
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, with those of threads and processes of it that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def used(pid: int) -> tuple[Counter[str], Counter[str]]:
    """CPU seconds so far of a daemon and all below it, by kind of process and by thread."""
    processes, threads = Counter[str](), Counter[str]()
    for one in below(pid):
        with suppress(OSError):  # it has ended since
            name = program_of(one)
            processes[name] += cpu_s(one)
            threads.update(of_process(one, name))
    return processes, threads


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def program_of(pid: int) -> str:
    """By the name that it shows, or by its command line."""
    if (name := name_of(pid).split(" ")[0]) in PROGRAMS:
        return name
    if name.startswith(("ray", "gcs_server")):
        return "ray"
    return "raw writer" if b"streamer.io.raw.writer_process" in Path(f"/proc/{pid}/cmdline").read_bytes() else "daemon"


def by_one_pipeline(raw_file: Path, center: float) -> np.ndarray:
    """The tomogram of all rows of a raw file about a given axis."""
    with ScanFile.open(raw_file) as scan:
        pipeline = ScanPipeline(scan.spec(), select_backend("numba", 1)[0], Settings(), fixed_center=center)
        for metas, pixels in scan.some(lambda _index: True, FRAMES_PER_BATCH):
            pipeline.push_batch(metas, pixels, shown=False)
    pipeline.refine_center()
    return np.concatenate([block.copy() for _, block in pipeline.tomogram(_not_read)])


def _not_read(_first: int, _last: int) -> Any:
    raise AssertionError("everything is in memory")


class Daemon:
    """One daemon with its own beamline, for all scans of a size."""

    def __init__(self, stack: ExitStack, folder: Path, size: int, shards: int, spares: int, engine: str) -> None:
        beamline = start_beamline(folder, "--size", str(size), "--rows", str(size), "--seed", "3", "--mount-s", "0")
        stack.callback(beamline.stop)
        self.process: ManagedProcess = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 0},
            ring={"memory_mb": 128},
            compute={"shards": shards, "spares": spares, "engine": engine},
        )
        stack.callback(self.process.stop, timeout_s=60)
        self.process.wait_ready()
        self.driver = ScanDriver(stack.enter_context(until_done()), beamline, self.process)
        self.size, self.folder, self.scans = size, folder, 0

    def begin(self) -> Any:
        self.scans += 1
        spec = self.driver.spec(
            f"scan-{self.scans}", rows=self.size, columns=self.size, flats=10, darks=10,
            projections=int(PROJECTIONS_PER_COLUMN * self.size),
        )  # fmt: skip
        self.driver.begin(spec, RATES_HZ[self.size])
        self.driver.fly(spec, RATES_HZ[self.size])
        return spec

    def end(self, spec: Any) -> Report:
        self.driver.until(self.driver.at_rest, "the end of the exposures")
        self.driver.command(Finish(spec.scan_id))
        report: Report = self.driver.final(spec.scan_id)
        return report

    def clear(self) -> None:
        """The next scan finds the disk, and the page cache, as this one did."""
        for path in (self.folder / "data").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def scan(self) -> tuple[Counter[str], Counter[str], Report]:
        """CPU seconds of a scan by kind of process and by thread, and its report."""
        before = used(self.process.pid)
        report = self.end(self.begin())
        processes, threads = used(self.process.pid)
        processes.subtract(before[0])
        threads.subtract(before[1])
        self.clear()
        return processes, threads, report

    def difference(self) -> float:
        """Largest difference of a tomogram about a fixed axis to that of a single pipeline, in standard deviations; 0:
        equal bit for bit."""
        center = (self.size - 1) / 2 + 0.3
        self.driver.ask(FixCenter(center))
        report = self.end(self.begin())
        self.driver.ask(FixCenter(None))
        assert report.tomogram_file is not None
        found = read_tomogram(Path(report.tomogram_file)).data
        expected = by_one_pipeline(Path(report.raw_file), center)
        self.clear()
        return float(np.abs(found - expected).max() / expected.std())

    def kill(self) -> dict[str, Any]:
        """A shard dies in the middle of a scan. Seconds from the kill until another one has its rows and all frames."""
        spec = self.begin()
        self.driver.until(
            lambda: self.driver.report(spec.scan_id).frames.received > spec.frames // 2, "the middle of the scan"
        )
        # One that has rows says so in its name; the spare has none.
        victim = next(pid for pid in below(self.process.pid) if name_of(pid).startswith("shard "))
        load = round(os.getloadavg()[0], 1)
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        while b"is back after" not in self.process.log.read_bytes():
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit("no other shard has taken the rows")
            time.sleep(0.002)
        back_s = time.monotonic() - began
        report = self.end(spec)
        said = re.search(rb"of which ([0-9.]+) s for a process", self.process.log.read_bytes())
        return {"back_s": round(back_s, 3), "of_which_start_s": float(said[1]) if said else None, "load": load,
                "missing": report.frames.missing, "written": report.written, "of": spec.frames,
                "state": str(report.state)}  # fmt: skip


def cost(size: int, scans: int, folder: Path, engine: str) -> dict[str, Any]:
    """For each number of shards: CPU seconds [median, least, most], their ratio to one process by turns, latencies."""
    with ExitStack() as stack:
        daemons = {shards: Daemon(stack, folder / f"{size}-{shards}", size, shards, 0, engine) for shards in SHARDS}
        found: dict[int, list[tuple[Counter[str], Counter[str], Report]]] = {shards: [] for shards in SHARDS}
        differences = {shards: daemon.difference() for shards, daemon in daemons.items()}
        for _turn in range(scans):
            for shards, daemon in daemons.items():
                found[shards].append(daemon.scan())
                processes, _, report = found[shards][-1]
                lost, tomogram_s = report.frames.missing, report.last_frame_to_tomogram_s
                print(
                    f"{size}² {shards}: {processes.total():.2f} s of CPU, {report.state}, "
                    f"{lost} missing, {tomogram_s} s",
                    flush=True,
                )
    spent = {shards: [processes.total() for processes, *_ in found[shards]] for shards in SHARDS}
    return {
        str(shards): {
            "cpu_s": [round(value, 3) for value in (median(spent[shards]), min(spent[shards]), max(spent[shards]))],
            "ratio": round(median(a / b for a, b in zip(spent[shards], spent[1], strict=True)), 3),
            "by_process_s": medians([processes for processes, *_ in found[shards]]),
            "by_thread_s": medians([threads for _, threads, _ in found[shards]]),
            "difference_to_one_pipeline": differences[shards],
            "tomogram_s": round(median(report.last_frame_to_tomogram_s or 0.0 for *_, report in found[shards]), 3),
            "missing": sum(report.frames.missing for *_, report in found[shards]),
        }
        for shards in SHARDS
    }


def medians(counts: list[Counter[str]]) -> dict[str, float]:
    """Of each name, largest first; what is little is left out."""
    names = {name for count in counts for name in count}
    figures = {name: round(median(count[name] for count in counts), 3) for name in names}
    return {name: value for name, value in sorted(figures.items(), key=lambda one: -one[1]) if value >= LEAST_S}


def deaths(size: int, scans: int, folder: Path, engine: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for spares in (1, 0):
        name = "with a spare" if spares else "without one"
        result[name] = []
        for number in range(scans):
            with ExitStack() as stack:
                daemon = Daemon(stack, folder / f"{spares}-{number}", size, 2, spares, engine)
                daemon.scan()
                result[name].append(daemon.kill())
                print(name, result[name][-1], flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to share a scan out, and what a death costs.")
    parser.add_argument("--scans", type=int, default=5, metavar="N", help="of each kind, counted (default 5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], choices=RATES_HZ, metavar="PX")
    parser.add_argument("--engine", default="processes", choices=["processes", "ray"], help="default processes")
    parser.add_argument("--only-deaths", action="store_true", help="no costs; kept in a record of its own")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if options.only_deaths:
            record(f"cluster-deaths-{options.engine}", deaths(256, options.scans, folder, options.engine))
            return
        result: dict[str, Any] = {
            "cost": {str(size): cost(size, options.scans, folder, options.engine) for size in options.sizes}
        }
        result["deaths"] = deaths(256, options.scans, folder, options.engine)
    record("cluster" if options.engine == "processes" else f"cluster-{options.engine}", result)


if __name__ == "__main__":
    main()
