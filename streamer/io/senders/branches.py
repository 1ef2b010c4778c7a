"""The receivers of a tee: what became of the messages for each, and the sockets of those that hold nobody back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import zmq

from streamer.flow.row_cut import Part, RowCut
from streamer.flow.wire import WireError
from streamer.io.messaging import sockets

SMALL = 2**16
"""Messages of fewer bytes, such as the start and the end of a scan, wait for a receiver that is behind."""

MOST_SMALL = 1000

Frames = Sequence[Part | zmq.Frame]


@dataclass
class Branch:
    """One receiver: where it is, which rows it wants (None: all), and what became of the messages for it."""

    endpoint: str
    cut: RowCut | None = None
    sent: int = 0
    dropped: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # messages whose rows could not be cut out, by reason
    why: str = ""  # the first of them
    waiting: deque[Frames] = field(default_factory=deque)

    def bind(self, output: sockets.Socket) -> None:
        """Bind the receiver's socket; ``endpoint`` gets its true port. Raises BadInput."""
        self.endpoint = sockets.bind(output, self.endpoint, "--to")

    def of(self, frames: Sequence[zmq.Frame]) -> Frames | None:
        """The message for this receiver; None when its rows cannot be cut out."""
        if self.cut is None:
            return frames
        try:
            return self.cut.of([frame.buffer for frame in frames])
        except WireError as error:
            self.refused[error.reason] += 1
            self.why = self.why or str(error)
            return None


class LossyBranches:
    """PUSH sockets of receivers that lose frames when they take nothing for a moment; small messages wait for them."""

    def __init__(self, context: sockets.Context, branches: Sequence[Branch], high_water_mark: int) -> None:
        self._branches = [(branch, _Output(push_socket(context, high_water_mark, 0))) for branch in branches]

    def bind(self) -> None:
        """Raises BadInput when an endpoint cannot be bound."""
        for branch, output in self._branches:
            branch.bind(output.socket)

    def offer(self, frames: Sequence[zmq.Frame]) -> None:
        """Give a message to each receiver that takes it now."""
        small = sum(map(len, frames)) < SMALL
        for branch, output in self._branches:
            message = branch.of(frames)
            if message is None:
                continue
            _catch_up(branch, output)
            if not branch.waiting and output.sent(message):
                branch.sent += 1
            elif small and len(branch.waiting) < MOST_SMALL:
                branch.waiting.append([_bytes(part) for part in message])
            else:
                branch.dropped += 1

    def catch_up(self) -> None:
        """Send what waits, to those that take something again."""
        for branch, output in self._branches:
            _catch_up(branch, output)

    def close(self) -> None:
        for _branch, output in self._branches:
            output.socket.close()


def push_socket(context: sockets.Context, high_water_mark: int, linger_ms: int) -> sockets.Socket:
    output = context.socket(zmq.PUSH)
    output.setsockopt(zmq.SNDHWM, high_water_mark)
    output.setsockopt(zmq.LINGER, linger_ms)
    return output


def sent(output: sockets.Socket, message: Frames) -> bool:
    """Whether a message was taken at once."""
    try:
        output.send_multipart(message, zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return False
    return True


class _Output:
    """A receiver's socket. One that is full is asked first: a send that fails takes four times as long."""

    def __init__(self, socket: sockets.Socket) -> None:
        self.socket = socket
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLOUT)
        self._full = False

    def sent(self, message: Frames) -> bool:
        """Whether a message was taken at once."""
        if self._full and not self._poller.poll(0):
            return False
        self._full = not sent(self.socket, message)
        return not self._full


def _catch_up(branch: Branch, output: _Output) -> None:
    while branch.waiting and output.sent(branch.waiting[0]):
        branch.waiting.popleft()
        branch.sent += 1


def _bytes(part: Part | zmq.Frame) -> bytes:
    return part.bytes if isinstance(part, zmq.Frame) else bytes(part)
