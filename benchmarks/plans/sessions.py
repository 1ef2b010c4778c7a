"""A session ends in each of its stages, in every way, and what is left: ``python -m benchmarks.plans.sessions``.

The stages are those of one sample: mount, arm, flats, turning, waiting for the verdict, unmount. The ways are abort,
stop, pause and resume, halt, and kill -9. Afterwards must hold: all stages at rest, shutter closed, camera disarmed,
the robot parked without a fault, the beamline free, the raw file closed with a status; and the next scan must work.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
from bluesky import Msg, RunEngine
from bluesky.utils import RunEngineInterrupted

from benchmarks.plans.rig import Rig, rig
from benchmarks.record import RESULTS, record
from streamer.flow.wire.beamline import BeamlineStatus, GetBeamlineStatus
from streamer.frames import FrameKind
from streamer_plans import stubs
from streamer_plans.devices.beamline import Beamline, sim_beamline
from streamer_plans.devices.requests import Exposures, ScanSetup
from streamer_plans.tomo import TomoScan, TomoScanError, tomo_fly

ENDINGS = ("abort", "stop", "pause and resume", "halt", "kill -9")
STAGES = ("mount", "arm", "flats", "turning", "verdict", "unmount")
SCAN = TomoScan("sample", projections=100, darks=4, flats=20, rate_hz=100.0, x_out_mm=6.0)
DELAY_S = 0.05
MOUNT_S = 1.0
TRIES = 3
PATIENCE_S = 150.0
"""Longer than the daemon waits for the first frame of a scan whose session died after it had armed (120 s)."""


def stage_of(message: Msg, beamline: Beamline) -> str | None:
    """The stage that begins with a message of the plan."""
    subject, value = message.obj, message.args[0] if message.args else None
    match message.command:
        case "set" if subject is beamline.changer:
            return "unmount" if value is None else "mount"
        case "prepare" if isinstance(value, ScanSetup):
            return "arm"
        case "prepare" if isinstance(value, Exposures):
            return {FrameKind.FLAT: "flats", FrameKind.PROJECTION: "turning"}.get(value.kind)
        case "trigger" if subject is beamline.streamer:
            return "verdict"
    return None


def session(control: str, daemon: str, stage: str, ending: str) -> None:
    """One sample, in a process of its own, which ends in that stage."""
    beamline = sim_beamline(control, daemon, user="ann")
    engine = RunEngine({})
    acts: dict[str, Callable[[], Any]] = {
        "abort": engine.abort,
        "stop": engine.stop,
        "pause and resume": engine.request_pause,
        "halt": engine.halt,
        "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }
    ended, now = threading.Event(), [""]

    def act() -> None:
        print(f"ended in {now[0]}", flush=True)
        acts[ending]()

    def look(message: Msg) -> None:
        now[0] = stage_of(message, beamline) or now[0]
        if now[0] == stage and not ended.is_set():
            ended.set()
            threading.Timer(DELAY_S, act).start()

    def sample() -> stubs.Plan:
        yield from stubs.to_exchange(beamline.sample_x, beamline.changer)
        yield from stubs.mount(beamline.changer, 1)
        yield from tomo_fly(beamline, SCAN)
        yield from stubs.unmount(beamline.changer)

    engine.msg_hook = look
    try:
        engine(sample())
    except RunEngineInterrupted:
        while engine.state != "idle":
            if engine.state == "paused":
                time.sleep(0.5)
                engine.resume()
            time.sleep(0.01)
    except TomoScanError as error:
        print(f"told: {error}", flush=True)


@dataclass(frozen=True)
class Row:
    """``stage`` is that which was reached; ``status`` is that of the raw file, "" when none was begun."""

    stage: str
    ending: str
    at_rest: bool
    shutter: str
    camera_disarmed: bool
    robot: str
    beamline_free: bool
    status: str
    next_scan: str

    @property
    def sound(self) -> bool:
        closed = self.status != "running"
        safe = self.at_rest and self.shutter == "closed" and self.camera_disarmed and self.beamline_free
        return safe and closed and self.robot == "parked" and self.next_scan == "complete"


def measure(place: Rig, ends: tuple[str, str], stage: str, ending: str) -> Row:
    """Let a session end, wait until all is at rest, and take another scan."""
    before = set(place.folder.glob("*.nx"))
    command = [sys.executable, "-m", "benchmarks.plans.sessions", "--session", *ends, stage, ending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    reached = [line.removeprefix("ended in ") for line in done.stdout.splitlines() if line.startswith("ended in ")]
    assert len(reached) == 1, f"{stage}, {ending}: {done.stdout} {done.stderr}"
    assert (done.returncode == -signal.SIGKILL) == (ending == "kill -9"), done.stderr
    state = rest(place)
    begun = sorted(set(place.folder.glob("*.nx")) - before)
    statuses = ", ".join(closed_as(path) for path in begun if "+" not in path.name)
    row = Row(
        reached[0],
        ending,
        state.at_rest,
        state.shutter,
        not state.detector.armed,
        "parked" if state.changer.state == "parked" and not state.changer.fault else str(state.changer.state),
        state.ownership.scan_id is None,
        statuses,
        next_scan(place),
    )
    print(f"{'ok ' if row.sound else 'BAD'} {row}", flush=True)
    return row


def attempt(place: Rig, ends: tuple[str, str], stage: str, ending: str) -> Row:
    """``measure``, again when the stage was over before the session could end."""
    for _ in range(TRIES):
        row = measure(place, ends, stage, ending)
        if row.stage == stage:
            break
    return row


def rest(place: Rig) -> BeamlineStatus:
    """The state of the beamline, when all is safe, or when the patience is over."""
    end = time.monotonic() + PATIENCE_S
    while True:
        state = place.link.ask(GetBeamlineStatus())
        safe = state.at_rest and state.shutter == "closed" and not state.detector.armed
        if (safe and state.ownership.scan_id is None) or time.monotonic() > end:
            return state
        time.sleep(0.05)


def closed_as(path: Path) -> str:
    """The status in a raw file, when it is closed, or "running" when the patience is over."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with h5py.File(path, "r", swmr=True) as file:
            status: str = file["/entry/streamer/status"].asstr()[()]
        if status != "running" or time.monotonic() > end:
            return status
        time.sleep(0.05)


