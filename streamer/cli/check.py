"""``streamer check``: checks a configuration, the backend, the folder and the ports; or listens to a detector."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from streamer.cli.detector.look import look
from streamer.cli.terminal.arguments import add_verb, checked
from streamer.config import NATIVE, Config, SourceEndpoint, check_security, check_source, load, unguarded
from streamer.core.backend.selection import backend_asked_in
from streamer.daemon.arming.scan_folders import check_folders
from streamer.frames import BadInput
from streamer.io.raw.disk_space import check_space
from streamer.keys import KeyFolder


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "check",
        "Check a configuration: its options, whether the backend runs here, the folder of the files, and which of its "
        "ports are taken. Exit code 2 when the daemon could not start with it. With an endpoint instead: listen to a "
        "detector, say which dialect it speaks, what it lacks for a scan, and which configuration it needs. What a "
        "PUSH socket sends meanwhile is lost to others.",
        {
            "check beamline.toml": "say what is wrong with it",
            "check beamline.toml --warm": "also compile the kernels, so that the daemon starts at once",
            "check tcp://camera:9999": "listen to a detector for 5 seconds",
        },
    )
    parser.add_argument(
        "config",
        nargs="?",
        type=lambda text: checked(SourceEndpoint)(text) if "://" in text else Path(text),
        metavar="CONFIG.toml|ENDPOINT",
        help="configuration (default: all defaults), or where a detector is",
    )
    parser.add_argument(
        "--seconds",
        type=checked(Annotated[float, Field(gt=0, le=3600)]),
        default=5.0,
        metavar="S",
        help="how long to listen to a detector, at most (default 5)",
    )
    parser.add_argument("--bind", action="store_true", help="the detector connects to ENDPOINT")
    parser.add_argument(
        "--socket", choices=("pull", "sub", "req"), help="socket to listen with when it is bound (default pull)"
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="compile the kernels now, so that no scan waits for it",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if isinstance(args.config, str):
        return look(args)
    config = load(args.config, os.environ)
    check_security(config)
    check_source(config.source)
    config.positions.check(native=config.source.dialect == NATIVE)
    if config.compute.shards != 1:
        from streamer.cluster.scout import shared_out

        shared_out(config)
    if open_to_others := unguarded(config):
        print(f"security.insecure: everybody who reaches {', '.join(open_to_others.values())} may use it")
    if config.security.keys is not None:
        KeyFolder(config.security.keys).daemon()
    asked = config.reconstruction
    backend, why = backend_asked_in("reconstruction.backend", asked.backend, asked.threads)
    print(why)
    _check_directory(config)
    taken = taken_ports(config)
    for line in taken:
        print(line)
    if args.warm:
        from streamer.cli.warming import warm_with_bar

        print(f"kernels are compiled and cached, {warm_with_bar(backend):.1f} s")
    if taken:
        raise BadInput("some ports are taken; is a daemon running already?")
    print("the configuration is good")
    return 0


def _check_directory(config: Config) -> None:
    check_folders(config.writer)
    directory = config.writer.directory
    existing = next(path for path in (directory, *directory.resolve().parents) if path.exists())
    check_space(existing, 0, int(config.writer.reserve_mb * 2**20))
    print(f"writer.directory {directory}: {shutil.disk_usage(existing).free / 2**30:.1f} GiB free")


def taken_ports(config: Config) -> list[str]:
    """A line for each TCP port that the daemon would bind and that is taken."""
    wanted = {
        "control.endpoint": config.control.endpoint,
        "control.events": config.control.events,
        "preview.endpoint": config.preview.endpoint,
    }
    if config.source.bind:
        wanted["source.endpoint"] = config.source.endpoint
    if config.metrics.enabled:
        wanted["metrics"] = f"tcp://{config.metrics.host}:{config.metrics.port}"
    return [f"{name} {endpoint}: taken" for name, endpoint in wanted.items() if _taken(endpoint)]


def _taken(endpoint: str) -> bool:
    address = urlsplit(endpoint.removesuffix(":*"))
    if address.scheme != "tcp" or not address.port:
        return False
    host = "0.0.0.0" if address.hostname in (None, "*") else address.hostname
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, address.port))
        except OSError:
            return True
    return False
