"""Cut the network between producer and daemon for 5 s and for 15 s: ``python -m benchmarks.faults.partition``.

Needs root and ``ip``. The producer runs in a network namespace, joined to the daemon by a pair of virtual interfaces.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.killing import Beamline, Camera, Trial, concluded, producer_command
from benchmarks.record import record

DAEMON_ADDRESS, PRODUCER_ADDRESS = "10.231.77.1", "10.231.77.2"
CAMERA = Camera(64, 256, 600)
CUT_AT = 120  # frame


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def joined() -> Iterator[tuple[str, str]]:
    """A namespace and the daemon's interface to it."""
    name, ours, theirs = f"streamer-{os.getpid()}", f"sr{os.getpid()}a", f"sr{os.getpid()}b"
    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", f"{DAEMON_ADDRESS}/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", f"{PRODUCER_ADDRESS}/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        yield name, ours
    finally:
        ip("netns", "del", name)  # and the interfaces with it


def cut(beamline: Beamline, scan_id: str, interface: str, seconds: float) -> float:
    """Take the interface down for ``seconds``; gives the seconds from its return to the next frame."""
    ip("link", "set", interface, "down")
    time.sleep(seconds)
    before = beamline.until(scan_id, lambda report: True).frames.received
    ip("link", "set", interface, "up")
    began = time.monotonic()
    beamline.until(scan_id, lambda report: report.frames.received > before)
    return time.monotonic() - began


def partitioned(seconds: float) -> dict[str, Any]:
    folder, scan_id = Path(tempfile.mkdtemp(prefix="streamer-partition-")), "partitioned"
    with joined() as (namespace, interface):
        beamline = Beamline(folder, "acknowledged", tomogram=True, address=DAEMON_ADDRESS)
        try:
            command = producer_command(beamline, CAMERA, scan_id, folder / "spool")
            command = ["ip", "netns", "exec", namespace, *command]
            recovered_s = 0.0
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as producer:
                assert producer.stdout is not None
                for line in producer.stdout:
                    if int(line) == CUT_AT:
                        recovered_s = cut(beamline, scan_id, interface, seconds)
            trial, _ = concluded(beamline, CAMERA, scan_id, Trial(CUT_AT), None)
        finally:
            beamline.stop()
            shutil.rmtree(folder, ignore_errors=True)
    result = {"cut_s": seconds, "seconds_from_link_to_frame": recovered_s, "producer_ended": producer.returncode == 0}
    return result | {name: getattr(trial, name) for name in ("lost", "doubled", "wrong", "state")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, action="append", help="how long the network is cut (default 5 and 15)")
    record("partition", {"cuts": [partitioned(seconds) for seconds in parser.parse_args().seconds or (5.0, 15.0)]})


if __name__ == "__main__":
    main()
