"""What the receive thread hands over: accepted, refused, counted; back-pressure when the ring is full."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from streamer.daemon.throttle import BURST, PERIOD_S
from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.dialects.message import SeriesStart
from streamer.frames import BadInput, FrameKind, FrameMeta
from tests.daemon.rig import COLUMNS, PATIENCE_S, ROWS, Rig, TinyScan


@pytest.fixture(scope="module")
def scan() -> TinyScan:
    return TinyScan()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "streamer.daemon.ingest")


def header(meta: FrameMeta, pixels: np.ndarray[Any, Any]) -> wire.FrameHeader:
    message = wire.decode(wire.encode_frame(meta, pixels)[0])
    assert isinstance(message, wire.FrameHeader)
    return message


def test_accepted_frames_are_counted_by_kind_and_stamped(rig: Rig, scan: TinyScan) -> None:
    rig.scans.arm(scan.spec)
    for index in range(20):
        rig.clock.now += 1
        assert rig.send(scan.metas[index], scan.pixels[index])
    assert rig.ingest.frames_by_kind == {"dark": 3, "flat": 6, "projection": 11}
    assert rig.ingest.bytes == 20 * 2 * ROWS * COLUMNS
    assert rig.ingest.last_frame_ns > 0
    assert rig.session(scan).last_frame_s == rig.clock.now
    assert rig.session(scan).report().scan_s == 19.0


def test_a_start_message_arms_and_may_be_resent(rig: Rig, scan: TinyScan) -> None:
    for _ in range(2):
        rig.ingest.start(wire.Start(scan.spec))
    assert rig.scans.state == "armed"
    assert not rig.ingest.rejected_by_reason


def test_a_start_that_cannot_be_armed_is_counted(rig: Rig, scan: TinyScan) -> None:
    rig.scans.arm(scan.spec)
    rig.ingest.start(wire.Start(structs.replace(scan.spec, scan_id="other")))
    assert rig.ingest.rejected_by_reason == {"refused": 1}
    assert rig.scans.of("scan-1") is not None
    refused = rig.scans.report("other")
    assert refused is not None
    assert (refused.state, refused.frames.missing) == ("refused", scan.spec.frames)
    rig.send(structs.replace(scan.metas[0], scan_id="other"), scan.pixels[0])
    assert rig.ingest.rejected_by_reason == {"refused": 2}


def test_a_start_that_meets_a_shut_folder_is_refused_and_the_next_one_is_taken(
    rig: Rig, scan: TinyScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(rig.scans.opening, "open", shut)
        rig.ingest.start(wire.Start(scan.spec))
    report = rig.scans.report("scan-1")
    assert report is not None
    assert (report.state, report.error) == ("refused", "PermissionError: [Errno 13] Permission denied")
    rig.ingest.start(wire.Start(scan.spec))
    assert rig.scans.state == "armed"


def test_a_scan_that_follows_at_once_is_held_back_and_loses_nothing(rig: Rig) -> None:
    """Start, frames, end, start, frames, end on one connection, as fast as they are taken."""
    scans = [TinyScan(f"scan-{number}") for number in range(3)]

    def receive() -> None:
        for scan in scans:
            rig.ingest.start(wire.Start(scan.spec))
            for index in range(scan.spec.frames):
                rig.send(scan.metas[index], scan.pixels[index])
            rig.end(scan.spec)

    source = threading.Thread(target=receive)
    source.start()
    rig.turn_until(lambda: rig.scans.tally.results["complete"] == len(scans))
    source.join(PATIENCE_S)
    assert not rig.ingest.rejected_by_reason
    reports = [rig.scans.report(scan.spec.scan_id) for scan in scans]
    assert [report.written for report in reports if report] == [scan.spec.frames for scan in scans]
    assert rig.ingest.full_s > 0, "the wait is back-pressure"


def test_a_source_that_begins_another_scan_has_ended_the_one_before(rig: Rig, scan: TinyScan) -> None:
    rig.ingest.start(wire.Start(scan.spec))
    rig.feed(scan, range(20))
    second = TinyScan("scan-2")
    source = threading.Thread(target=rig.ingest.start, args=(wire.Start(second.spec),))
    source.start()
    rig.turn_until(lambda: rig.scans.of("scan-2") is not None)
    source.join(PATIENCE_S)
    report = rig.scans.report("scan-1")
    assert report is not None
    assert (report.state, report.written) == ("incomplete", 20)
    assert "its source began scan scan-2 without an end message" in report.note


def test_a_second_producer_is_refused_counted_and_named(
    rig: Rig, scan: TinyScan, caplog: pytest.LogCaptureFixture
) -> None:
    rig.ingest.start(wire.Start(scan.spec, src="camera"))
    assert rig.send(scan.metas[0], scan.pixels[0], source="camera")
    for index in (0, 1):
        assert not rig.send(scan.metas[index], scan.pixels[50], source="other")
    rig.ingest.start(wire.Start(scan.spec, src="other"))
    rig.ingest.end(wire.End("scan-1", 1, "aborted", src="other"))
    rig.ingest.corrupt(header(scan.metas[3], scan.pixels[3]), "parts")
    session = rig.session(scan)
    assert session.ending is None
    assert (session.ledger.received, session.ledger.messages) == (1, 1)
    assert rig.ingest.rejected_by_reason == {"foreign": 4, "parts": 1}
    assert session.report().foreign == {"other": 4, "": 1}
    words = "source 'other' sends messages for scan scan-1 of source 'camera'; they are refused"
    assert [record.getMessage() for record in caplog.records if "'other'" in record.getMessage()] == [words]


@pytest.mark.parametrize(("source", "silence_s"), [("camera", 0.0), ("other", 5.0)])
def test_only_its_own_source_can_pause_a_scan(rig: Rig, scan: TinyScan, source: str, silence_s: float) -> None:
    rig.ingest.start(wire.Start(scan.spec, src="camera"))
    for _ in range(5):
        rig.clock.now += 1.0
        rig.scans.wait(held=False)
    rig.ingest.alive(wire.KeepAlive(src=source))
    assert rig.session(scan)._patience.silence_s == 5.0, "a plain ping says nothing of the scan"
    rig.ingest.alive(wire.KeepAlive(paused=True, src=source))
    assert rig.session(scan)._patience.silence_s == silence_s


def test_frames_after_the_end_message_are_taken_while_frames_lack(rig: Rig, scan: TinyScan) -> None:
    rig.run(scan, range(30))
    rig.end(scan.spec)
    rig.feed(scan, range(40, scan.spec.frames))
    assert rig.session(scan).ending is None
    rig.feed(scan, range(30, 40))
    report = rig.finished(scan)
    assert (report.state, report.frames.late, report.note) == ("complete", 0, "")


def test_frames_of_a_scan_that_is_not_armed_are_refused_with_one_line(
    rig: Rig, scan: TinyScan, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(5):
        assert not rig.send(scan.metas[index], scan.pixels[index])
    assert rig.ingest.rejected_by_reason == {"stale_scan": 5}
    assert [record.getMessage() for record in caplog.records] == ["frames of scan scan-1 are refused: it is not armed"]


def test_a_flood_of_rejected_messages_is_counted_and_logged_a_few_times(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        rig.ingest.rejected("header", "nonsense")
    assert rig.ingest.rejected_by_reason == {"header": 1000}
    assert len(caplog.records) == BURST + 1
    assert caplog.messages[-1] == "more of this kind (header) in the next 10 s are counted only"
    rig.ingest.rejected("parts", "of another kind")
    rig.clock.now += PERIOD_S
    rig.ingest.rejected("header", "later")
    assert caplog.messages[-2:] == ["rejected (parts): of another kind", "rejected (header): later"]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((ROWS, COLUMNS + 1), "<u2"), "shape"),
        (np.zeros((COLUMNS, ROWS), "<u2"), "shape"),
        (np.zeros((ROWS, COLUMNS), "<f4"), "dtype"),
        (np.zeros((ROWS, COLUMNS), "|u1"), "dtype"),
    ],
)
def test_a_frame_that_was_not_announced_so_is_corrupt(
    rig: Rig, scan: TinyScan, pixels: np.ndarray[Any, Any], reason: str
) -> None:
    rig.scans.arm(scan.spec)
    assert not rig.send(scan.metas[10], pixels)
    assert rig.ingest.rejected_by_reason == {reason: 1}
    session = rig.session(scan)
    assert (session.ledger.corrupt, session.ledger.corrupt_unreplaced) == (1, 1)
    assert rig.send(scan.metas[10], scan.pixels[10]), "a good copy replaces it"
    assert session.ledger.corrupt_unreplaced == 0


def test_duplicates_and_frames_beyond_the_announced_ones_do_not_reach_the_ring(rig: Rig, scan: TinyScan) -> None:
    rig.scans.arm(scan.spec)
    before = rig.ring.committed
    rig.send(scan.metas[0], scan.pixels[0])
    rig.send(scan.metas[0], scan.pixels[1])
    beyond = structs.replace(scan.metas[0], index=scan.spec.frames)
    rig.send(beyond, scan.pixels[0])
    assert rig.ring.committed == before + 1
    frames = rig.session(scan).report().frames
    assert (frames.received, frames.duplicate, frames.late) == (1, 1, 1)
    assert rig.ingest.rejected_by_reason == {"beyond": 1}


def test_frames_after_the_end_are_late(rig: Rig, scan: TinyScan) -> None:
    rig.run(scan, range(30))
    rig.end(scan.spec, frames=30, status="stopped")
    assert not rig.send(scan.metas[40], scan.pixels[40])
    assert rig.session(scan).ledger.late == 1
    assert rig.finished(scan).frames.late == 1


def test_a_frame_whose_scan_ended_while_it_was_received_is_late(rig: Rig, scan: TinyScan) -> None:
    """Its slot was given out before the abort; what was received into it is dropped."""
    rig.run(scan, range(30))
    message = header(scan.metas[30], scan.pixels[30])
    assert rig.ingest.slot(message) is not None
    rig.scans.abort("scan-1", "")
    before = rig.ring.committed
    rig.ingest.frame(message)
    assert rig.ring.committed == before
    assert rig.session(scan).ledger.late == 1


def test_an_end_of_another_scan_or_a_second_one_changes_nothing(rig: Rig, scan: TinyScan) -> None:
    rig.run(scan, range(30))
    rig.ingest.end(wire.End("other", 5))
    assert rig.session(scan).ending is None
    rig.end(scan.spec, frames=30, status="stopped")
    rig.end(scan.spec, status="aborted")
    ending = rig.session(scan).ending
    assert ending is not None
    assert ending.status == "stopped"


def test_a_corrupt_frame_of_no_scan_is_counted(rig: Rig, scan: TinyScan) -> None:
    rig.ingest.corrupt(header(scan.metas[3], scan.pixels[3]), "checksum")
    assert rig.ingest.rejected_by_reason == {"checksum": 1}


def test_a_full_ring_holds_the_source_back_until_the_writer_reads_on(build: Callable[..., Rig], scan: TinyScan) -> None:
    """A lossless reader that does not read stands for a slow disk."""
    rig = build(ring={"max_slots": 8})
    rig.scans.arm(scan.spec)
    slow = rig.ring.reader(2, lossless=True)
    for index in range(8):
        assert rig.send(scan.metas[index], scan.pixels[index])
    sent: list[bool] = []
    source = threading.Thread(target=lambda: sent.append(rig.send(scan.metas[8], scan.pixels[8])))
    source.start()
    source.join(0.1)
    assert source.is_alive()
    rig.clock.now += 3.0
    assert rig.ingest.held_back()
    assert slow.poll() is not None
    slow.release()
    source.join(10)
    slow.detach()
    assert sent == [True]
    assert rig.ingest.full_s == pytest.approx(3.0)
    assert rig.ingest.held_back(), "it was, since the last question"
    assert not rig.ingest.held_back()
    assert rig.session(scan).ledger.missing == 0


def test_a_daemon_that_stops_does_not_wait_for_the_ring(build: Callable[..., Rig], scan: TinyScan) -> None:
    rig = build(ring={"max_slots": 8})
    rig.scans.arm(scan.spec)
    slow = rig.ring.reader(2, lossless=True)
    for index in range(8):
        rig.send(scan.metas[index], scan.pixels[index])
    rig.stopped.set()
    assert not rig.send(scan.metas[8], scan.pixels[8])
    slow.detach()


def test_of_the_acknowledged_transport_only_messages_of_known_scans_are_taken(rig: Rig, scan: TinyScan) -> None:
    frame = header(scan.metas[0], scan.pixels[0])
    assert rig.ingest.admit(frame) == "scan scan-1 is not armed"
    assert rig.ingest.admit(wire.Start(scan.spec)) == ""
    assert rig.ingest.admit(frame) == ""
    other = structs.replace(scan.spec, scan_id="other")
    assert "scan scan-1 is armed" in rig.ingest.admit(wire.Start(other, src="another"))
    rig.scans.abort("scan-1", "")
    rig.finished(scan)
    for message in (wire.Start(scan.spec), frame, wire.End("scan-1", 3)):
        assert rig.ingest.admit(message) == ""  # it is over: they are counted, not kept
    assert rig.ingest.admit(wire.Start(other)) == ""


def test_a_frame_is_settled_when_it_is_flushed_and_an_end_when_the_scan_is_over(rig: Rig, scan: TinyScan) -> None:
    rig.scans.arm(scan.spec)
    before = rig.ingest.position()
    rig.send(scan.metas[0], scan.pixels[0])
    frame, end = Taken("scan-1", rig.ingest.position()), Taken("scan-1", None)
    assert frame.position == before + 1
    assert rig.ingest.settled(Taken("scan-1", before))
    rig.wake()
    while not rig.ingest.settled(frame):
        rig.writer.poll_events(1.0)
    assert rig.writer.written == 1
    assert not rig.ingest.settled(end)
    rig.finish(scan, frames=1, status="stopped")
    assert rig.ingest.settled(end)


def test_a_source_that_starts_another_scan_has_left_the_one_before(rig: Rig, scan: TinyScan) -> None:
    other = structs.replace(scan.spec, scan_id="other")
    assert rig.ingest.admit(wire.Start(scan.spec, src="camera")) == ""
    assert "scan scan-1 is armed" in rig.ingest.admit(wire.Start(other, src="another camera"))
    assert rig.session(scan).ending is None
    assert "scan scan-1 is" in rig.ingest.admit(wire.Start(other, src="camera"))  # it is being finished
    rig.finished(scan)
    assert rig.ingest.admit(wire.Start(other, src="camera")) == ""


def saturated_share(rig: Rig, scan: TinyScan, mask: np.ndarray[Any, Any] | None) -> float | None:
    """What the projections show after the announcement of a detector of which one block is at its limit."""
    rig.scans.arm(scan.spec)
    rig.ingest.series(scan.spec.scan_id, SeriesStart("1", mask=mask, saturation=60_000.0))
    for meta, image in zip(scan.metas, scan.pixels, strict=True):
        pixels = image.copy()
        if meta.kind is FrameKind.PROJECTION:
            pixels[2:6, 3:7] = 60_000
        assert rig.send(meta, pixels)
        if meta.index % 8 == 7:
            rig.fold()
    rig.fold()
    pipeline = rig.session(scan).pipeline
    assert pipeline is not None
    return pipeline.look(0, 0)().quality.saturation


def test_what_a_detector_says_of_itself_reaches_the_judgement(rig: Rig, scan: TinyScan) -> None:
    mask = np.zeros((ROWS, COLUMNS), np.uint32)
    mask[2:6, 3:7] = 16
    assert saturated_share(rig, scan, mask) == 0.0
    rig.ingest.series("another scan", SeriesStart("1", mask=mask))  # is nobody's


def test_the_level_of_the_detector_is_used_where_the_scan_has_none(rig: Rig, scan: TinyScan) -> None:
    assert saturated_share(rig, scan, None) == pytest.approx(16 / (ROWS * COLUMNS), rel=0.1)


def test_a_map_of_defects_of_another_detector_refuses_the_scan(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    np.save(tmp_path / "map.npy", np.zeros((3, 4), np.uint8))
    rig = build(source={"defects": str(tmp_path / "map.npy")})
    with pytest.raises(BadInput, match=r"the map of defects is \(3, 4\)"):
        rig.scans.arm(scan.spec)
