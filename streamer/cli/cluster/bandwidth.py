"""How fast rows leave this process for those that an engine starts: real sockets, as the cutter's, link by link."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import zmq

from streamer.cluster.engines.engine import Engine
from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput

PROBE = __name__
BLOCK_BYTES = 2**23
ONE_S, TOGETHER_S = 0.3, 1.0
WAIT_MS = 20_000
HIGH_WATER = 8


class Machine(msgspec.Struct, frozen=True):
    """Where a process is: bytes that are free there, and cores that it may use."""

    name: str
    free_bytes: int
    cores: int


@dataclass(frozen=True)
class Links:
    """Bytes per second to each process alone and to all ``together``; ``machines`` in the same order."""

    each: tuple[float, ...]
    together: float
    machines: tuple[Machine, ...]

    def said(self) -> list[str]:
        """A line for each link, and one for all of them."""
        lines = [
            f"shard {number} on {machine.name}: {rate / 1e9:.2f} GB/s alone, "
            f"{machine.free_bytes / 2**30:.1f} GiB free, {machine.cores} cores"
            for number, (rate, machine) in enumerate(zip(self.each, self.machines, strict=True))
        ]
        return [*lines, f"rows reach {len(self.each)} processes at {self.together / 1e9:.2f} GB/s together"]

    def share(self) -> dict[str, tuple[int, int]]:
        """Of each machine: bytes that are free, and how many of the processes are there."""
        counts: dict[str, tuple[int, int]] = {}
        for machine in self.machines:
            free, count = counts.get(machine.name, (machine.free_bytes, 0))
            counts[machine.name] = min(free, machine.free_bytes), count + 1
        return counts


def measure(engine: Engine, count: int, columns: int) -> Links:
    """Send blocks of whole rows of ``columns`` pixels to ``count`` processes. Raises BadInput, OSError."""
    rows = np.zeros((max(1, BLOCK_BYTES // (2 * columns)), columns), "<u2")
    with ExitStack() as stack:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(2)
        stack.callback(context.destroy, linger=0)
        helpers = [engine.start(PROBE, Setup("", "127.0.0.1")) for _ in range(count)]
        for helper in helpers:
            stack.callback(helper.end, 0.0)
        readies = [helper.ready() for helper in helpers]
        links = [_connect(context, ready) for ready in readies]
        each = tuple(_rate([link], rows, ONE_S) for link in links)
        return Links(each, _rate(links, rows, TOGETHER_S), tuple(_machine(ready) for ready in readies))


def _machine(ready: Ready) -> Machine:
    return msgspec.json.decode(ready.text, type=Machine)


def _connect(context: zmq.Context[Any], ready: Ready) -> zmq.Socket[bytes]:
    link: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    link.setsockopt(zmq.SNDHWM, HIGH_WATER)
    link.setsockopt(zmq.SNDTIMEO, WAIT_MS)
    link.connect(ready.frames)
    return link


def _rate(links: Sequence[zmq.Socket[bytes]], rows: np.ndarray, seconds: float) -> float:
    """Bytes per second that have arrived: every receiver says so after the last block."""
    began, sent = time.monotonic(), 0
    try:
        while time.monotonic() - began < seconds:
            for link in links:
                link.send(rows.data, copy=False)
                sent += rows.nbytes
        for link in links:
            link.send(b"")
    except zmq.Again as error:
        raise BadInput("a process does not take rows; is there a firewall between the machines?") from error
    for link in links:
        if not link.poll(WAIT_MS):
            raise BadInput("a process does not answer; is there a firewall between the machines?")
        link.recv()
    return sent / (time.monotonic() - began)


def start(scout: ToScout) -> NoReturn:
    """The program of a receiver: it takes rows, and says when the last one was there."""
    setup = scout.setup()
    taker: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
    taker.setsockopt(zmq.RCVHWM, HIGH_WATER)
    port = taker.bind_to_random_port(f"tcp://{setup.host}")
    here = Machine(socket.gethostname(), available_bytes(), len(os.sched_getaffinity(0)))
    scout.say_ready(Ready("", f"tcp://{setup.host}:{port}", msgspec.json.encode(here).decode()))
    while not scout.gone:
        if taker.poll(100) and not len(taker.recv(copy=False)):
            taker.send(b"")
    os._exit(0)


def available_bytes() -> int:
    """Memory that processes of this machine may still take."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**62
