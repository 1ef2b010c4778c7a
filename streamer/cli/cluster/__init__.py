"""``streamer cluster check``: what a configuration with shards can do on this machine."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from streamer.cli.check import taken_ports
from streamer.cli.terminal.arguments import add_verb, checked
from streamer.config import load
from streamer.frames import MAX_FRAMES, MAX_SIDE, BadInput, ScanSpec


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "cluster",
        "Look before the beam does whether a scan can be shared out: start as many processes as the configuration "
        "wants, where it wants them, measure how fast rows reach each and all of them, and say what fits into their "
        "memory, at which binning.\n\n"
        "Exit code 1 when it does not fit.",
        {
            "cluster check beamline.toml --rows 2048 --columns 2048": "one camera",
            "cluster check beamline.toml --rows 8192 --columns 8192 --rate 50": "a larger one",
        },
    )
    parser.add_argument("action", choices=["check"], metavar="check", help="processes, rates and memory for a scan")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="configuration of the daemon")
    for name, default, least, most, text in (
        ("rows", 2048, 1, MAX_SIDE, "rows of the detector"),
        ("columns", 2048, 2, MAX_SIDE, "columns of the detector"),
        ("projections", 3000, 1, MAX_FRAMES, "projections of a scan"),
    ):
        kind = checked(Annotated[int, Field(ge=least, le=most)])
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text} (default {default})")
    parser.add_argument(
        "--rate",
        type=checked(Annotated[float, Field(gt=0)]),
        default=100.0,
        metavar="HZ",
        help="frames per second (default 100)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    # They load the numerics, which the help does not need.
    from streamer.cli.cluster.bandwidth import measure
    from streamer.cluster.planning import SAFE, advice
    from streamer.cluster.scout import engine_of, shards_of, shared_out

    config = load(args.config, os.environ)
    with closing(engine_of(config)) as engine:
        count = shards_of(config, engine.gpus)
        print(
            f"compute.shards = {config.compute.shards}: {count} by engine {config.compute.engine}, {engine.gpus} GPUs"
        )
        if count == 1:
            raise BadInput("compute.shards: there is nothing to share out; set it to 2 or more")
        shared_out(config)
        for line in taken_ports(config):
            print(line)
        engine.reserve(count, config.compute.spares, config.reconstruction.threads)
        links = measure(engine, count, args.columns)
    for line in links.said():
        print(line)
    spec = ScanSpec("check", "check", args.rows, args.columns, args.projections)
    memory, threads = config.reconstruction.memory_bytes, max(1, links.machines[0].cores // count)
    found = advice(spec, args.rate, count, memory, threads, links.together)
    for line in found.said:
        print(line)
    fits = found.fits
    for machine, (free, shards) in links.share().items():
        if shards * memory > free:
            fits = False
            print(
                f"{shards} shards on {machine} may take {shards * memory / 2**30:.1f} GiB, {free / 2**30:.1f} are "
                f"available: lower reconstruction.memory_mb to {free * SAFE / shards / 2**20:.0f}, or use more machines"
            )
    return 0 if fits else 1
