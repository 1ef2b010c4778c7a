"""Bind and connect ZeroMQ sockets, with errors that say the way out; a context for one command; memory of messages."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import AF_INET, AF_INET6
from socket import socket as RawSocket  # noqa: N812

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.frames import BadInput

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]
Peer = tuple[str, int]
Guard = Callable[[Socket], None]
"""Sets the options of a socket that is not bound or connected yet, so that it admits only known clients."""


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # of mallopt
LARGEST_IN_HEAP, KEPT_BYTES, GROWTH_BYTES = 2**25, 2**27, 2**24


def keep_message_memory() -> None:
    """Let libzmq find the memory of earlier frames again, instead of pages that the kernel has to clear first.

    Each frame of some megabytes costs hundreds of page faults otherwise; without them receiving takes a sixth to a
    third less CPU time. Up to 128 MiB of freed memory stay with the process. Call it before threads start. It does
    nothing where the C library is not GNU's.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)  # the heaps of other arenas are small, and come and go
        mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_TOP_PAD, GROWTH_BYTES)


HEARTBEAT_MS, SILENCE_MS = 1000, 5000


def notice_silence(socket: Socket) -> None:
    """End a connection whose peer answers nothing for 5 s: its machine, or the way to it, is gone."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)


def open_to_all(_socket: Socket) -> None:
    """The guard of a socket that admits everybody who reaches it."""


_left: list[Context] = []


@contextmanager
def until_done() -> Iterator[Context]:
    """A context for one command. It is closed at the end of the block, with all its sockets.

    After Ctrl-C it is left to the end of the process: the interrupt may have come while a socket was being made, before
    anything referred to it, and closing the context would wait for that socket for ever.
    """
    context: Context = zmq.Context()
    try:
        yield context
    except KeyboardInterrupt:
        _left.append(context)
        raise
    except BaseException:
        context.destroy()
        raise
    context.destroy()


EXAMPLE = "give something like tcp://127.0.0.1:5581"


def bind(socket: Socket, endpoint: str, name: str) -> str:
    """Bind a socket and return the endpoint with its true port. Closes it and raises BadInput when that fails."""
    before = os.umask(0o177) if endpoint.startswith("ipc://") else None  # the file is for its owner only
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        taken = "is it running already? stop the process that has it, or choose another port"
        way_out = taken if error.errno == zmq.EADDRINUSE else EXAMPLE
        why = error.strerror.partition(" (addr=")[0]  # which would say the endpoint again
        raise BadInput(f"{name} {endpoint}: {why}; {way_out}") from error
    finally:
        if before is not None:
            os.umask(before)
    return _endpoint(socket)


def connect(socket: Socket, endpoint: str, name: str) -> str:
    """Connect a socket. Closes it and raises BadInput when the endpoint makes no sense."""
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise BadInput(f"{name} {endpoint}: {error.strerror}; {EXAMPLE}") from error
    return endpoint


def check_endpoint(context: Context, endpoint: str, name: str) -> str:
    """Raise BadInput when a socket cannot connect to the endpoint; the endpoint otherwise.

    It is tried with a socket to which no detector sends.
    """
    with context.socket(zmq.SUB) as socket:
        return connect(socket, endpoint, name)


def _endpoint(socket: Socket) -> str:
    last = socket.getsockopt(zmq.LAST_ENDPOINT)
    return last.rstrip(b"\0").decode() if isinstance(last, bytes) else str(last)


class Watch:
    """Notices that libzmq gave a connection up for good, and makes it anew.

    It does so after a message beyond MAXMSGSIZE, bytes that are none of ZeroMQ's, or with a peer whose kind of socket
    does not go with ours; after any other end of a connection it connects again by itself. ``met``: the kinds of both
    sockets have ever gone together.
    """

    GIVEN_UP = "the connection ended after a message that is larger than source.max_frame_mb, or none of ZeroMQ's"

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
        )
        self._ended = self.met = False

    def mend(self, endpoint: str) -> bool:
        """Connect again when the connection has ended and nothing happened since the last call. Returns whether it did.

        To be called while nothing comes, with pauses in which libzmq would have begun to connect.
        """
        event = 0
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            self.met |= event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event or not self._ended:
            self._ended = event == zmq.EVENT_DISCONNECTED
            return False
        self._ended = False
        self._socket.disconnect(endpoint)
        self._socket.connect(endpoint)
        return True

    def close(self) -> None:
        """Before the socket is closed; a second call changes nothing."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close()


@contextmanager
def duplicate(descriptor: int) -> Iterator[RawSocket | None]:
    """The socket that a file descriptor of libzmq is just now, which cannot become another one in the block.

    None when it is closed, or no socket.
    """
    try:
        held = RawSocket(fileno=os.dup(descriptor))
    except OSError:
        yield None
        return
    with held:
        yield held


def ends_of(connection: RawSocket | None) -> tuple[int, Peer] | None:
    """Our port and the peer's address of a TCP connection; None when it is none."""
    if connection is None or connection.family not in (AF_INET, AF_INET6):
        return None
    try:
        return connection.getsockname()[1], connection.getpeername()[:2]
    except OSError:  # it listens, or has ended
        return None


def port_of(endpoint: str) -> int | None:
    """The TCP port of a bound endpoint; None when it has none."""
    scheme, _, place = endpoint.partition("://")
    return int(place.rpartition(":")[2]) if scheme == "tcp" else None
