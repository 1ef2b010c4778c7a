"""``python -m streamer.cli.bench.sender WAY ENDPOINT SIZE``: a detector that sends as fast as it is let.

WAY is ``push``, ``acknowledged``, ``spooled`` (acknowledged, each frame copied into a spool, as ``Producer`` does), or
``tcp`` for the payloads alone over a plain socket.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import zmq

from streamer.flow.spool import Spool
from streamer.flow.wire import encode_frame
from streamer.frames import FrameKind, FrameMeta
from streamer.io.senders.acknowledged import AcknowledgedSender, SpoolFullError, new_run
from streamer.io.senders.outlet import open_outlet
from streamer.io.shared import SharedBuffer

SCAN = "bench"
HEADERS = 4096
"""Messages that are encoded in advance and then sent again and again."""

OFFER_S = 0.2
SPOOL_BYTES = 2**28


def main() -> None:
    way, endpoint, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    parent = os.getppid()
    pixels = np.random.default_rng(0).integers(0, 60_000, (size, size)).astype("<u2")
    messages = [encode_frame(FrameMeta(SCAN, k, FrameKind.PROJECTION, 0.0, k), pixels) for k in range(HEADERS)]
    send = plain(endpoint) if way == "tcp" else framed(way, endpoint)
    number = 0
    while not ended and os.getppid() == parent:
        number += send(messages[number % HEADERS])


def spooled(endpoint: str) -> Callable[[Any], bool]:
    messages = Spool(SharedBuffer.create(SPOOL_BYTES).memory, new_run())
    sender = AcknowledgedSender(zmq.Context.instance(), endpoint, False, messages, SCAN, print)

    def send(message: Any) -> bool:
        with suppress(SpoolFullError):
            sender.send(message, OFFER_S)
            return True
        return False

    return send


def framed(way: Any, endpoint: str) -> Callable[[Any], bool]:
    if way == "spooled":
        return spooled(endpoint)
    outlet = open_outlet(way, zmq.Context.instance(), endpoint, False, "ENDPOINT", SCAN, SPOOL_BYTES)
    return lambda message: outlet.offer(message, OFFER_S)


def plain(endpoint: str) -> Callable[[Any], bool]:
    host, port = endpoint.removeprefix("tcp://").split(":")
    connection = socket.create_connection((host, int(port)))

    def send(message: Any) -> bool:
        connection.sendall(message[1])
        return True

    return send


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # the receiver is gone: nothing is to be waited for
