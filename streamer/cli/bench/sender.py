"""``python -m streamer.cli.bench.sender ENDPOINT SIZE``: a detector that sends as fast as the socket accepts."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import zmq

from streamer.flow.wire import encode_frame
from streamer.frames import FrameKind, FrameMeta

SCAN = "bench"
HEADERS = 4096
"""Messages that are encoded in advance and then sent again and again."""

HIGH_WATER = 8
POLL_MS = 200


def main() -> None:
    endpoint, size = sys.argv[1], int(sys.argv[2])
    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    parent = os.getppid()
    pixels = np.random.default_rng(0).integers(0, 60_000, (size, size)).astype("<u2")
    messages = [encode_frame(FrameMeta(SCAN, k, FrameKind.PROJECTION, 0.0, k), pixels) for k in range(HEADERS)]
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.connect(endpoint)
        number = 0
        while not ended and os.getppid() == parent:
            if socket.poll(POLL_MS, zmq.POLLOUT):
                socket.send_multipart(messages[number % HEADERS], copy=size < 256)
                number += 1


if __name__ == "__main__":
    main()
