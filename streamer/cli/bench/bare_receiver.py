"""A process that does nothing but receive: what ZeroMQ alone brings, as any program of its own would have it.

In the process of the bench it would have the daemon's way with memory (``keep_message_memory``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_long
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue

import zmq

from streamer.frames import StreamerError
from streamer.io.shared import SharedBuffer

RING_BYTES = 2**27
MAX_SLOTS = 512
START_S = 60.0

Counted = Callable[[], int]


@contextmanager
def bare(endpoint: str, size: int, senders: int, high_water: int) -> Iterator[tuple[str, Counted]]:
    """Frames of size×size pixels of two bytes come from so many senders; yields where to, and how many have come."""
    spawned = get_context("spawn")
    count, (here, there) = RawValue(c_long, 0), spawned.Pipe()
    process = spawned.Process(target=_receive, args=(endpoint, size, senders, high_water, there, count), daemon=True)
    process.start()
    try:
        if not here.poll(START_S):
            raise StreamerError(f"the bare receiver did not start within {START_S:g} s")
        yield here.recv(), lambda: int(count.value)
    finally:
        process.kill()
        process.join()


def _receive(endpoint: str, size: int, senders: int, high_water: int, ready: Connection, count: c_long) -> None:
    with slots_of(size) as slots, zmq.Context(senders) as context, context.socket(zmq.PULL) as pull:
        pull.setsockopt(zmq.LINGER, 0)
        pull.setsockopt(zmq.RCVHWM, high_water)
        pull.bind(endpoint)
        ready.send(pull.getsockopt_string(zmq.LAST_ENDPOINT))
        for number in range(2**62):
            pull.recv()
            pull.recv_into(slots[number % len(slots)])
            count.value = number + 1


@contextmanager
def slots_of(size: int) -> Iterator[list[memoryview]]:
    """Room for frames (size×size pixels of two bytes), in the same kind and size of memory as the ring."""
    nbytes = 2 * size * size
    with SharedBuffer.create(RING_BYTES) as shared:
        memory = memoryview(shared.memory)
        yield [memory[k * nbytes : (k + 1) * nbytes] for k in range(min(MAX_SLOTS, RING_BYTES // nbytes))]
