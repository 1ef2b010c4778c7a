"""One scan from arm to its report, without pipeline, ring or files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamer.daemon.session import Session
from streamer.flow.scan import Outcome, ScanState
from streamer.flow.wire import decode_as, pack
from streamer.flow.wire.daemon import Latency, Report
from streamer.flow.wire.events import VerdictEvent
from streamer.frames import (
    NOT_JUDGED,
    Decision,
    FrameKind,
    FrameMeta,
    Quality,
    Reason,
    ReasonCode,
    ScanSpec,
    Verdict,
)
from tests.daemon.rig import Clock

SPEC = ScanSpec("s", "tooth", rows=4, columns=8, projections=5, flats=1)
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),))


def frame(index: int, received_s: float = 0.0) -> FrameMeta:
    kind = FrameKind.FLAT if index == 0 else FrameKind.PROJECTION
    return FrameMeta("s", index, kind, 36.0 * index, received_s=received_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session(SPEC, None, Path("s.nx"), clock)


def test_it_is_armed_and_not_judged(session: Session) -> None:
    assert session.state is ScanState.ARMED
    report = session.report()
    assert report.judgement == NOT_JUDGED
    assert report.frames.expected == 6
    assert report.scan_s is None


def test_a_report_survives_the_wire(session: Session) -> None:
    assert decode_as(pack(session.report()), Report, "report") == session.report()


def test_frames_are_entered_with_their_times(session: Session) -> None:
    for index, received_s in ((0, 10.0), (2, 11.0), (2, 99.0), (1, 12.0)):
        session.accept(frame(index, received_s))
    report = session.report()
    assert report.scan_s == 2.0, "a duplicate is no frame"
    assert (report.frames.received, report.frames.duplicate) == (3, 1)
    assert session.state is ScanState.ACQUIRING


def test_a_frame_beyond_the_announced_ones_does_not_begin_the_scan(session: Session) -> None:
    assert session.accept(frame(6)) is Outcome.BEYOND
    assert session.state is ScanState.ARMED


def test_a_corrupt_frame_that_comes_again_is_received(session: Session) -> None:
    session.corrupt(1)
    session.corrupt(None)
    session.accept(frame(1))
    frames = session.report().frames
    assert (frames.corrupt, frames.received) == (2, 1)


def test_only_the_first_end_counts(session: Session) -> None:
    session.accept(frame(0))
    assert session.end("stalled", None, "silence")
    assert not session.end("ok", 6)
    assert session.ending is not None
    assert (session.ending.status, session.ending.note) == ("stalled", "silence")
    assert session.accept(frame(1)) is Outcome.LATE
    assert session.state is ScanState.DRAINING


@pytest.mark.parametrize(
    ("frames", "status", "error", "state"),
    [
        (6, "ok", None, ScanState.COMPLETE),
        (5, "ok", None, ScanState.INCOMPLETE),
        (5, "stopped", None, ScanState.COMPLETE),
        (6, "aborted", None, ScanState.ABORTED),
        (5, "stalled", None, ScanState.INCOMPLETE),
        (6, "ok", "disk full", ScanState.FAILED),
        (6, "aborted", "disk full", ScanState.FAILED),
    ],
)
def test_the_final_state(session: Session, frames: int, status: str, error: str | None, state: ScanState) -> None:
    for index in range(frames):
        session.accept(frame(index))
    session.end(status, frames)
    session.drained()
    assert session.conclude(error) is state
    assert state.final
    assert session.report().error == error


def test_silence_is_counted_from_arming_and_from_the_last_frame(session: Session, clock: Clock) -> None:
    clock.now += 5
    assert session.idle_s() == 5
    session.accept(frame(0, received_s=clock.now))
    clock.now += 3
    assert session.idle_s() == 3


def test_another_text_alone_is_no_other_verdict(session: Session) -> None:
    assert session.judge(Quality(projections=3), MOVED)
    reworded = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 2 px"),))
    assert not session.judge(None, reworded)
    assert session.verdict is reworded, "the newest words are kept"
    assert session.quality.projections == 3
    remark = Reason(ReasonCode.TRUNCATED, "cut")
    assert session.judge(None, Verdict(Decision.RETAKE, (*reworded.reasons, remark)))
    assert session.judge(None, Verdict(Decision.RETAKE, (*reworded.reasons, remark), final=True))


def test_quality_and_verdict_change_under_the_lock_that_a_report_takes(session: Session) -> None:
    """While somebody reads, neither is written; afterwards both are."""
    writer = threading.Thread(target=session.judge, args=(Quality(projections=5), MOVED))
    with session.lock:
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        report = session.report()
        assert (report.verdict, report.projections.received) == ("UNKNOWN", 0)
    writer.join(10)
    report = session.report()
    assert (report.verdict, report.projections.received) == ("RETAKE", 5)


def test_the_verdict_event_is_part_of_the_report(session: Session) -> None:
    session.judge(Quality(projections=5, snr=3.5), MOVED)
    event = VerdictEvent.of(session.report())
    assert event.judgement == session.report().judgement == MOVED
    assert event.quality.snr == 3.5


def test_latencies_are_in_milliseconds_and_nothing_when_none_was_seen(session: Session) -> None:
    assert session.report().latency_ms == Latency()
    for seconds in (0.001, 0.002, 0.1):
        session.latency.observe(seconds)
    latency = session.report().latency_ms
    assert latency.n == 3
    assert latency.p50 == pytest.approx(2.0, rel=0.5)
    assert latency.p99 == pytest.approx(100.0, rel=0.5)
