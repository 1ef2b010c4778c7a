"""How fast rows leave one process for several others: real sockets on loopback, as the cutter's."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import zmq

from streamer.frames import BadInput

BLOCK_BYTES = 2**23
SECONDS = 1.0
WAIT_MS = 20_000

RECEIVER = """
import sys, zmq
s = zmq.Context().socket(zmq.PULL)
s.setsockopt(zmq.RCVHWM, 8)
s.connect(sys.argv[1])
while len(s.recv(copy=False)): pass
"""


def rate_to_shards(count: int, columns: int) -> float:
    """Bytes per second that reach ``count`` processes together, in blocks of whole rows. Raises BadInput."""
    rows = np.zeros((max(1, BLOCK_BYTES // (2 * columns)), columns), "<u2")
    with ExitStack() as stack:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(2)
        stack.callback(context.destroy, linger=0)
        sockets, receivers = [], []
        for _ in range(count):
            socket = context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, 8)
            socket.setsockopt(zmq.SNDTIMEO, WAIT_MS)
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            receiver = subprocess.Popen([sys.executable, "-c", RECEIVER, f"tcp://127.0.0.1:{port}"])
            stack.callback(receiver.wait)
            stack.callback(receiver.kill)
            sockets.append(socket)
            receivers.append(receiver)
        if not all(socket.poll(WAIT_MS, zmq.POLLOUT) for socket in sockets):
            raise BadInput("a process for the measurement does not take anything from a socket on 127.0.0.1")
        for socket in sockets:
            socket.send(rows.data, copy=False)
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < SECONDS:
            for socket in sockets:
                socket.send(rows.data, copy=False)
                sent += rows.nbytes
        for socket in sockets:
            socket.send(b"")
        for receiver in receivers:
            receiver.wait()
        return sent / (time.monotonic() - began)
