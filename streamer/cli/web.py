"""``streamer web``: serves a web page on what a daemon reconstructs."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from streamer.cli.terminal.arguments import add_verb, read_key
from streamer.cli.terminal.daemon import add_daemon
from streamer.cli.terminal.extras import need
from streamer.cli.terminal.listening import listening, port, url
from streamer.daemon.monitoring.http import PageServer, exposition
from streamer.frames import BadInput

NEEDED = ("starlette", "uvicorn", "websockets")
TOKEN = "(umask 077; openssl rand -base64 33 > FILE)"

HOST = "127.0.0.1"
"""Where metrics are served."""

NICE = 5
"""Of the process, where the system knows niceness: on a busy machine the daemon goes first, and its frames."""

MORE = f"""\
A token is a line in a file that only you may read. This makes one:
  {TOKEN}

Without --steer-token the page can only look. On this machine everybody may look, unless there is
a --look-token; for other machines (--host) one of the tokens is needed, or --insecure.
"""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "web",
        "Serve a web page on what a daemon reconstructs: planes that can be moved, the verdict with its reasons, past "
        "scans, and the tomogram in three dimensions. A process of its own that subscribes and asks: the daemon never "
        "waits for it, nor for a browser. It needs the extra web.",
        {
            "web": "the daemon on this machine; look at http://127.0.0.1:8080",
            "web --steer-token web.token": "who has the token may also move planes and end scans",
            "web --host 0.0.0.0 --look-token look.token": "for other machines, with a token",
            "web --batch night-12": "with the samples of the batch in this folder",
        },
        MORE,
    )
    add_daemon(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine (default 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8080, help="0: any (default 8080)")
    parser.add_argument("--look-token", type=Path, metavar="FILE", help="token without which nothing is shown")
    parser.add_argument("--steer-token", type=Path, metavar="FILE", help="token with which the page may steer")
    parser.add_argument(
        "--name", action="append", default=[], metavar="NAME",
        help="name by which browsers ask for the page, as a proxy's; may be given again",
    )  # fmt: skip
    parser.add_argument("--batch", type=Path, metavar="FOLDER", help="show the samples of the batch in this folder")
    parser.add_argument("--metrics", type=port, metavar="PORT", help="serve Prometheus metrics here; 0: any port")
    parser.add_argument("--insecure", action="store_true", help="let every machine look without a token")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    need("web", "the page", *NEEDED)
    import uvicorn

    from streamer.web.access import Access, is_loopback, read_token
    from streamer.web.app import application
    from streamer.web.hub import Hub
    from streamer.web.messages import LONGEST
    from streamer.web.metrics import WebCollector
    from streamer.web.relay import Relay

    local = is_loopback(args.host)
    look, steer = (None if path is None else read_token(path) for path in (args.look_token, args.steer_token))
    if not local and look is None and steer is None and not args.insecure:
        raise BadInput(f"--host {args.host}: others could look; give --look-token or --steer-token, or --insecure")
    access = Access(look, steer, anyone_looks=args.insecure or (local and look is None))
    names = [*args.name, *(() if local else (socket.gethostname(), socket.getfqdn()))]
    hub = Hub()
    relay = Relay(args.endpoint, read_key(args), batch=args.batch, seeing_detector=lambda: hub.seeing_detector > 0)
    app = application(relay, hub, access, names)
    with listening(args.host, args.port) as listener, ExitStack() as ending:
        give_way()  # nothing was refused, and no thread has begun
        if args.metrics is not None:
            pages = serve_metrics(WebCollector(hub, lambda: relay.connected), args.metrics)
            ending.callback(pages.close)
            print(f"metrics are at http://{HOST}:{pages.port}/metrics", flush=True)
        config = uvicorn.Config(
            app, log_level="warning", ws_max_size=LONGEST, ws_per_message_deflate=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=2, h11_max_incomplete_event_size=2**14,
        )  # fmt: skip
        print(f"the page is at {url(listener, args.host)}", flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def give_way() -> None:
    """Let other processes of this machine go first, unless this one does already."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def serve_metrics(collector: Collector, port: int) -> PageServer:
    """What the page's server and its process count, for Prometheus, to this machine. Raises BadInput."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return PageServer({"/metrics": exposition(registry)}, HOST, port)
