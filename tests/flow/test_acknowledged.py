"""Sender and receiver of the acknowledged transport against each other, over a line that a test breaks as it likes."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.acknowledged import MAX_STREAMS, ReceiverLedger, ReceiverStream, SenderWindow, Taken, Turn
from streamer.flow.wire.acknowledged import Credit, Hello

RUN, DAEMON, WINDOW = 11, 500, 4


def hello(run: int = RUN, first: int = 0, daemon: int = 0, round: int = 0) -> Hello:
    return Hello(run=run, first=first, daemon=daemon, round=round)


def credit(next: int, acked: int, limit: int, round: int = 1, run: int = RUN) -> Credit:
    return Credit(run=run, daemon=DAEMON, round=round, next=next, acked=acked, limit=limit)


def taken(stream: ReceiverStream, count: int) -> None:
    for _ in range(count):
        assert stream.turn(stream.expected) is Turn.NEXT
        stream.take(Taken("scan", stream.expected))


def test_nothing_is_sent_without_credit() -> None:
    window = SenderWindow(RUN, first=3)
    assert not window.may_send(end=9)
    assert window.take(credit(3, 3, limit=4), end=9)
    assert window.may_send(end=9)
    window.sent()
    assert not window.may_send(end=9)


def test_an_acknowledgement_is_for_all_messages_below_it() -> None:
    window = SenderWindow(RUN, first=0)
    window.take(credit(0, 0, limit=5), end=5)
    for _ in range(5):
        window.sent()
    window.take(credit(5, 4, limit=9), end=5)
    assert (window.first, window.next, window.resent) == (4, 5, 0)


def test_a_new_round_starts_again_at_the_expected_message() -> None:
    window = SenderWindow(RUN, first=0)
    window.take(credit(0, 0, limit=5), end=5)
    for _ in range(5):
        window.sent()
    window.take(credit(2, 1, limit=6, round=2), end=5)
    assert (window.first, window.next, window.resent) == (1, 2, 3)


def test_a_daemon_that_expects_less_than_it_acknowledged_before_gets_what_there_is() -> None:
    window = SenderWindow(RUN, first=7)
    window.take(credit(0, 0, limit=99), end=9)
    assert (window.first, window.next) == (7, 7)


def test_credit_for_another_run_asks_for_a_hello_and_changes_nothing() -> None:
    window = SenderWindow(RUN, first=0)
    assert not window.take(credit(0, 5, limit=5, run=0), end=5)
    assert (window.first, window.limit) == (0, 0)
    assert window.hello() == hello()


def test_nonsense_never_acknowledges_what_does_not_exist() -> None:
    window = SenderWindow(RUN, first=0)
    window.take(credit(900, 800, limit=1000), end=3)
    assert (window.first, window.next) == (3, 3)
    assert not window.may_send(end=3)


def test_a_message_out_of_turn_opens_one_round_only() -> None:
    stream = ReceiverStream(hello(first=10))
    taken(stream, 2)
    assert stream.turn(11) is Turn.OLD
    before = stream.round
    assert [stream.turn(n) for n in (14, 15, 13)] == [Turn.EARLY] * 3
    assert stream.round == before + 1
    taken(stream, 1)
    assert stream.turn(15) is Turn.EARLY
    assert stream.round == before + 2


def test_messages_are_acknowledged_in_order() -> None:
    stream = ReceiverStream(hello())
    taken(stream, 3)
    assert not stream.settle(lambda one: one.position != 0)
    assert stream.settle(lambda one: one.position in (0, 2))
    assert stream.acked == 1
    assert stream.waiting
    assert stream.settle(lambda one: True)
    assert (stream.acked, stream.waiting) == (3, False)


def test_a_held_message_stops_the_producer_until_it_is_taken() -> None:
    ledger = ReceiverLedger(DAEMON, WINDOW)
    stream = ledger.hello(hello())
    stream.hold("scan b is running")
    assert stream.turn(1) is Turn.EARLY  # what was under way is dropped, and not asked for yet
    held = ledger.credit(stream)
    assert (held.limit, held.held, held.round) == (1, "scan b is running", 1)
    stream.ask_again()
    assert ledger.credit(stream).round == 2
    taken(stream, 1)
    assert ledger.credit(stream).limit == 1 + WINDOW
    assert not ledger.credit(stream).held


def test_only_a_hello_that_knows_the_newest_round_opens_another() -> None:
    ledger = ReceiverLedger(DAEMON, WINDOW)
    stream = ledger.hello(hello())
    assert ledger.hello(hello()) is stream  # the first credit was lost
    assert stream.round == 1
    ledger.hello(hello(daemon=DAEMON, round=1))
    ledger.hello(hello(daemon=DAEMON, round=1))  # it waited in a queue behind the first one
    assert stream.round == 2
    ledger.hello(hello(daemon=DAEMON - 1, round=2))
    assert stream.round == 2


def test_a_producer_of_another_run_begins_where_it_says() -> None:
    ledger = ReceiverLedger(DAEMON, WINDOW)
    taken(ledger.hello(hello()), 5)
    assert ledger.hello(hello(run=RUN + 1, first=2)).expected == 2
    assert ledger.hello(hello()).expected == 5


def test_only_so_many_producers_are_remembered() -> None:
    ledger = ReceiverLedger(DAEMON, WINDOW)
    for run in range(1, MAX_STREAMS + 2):
        ledger.hello(hello(run=run))
    assert len(ledger.streams) == MAX_STREAMS
    assert 1 not in ledger.streams
    assert ledger.stranger().run == 0


class Line:
    """A producer of ``total`` messages, a daemon, and what is on its way between them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.window = SenderWindow(RUN, first=0)
        self.to_daemon: deque[Hello | int] = deque()
        self.to_producer: deque[Credit] = deque()
        self.disk: list[int] = []  # survives the daemon
        self.ring: list[int] = []  # does not
        self.daemons = 0
        self.restart()

    def restart(self) -> None:
        self.daemons += 1
        self.ledger = ReceiverLedger(DAEMON + self.daemons, WINDOW)
        self.stream: ReceiverStream | None = None
        self.ring.clear()
        self.cut()

    def cut(self) -> None:
        self.to_daemon.clear()
        self.to_producer.clear()
        self.to_daemon.append(self.window.hello())

    def send(self) -> None:
        while self.window.may_send(self.total):
            self.to_daemon.append(self.window.next)
            self.window.sent()

    def arrive(self, hold: bool) -> None:
        """One message reaches the daemon."""
        if not self.to_daemon:
            return
        message = self.to_daemon.popleft()
        if isinstance(message, Hello):
            self.stream = self.ledger.hello(message)
        elif self.stream is None:
            self.to_producer.append(self.ledger.stranger())
            return
        elif self.stream.turn(message) is Turn.NEXT:
            if hold:
                self.stream.hold("not now")
            else:
                self.stream.take(Taken("scan", len(self.disk) + len(self.ring) + 1))
                self.ring.append(message)
        self.answer()

    def flush(self) -> None:
        """What is in the ring is on the disk; duplicates are known there."""
        self.disk += [number for number in self.ring if number not in self.disk]
        self.ring.clear()
        if self.stream is not None:
            self.stream.settle(lambda one: True)
            self.answer()

    def answer(self) -> None:
        assert self.stream is not None
        self.to_producer.append(self.ledger.credit(self.stream))

    def hear(self) -> None:
        while self.to_producer:
            if not self.window.take(self.to_producer.popleft(), self.total):
                self.to_daemon.append(self.window.hello())
            assert set(range(self.window.first)) <= set(self.disk), "acknowledged, and not on the disk"

    def retry(self) -> None:
        if self.stream is not None and self.stream.held:
            self.stream.ask_again()
            self.answer()


STEPS = st.sampled_from(["send", "arrive", "arrive", "arrive", "hold", "flush", "hear", "lose", "cut", "restart"])


@given(st.integers(1, 12), st.lists(STEPS, max_size=80))
def test_whatever_happens_everything_arrives_once_and_in_order(total: int, steps: list[str]) -> None:
    line = Line(total)
    for step in steps:
        if step == "lose" and line.to_daemon:
            line.to_daemon.popleft()
        elif step == "arrive":
            line.arrive(hold=False)
        elif step == "hold":
            line.arrive(hold=True)
        elif step in ("send", "flush", "hear", "cut", "restart"):
            getattr(line, step)()
    for _ in range(10 * total):  # from here on nothing breaks; a silence makes the producer say hello
        line.to_daemon.append(line.window.hello())
        line.send()
        while line.to_daemon:
            line.arrive(hold=False)
        line.flush()
        line.hear()
        line.retry()
        line.hear()
    assert line.window.first == total
    assert line.disk == list(range(total))
