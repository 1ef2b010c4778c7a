"""``streamer reconstruct FOLDER``: all its scans that have no tomogram yet, several at a time, here or on a cluster."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.cli.cluster.job import pack
from streamer.cli.terminal.outputs import write_json
from streamer.cli.terminal.progress import Progress
from streamer.cluster.engines.engine import Engine, Helper
from streamer.cluster.engines.processes import Processes
from streamer.cluster.engines.ray_places import RayPlaces
from streamer.cluster.messages import Setup
from streamer.frames import BadInput
from streamer.io.tomogram import PARTIAL

JOB = "streamer.cli.cluster.job"
SUFFIXES = (".nx", ".nxs", ".h5", ".hdf5")
TOMOGRAM = ".tomogram.h5"
LOOK_S, LEAVE_S = 0.05, 20.0


@dataclass
class Scan:
    """One of the backlog; ``state`` is waiting, there, done or failed."""

    path: Path
    output: Path
    state: str = "waiting"
    text: str = ""
    seconds: float = 0.0

    def line(self) -> str:
        took = f" in {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.path.name}: {self.state}{took}{', ' if self.text else ''}{self.text}"


def scans_of(folder: Path, outputs: Path) -> list[Scan]:
    """The scans of a folder in the order of their names; segments, tomograms and what is half written are none.

    Raises BadInput when there is none, or when two would have the same tomogram.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in SUFFIXES
        and path.is_file()
        and "+" not in path.name
        and not path.name.endswith((TOMOGRAM, PARTIAL))
    ]
    if not files:
        raise BadInput(f"{folder}: holds no scan ({', '.join(f'*{suffix}' for suffix in SUFFIXES)})")
    named: dict[Path, Path] = {}
    scans = []
    for path in files:
        output = outputs / f"{path.stem}{TOMOGRAM}"
        if output in named:
            raise BadInput(f"{path} and {named[output]}: both would become {output.name}; move one of them")
        named[output] = path
        there = os.path.lexists(output)
        scans.append(Scan(path, output, "there" if there else "waiting", "it has a tomogram" if there else ""))
    return scans


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when a scan failed. What has a tomogram is left as it is, so a run that was ended goes on."""
    outputs = args.scan if args.output is None else args.output
    if not outputs.is_dir():
        raise BadInput(f"-o {outputs}: give a folder, for the tomograms of a folder of scans")
    if args.png is not None:
        raise BadInput("--png: is for one scan, not for a folder")
    scans = scans_of(args.scan.resolve(), outputs.resolve())
    with _engine(args) as engine, Progress("reconstructing", len(scans)) as bar:
        jobs = args.jobs or max(1, engine.gpus)
        threads = args.threads or max(1, len(os.sched_getaffinity(0)) // jobs)
        waiting = [scan for scan in scans if scan.state == "waiting"]
        for scan in scans:
            if scan.state == "there":
                bar.say(scan.line())
        if waiting:
            engine.reserve(min(jobs, len(waiting)), 0, threads)
        done = len(scans) - len(waiting)
        for scan in _each(engine, waiting, args, min(jobs, len(waiting)), threads):
            done += 1
            bar.say(scan.line())
            bar.at(done)
    counts = Counter(scan.state for scan in scans)
    names = {"done": "done", "there": "had a tomogram", "failed": "failed"}
    found = ", ".join(f"{counts[state]} {name}" for state, name in names.items() if counts[state])
    print(f"{len(scans)} scans: {found}")
    write_json(args.json, [_entry(scan) for scan in scans])
    return 1 if counts["failed"] else 0


def _entry(scan: Scan) -> dict[str, Any]:
    return {"scan": str(scan.path), "output": str(scan.output), "state": scan.state, "text": scan.text,
            "seconds": scan.seconds}  # fmt: skip


@contextmanager
def _engine(args: argparse.Namespace) -> Iterator[Engine]:
    engine: Engine = RayPlaces(args.address, everywhere=True) if args.engine == "ray" else Processes()
    try:
        yield engine
    finally:
        engine.close()


def _each(engine: Engine, scans: Sequence[Scan], args: argparse.Namespace, jobs: int, threads: int) -> Iterator[Scan]:
    """Reconstruct ``jobs`` at a time, and yield each as it ends. Those that run are ended when this is closed."""
    waiting, running = list(scans), dict[int, tuple[Scan, Helper, float]]()
    with ExitStack() as stack:
        stack.callback(lambda: _leave([line for _, line, _ in running.values()]))
        while waiting or running:
            for slot in range(jobs):
                if slot in running or not waiting:
                    continue
                scan, began = waiting.pop(0), time.monotonic()
                gpu = slot % engine.gpus if engine.gpus else None
                one = {**vars(args), "scan": scan.path, "output": scan.output, "json": None, "threads": threads}
                try:
                    running[slot] = scan, engine.start(JOB, _setup(one), gpu), began
                except OSError as error:
                    scan.state, scan.text = "failed", str(error)
                    yield scan
            for slot, (scan, line, began) in list(running.items()):
                if line.is_ready or not line.alive:
                    del running[slot]
                    _conclude(scan, line)
                    scan.seconds = round(time.monotonic() - began, 1)
                    yield scan
            time.sleep(LOOK_S)


def _setup(values: dict[str, Any]) -> Setup:
    return Setup(pack(argparse.Namespace(**values)), "127.0.0.1")


def _conclude(scan: Scan, line: Helper) -> None:
    """Enter how it went. A process that was killed has said nothing."""
    try:
        said = line.ready()
        scan.state, scan.text = "failed" if said.failed else "done", said.text
    except BadInput:
        scan.state, scan.text = "failed", "its process was killed; perhaps it had no memory (see --memory-mb, --jobs)"
    line.end(LEAVE_S)


def _leave(lines: Sequence[Helper]) -> None:
    for line in lines:
        line.leave()
    for line in lines:
        line.end(LEAVE_S)
