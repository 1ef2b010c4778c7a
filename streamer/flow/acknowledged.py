"""The acknowledged transport without sockets, threads or clocks: what the producer and the daemon each keep in mind.

The producer numbers its messages from 0 and keeps each one until the daemon has acknowledged it. The daemon takes them
in order and without gaps. A message that comes out of turn is dropped and asked for again, so a lost connection, a
restarted daemon and a scan that must wait are one and the same case: the daemon opens a new *round*, and the producer
starts again at the number that the daemon expects. The numbers never go back; the daemon of a later life begins at
the first message that the producer still holds, and its ledger knows the frames that are already on disk.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from streamer.flow.wire.acknowledged import Credit, Hello

MAX_STREAMS = 64
"""Producers that a daemon remembers; the one that was silent for longest is forgotten."""


class SenderWindow:
    """What a producer knows: messages below ``first`` are acknowledged, those below ``next`` are sent."""

    def __init__(self, run: int, first: int, source: str = "") -> None:
        """``run``: a number of this producer's life that no other has, not 0."""
        self.run, self.source = run, source
        self.first = self.next = first
        self.limit = first  # messages from here on must wait for credit
        self.held = ""  # why the daemon takes no messages
        self.resent = 0
        self._daemon = self._round = 0

    def hello(self) -> Hello:
        return Hello(src=self.source, run=self.run, first=self.first, daemon=self._daemon, round=self._round)

    def take(self, credit: Credit, end: int) -> bool:
        """Enter what the daemon says; ``end`` is one more than the last number that exists.

        Returns False when the daemon does not know this producer, which then says hello.
        """
        if credit.run != self.run:
            return False
        self.first = max(self.first, min(credit.acked, end))
        if (credit.daemon, credit.round) != (self._daemon, self._round):
            self._daemon, self._round = credit.daemon, credit.round
            again = max(self.first, min(credit.next, end))
            self.resent += max(0, self.next - again)
            self.next = again
        self.next = max(self.next, self.first)
        self.limit, self.held = credit.limit, credit.held
        return True

    def may_send(self, end: int) -> bool:
        """Whether message ``next`` exists and may be sent now."""
        return self.next < min(self.limit, end)

    def sent(self) -> None:
        self.next += 1


class Turn(Enum):
    """What a message that arrived is to its stream."""

    NEXT = "next"  # the one that is expected
    OLD = "old"  # taken before
    EARLY = "early"  # one before it is lacking


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the daemon has taken: its scan, and the place in the ring below which all it brought lies.

    ``position`` is None for the end of a scan, which is settled when the scan is over.
    """

    scan_id: str
    position: int | None


class ReceiverStream:
    """What the daemon knows of one producer: messages below ``expected`` are taken, those below ``acked`` are safe."""

    def __init__(self, hello: Hello) -> None:
        self.run, self.source = hello.run, hello.src
        self.expected = self.acked = hello.first
        self.round = 1
        self.held = ""
        self._taken: deque[Taken] = deque()
        self._asked_again = False

    def turn(self, number: int) -> Turn:
        """Judge a message that arrived. The first one that is early opens a new round."""
        if number == self.expected:
            return Turn.NEXT
        if number < self.expected:
            return Turn.OLD
        if not self._asked_again and not self.held:
            self.ask_again()
        return Turn.EARLY

    def ask_again(self) -> None:
        """Open a new round: the producer starts again at the expected message."""
        self.round += 1
        self._asked_again = True

    def take(self, taken: Taken) -> None:
        """The expected message was taken."""
        self.expected += 1
        self.held, self._asked_again = "", False
        self._taken.append(taken)

    def hold(self, reason: str) -> None:
        """The expected message cannot be taken now: nothing more may be sent until ``ask_again``."""
        self.held = reason

    def settle(self, settled: Callable[[Taken], bool]) -> bool:
        """Acknowledge, in order, what is settled. Returns whether anything was."""
        before = self.acked
        while self._taken and settled(self._taken[0]):
            self._taken.popleft()
            self.acked += 1
        return self.acked != before

    @property
    def waiting(self) -> bool:
        """Messages were taken that are not acknowledged."""
        return bool(self._taken)

    def credit(self, daemon: int, window: int) -> Credit:
        """What to tell the producer; one message at a time while its messages are held."""
        room = 1 if self.held else window
        return Credit(
            run=self.run,
            daemon=daemon,
            round=self.round,
            next=self.expected,
            acked=self.acked,
            limit=self.expected + room,
            held=self.held,
        )


class ReceiverLedger:
    """The streams of all producers, by their run. ``daemon``: a number of this daemon's life that no other has."""

    def __init__(self, daemon: int, window: int) -> None:
        self.daemon, self.window = daemon, window
        self.streams: OrderedDict[int, ReceiverStream] = OrderedDict()

    def hello(self, hello: Hello) -> ReceiverStream:
        """The stream of a producer. One that heard the newest round, and asks nevertheless, gets a new round."""
        stream = self.streams.get(hello.run)
        if stream is None:
            stream = self.streams[hello.run] = ReceiverStream(hello)
            if len(self.streams) > MAX_STREAMS:
                self.streams.popitem(last=False)
        elif (hello.daemon, hello.round) == (self.daemon, stream.round):
            stream.ask_again()
        self.streams.move_to_end(hello.run)
        return stream

    def credit(self, stream: ReceiverStream) -> Credit:
        return stream.credit(self.daemon, self.window)

    def stranger(self) -> Credit:
        """The answer to a message of nobody who has said hello."""
        return Credit(run=0, daemon=self.daemon)
