"""Who may connect to the daemon, and what each client may do (ZAP, RFC 27, over CURVE)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import zmq
from zmq.utils import z85

from streamer.daemon.throttle import ThrottledLog
from streamer.frames import BadInput
from streamer.io.messaging.sockets import Context, Socket
from streamer.keys import Client, KeyFolder, Role

log = logging.getLogger(__name__)

ZAP = "inproc://zeromq.zap.01"
POLL_MS = 100
HANDSHAKE_MS = 5000  # a connection that has not shown its key by then is closed

NEEDED: Mapping[str, frozenset[Role]] = {
    "control": frozenset(Role),
    "events": frozenset({Role.LOOK}),
    "preview": frozenset({Role.LOOK}),
    "source": frozenset({Role.SEND}),
}
"""The roles of which a client needs one to connect, by socket; the name of the socket is its ZAP domain."""


class Access:
    """Answers libzmq's question whether a client may connect; ``run`` is the body of a thread.

    Construct it before the first guarded socket, close it after the last one. Without ``run`` nobody gets in. Raises
    BadInput when the folder has no key of a daemon.
    """

    def __init__(self, context: Context, folder: KeyFolder, clock: Callable[[], float]) -> None:
        self._folder, self._pair = folder, folder.daemon()
        self._stamp: object = None
        self._known: dict[str, Client] = {}
        self._complaints = ThrottledLog(log, clock)
        self.refused = Counter[str]()  # connections, by socket
        self._clients()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ZAP)

    def guard(self, domain: str) -> Callable[[Socket], None]:
        """What makes a socket, before it is bound or connected, admit only the clients that may use it."""

        def apply(socket: Socket) -> None:
            socket.curve_server = True
            socket.curve_publickey = self._pair.public.encode()
            socket.curve_secretkey = self._pair.secret.encode()
            socket.zap_domain = domain.encode()  # without a domain libzmq would admit everybody when ZAP is silent
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)

        return apply

    def client(self, public: str) -> Client | None:
        """The client with a public key, as the folder has it now."""
        return self._clients().get(public)

    def run(self, stopped: Callable[[], bool]) -> None:
        while not stopped():
            if self._socket.poll(POLL_MS):
                parts = self._socket.recv_multipart()
                self._socket.send_multipart(self._answer(parts))

    def close(self) -> None:
        self._socket.close()

    def _clients(self) -> dict[str, Client]:
        """By public key. A folder that cannot be read admits nobody: what is not known is not allowed."""
        try:
            stamp = self._folder.stamp()
            if stamp != self._stamp:
                self._known = {client.public: client for client in self._folder.clients()}
                self._stamp = stamp
        except BadInput as error:
            self._known, self._stamp = {}, None
            self._complaints.warning("folder", f"nobody is let in: {error}")
        return self._known

    def _answer(self, parts: Sequence[bytes]) -> list[bytes]:
        origin, empty, version, number, domain, address, _identity, mechanism, *credentials = parts
        socket = domain.decode("ascii", errors="replace")
        public = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and len(credentials) == 1 else ""
        client = self.client(public)
        head = [origin, empty, version, number]
        if client is not None and any(map(client.may, NEEDED.get(socket, ()))):
            return [*head, b"200", b"OK", public.encode(), b""]
        self.refused[socket] += 1
        who = f"the client {client.name}" if client is not None else f"a client with the unknown key {public}"
        self._complaints.warning(socket, f"{who} at {address.decode(errors='replace')} may not use {socket}")
        return [*head, b"400", b"not allowed", b"", b""]
