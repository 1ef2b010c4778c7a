"""How long a frame takes into the live planes, as a distribution: ``python -m benchmarks.latencies [--scans N]``.

Daemon, raw file, verdict and tomogram as in ``streamer bench end-to-end``, on the same cores as the virtual beamline.
That one paces frames as a camera on a rotation stage does: a trigger for each angle, the encoder with its jitter. For
each size and rate there is one scan that is not counted, then N; of each figure [median, least, most] are kept.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import structs

from benchmarks.record import record
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.daemon import Report
from streamer.io.messaging.sockets import until_done

RATES_HZ = {256: (300, 700), 512: (260, 450), 1024: (60,)}
PROJECTIONS_PER_COLUMN = 4
PATIENCE_S = 600.0


def scan(driver: ScanDriver, scan_id: str, size: int, rate_hz: float) -> Report:
    spec = driver.spec(scan_id, rows=size, columns=size, projections=PROJECTIONS_PER_COLUMN * size, flats=10, darks=10)
    driver.begin(spec, rate_hz)
    driver.fly(spec, rate_hz)
    driver.until(driver.at_rest, "the end of the exposures")
    driver.command(Finish(scan_id))
    return driver.final(scan_id)


def figures(report: Report) -> dict[str, float]:
    """Milliseconds from frame to planes, seconds from the last frame to the tomogram, and what was lost."""
    latency = structs.asdict(report.latency_ms)
    counts = report.frames
    return {
        **{f"{name}_ms": latency[name] for name in ("p50", "p90", "p99", "p999", "worst")},
        "tomogram_s": report.last_frame_to_tomogram_s or 0.0,
        "lost": float(counts.missing + counts.corrupt),
        "share_measured": latency["n"] / report.projections.expected,  # the others were read back from the file
    }


def spread(values: list[float]) -> list[float]:
    return [round(value, 3) for value in (median(values), min(values), max(values))]


def measure(size: int, rates_hz: tuple[int, ...], scans: int, folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with until_done() as context, ExitStack() as stack:
        cache_mb = (
            256 + PROJECTIONS_PER_COLUMN * 2 * size**3 // 2**20
        )  # rendered ahead, frames cost nothing in the scan
        options = (
            "--size",
            size,
            "--samples",
            1,
            "--mount-s",
            0,
            "--rate-limit",
            max(rates_hz),
            "--cache-mb",
            cache_mb,
        )
        beamline = start_beamline(folder, *map(str, options))
        stack.callback(beamline.stop, timeout_s=30.0)
        daemon = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 64},
        )
        stack.callback(daemon.stop, timeout_s=30.0)
        daemon.wait_ready()
        driver = ScanDriver(context, beamline, daemon, PATIENCE_S)
        for rate_hz in rates_hz:
            load = os.getloadavg()[0]
            found = [figures(scan(driver, f"scan-{rate_hz}-{number}", size, rate_hz)) for number in range(scans + 1)][
                1:
            ]
            kept = {name: spread([one[name] for one in found]) for name in found[0]}
            result[f"{size}², {rate_hz}/s"] = {"load_before": round(load, 2), **kept}
            for path in (folder / "data").rglob("*"):
                if path.is_file():
                    path.unlink()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scans", type=int, default=5, metavar="N", help="of each size and rate (default 5)")
    parser.add_argument("--size", type=int, action="append", choices=list(RATES_HZ), help="default: all")
    args = parser.parse_args()
    result: dict[str, Any] = {"scans": args.scans, "projections_per_column": PROJECTIONS_PER_COLUMN}
    for size in args.size or RATES_HZ:
        with TemporaryDirectory(prefix="streamer-latencies-") as folder:
            result |= measure(size, RATES_HZ[size], args.scans, Path(folder))
    record("latencies", result)


if __name__ == "__main__":
    main()
