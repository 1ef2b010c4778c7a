"""A tee between a producer and a daemon that speak the acknowledged transport (``flow.acknowledged``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import zmq

from streamer.flow.wire.acknowledged import decode_hello, decode_number
from streamer.frames import BadInput
from streamer.io.messaging import sockets
from streamer.io.senders.branches import Branch, sent
from streamer.io.senders.tee import MAX_MESSAGE, POLL_MS, BaseTee

MESSAGES_PER_TURN = 16


class AcknowledgedTee(BaseTee):
    """Messages of one producer go to the first branch, a daemon, and its credit comes back; both pass as they are.

    So the producer keeps each message until the daemon has it on the disk, whatever becomes of the tee. The other
    branches get each message once, as from a PUSH socket, and acknowledge nothing. One owner thread.

    Raises BadInput when an endpoint cannot be bound or connected.
    """

    expected = "no producer of the acknowledged transport"

    def __init__(
        self, context: sockets.Context, source: str, bind: bool, branches: Sequence[Branch], high_water_mark: int
    ) -> None:
        """``bind``: the producer connects to ``source``. ``high_water_mark`` is for the branches after the first."""
        if branches[0].cut is not None:
            raise BadInput("--rows: the first receiver acknowledges whole frames; give --rows after another --to")
        self._run = self._next = 0  # the producer's life, and the number of its first message that did not come yet
        super().__init__(context, source, bind, branches, high_water_mark, _dealer(context), _dealer(context))

    def run(self, stopped: Callable[[], bool]) -> None:
        """Hand messages on until ``stopped()``; looks at it at least every 50 ms.

        Raises BadInput when there is another kind of socket at the source.
        """
        poller = zmq.Poller()
        poller.register(self._input, zmq.POLLIN)
        poller.register(self._first, zmq.POLLIN)
        try:
            while not stopped():
                ready = dict(poller.poll(POLL_MS))
                if self._first in ready:  # when nobody takes a credit, the daemon repeats it
                    sent(self._input, self._first.recv_multipart(copy=False))
                if self._input in ready:
                    self._hand_on_some()
                if not ready:
                    self._mend()
                self._others.catch_up()
        finally:
            self.close()

    def _hand_on_some(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            try:
                frames = self._input.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._hand_on(frames)

    def _hand_on(self, frames: Sequence[zmq.Frame]) -> None:
        """To the daemon, which asks again for what it does not get; to the others when it comes for the first time."""
        sent(self._first, frames)
        number = decode_number(frames[0].bytes) if len(frames[0]) <= 8 else None
        if number is None or len(frames) < 2:
            self._follow(frames)
        elif self._run and number >= self._next:
            self._next = number + 1
            self.received += 1
            self.branches[0].sent += 1
            self._others.offer(frames[1:])

    def _follow(self, frames: Sequence[zmq.Frame]) -> None:
        """Another life of the producer begins with a hello, and may count from anywhere."""
        try:
            hello = decode_hello(frames[-1].bytes)
        except BadInput:  # the daemon refuses it
            return
        if hello.run != self._run:
            self._run, self._next = hello.run, hello.first


def _dealer(context: sockets.Context) -> sockets.Socket:
    """Its queues have no limit: a producer sends no more than the daemon has given credit for."""
    socket = context.socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # what was meant for a daemon that is gone is not for the next one
    sockets.notice_silence(socket)
    return socket
