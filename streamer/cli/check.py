"""``streamer check``: checks a configuration, the backend, the folder and the ports."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamer.cli.terminal.arguments import add_verb
from streamer.cli.warming import warm_with_bar
from streamer.config import Config, check_security, load, unguarded
from streamer.core.backend.selection import BackendError, select_backend
from streamer.frames import BadInput
from streamer.io.raw.writer import check_space
from streamer.keys import KeyFolder


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "check",
        "Check a configuration: its options, whether the backend runs here, the folder of the files, and which of its "
        "ports are taken. Exit code 2 when the daemon could not start with it.",
        {
            "check beamline.toml": "say what is wrong with it",
            "check beamline.toml --warm": "also compile the kernels, so that the daemon starts at once",
        },
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.toml", help="configuration (default: all defaults)"
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="compile the kernels now, so that no scan waits for it",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = load(args.config, os.environ)
    check_security(config)
    if open_to_others := unguarded(config):
        print(f"security.insecure: everybody who reaches {', '.join(open_to_others.values())} may use it")
    if config.security.keys is not None:
        KeyFolder(config.security.keys).daemon()
    try:
        backend, why = select_backend(config.reconstruction.backend, config.reconstruction.threads)
    except BackendError as error:
        raise BadInput(f"reconstruction.backend: {error}") from error
    print(why)
    _check_directory(config)
    taken = taken_ports(config)
    for line in taken:
        print(line)
    if args.warm:
        print(f"kernels are compiled and cached, {warm_with_bar(backend):.1f} s")
    if taken:
        raise BadInput("some ports are taken; is a daemon running already?")
    print("the configuration is good")
    return 0


def _check_directory(config: Config) -> None:
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
