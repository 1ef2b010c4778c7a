"""``streamer cluster check``: what a configuration with shards can do on this machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from streamer.cli.check import taken_ports
from streamer.cli.cluster.bandwidth import rate_to_shards
from streamer.cli.terminal.arguments import add_verb
from streamer.config import load
from streamer.frames import BadInput, ScanSpec


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "cluster",
        "Look before the beam does whether a scan can be shared out: measure how fast rows reach as many "
        "processes as the configuration wants, and say what fits into their memory, at which binning.\n\n"
        "Exit code 1 when it does not fit.",
        {
            "cluster check beamline.toml --rows 2048 --columns 2048": "one camera",
            "cluster check beamline.toml --rows 8192 --columns 8192 --rate 50": "a larger one",
        },
    )
    parser.add_argument("action", choices=["check"], metavar="check", help="processes, rates and memory for a scan")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="configuration of the daemon")
    for name, default, text in (
        ("rows", 2048, "rows of the detector"),
        ("columns", 2048, "columns of the detector"),
        ("projections", 3000, "projections of a scan"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default {default})")
    parser.add_argument("--rate", type=float, default=100.0, metavar="HZ", help="frames per second (default 100)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from streamer.cluster.planning import advice
    from streamer.cluster.scout import gpus_here, shards_of, shared_out

    config = load(args.config, os.environ)
    gpus = gpus_here()
    count = shards_of(config, gpus)
    print(f"compute.shards = {config.compute.shards}: {count} on this machine, which has {gpus} GPUs")
    if count == 1:
        raise BadInput("compute.shards: there is nothing to share out; set it to 2 or more")
    shared_out(config)
    for line in taken_ports(config):
        print(line)
    spec = ScanSpec("check", "check", args.rows, args.columns, args.projections)
    measured = rate_to_shards(count, spec.columns)
    print(f"rows reach {count} processes at {measured / 1e9:.2f} GB/s")
    memory, threads = config.reconstruction.memory_bytes, max(1, len(os.sched_getaffinity(0)) // count)
    found = advice(spec, args.rate, count, memory, threads, measured)
    for line in found.said:
        print(line)
    available = _available_bytes()
    if count * memory > available:
        print(
            f"{count} shards may take {count * memory / 2**30:.1f} GiB, {available / 2**30:.1f} are available: lower "
            f"reconstruction.memory_mb to {available * 0.8 / count / 2**20:.0f}, or use more machines"
        )
        return 1
    return 0 if found.fits else 1


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**62
