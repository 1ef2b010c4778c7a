"""What it costs to share a scan out, and what a death costs: ``python -m benchmarks.cluster [--scans N]``.

The whole daemon on the virtual beamline, which paces the frames: with one process, with two shards, with four; by
turns, so that all meet the same machine. Counted are the CPU seconds of the daemon and every process below it, from
before the scan is armed until its report is final. Then a shard is killed in the middle of a scan, with a spare and
without one.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import record
from streamer.cli.rig.processes import ManagedProcess, start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.daemon import Report
from streamer.io.messaging.sockets import until_done

SHARDS = (1, 2, 4)
RATES_HZ = {256: 300.0, 512: 150.0, 1024: 40.0}
PROJECTIONS_PER_COLUMN = 1.5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            waiting += [int(child) for child in task.read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and those below it so far, with those that have ended."""
    total = 0
    for one in below(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICKS_PER_S


def program_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[2].decode() if len(words) > 2 else ""


class Daemon:
    """One daemon with its own beamline, for all scans of a size."""

    def __init__(self, stack: ExitStack, folder: Path, size: int, shards: int, spares: int) -> None:
        beamline = start_beamline(folder, "--size", str(size), "--rows", str(size), "--seed", "3", "--mount-s", "0")
        stack.callback(beamline.stop)
        self.process: ManagedProcess = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 0},
            ring={"memory_mb": 128},
            compute={"shards": shards, "spares": spares},
        )
        stack.callback(self.process.stop, timeout_s=60)
        self.process.wait_ready()
        self.driver = ScanDriver(stack.enter_context(until_done()), beamline, self.process)
        self.size, self.scans = size, 0

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

    def scan(self) -> tuple[float, Report]:
        """CPU seconds of a scan, and its report."""
        before = cpu_s(self.process.pid)
        report = self.end(self.begin())
        return cpu_s(self.process.pid) - before, report

    def kill(self) -> dict[str, Any]:
        """A shard dies in the middle of a scan. Seconds from the kill until another one has its rows and all frames."""
        spec = self.begin()
        self.driver.until(
            lambda: self.driver.report(spec.scan_id).frames.received > spec.frames // 2, "the middle of the scan"
        )
        # The oldest: the youngest is the spare.
        victim = min(pid for pid in below(self.process.pid) if program_of(pid) == "streamer.cluster.shard")
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        while b"is back after" not in self.process.log.read_bytes():
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit("no other shard has taken the rows")
            time.sleep(0.002)
        back_s = time.monotonic() - began
        report = self.end(spec)
        return {"back_s": round(back_s, 3), "missing": report.frames.missing, "written": report.written,
                "of": spec.frames, "state": str(report.state)}  # fmt: skip


def cost(size: int, scans: int, folder: Path) -> dict[str, Any]:
    """For each number of shards: CPU seconds [median, least, most], their ratio to one process by turns, latencies."""
    with ExitStack() as stack:
        daemons = {shards: Daemon(stack, folder / f"{size}-{shards}", size, shards, 0) for shards in SHARDS}
        spent: dict[int, list[float]] = {shards: [] for shards in SHARDS}
        reports: dict[int, list[Report]] = {shards: [] for shards in SHARDS}
        for turn in range(scans + 1):
            for shards, daemon in daemons.items():
                seconds, report = daemon.scan()
                if turn:  # the first one finds its memory, and is not counted
                    spent[shards].append(seconds)
                    reports[shards].append(report)
                lost, tomogram_s = report.frames.missing, report.last_frame_to_tomogram_s
                print(
                    f"{size}² {shards}: {seconds:.2f} s of CPU, {report.state}, {lost} missing, {tomogram_s} s",
                    flush=True,
                )
    return {
        str(shards): {
            "cpu_s": [round(value, 3) for value in (median(spent[shards]), min(spent[shards]), max(spent[shards]))],
            "ratio": round(median(a / b for a, b in zip(spent[shards], spent[1], strict=True)), 3),
            "tomogram_s": round(median(report.last_frame_to_tomogram_s or 0.0 for report in reports[shards]), 3),
            "missing": sum(report.frames.missing for report in reports[shards]),
        }
        for shards in SHARDS
    }


def deaths(size: int, scans: int, folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for spares in (1, 0):
        name = "with a spare" if spares else "without one"
        result[name] = []
        for number in range(scans):
            with ExitStack() as stack:
                daemon = Daemon(stack, folder / f"{spares}-{number}", size, 2, spares)
                daemon.scan()
                result[name].append(daemon.kill())
                print(name, result[name][-1], flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to share a scan out, and what a death costs.")
    parser.add_argument("--scans", type=int, default=5, metavar="N", help="of each kind, counted (default 5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], choices=RATES_HZ, metavar="PX")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {"cost": {str(size): cost(size, options.scans, folder) for size in options.sizes}}
        result["deaths"] = deaths(256, options.scans, folder)
    record("cluster", result)


if __name__ == "__main__":
    main()
