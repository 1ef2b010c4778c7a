"""From a page's wish to its picture, without a browser: ``python -m benchmarks.page_moves [--size PX] [--moves N]``.

A real daemon, fed by the virtual beamline, and the page's server. A client of its WebSocket asks for planes at random
places, one after the other, and reads the first picture of each: while frames come, and when all projections are there.
What a browser does with the picture is measured by ``benchmarks.web``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from websockets.sync.client import ClientConnection

from benchmarks.record import record
from benchmarks.web import REST, TOKEN, Scan, received
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.web.messages import split_picture
from tests.web.served import ServedPage, token_file, want

AXES = {"xy": ("z", 2), "xz": ("y", 1)}
"""The coordinate along which a plane is moved, and its place in the origin."""

PAUSE_S = 0.02
PATIENCE_S = 30.0


class Hand:
    """Moves planes by the page's socket."""

    def __init__(self, socket: ClientConnection, size: int) -> None:
        self._socket, self._size, self._random = socket, size, np.random.default_rng(1)
        self._place = dict.fromkeys("xyz", size // 2)

    def move(self, plane: str) -> dict[str, float]:
        """Move a plane; milliseconds until its first picture came, and what that is."""
        time.sleep(PAUSE_S)
        name, axis = AXES[plane]
        self._place[name] = int(self._random.integers(self._size))
        began = time.perf_counter()
        want(self._socket, do="move", place=self._place)
        while True:
            message = self._socket.recv(PATIENCE_S)
            if not isinstance(message, bytes):
                continue
            header, _ = split_picture(message)
            want(self._socket, do="drawn")
            place = header["place"]
            if header["plane"] == plane and place is not None and place["origin"][axis] == self._place[name]:
                came = 1e3 * (time.perf_counter() - began)
                return {"ms": came, "angles": header["angles"], "bytes": len(message)}


def spread(moves: list[dict[str, float]]) -> dict[str, float]:
    times = [move["ms"] for move in moves]
    middle = {f"median {name}": float(np.median([move[name] for move in moves])) for name in ("angles", "bytes")}
    found = {name: round(float(np.quantile(times, q)), 1) for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    return {"n": len(moves), **found, **middle}


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        beamline = start_beamline(folder, "--size", str(args.size), "--mount-s", "0", "--seed", "3")
        stack.callback(beamline.stop)
        source = {"endpoint": beamline.wait_ready()["frames"]}
        daemon = start_daemon(folder, source=source, writer={"directory": folder / "data", "reserve_mb": 0})
        stack.callback(daemon.stop)
        control = daemon.wait_ready()["control"]
        station = ScanDriver(zmq.Context(), beamline, daemon)
        page = stack.enter_context(ServedPage(control, "--steer-token", token_file(folder, "token", TOKEN)))
        scan = Scan(station, args)
        scan.take("warm-up")
        hand = Hand(stack.enter_context(page.enter(TOKEN)), args.size)
        scan.begin("moved", REST)
        station.until(lambda: received(station) > 0.5, "half of the projections")
        scanning: list[dict[str, float]] = []
        while received(station) < 0.9:
            scanning += [hand.move(plane) for plane in AXES]
        station.until(station.at_rest, "all projections are taken")
        at_rest = {plane: spread([hand.move(plane) for _ in range(args.moves)]) for plane in AXES}
        scan.finish()
        return {"size": args.size, "while scanning": spread(scanning), "with all projections": at_rest}


if __name__ == "__main__":
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--size", type=int, default=512)
    parse.add_argument("--projections", type=int, default=720)
    parse.add_argument("--rate", type=float, default=100.0)
    parse.add_argument("--moves", type=int, default=100)
    with tempfile.TemporaryDirectory() as name:
        record("page_moves", measure(Path(name), parse.parse_args()))
