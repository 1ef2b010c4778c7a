"""ZMTP by hand, over plain TCP: what a peer that keeps no rule can send. Nothing of libzmq holds it back."""

from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4


def connect(endpoint: str, timeout_s: float = 10.0) -> socket.socket:
    """A TCP connection to ``tcp://HOST:PORT``."""
    address = urlsplit(endpoint)
    return socket.create_connection((address.hostname, address.port), timeout=timeout_s)


def frame(body: bytes, flags: int = 0) -> bytes:
    """One part of a message, or a command."""
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body


def greet(endpoint: str, kind: str) -> socket.socket:
    """A connection that has shaken hands as a socket of a kind ("DEALER", "SUB", "PUSH"), without a key.

    Raises OSError when the peer ends the connection instead.
    """
    peer = connect(endpoint)
    try:
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
        peer.sendall(GREETING + frame(ready, COMMAND))
        wanted = len(GREETING) + 2
        while wanted > 0:
            if not (data := peer.recv(wanted)):
                raise ConnectionError(f"{endpoint} ended the connection")
            wanted -= len(data)
    except BaseException:
        peer.close()
        raise
    return peer


def unfinished(peer: socket.socket, part: bytes, total: int) -> int:
    """Send parts of one message that does not end, ``total`` bytes of them; returns the bytes that were taken."""
    block = frame(part, MORE)
    block *= max(1, 2**18 // len(block))
    sent = 0
    try:
        while sent < total:
            peer.sendall(block)
            sent += len(block)
    except OSError:
        pass
    return sent
