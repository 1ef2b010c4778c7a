"""``python -m benchmarks.faults.soak [--minutes N]``: does the daemon leak?

Scans, bad messages, clients that come and go.

Memory is what the daemon and its raw writer hold for themselves (RssAnon); its slope is a line fitted through the
second half of the samples. The daemon keeps the reports of 1000 scans, so that its memory grows until then: as many
scans are done before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks.record import record
from benchmarks.strangers.house import House
from streamer.client import Subscriber
from streamer.daemon.reports import REPORTS_KEPT
from streamer.flow.wire.daemon import GetStatus

EVERY_S = 5.0
"""Between two samples."""

KIB_PER_MINUTE = 64.0
"""Largest slope that is no leak."""

SPARE = 2
"""Descriptors of a client that may still be there when the last count is taken."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="after the kept reports are full")
    parser.add_argument("--every", type=float, default=0.0, metavar="S", help="seconds from scan to scan, at least")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), keys=False)
        try:
            result = soak(house, 60 * args.minutes, args.every)
        finally:
            house.close()
    record("soak", result)
    (threads, threads_after), (descriptors, descriptors_after) = result["threads"], result["descriptors"]
    flat = threads_after <= threads and descriptors_after <= descriptors + SPARE
    return 0 if flat and not result["scans_that_were_not_whole"] and not result["leak"] else 1


def soak(house: House, seconds: float, every_s: float = 0.0) -> dict[str, Any]:
    """Fill the kept reports, then scan for ``seconds``, once in ``every_s``."""
    unfilled = _held(house)
    broken = 0
    while house.scans <= REPORTS_KEPT:
        broken += not _scan(house)
    first = _held(house)
    began = sampled = time.monotonic()
    samples: list[tuple[float, int, float]] = []  # minutes, scans, KiB
    while (now := time.monotonic()) < began + seconds:
        broken += not _scan(house)
        if now - sampled >= EVERY_S:
            sampled = now
            samples.append(((now - began) / 60, house.scans, _held(house)["anonymous_kib"]))
        time.sleep(max(0.0, now + every_s - time.monotonic()))
    last = _held(house)
    half = np.array(samples[len(samples) // 2 :])
    slope = float(np.polyfit(half[:, 0], half[:, 2], 1)[0])
    return {
        "minutes": round((time.monotonic() - began) / 60, 2),
        "scans": house.scans,
        "scans_that_were_not_whole": broken,
        "anonymous_kib": {
            "before_the_first_scan": unfilled["anonymous_kib"],
            "kept_reports_full": first["anonymous_kib"],
            "at_the_end": last["anonymous_kib"],
        },
        "slope_kib_per_minute_second_half": round(slope, 1),
        "leak": slope > KIB_PER_MINUTE,
        "threads": [first["threads"], last["threads"]],
        "descriptors": [first["descriptors"], last["descriptors"]],
        "samples_minutes_scans_kib": [(round(m, 2), s, k) for m, s, k in samples],
    }


def _scan(house: House) -> bool:
    """One scan, with a bad message before it and a viewer that comes and goes. False when it is not whole."""
    with house.context.socket(zmq.PUSH) as nuisance:
        nuisance.setsockopt(zmq.LINGER, 0)
        nuisance.connect(house.endpoints["source"])
        nuisance.send_multipart([b"no header", b"no frame"])
        viewer = Subscriber(context=house.context)
        viewer.follow(house.endpoints["events"])
        outcome = house.good_scan()
        viewer.close()
    for path in (house.folder / "data").iterdir():
        path.unlink()  # the disk is not what is tested
    return outcome.startswith("complete, 99 of 99 frames, 99 written")


def _held(house: House) -> dict[str, int]:
    """What the daemon and its children hold now, once it is idle."""
    with house.link() as link:
        link.ask(GetStatus())
    daemon = int(house.endpoints["pid"])
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text(encoding="ascii").split()
    held = {"anonymous_kib": 0, "threads": 0, "descriptors": 0}
    for pid in (daemon, *map(int, children)):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "RssAnon":
                held["anonymous_kib"] += int(value.split()[0])
            elif name == "Threads":
                held["threads"] += int(value)
        held["descriptors"] += len(os.listdir(f"/proc/{pid}/fd"))
    return held


if __name__ == "__main__":
    sys.exit(main())
