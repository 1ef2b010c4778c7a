"""One detector's messages for several receivers. The first one loses nothing; no other one slows it down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import zmq

from streamer.frames import BadInput
from streamer.io.messaging import sockets
from streamer.io.senders.branches import Branch, LossyBranches, push_socket, sent

POLL_MS = 50
MAX_MESSAGE = 2**31
LAST_MS = 5000
"""How long the first receiver may take for what the tee still holds when it ends."""


class BaseTee:
    """The sockets of a tee: the detector's, that of the first receiver, those of the others. One owner thread.

    Raises BadInput when an endpoint cannot be bound or connected.
    """

    expected: str
    """What is to be at the source, and what to do about another one."""

    def __init__(
        self,
        context: sockets.Context,
        source: str,
        bind: bool,
        branches: Sequence[Branch],
        high_water_mark: int,
        input_socket: sockets.Socket,
        first: sockets.Socket,
    ) -> None:
        """``bind``: the detector connects to ``source``. The endpoints of the branches are bound."""
        self.branches, self.received = list(branches), 0
        self._input, self._first = input_socket, first
        self._others = LossyBranches(context, self.branches[1:], high_water_mark)
        self._input.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        self._input.setsockopt(zmq.LINGER, 0)
        self._watch = None if bind else sockets.Watch(self._input)
        try:
            self.branches[0].bind(self._first)
            self._others.bind()
            self.source = (sockets.bind if bind else sockets.connect)(self._input, source, "SOURCE")
        except BaseException:
            self.close()
            raise

    def _mend(self) -> None:
        """While nothing comes. Raises BadInput when there is another kind of socket at the source."""
        if self._watch is not None and self._watch.mend(self.source) and not self._watch.met:
            raise BadInput(f"SOURCE {self.source}: {self.expected}")

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._input.close()
        self._first.close()
        self._others.close()


class Tee(BaseTee):
    """Takes messages of a PUSH socket and gives each to all branches, the first of which is lossless.

    A branch that takes nothing for a moment loses frames, which are counted; small messages wait for it. Messages of
    any format are handed on, and those of Streamer's own where rows are cut out. One owner thread.

    Raises BadInput when an endpoint cannot be bound or connected.
    """

    expected = "no PUSH socket; a producer of the acknowledged transport wants --transport acknowledged"

    def __init__(
        self, context: sockets.Context, source: str, bind: bool, branches: Sequence[Branch], high_water_mark: int
    ) -> None:
        """``bind``: the detector connects to ``source``. The endpoints of the branches are bound."""
        pull, first = context.socket(zmq.PULL), push_socket(context, high_water_mark, LAST_MS)
        pull.setsockopt(zmq.RCVHWM, high_water_mark)
        pull.setsockopt(zmq.RCVTIMEO, POLL_MS)  # cheaper than to poll before each message
        super().__init__(context, source, bind, branches, high_water_mark, pull, first)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Hand messages on until ``stopped()``; looks at it at least every 50 ms. What was taken is handed on.

        Raises BadInput when there is another kind of socket at the source.
        """
        try:
            while not stopped():
                try:
                    frames = self._input.recv_multipart(copy=False)
                except zmq.Again:
                    self._mend()
                else:
                    self._hand_on(frames, stopped)
                self._others.catch_up()
        finally:
            self.close()

    def _hand_on(self, frames: Sequence[zmq.Frame], stopped: Callable[[], bool]) -> None:
        self.received += 1
        self._insist(frames, stopped)
        self._others.offer(frames)

    def _insist(self, frames: Sequence[zmq.Frame], stopped: Callable[[], bool]) -> None:
        """Wait until the first receiver takes the message; it is lost only when the tee ends before."""
        first = self.branches[0]
        message = first.of(frames)
        if message is None:
            return
        while not sent(self._first, message):
            if stopped():
                first.dropped += 1
                return
            self._first.poll(POLL_MS, zmq.POLLOUT)
        first.sent += 1
