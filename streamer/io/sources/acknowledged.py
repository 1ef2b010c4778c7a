"""Frames from a ROUTER socket, acknowledged once they are safe; received straight into the ring as from PULL.

The protocol itself is in ``flow.acknowledged``; here is what it needs a socket and a clock for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import zmq

from streamer.flow import wire
from streamer.flow.acknowledged import ReceiverLedger, ReceiverStream, Taken, Turn
from streamer.flow.wire.acknowledged import Credit, decode_hello, decode_number
from streamer.frames import BadInput
from streamer.io.messaging import sockets
from streamer.io.sources.push import POLL_MS, FrameSink, MessageParts

SETTLING_POLL_MS = 10
REPEAT_S = 0.5  # a credit that was lost is repeated
HELD_S = 0.1  # a held message is asked for again
ACKNOWLEDGE_S = 0.02
WINDOW_BYTES = 2**25
MOST_AHEAD = 256
"""Messages that a producer may send ahead, however small its frames are."""

SPARE_MESSAGES = 16  # of one producer, beyond its window: hellos
MESSAGES_PER_TURN = 16  # received before acknowledgements are looked at again

ScanMessage = wire.Start | wire.FrameHeader | wire.End


class AcknowledgingSink(FrameSink, Protocol):
    """A sink that says which messages it can take, and which of them are safe."""

    def admit(self, message: ScanMessage) -> str:
        """Prepare for a message: a start arms its scan. Returns why it cannot be taken now, "" when it can."""

    def position(self) -> int:
        """The place in the ring below which every frame lies that was taken so far."""

    def put_off(self, why: str) -> None:
        """A message was not taken: it came "again", too "early", or is "held" back at the producer."""

    def settled(self, taken: Taken) -> bool:
        """Whether what a message brought is readable after a crash of any process, or its scan is over."""


class _Peer:
    """One connection: its stream, and what it was told last."""

    def __init__(self, stream: ReceiverStream) -> None:
        self.stream = stream
        self.told: Credit | None = None
        self.told_s = 0.0


class AcknowledgingReceiver:
    """Owns the ROUTER socket. ``run`` is the body of the receive thread.

    Raises BadInput when the endpoint cannot be bound or connected.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        window: int,
        max_bytes: int,
        daemon: int,
        clock: Callable[[], float],
        guard: sockets.Guard = sockets.open_to_all,
    ) -> None:
        """``window``: frames that a producer may send ahead; more while they are smaller than 32 MiB together.

        ``daemon``: a number of this daemon's life only.
        """
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.RCVHWM, max(window, MOST_AHEAD) + SPARE_MESSAGES)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_bytes + wire.MAX_HEADER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        sockets.notice_silence(self._socket)
        self._parts = MessageParts(self._socket)
        self._ledger = ReceiverLedger(daemon, window)
        self._least_window = window
        self._peers: dict[bytes, _Peer] = {}
        self._clock = clock
        self._acknowledged_s = 0.0
        guard(self._socket)
        attach = sockets.bind if bind else sockets.connect
        self.endpoint = attach(self._socket, endpoint, "source.endpoint")

    def run(self, sink: AcknowledgingSink, stopped: Callable[[], bool]) -> None:
        """Receive until ``stopped()``; looks at it at least every 50 ms."""
        while not stopped():
            waiting = any(peer.stream.waiting for peer in self._peers.values())
            if self._socket.poll(SETTLING_POLL_MS if waiting else POLL_MS):
                self._receive_some(sink)
            now = self._clock()
            if now - self._acknowledged_s >= ACKNOWLEDGE_S:
                self._acknowledged_s = now
                self._acknowledge(sink, now)
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _receive_some(self, sink: AcknowledgingSink) -> None:
        with suppress(zmq.Again):
            for _ in range(MESSAGES_PER_TURN):
                self._receive(self._socket.recv(zmq.DONTWAIT), sink)

    def _receive(self, identity: bytes, sink: AcknowledgingSink) -> None:
        first = self._socket.recv() if self._parts.more() else b""
        number = decode_number(first)
        if number is None or not self._parts.more():
            self._hello(identity, sink)
            return
        peer = self._peers.get(identity)
        if peer is None:
            self._parts.drop_rest()
            self._send(identity, self._ledger.stranger())
            return
        self._guarded(peer.stream, number, sink)
        told = peer.told
        if told is None or self._news(peer.stream, told):
            self._tell(identity, peer, self._clock())

    def _news(self, stream: ReceiverStream, told: Credit) -> bool:
        """Whether a producer must hear at once: a new round, a hold, or half of its credit is used up."""
        used = stream.expected - told.next
        return stream.round != told.round or stream.held != told.held or 2 * used >= told.limit - told.next

    def _guarded(self, stream: ReceiverStream, number: int, sink: AcknowledgingSink) -> None:
        try:
            self._numbered(stream, number, sink)
        except zmq.ZMQError:
            raise
        except Exception as error:  # a full disk, no more descriptors, a bug: the same message may fare better later
            self._parts.drop_rest()
            stream.hold(f"{type(error).__name__}: {error}")
            sink.put_off("held")
            sink.failed(error)

    def _numbered(self, stream: ReceiverStream, number: int, sink: AcknowledgingSink) -> None:
        if (turn := stream.turn(number)) is not Turn.NEXT:
            self._parts.drop_rest()
            sink.put_off("again" if turn is Turn.OLD else "early")
            return
        header = self._socket.recv()
        try:
            message = wire.decode(header)
        except BadInput as error:
            self._parts.drop_rest()
            sink.rejected(error.reason if isinstance(error, wire.WireError) else "spec", str(error))
            stream.take(Taken("", 0))  # it would be as wrong the next time
            return
        if isinstance(message, wire.KeepAlive):
            self._parts.drop_rest()
            sink.alive(message)
            stream.take(Taken("", 0))
            return
        if reason := sink.admit(message):
            self._parts.drop_rest()
            stream.hold(reason)
            sink.put_off("held")
            return
        stream.take(self._taken(message, sink))

    def _taken(self, message: ScanMessage, sink: AcknowledgingSink) -> Taken:
        if isinstance(message, wire.FrameHeader):
            self._ledger.window = max(self._least_window, min(WINDOW_BYTES // max(message.size, 1), MOST_AHEAD))
            self._parts.receive_payload(message, sink)
            return Taken(message.scan_id, sink.position())
        self._parts.drop_rest()
        if isinstance(message, wire.End):
            sink.end(message)
            return Taken(message.scan_id, None)
        return Taken(message.spec.scan_id, sink.position())

    def _hello(self, identity: bytes, sink: AcknowledgingSink) -> None:
        hello = self._socket.recv() if self._parts.more() else b""
        self._parts.drop_rest()
        try:
            stream = self._ledger.hello(decode_hello(hello))
        except BadInput as error:
            sink.rejected("header", str(error))
            return
        known = self._ledger.streams.values()
        self._peers = {i: p for i, p in self._peers.items() if p.stream in known and p.stream is not stream}
        peer = self._peers[identity] = _Peer(stream)
        self._tell(identity, peer, self._clock())

    def _acknowledge(self, sink: AcknowledgingSink, now: float) -> None:
        """Tell each producer what became safe; now and then also when nothing did."""
        for identity, peer in self._peers.items():
            changed = peer.stream.settle(sink.settled)
            retry = bool(peer.stream.held) and now - peer.told_s >= HELD_S
            if retry:
                peer.stream.ask_again()
            if changed or retry or now - peer.told_s >= REPEAT_S:
                self._tell(identity, peer, now)

    def _tell(self, identity: bytes, peer: _Peer, now: float) -> None:
        peer.told, peer.told_s = self._ledger.credit(peer.stream), now
        self._send(identity, peer.told)

    def _send(self, identity: bytes, credit: Credit) -> None:
        self._socket.send_multipart([identity, wire.pack(credit)], zmq.DONTWAIT)