def next_scan(place: Rig) -> str:
    """The state in which another user's scan ends."""
    beamline = place.beamline

    def sample() -> stubs.Plan:
        yield from stubs.to_exchange(beamline.sample_x, beamline.changer)
        yield from stubs.mount(beamline.changer, 0)
        return (yield from tomo_fly(beamline, SCAN))

    try:
        report = place.run(sample()).report
    except TomoScanError as error:
        return str(error)
    return str(report.state)


def table(rows: list[Row]) -> str:
    """The rows in Markdown: a line for each stage, a column for each ending."""
    lines = ["| ended in | " + " | ".join(ENDINGS) + " |", "|---" * (1 + len(ENDINGS)) + "|"]
    for stage in STAGES:
        cells = []
        for ending in ENDINGS:
            row = next((row for row in rows if (row.stage, row.ending) == (stage, ending)), None)
            file = "" if row is None or not row.status else f", file {row.status}"
            cells.append("not tried" if row is None else f"{'safe' if row.sound else 'NOT SAFE'}{file}")
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--name", default="sessions", help="of the result")
    parser.add_argument("--endings", nargs="+", default=ENDINGS, choices=ENDINGS)
    args = parser.parse_args()
    if args.session:
        session(*args.session)
        return
    with rig(64, 32, ["good", "good"], mount_s=MOUNT_S) as place:
        ends = (place.link.endpoint, place.beamline.streamer._link.endpoint)
        rows = [attempt(place, ends, stage, ending) for stage in args.stages for ending in args.endings]
    record(args.name, {"sound": sum(row.sound for row in rows), "of": len(rows), "rows": [asdict(row) for row in rows]})
    (RESULTS / f"{args.name}.md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
