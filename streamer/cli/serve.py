"""``streamer serve``: serves the scans of a daemon's data folder by Tiled, while they run."""

from __future__ import annotations

import argparse
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from streamer.cli.terminal.arguments import add_key, add_verb, checked, read_key
from streamer.cli.terminal.daemon import DEFAULT
from streamer.cli.terminal.extras import need
from streamer.cli.terminal.listening import listening, port, url
from streamer.config import Endpoint
from streamer.frames import BadInput

KEY = "TILED_SINGLE_USER_API_KEY"


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "serve",
        "Serve the scans of a daemon's data folder by Tiled while they run: raw frames as they are written, planes as "
        "the daemon publishes them, and the tomogram once it is there. Read only. A process of its own: neither the "
        "daemon nor the RunEngine waits for it. It needs the extra tiled.",
        {
            "serve data": "at http://127.0.0.1:8000",
            "serve data --host 0.0.0.0": f"for other machines; they need the key in {KEY}",
        },
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="writer.directory of the daemon")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine (default 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8000, help="0: any (default 8000)")
    parser.add_argument(
        "--control",
        type=checked(Literal["none"] | Endpoint),
        default=DEFAULT,
        metavar="ENDPOINT",
        help=f"control endpoint of the daemon, whose planes are served; none: no planes (default {DEFAULT})",
    )
    add_key(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    api_key = os.environ.get(KEY)
    if not args.folder.is_dir():
        raise BadInput(f"{args.folder}: there is no such folder")
    if api_key is None and not _is_loopback(args.host):
        raise BadInput(f"--host {args.host}: others could read everything; set {KEY} in the environment to a key")
    need("tiled", "serve", "tiled")
    import uvicorn

    from streamer.serve.planes import LivePlanes
    from streamer.serve.tree import application

    planes = None if args.control == "none" else LivePlanes(args.control, read_key(args))
    try:
        server = uvicorn.Server(
            uvicorn.Config(application(args.folder, planes, api_key), args.host, args.port, log_level="warning")
        )
        with listening(args.host, args.port) as listener:
            print(f"serving {args.folder} at {url(listener, args.host)}", flush=True)
            server.run(sockets=[listener])
    finally:
        if planes is not None:
            planes.close()
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
