"""Frames from a PULL socket, received straight into the ring.

One payload is copied once: libzmq's message into the slot, its checksum taken on the way. Everything that can be wrong
with a message, or with its handling, ends in a count and a reason at the sink. Only errors of the socket itself leave
the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import zmq

from streamer.flow import wire
from streamer.frames import BadInput
from streamer.io.messaging import sockets

POLL_MS = 50


class FrameSink(Protocol):
    """Where the receiver hands messages; implemented by the daemon."""

    def start(self, message: wire.Start) -> None: ...

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        """Memory of exactly ``header.size`` bytes, or None when the frame is not wanted (already counted)."""

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        """The slot asked for last is filled and checked. ``packed``: the same frame as HDF5's bitshuffle stores it."""

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None: ...

    def end(self, message: wire.End) -> None: ...

    def alive(self, message: wire.KeepAlive) -> None: ...

    def rejected(self, reason: str, text: str) -> None: ...

    def failed(self, error: Exception) -> None:
        """A message could not be handled; the rest of it is dropped."""


class FrameReceiver:
    """Owns the PULL socket. ``run`` is the body of the receive thread.

    Raises BadInput when the endpoint cannot be bound or connected.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        high_water_mark: int,
        max_bytes: int,
        guard: sockets.Guard = sockets.open_to_all,
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        """With ``wanted`` a socket that connects is attached only while this is true; a bound one stays bound."""
        self._wanted = None if bind else wanted
        self._attached = self._wanted is None
        if not self._attached:
            self.endpoint = sockets.check_endpoint(context, endpoint, "source.endpoint")
        self._socket = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, high_water_mark)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_bytes + wire.MAX_HEADER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, POLL_MS)  # cheaper than to poll before each message
        self._parts = MessageParts(self._socket)
        self._watch = None if bind else sockets.Watch(self._socket)
        guard(self._socket)
        if self._attached:
            attach = sockets.bind if bind else sockets.connect
            self.endpoint = attach(self._socket, endpoint, "source.endpoint")

    def run(self, sink: FrameSink, stopped: Callable[[], bool]) -> None:
        """Receive until ``stopped()``; looks at it at least every 50 ms."""
        while not stopped():
            if self._wanted is not None and self._wanted() != self._attached:
                self._attach(not self._attached)
            try:
                header = self._socket.recv()
            except zmq.Again:
                self._mend(sink)
            else:
                self._guarded(header, sink)
        self.close()

    def _mend(self, sink: FrameSink) -> None:
        if self._watch is not None and self._attached and self._watch.mend(self.endpoint):
            sink.rejected("oversize", f"{self.endpoint}: {self._watch.GIVEN_UP}; it is made anew")

    def _attach(self, attached: bool) -> None:
        """A PUSH socket deals its messages out to all that are connected: whoever wants none must not be."""
        (self._socket.connect if attached else self._socket.disconnect)(self.endpoint)
        self._attached = attached

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._socket.close()

    def _guarded(self, header: bytes, sink: FrameSink) -> None:
        try:
            self._take(header, sink)
        except zmq.ZMQError:
            raise
        except Exception as error:  # a full disk, no more descriptors, a bug: the next message may fare better
            self._parts.drop_rest()
            sink.failed(error)

    def _take(self, header: bytes, sink: FrameSink) -> None:
        try:
            message = wire.decode(header)
        except BadInput as error:
            self._parts.drop_rest()
            sink.rejected(error.reason if isinstance(error, wire.WireError) else "spec", str(error))
            return
        if isinstance(message, wire.FrameHeader):
            self._parts.receive_payload(message, sink)
            return
        self._parts.drop_rest()
        if isinstance(message, wire.Start):
            sink.start(message)
        elif isinstance(message, wire.End):
            sink.end(message)
        else:
            sink.alive(message)


class MessageParts:
    """The rest of a message whose header was received: its payload into a slot, or away with it."""

    def __init__(self, socket: sockets.Socket) -> None:
        self._socket = socket
        from streamer.core.simd.checked_copy import copy_checked, prepare  # heavy, and a look at a socket needs none

        self._discard = bytearray(64)
        prepare()
        self._copy_checked = copy_checked

    def receive_payload(self, header: wire.FrameHeader, sink: FrameSink) -> None:
        """Receive the pixels of a frame into the slot that the sink gives, and check them."""
        if not self.more():
            sink.corrupt(header, "parts")
            return
        slot = sink.slot(header)
        if slot is None:
            self.drop_rest()
            return
        payload = self._socket.recv(copy=False)
        if payload.more:
            self.drop_rest()
            sink.corrupt(header, "parts")
        elif (size := payload.buffer.nbytes) != header.size:
            sink.corrupt(header, "truncated" if size < header.size else "oversize")
        elif not self._copy_checked(payload.buffer, slot, header.checksum):
            sink.corrupt(header, "checksum")
        else:
            sink.frame(header)

    def more(self) -> bool:
        """Whether the message has another part."""
        return bool(self._socket.getsockopt(zmq.RCVMORE))

    def drop_rest(self) -> None:
        """Receive what is left of the message, and forget it."""
        while self.more():
            self._socket.recv_into(self._discard)
