"""Bounds on what clients hold of the daemon: connections, and bytes of messages that are not finished.

libzmq bounds the size of a part and the number of whole messages, but neither the number of parts of a message that is
not finished, nor the number of connections. So this thread looks at the kernel's own count of received bytes of each
connection (TCP_INFO), and cuts those that are over their budget. It needs Linux; sockets of ipc:// are not counted.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from streamer.daemon.throttle import ThrottledLog
from streamer.io.messaging.sockets import duplicate, ends_of, port_of

log = logging.getLogger(__name__)

SWEEP_S = 0.02
LOOK_S = 0.25
"""How old the answer of ``Connections.leads_to`` may be: clients ask tens of times a second."""
MAX_CONNECTIONS = 128
SPARE = 4  # descriptors that are kept for looking at connections when no other is left
OVERHEAD = 256  # bytes of a message beyond its own, at most: frames of its parts, and what CURVE adds
NO_LINGER = struct.pack("ii", 1, 0)
RECEIVED_AT = 128  # of tcpi_bytes_received in struct tcp_info, since Linux 4.1


@dataclass(frozen=True)
class Budget:
    """What a connection may have sent that was not taken from it; ``bytes_per_s`` are forgiven, for heartbeats."""

    bytes: float
    bytes_per_s: float


REQUESTS = Budget(2**21, 2**8)
"""2 MiB of requests that wait or are not finished: more than the control socket queues of whole ones."""

SUBSCRIPTIONS = Budget(2**16, 2**10)
"""A subscriber sends some tens of bytes, and nothing is ever taken from it."""


FRAMES = Budget(math.inf, 0.0)
"""Several frames may wait in the source by right: only the number of its connections is bounded."""


@dataclass
class _Connection:
    """A socket of this process, known by its inode. ``port`` is None unless it is a connection to a watched socket."""

    inode: int
    port: int | None
    began_s: float
    looked_s: float
    descriptor: int = -1  # one of those that it has
    taken: int = 0  # by the thread that receives
    settled: int = 0  # the part of it that was set against what was received
    received: int = 0
    pending: float = 0.0  # bytes: what was received and neither taken nor forgiven
    cut: bool = False


class Connections:
    """Watches the connections to bound TCP sockets; ``run`` is the body of a thread.

    ``budgets`` are by port, with the name of the socket. ``cut`` counts the connections that were cut and ``open``
    those that are there, by that name.
    """

    def __init__(self, budgets: Mapping[int, tuple[str, Budget]], clock: Callable[[], float]) -> None:
        self._budgets, self._clock = dict(budgets), clock
        self._complaints = ThrottledLog(log, clock)
        self._known: dict[int, _Connection] = {}  # by inode
        self._by_descriptor: dict[int, _Connection] = {}
        self.cut = Counter[str]()
        self.open = {name: 0 for name, _ in self._budgets.values()}  # connections at the last sweep, by the same name
        self._looked: dict[str, tuple[float, bool | None]] = {}  # when, and what was found, by endpoint
        self._spare = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(SPARE)]

    def taken(self, descriptor: int, size: int) -> None:
        """A message of ``size`` bytes was taken from a connection. For the thread that receives."""
        if (connection := self._by_descriptor.get(descriptor)) is not None:
            connection.taken += size + OVERHEAD

    def leads_to(self, endpoint: str) -> bool | None:
        """``is_connected``, as it was LOOK_S seconds ago at most."""
        now = self._clock()
        looked_s, found = self._looked.get(endpoint, (-math.inf, None))
        if now - looked_s >= LOOK_S:
            found = is_connected(endpoint)
            self._looked[endpoint] = now, found
        return found

    def run(self, stopped: Callable[[], bool], wait: Callable[[float], object]) -> None:
        """Sweep until ``stopped()``, with a ``wait`` of some seconds in between."""
        while not stopped():
            self.sweep()
            wait(SWEEP_S)

    def sweep(self) -> None:
        """Look at every connection once; not when there is no descriptor for that, and none comes free."""
        try:
            sockets = _sockets()
        except OSError:
            self._give_up_spare()
            with suppress(OSError):
                self._sweep(_sockets())
            self._take_spare()
        else:
            self._sweep(sockets)

    def close(self) -> None:
        """Do not sweep any more."""
        self._give_up_spare()

    def _give_up_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _take_spare(self) -> None:
        with suppress(OSError):  # at the next sweep, then
            while len(self._spare) < SPARE:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _sweep(self, sockets: list[tuple[int, int]]) -> None:
        now, known = self._clock(), self._known
        self._known, by_descriptor = {}, {}
        watched: dict[int, list[_Connection]] = {port: [] for port in self._budgets}
        for descriptor, inode in sockets:
            connection = self._known.get(inode)  # a second descriptor of the same socket, as ``duplicate`` makes them
            if connection is None:
                connection = known.get(inode) or _Connection(inode, self._port(descriptor), now, now)
                self._known[inode] = connection
                connection.descriptor = descriptor
                if connection.port is not None:
                    watched[connection.port].append(connection)
                    self._charge(connection, now)
            by_descriptor[descriptor] = connection
        self._by_descriptor = by_descriptor
        self.open = {self._budgets[port][0]: len(connections) for port, connections in watched.items()}
        for connections in watched.values():
            # Of too many connections those go that sent least, and of these the oldest.
            connections.sort(key=lambda connection: (connection.received, connection.began_s))
            for connection in connections[: max(0, len(connections) - MAX_CONNECTIONS)]:
                self._cut(connection, f"there are more than {MAX_CONNECTIONS}")

    def _port(self, descriptor: int) -> int | None:
        """The watched port to which a socket is a connection."""
        with duplicate(descriptor) as connection:
            ends = ends_of(connection)
        return ends[0] if ends is not None and ends[0] in self._budgets else None

    def _charge(self, connection: _Connection, now: float) -> None:
        _, budget = self._budgets[connection.port or 0]
        received = connection.received
        with duplicate(connection.descriptor) as held:
            if held is not None and os.fstat(held.fileno()).st_ino == connection.inode:
                received = _received(held)
        taken = connection.taken
        change = received - connection.received - (taken - connection.settled)
        forgiven = budget.bytes_per_s * (now - connection.looked_s)
        connection.pending = max(0.0, connection.pending + change - forgiven)  # nothing is saved up
        connection.received, connection.settled, connection.looked_s = received, taken, now
        if connection.pending > budget.bytes:
            self._cut(connection, f"{connection.pending:.0f} bytes without a whole message")

    def _cut(self, connection: _Connection, why: str) -> None:
        with duplicate(connection.descriptor) as held:
            if connection.cut or held is None or os.fstat(held.fileno()).st_ino != connection.inode:
                return  # it ends, or has ended by itself
            with suppress(OSError):
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)  # what it sent is thrown away
                held.shutdown(socket.SHUT_RDWR)
        connection.cut = True
        name, _ = self._budgets[connection.port or 0]
        self.cut[name] += 1
        self._complaints.warning(name, f"a connection to {name} was cut: {why}")


def _sockets() -> list[tuple[int, int]]:
    """File descriptors of this process that are sockets, and their inodes."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found.append((int(name), status.st_ino))
    return found


def is_connected(endpoint: str) -> bool | None:
    """Whether this process has a TCP connection with the port of an endpoint at one end; None: not to be seen."""
    port = port_of(endpoint)
    if port is None:
        return None
    try:
        sockets = _sockets()
    except OSError:  # no descriptor is left to look with
        return None
    for descriptor, _ in sockets:
        with duplicate(descriptor) as connection:
            ends = ends_of(connection)
        if ends is not None and port in (ends[0], ends[1][1]):
            return True
    return False


def _received(connection: socket.socket) -> int:
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED_AT + 8)
    except OSError:
        return 0  # it has ended
    return int.from_bytes(info[RECEIVED_AT:], "little")
