"""The program that cuts a detector's frames into rows: each shard gets its own, the scout a few.

It is a process of its own, so that frames go on when the scout dies. Every message is kept, by reference, until the
shard has it on the disk; so a spare gets all that the shard before it had not written. Nobody is overtaken: while one
is behind and its messages fill the spool, the detector waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import zmq
from msgspec import structs

from streamer.cluster.calls import CallServer
from streamer.cluster.child import begin, end_with
from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Answer, Attach, CutterStatus, Detach, Done, Ready, Redirect, Setup, Stop
from streamer.config import Config
from streamer.flow import wire
from streamer.flow.row_cut import Part, RowCut
from streamer.flow.spool import HeldMessages
from streamer.frames import BadInput
from streamer.io.messaging import sockets
from streamer.io.senders.acknowledged import new_run
from streamer.io.senders.acknowledged_link import AcknowledgedLink

WAIT_MS = 20
"""How often it looks whether the scout is there, and whether its connection to the detector has to be made anew."""

MESSAGES_PER_TURN = 8
SPOOL_BYTES = 2**29
ARM_S = 10.0
"""For which a scan that was announced may take to be armed; its frames wait."""

SILENCE_S = 30.0
"""Without a scout, and without messages, the cutter ends after that."""


class _Branch:
    """One receiver. Its messages outlive the process that they are for."""

    def __init__(self, context: sockets.Context, endpoint: str, cut: RowCut) -> None:
        self.cut = cut
        self._context, self._messages = context, HeldMessages(SPOOL_BYTES, new_run())
        self.link = self._linked(endpoint)
        self.blocked = False  # whether its socket takes no more now

    def _linked(self, endpoint: str) -> AcknowledgedLink:
        return AcknowledgedLink(self._context, endpoint, False, self._messages, "cutter", "a shard")

    def redirect(self, endpoint: str) -> None:
        self.link.close()
        self.link = self._linked(endpoint)

    def take(self, parts: Sequence[Part]) -> bool:
        """Whether there was room for a message."""
        return self.link.append(parts) is not None


class Cutter:
    """One thread. ``frames`` were taken, ``stale`` messages belonged to no scan that is armed."""

    def __init__(self, setup: Setup, config: Config, context: sockets.Context, scout: ToScout) -> None:
        self._line, self._context = scout, context
        self._always, source = config.source.attach == "always" or config.source.bind, config.source
        self._bind, self._given = source.bind, source.endpoint
        self._socket = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, source.high_water_mark)
        self._socket.setsockopt(zmq.MAXMSGSIZE, int(source.max_frame_mb * 2**20) + wire.MAX_HEADER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._watch = None if source.bind else sockets.Watch(self._socket)
        attach = sockets.bind if source.bind else sockets.connect
        self.endpoint = attach(self._socket, self._given, "source.endpoint") if self._always else self._given
        self._attached = self._always
        self._server = CallServer(context, f"tcp://{setup.host}:*")
        self.ready = Ready(self._server.endpoint, self.endpoint)
        self._scout: _Branch | None = _Branch(context, setup.scout, RowCut(0, 1))
        self._shards: list[_Branch] = []
        self._scan_id = ""
        self._announced_until = 0.0  # frames wait until then for the scan that was announced to be armed
        self._left: list[tuple[_Branch, Sequence[Part]]] = []  # what did not find room
        self._ended = False
        self._heard_s = self._mended_s = time.monotonic()
        self.frames = self.stale = 0
        self._stopped = False

    def run(self) -> None:
        """Until the scout says ``Stop``; without a scout, until every shard has the scan that is running."""
        try:
            while not self._stopped and not (self._line.gone and self._is_over()):
                self._turn()
        finally:
            for branch in self._branches:
                branch.link.close()
            if self._watch is not None:
                self._watch.close()
            self._socket.close()
            self._server.close()

    @property
    def _branches(self) -> list[_Branch]:
        return [*self._shards, *filter(None, [self._scout])]

    def _turn(self) -> None:
        """Wait for anything to happen, and do what follows from it."""
        branches = self._branches
        for branch in branches:
            branch.blocked = branch.link.turn()
        # What finds no room, and a scan that is not armed yet, hold the detector's messages back. It is also asked
        # while it is detached: libzmq ends the connection only then.
        takes = not self._left and time.monotonic() >= self._announced_until
        poller = zmq.Poller()
        poller.register(self._server.socket, zmq.POLLIN)
        if takes:
            poller.register(self._socket, zmq.POLLIN)
        for branch in branches:
            poller.register(branch.link.socket, zmq.POLLIN | (zmq.POLLOUT if branch.blocked else 0))
        ready = dict(poller.poll(WAIT_MS))
        for branch in branches:
            if ready.get(branch.link.socket, 0) & zmq.POLLIN:
                branch.link.hear()
        left, self._left = self._left, []
        for branch, parts in left:
            self._give(branch, parts)
        if self._socket in ready:
            self._receive_some()
        elif takes:
            self._mend()
        if self._server.socket in ready:
            self._server.serve(self._answer, 0)

    def _mend(self) -> None:
        now = time.monotonic()
        if self._watch is not None and self._attached and now - self._mended_s >= WAIT_MS / 1000:
            self._mended_s = now
            self._watch.mend(self._given)

    def _is_over(self) -> bool:
        """The scout is gone: nothing is sent to it any more. Whether nothing is left to be done, either."""
        if self._scout is not None:
            self._left = [(branch, parts) for branch, parts in self._left if branch is not self._scout]
            self._scout.link.close()
            self._scout = None
        waiting = self._left or any(branch.link.unacknowledged for branch in self._shards)
        silent = time.monotonic() - self._heard_s > SILENCE_S
        return silent or not self._scan_id or (self._ended and not waiting)

    def _receive_some(self) -> None:
        """Take messages while they find room, but not for long: the branches wait to send them."""
        self._heard_s = time.monotonic()
        for _ in range(MESSAGES_PER_TURN):
            if self._left or self._heard_s < self._announced_until:
                return
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._receive([frame.buffer for frame in frames])

    def _receive(self, parts: list[memoryview]) -> None:
        try:
            message = wire.decode(parts[0])
        except BadInput:  # the scout says what is wrong with it
            self._give(self._scout, parts)
            return
        if isinstance(message, wire.FrameHeader):
            self._frame(message, parts)
            return
        self._give(self._scout, parts)
        if isinstance(message, wire.Start):
            self._start(message)
        elif isinstance(message, wire.End) and message.scan_id == self._scan_id:
            self._ended = True
            for branch in self._shards:
                self._give(branch, parts)

    def _start(self, message: wire.Start) -> None:
        """The shards need no start: they are armed by the scout."""
        if message.spec.scan_id != self._scan_id and self._scout is not None:
            self._announced_until = time.monotonic() + ARM_S

    def _frame(self, header: wire.FrameHeader, parts: Sequence[memoryview]) -> None:
        if header.scan_id != self._scan_id:
            self.stale += 1
            return
        self.frames += 1
        branches = self._branches
        if len(parts) != 2 or parts[1].nbytes != header.size or header.shape[0] < self._shards[-1].cut.end:
            for branch in branches:  # each of them refuses it, and counts it as corrupt
                self._give(branch, parts)
            return
        intact = header.checksum is None or wire.checksum(parts[1]) == header.checksum
        row_bytes = header.shape[1] * np.dtype(header.dtype).itemsize
        for branch in branches:
            cut = branch.cut
            pixels = parts[1][cut.first * row_bytes : cut.end * row_bytes]
            # Wrong for the whole frame, it is wrong for the rows: the receiver finds them corrupt.
            checksum = header.checksum if header.checksum is None or not intact else wire.checksum(pixels)
            said = structs.replace(header, shape=(cut.rows, header.shape[1]), size=pixels.nbytes, checksum=checksum)
            self._give(branch, [wire.pack(said), pixels])

    def _give(self, branch: _Branch | None, parts: Sequence[Part]) -> None:
        if branch is not None and (any(other is branch for other, _ in self._left) or not branch.take(parts)):
            self._left.append((branch, parts))

    def _answer(self, request: Any) -> Answer:
        if isinstance(request, Attach):
            self._attach(request)
        elif isinstance(request, Redirect):
            self._shards[request.shard].redirect(request.endpoint)
        elif isinstance(request, Detach):
            self._detach()
        elif isinstance(request, Stop):
            self._stopped = True
        else:
            left = [sum(branch is other for other, _ in self._left) for branch in self._shards]
            waiting = tuple(branch.link.unacknowledged + more for branch, more in zip(self._shards, left, strict=True))
            return CutterStatus(self.frames, self.stale, waiting)
        return Done()

    def _attach(self, request: Attach) -> None:
        for branch in self._shards:
            branch.link.close()
        *cuts, scout = (RowCut(first, end) for first, end in request.rows)
        self._left = [(branch, parts) for branch, parts in self._left if branch is self._scout]
        self._shards = [
            _Branch(self._context, endpoint, cut) for endpoint, cut in zip(request.endpoints, cuts, strict=True)
        ]
        if self._scout is not None:
            self._scout.cut = scout
        self._scan_id, self._ended, self.frames, self._announced_until = request.scan_id, False, 0, 0.0
        if not self._attached:
            self._socket.connect(self._given)
            self._attached = True

    def _detach(self) -> None:
        """A PUSH socket deals its messages out to all that are connected: whoever wants none must not be."""
        self._scan_id = ""
        if self._attached and not self._always:
            self._socket.disconnect(self._given)
            self._attached = False


def run(scout: ToScout) -> None:
    setup, config = begin("cutter", scout)
    sockets.keep_message_memory()
    context: sockets.Context = zmq.Context(2)
    cutter = Cutter(setup, config, context, scout)
    scout.say_ready(cutter.ready)
    cutter.run()
    context.destroy(linger=200)


def start(scout: ToScout) -> NoReturn:
    end_with(partial(run, scout), "cutter")
