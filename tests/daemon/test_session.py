"""One scan from arm to its report, without pipeline, ring or files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamer.daemon.session import Session
from streamer.flow import wire
from streamer.flow.patience import PatienceLimits
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
    return Session(SPEC, None, Path("s.nx"), clock, PatienceLimits(armed_s=60.0, stall_s=10.0, end_s=2.0))


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


def silent(session: Session, clock: Clock, seconds: int, held: bool = False) -> bool:
    """Whether so many seconds of silence end the scan."""
    for _ in range(seconds):
        clock.now += 1.0
        if session.wait(clock.now, held):
            return True
    return False


def test_silence_is_counted_from_the_last_frame(session: Session, clock: Clock) -> None:
    session.accept(frame(0))
    assert not silent(session, clock, 10)
    session.accept(frame(1))
    assert not silent(session, clock, 10)
    assert silent(session, clock, 1)
    assert session.ending is not None
    assert (session.ending.status, session.ending.note) == ("stalled", "no frame for 11.0 s and no end message")


def test_time_in_which_no_frame_could_be_taken_is_no_silence(session: Session, clock: Clock) -> None:
    session.accept(frame(0))
    assert not silent(session, clock, 1000, held=True)
    assert silent(session, clock, 11)


def test_a_source_that_pauses_is_waited_for(session: Session, clock: Clock) -> None:
    session.accept(frame(0))
    for _ in range(100):
        session.paused()
        assert not silent(session, clock, 9)
    assert silent(session, clock, 2), "and no longer when the pings stop"


def test_an_armed_scan_is_given_up_when_nothing_comes_and_nobody_asks(session: Session, clock: Clock) -> None:
    assert not silent(session, clock, 60)
    session.asked()
    assert not silent(session, clock, 60)
    assert silent(session, clock, 1)
    session.drained()
    assert session.conclude(None) is ScanState.ABORTED
    assert session.report().note == "given up: no frame for 61.0 s since it was armed, and nobody asked for it"
    assert session.report().frames.missing == 0


def test_a_client_that_asks_does_not_hold_a_scan_whose_frames_stay_away(session: Session, clock: Clock) -> None:
    session.accept(frame(0))
    assert not silent(session, clock, 9)
    session.asked()
    assert silent(session, clock, 2)


def test_a_scan_whose_end_message_was_lost_ends_soon_after_its_last_frame(session: Session, clock: Clock) -> None:
    for index in (5, 0, 1, 2, 3):
        session.accept(frame(index))
    assert not silent(session, clock, 5), "frame 4 lacks, though a later one came"
    session.accept(frame(4))
    assert silent(session, clock, 3)
    assert session.ending is not None
    assert session.ending.status == "ok"


def test_the_end_waits_for_frames_of_other_connections(session: Session, clock: Clock) -> None:
    for index in (0, 1, 2):
        session.accept(frame(index))
    assert not session.ended(wire.End("s", 6))
    assert session.ends
    for index in (3, 4):
        assert not silent(session, clock, 2)
        assert session.accept(frame(index)) is Outcome.ACCEPT
        assert not session.settle()
    session.accept(frame(5))
    assert session.settle()
    assert session.report().note == ""
    assert session.report().frames.missing == 0


@pytest.mark.parametrize(("status", "missing"), [("ok", 3), ("stopped", 1)])
def test_what_does_not_come_soon_after_the_end_is_missing(
    session: Session, clock: Clock, status: wire.EndStatus, missing: int
) -> None:
    for index in (0, 1, 2):
        session.accept(frame(index))
    session.ended(wire.End("s", 4, status))
    assert silent(session, clock, 3)
    assert session.ending is not None
    assert session.ending.status == status
    assert session.report().frames.missing == missing
    assert session.accept(frame(3)) is Outcome.LATE


def test_an_aborted_scan_ends_at_once(session: Session) -> None:
    session.accept(frame(0))
    assert session.ended(wire.End("s", 4, "aborted"))


@pytest.mark.parametrize("frames", [3, 10**6])
def test_a_count_that_is_not_that_of_the_frames_is_said(session: Session, frames: int) -> None:
    for index in range(6):
        session.accept(frame(index))
    assert session.ended(wire.End("s", frames)), "nothing lacks"
    words = f"its source says that it issued {frames} frames, 6 came, 6 were announced"
    assert session.report().note == words


def test_frames_of_another_kind_than_announced_are_said(session: Session) -> None:
    for index in range(6):
        session.accept(FrameMeta("s", index, FrameKind.FLAT, 0.0))
    session.end("ok", 6)
    assert session.report().note == "6 flats came, 1 were announced"


def test_the_next_scan_of_its_source_ends_a_scan(session: Session) -> None:
    session.accept(frame(0), "camera")
    session.superseded("s2")
    assert session.ending is not None
    assert (session.ending.status, session.ledger.missing) == ("stalled", 5)
    assert session.ending.note == "its source began scan s2 without an end message"


def test_it_belongs_to_the_source_of_its_first_good_frame(session: Session) -> None:
    assert session.admits("stranger"), "nobody has begun it yet"
    session.accept(frame(0), "camera")
    assert not session.admits("stranger")
    assert not session.begins("stranger")
    assert session.admits("camera")
    session.end("stopped", 1)
    report = session.report()
    assert (report.source, report.foreign) == ("camera", {"stranger": 2})
    assert report.note == "2 messages of source 'stranger' were refused: the scan belongs to 'camera'"


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


@pytest.mark.parametrize(
    ("decision", "becomes"), [("ENOUGH", "RETAKE"), ("CONTINUE", "RETAKE"), ("UNKNOWN", "RETAKE"), ("EMPTY", "EMPTY")]
)
def test_without_raw_data_nothing_is_enough(session: Session, decision: str, becomes: str) -> None:
    verdict = Verdict(Decision(decision), (Reason(ReasonCode.NOTHING_WRONG, "fine"),))
    session.judge(None, verdict)
    assert not session.follow_writer(3, ("ok", ""))
    assert session.follow_writer(3, ("failed", "the disk is full"))
    report = session.report()
    assert (report.verdict, report.writer, report.writer_note) == (becomes, "failed", "the disk is full")
    session.judge(None, verdict)
    assert session.verdict.decision == becomes, "a later verdict cannot forget it"
    texts = {reason.code: reason.text for reason in session.verdict.reasons}
    assert texts[ReasonCode.RAW_DATA_LOST] == "frames are being lost: the disk is full; scan again"
    assert session.follow_writer(5, ("ok", ""))
    assert session.report().written == 5


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
    assert latency.p99 == latency.p999 == latency.worst == pytest.approx(100.0, rel=0.5)
    assert latency.p90 == pytest.approx(100.0, rel=0.5)
