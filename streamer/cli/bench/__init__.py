"""``streamer bench``: measures this machine, and compares with the plain way or a limit from the same run."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from streamer import __version__
from streamer.cli.bench.figures import Figure, Step, Task
from streamer.cli.terminal.arguments import add_options, add_verb, checked
from streamer.cli.terminal.outputs import check_outputs, write_json
from streamer.cli.terminal.progress import Progress
from streamer.cli.warming import warm_with_bar
from streamer.core.backend.selection import Backend, backend_asked_in
from streamer.pipeline.settings import ReconstructionOptions

WIDTH = 150
QUIET_LOAD = 0.75  # processes that want a core, for each core

Measurement = Callable[[Backend, Task, Step], list[Figure]]


@dataclass(frozen=True)
class _What:
    """A measurement. It moves the progress bar once for the limits and ``steps`` times for each size."""

    text: str
    module: str
    sizes: tuple[int, ...]
    steps: int = 1


MEASUREMENTS = {
    "ingest": _What("frames from another process into the ring", "ingest", (512, 1024)),
    "planes": _What("raw frames into three live planes", "numerics", (512, 1024)),
    "volume": _What("the tomogram, at once and while frames come", "numerics", (512, 1024)),
    "end-to-end": _What("whole scans of the virtual beamline through the daemon", "scan", (256,), 4),
}


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "bench",
        "Measure what this machine can do. Each figure is compared with the plain way to do the same, or with a limit "
        "of the machine, measured in the same run. Other work on the machine makes all of them worse.",
        {f"bench {name}": what.text for name, what in MEASUREMENTS.items()},
    )
    parser.add_argument("what", choices=list(MEASUREMENTS), help="what to measure")
    parser.add_argument(
        "--size",
        type=checked(Annotated[int, Field(ge=16, le=4096)]),
        action="append",
        metavar="PX",
        help="rows and columns of the detector; may be repeated (default 512 and 1024; end-to-end 256)",
    )
    parser.add_argument(
        "--seconds",
        type=checked(Annotated[float, Field(gt=0, le=3600)]),
        default=10.0,
        metavar="S",
        help="measure each size for S seconds (default 10)",
    )
    add_options(parser, ReconstructionOptions, ("backend", "threads"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE; - is stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    what = MEASUREMENTS[args.what]
    sizes = tuple(dict.fromkeys(args.size or what.sizes))
    check_outputs({"--json": args.json})
    backend, _ = backend_asked_in(f"--backend {args.backend}", args.backend, args.threads)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1  # before the measurement adds to it
    if load > QUIET_LOAD * cores:
        print(f"the machine is busy (load {load:.1f}, {cores} cores): the figures will be too low", file=sys.stderr)
    if what.module == "numerics":
        warm_with_bar(backend)
    measure: Measurement = getattr(import_module(f"streamer.cli.bench.{what.module}"), args.what.replace("-", "_"))
    done, total = -1, 1 + what.steps * len(sizes)
    with Progress(f"measuring {args.what}", total) as bar:

        def step(note: str) -> None:
            nonlocal done
            done += 1
            bar.at(done, note)

        figures = measure(backend, Task(sizes, args.seconds, backend.threads), step)
        bar.at(total)
    print_table(f"{args.what}, {backend.threads} threads, Streamer {__version__}", figures)
    write_json(args.json, result(args.what, backend, figures, load))
    return 0


def result(what: str, backend: Backend, figures: list[Figure], load: float) -> dict[str, Any]:
    """The content of the file of ``--json``; ``load`` is that of the machine before it was measured."""
    return {
        "version": __version__,
        "bench": what,
        "backend": backend.name,
        "threads": backend.threads,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "load": load,
        },
        "figures": [figure.to_dict() for figure in figures],
    }


def print_table(title: str, figures: list[Figure]) -> None:
    table = Table(title=title)
    for heading, justify in (("", "left"), ("measured", "right"), ("unit", "left"), ("beside", "left")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    table.add_column("", justify="right")
    table.add_column("times", justify="right")
    for figure in figures:
        beside = "" if figure.beside_value is None else number(figure.beside_value)
        ratio = "" if figure.ratio is None else number(figure.ratio)
        table.add_row(figure.name, number(figure.value), figure.unit, figure.beside, beside, ratio)
    Console(soft_wrap=True, width=None if Console().is_terminal else WIDTH).print(table)


def number(value: float) -> str:
    """A number with three significant digits, or whole from 100 on."""
    return f"{value:.0f}" if value == 0 or abs(value) >= 99.95 else f"{value:.3g}"
