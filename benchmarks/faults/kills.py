"""Kill -9 the daemon or the producer at random points of a scan, and count what is lost.

python -m benchmarks.faults.kills [--kills 20] [--only SERIES]

Every frame has pixels that follow from its index, and each file is compared frame by frame. Series: the daemon with the
acknowledged transport, with frames of 8 MiB, which are only written, and with small ones, whose tomograms are compared
with that of a scan without a break; the producer with its spool file; the daemon with PUSH/PULL.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from msgspec import structs

from benchmarks.faults.killing import (
    HIGH_WATER_MARK,
    PATIENCE_S,
    RATE_HZ,
    SPOOL_MB,
    Beamline,
    Camera,
    Trial,
    concluded,
    paced,
    producer_command,
)
from benchmarks.record import record
from streamer.flow import wire
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.daemon import Arm
from streamer.frames import FrameMeta
from streamer.producer import Producer


def acknowledged_scan(
    beamline: Beamline, camera: Camera, scan_id: str, kill_at: int | None, reference: np.ndarray[Any, Any] | None
) -> tuple[Trial, np.ndarray[Any, Any] | None]:
    """One scan; the daemon is killed when frame ``kill_at`` is sent, while the producer goes on."""
    spec, trial, killed = camera.spec(scan_id), Trial(-1 if kill_at is None else kill_at), 0.0
    with Producer(beamline.source, spec, spool_mb=SPOOL_MB) as producer:
        for index in paced(spec.frames):
            if index == kill_at:
                killed = beamline.kill()
            producer.send(index, camera.kind(index), camera.angle_deg(index), camera.pixels(index))
        if kill_at is not None:
            beamline.await_armed(scan_id, killed, trial)
        producer.finish(timeout_s=PATIENCE_S)
        trial.resent = producer.resent
    return concluded(beamline, camera, scan_id, trial, reference)


def producer_scan(
    beamline: Beamline, camera: Camera, scan_id: str, kill_at: int, reference: np.ndarray[Any, Any] | None
) -> tuple[Trial, np.ndarray[Any, Any] | None]:
    """One scan from a process that is killed when it sends frame ``kill_at``, and another that takes its spool up."""
    trial, spool = Trial(kill_at), beamline.folder / "spool"
    command = producer_command(beamline, camera, scan_id, spool)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if int(line) >= kill_at:
                time.sleep(random.uniform(0, 1 / RATE_HZ))
                first.send_signal(signal.SIGKILL)
                break
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        second.stdout.readline()
        trial.armed_s = time.monotonic() - began
        for _ in second.stdout:
            pass
    spool.unlink()
    return concluded(beamline, camera, scan_id, trial, reference)


def push_scan(
    beamline: Beamline, camera: Camera, scan_id: str, kill_at: int, reference: np.ndarray[Any, Any] | None
) -> tuple[Trial, np.ndarray[Any, Any] | None]:
    """One scan over PUSH/PULL, armed as a plan does, before and after the kill."""
    spec, trial = camera.spec(scan_id), Trial(kill_at)
    with beamline.link() as link:
        link.ask(Arm(spec), 60.0)
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.set_hwm(HIGH_WATER_MARK)
        push.linger = 10_000
        push.connect(beamline.source)
        for index in paced(spec.frames):
            if index == kill_at:
                beamline.await_armed(scan_id, beamline.kill(), trial, spec)
            meta = FrameMeta(scan_id, index, camera.kind(index), camera.angle_deg(index), seq=index)
            push.send_multipart(wire.encode_frame(meta, camera.pixels(index), "kills"))
        push.send_multipart(wire.encode(wire.End(scan_id, spec.frames, src="kills")))
    return concluded(beamline, camera, scan_id, trial, reference)


@contextmanager
def beamline(transport: Transport, tomogram: bool, with_writer: bool) -> Iterator[Beamline]:
    folder = Path(tempfile.mkdtemp(prefix="streamer-kills-"))
    running = Beamline(folder, transport, tomogram, with_writer=with_writer)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def series(what: str, camera: Camera, kills: int, tomogram: bool, seed: int = 1) -> list[Trial]:
    """``kills`` scans, each with one kill at a random frame."""
    rng, trials = random.Random(seed), []
    scan = {"producer": producer_scan, "push": push_scan}.get(what, acknowledged_scan)
    with beamline("push" if what == "push" else "acknowledged", tomogram, what == "daemon and writer") as running:
        reference = None
        if tomogram and what != "push":
            _, reference = acknowledged_scan(running, camera, "whole", None, None)
        for number in range(kills):
            scan_id = f"{what.split()[0]}-{number}"
            trial, _ = scan(running, camera, scan_id, rng.randrange(1, camera.spec(scan_id).frames), reference)
            trials.append(trial)
            print(what, number, asdict(trial), file=sys.stderr, flush=True)
            for path in (running.folder / "data").glob(f"{scan_id}*"):
                os.unlink(path)
    return trials


def summary(trials: list[Trial]) -> dict[str, Any]:
    def most(name: str) -> float | None:
        values = [value for trial in trials if (value := getattr(trial, name)) is not None]
        return max(values) if values else None

    armed = [trial.armed_s for trial in trials if trial.armed_s is not None]
    return {
        "kills": len(trials),
        "lost": sum(trial.lost for trial in trials),
        "most_lost_by_one_kill": most("lost"),
        "lost_and_listed": sum(trial.listed for trial in trials),
        "doubled": sum(trial.doubled for trial in trials),
        "wrong": sum(trial.wrong for trial in trials),
        "resent": sum(trial.resent for trial in trials),
        "tomogram_difference": most("tomogram_difference"),
        "seconds_to_armed_median": float(np.median(armed)) if armed else None,
        "seconds_to_armed_most": most("armed_s"),
        "states": sorted({trial.state for trial in trials}),
        "trials": [asdict(trial) for trial in trials],
    }


LARGE = Camera(4096, 1024, 60)
SMALL = Camera(64, 256, 180)


SERIES: dict[str, tuple[str, Camera, bool]] = {
    "daemon-large": ("daemon", LARGE, False),
    "daemon": ("daemon", SMALL, True),
    "daemon-and-writer": ("daemon and writer", SMALL, True),
    "producer": ("producer", SMALL, True),
    "push": ("push", SMALL, True),
}
"""What is killed, the frames, and whether they become a tomogram."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills of each series (default 20)")
    parser.add_argument("--only", choices=list(SERIES), help="one series")
    args = parser.parse_args()
    chosen = {name: plan for name, plan in SERIES.items() if args.only in (None, name)}
    result = {}
    for name, (what, camera, tomogram) in chosen.items():
        size = structs.asdict(camera.spec("frames"))
        frame = {key: size[key] for key in ("rows", "columns", "projections", "flats", "darks")}
        result[name] = {"frames": frame, **summary(series(what, camera, args.kills, tomogram))}
    record("kills" if args.only is None else f"kills-{args.only}", result)


if __name__ == "__main__":
    main()
