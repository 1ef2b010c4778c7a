"""A daemon goes on with the scan that the one before it left behind when it died."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from streamer.flow import wire
from streamer.flow.dialects.message import SeriesStart
from streamer.flow.wire.control import Busy
from streamer.flow.wire.daemon import Arm, Armed, Report
from streamer.io.messaging.control import DeferredReply
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.writer_process import ORPHANED
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from tests.daemon.rig import Rig, TinyScan

HALF = 50


@pytest.fixture(scope="module")
def scan() -> TinyScan:
    return TinyScan()


@pytest.fixture(scope="module")
def uninterrupted() -> TinyScan:
    return TinyScan("whole")


def leave(
    folder: Path, scan: TinyScan, indices: Iterable[int], status: str = "incomplete", note: str = ORPHANED
) -> None:
    """What the writer leaves of a scan whose daemon died."""
    file = NXtomoFile.create(folder / f"{scan.spec.scan_id}.nx", scan.spec, "")
    for index in indices:
        file.append(scan.metas[index], scan.pixels[index])
    file.close(status, note=note)


def volume(report: Report) -> np.ndarray:
    assert report.tomogram_file is not None
    return read_tomogram(Path(report.tomogram_file)).data


def message(scan: TinyScan, index: int) -> wire.FrameHeader:
    header = wire.decode(wire.encode_frame(scan.metas[index], scan.pixels[index])[0])
    assert isinstance(header, wire.FrameHeader)
    return header


def test_a_frame_of_it_takes_the_scan_up_and_its_tomogram_is_that_of_a_scan_without_a_break(
    build: Callable[..., Rig], scan: TinyScan, uninterrupted: TinyScan, tmp_path: Path
) -> None:
    leave(tmp_path, scan, range(HALF))
    rig = build()
    assert rig.ingest.admit(message(scan, HALF - 3)) == ""
    assert rig.scans.state == "acquiring"
    rig.feed(scan, range(HALF - 3, scan.spec.frames))
    resumed = rig.finish(scan)
    assert (resumed.state, resumed.written, resumed.frames.received) == ("complete", scan.spec.frames, scan.spec.frames)
    assert resumed.frames.duplicate == 3  # those that were written but not acknowledged
    rig.run(uninterrupted)
    whole = rig.finish(uninterrupted)
    assert np.abs(volume(resumed) - volume(whole)).max() <= 1e-5 * np.abs(volume(whole)).max()
    assert (resumed.verdict, resumed.center_px) == (whole.verdict, pytest.approx(whole.center_px, abs=1e-3))
    with ScanFile.open(Path(resumed.raw_file)) as file:
        assert sorted(frame.meta.index for frame in file.frames()) == list(range(scan.spec.frames))


def test_frames_overtaken_after_a_break_before_the_first_one_are_read_once_the_file_is_whole(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    """What the daemon before left is a file without frames, and all of them are in the next segment."""
    leave(tmp_path, scan, ())
    rig = build(ring={"max_slots": 16})
    rig.scans.arm(scan.spec)
    rig.feed(scan, range(scan.spec.frames), turn_every=10_000)
    assert rig.compute.skipped > 0
    report = rig.finish(scan)
    assert (report.state, report.error) == ("complete", None)
    assert report.projections.received == scan.spec.projections
    assert np.isfinite(volume(report)).all()


def test_the_planes_are_built_from_the_disk_at_once(build: Callable[..., Rig], scan: TinyScan, tmp_path: Path) -> None:
    leave(tmp_path, scan, range(HALF))
    rig = build()
    rig.scans.arm(scan.spec)
    session = rig.session(scan)
    rig.turn_until(lambda: session.stored is None)
    assert session.pipeline is not None
    assert session.pipeline.arrivals.seen == HALF
    assert session.report().written == HALF


def test_the_newest_scan_is_taken_up_without_being_asked_for(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    leave(tmp_path, scan, range(HALF))
    rig = build()
    rig.scans.wait(held=False)
    assert rig.session(scan).ledger.received == HALF
    assert rig.finish(scan, status="stopped").state == "incomplete"
    assert rig.ingest.admit(wire.Start(scan.spec)) == ""  # it is over now


def test_a_scan_that_lacks_only_its_tomogram_gets_it(build: Callable[..., Rig], scan: TinyScan, tmp_path: Path) -> None:
    leave(tmp_path, scan, range(scan.spec.frames), "complete", "")
    rig = build()
    assert rig.ingest.admit(wire.End("scan-1", scan.spec.frames)) == ""
    report = rig.finish(scan)
    assert (report.state, report.written) == ("complete", scan.spec.frames)
    assert np.isfinite(volume(report)).all()


def test_messages_of_a_scan_that_is_over_are_not_waited_for(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    leave(tmp_path, scan, range(5), "aborted", "")
    rig = build()
    for one in (message(scan, 7), wire.End("scan-1", 7), wire.Start(scan.spec)):
        assert rig.ingest.admit(one) == ""
    assert rig.scans.current is None
    assert not rig.send(scan.metas[7], scan.pixels[7])


def test_another_scan_of_the_same_id_is_refused(build: Callable[..., Rig], scan: TinyScan, tmp_path: Path) -> None:
    leave(tmp_path, scan, range(5))
    other = structs.replace(scan.spec, sample="another")
    with pytest.raises(Exception, match="holds another scan of this id"):
        build().scans.arm(other)


def test_a_file_that_was_being_made_when_its_writer_was_killed_loses_nothing(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    (tmp_path / "scan-1.nx").write_bytes(b"")
    rig = build()
    assert "killed while it was made" in rig.ingest.admit(message(scan, 0))  # waits for the start message
    assert rig.ingest.admit(wire.Start(scan.spec)) == ""
    rig.feed(scan, range(scan.spec.frames))
    report = rig.finish(scan)
    assert (report.state, report.written) == ("complete", scan.spec.frames)


def test_a_scan_that_was_taken_up_and_that_nobody_wants_gives_way(
    build: Callable[..., Rig], scan: TinyScan, uninterrupted: TinyScan, tmp_path: Path
) -> None:
    leave(tmp_path, scan, range(HALF))
    rig = build()
    rig.scans.wait(held=False)
    session = rig.session(scan)
    assert isinstance(rig.handlers.arm(Arm(uninterrupted.spec)), DeferredReply)  # until the files are closed
    rig.turn_until(lambda: session.over)
    report = rig.scans.report(scan.spec.scan_id)
    assert report is not None
    assert (report.state, report.written) == ("incomplete", HALF)
    assert report.note.startswith("nothing of it came after the restart before scan whole was announced")
    assert isinstance(rig.handlers.arm(Arm(uninterrupted.spec)), Armed)


def test_a_scan_that_was_taken_up_and_goes_on_does_not_give_way(
    build: Callable[..., Rig], scan: TinyScan, uninterrupted: TinyScan, tmp_path: Path
) -> None:
    leave(tmp_path, scan, range(HALF))
    rig = build()
    rig.scans.wait(held=False)
    rig.feed(scan, range(HALF, HALF + 1))
    with pytest.raises(Busy):
        rig.handlers.arm(Arm(uninterrupted.spec))


def test_the_mask_of_the_detector_is_in_every_file_and_goes_on_with_the_scan(
    build: Callable[..., Rig], scan: TinyScan, tmp_path: Path
) -> None:
    shape = scan.spec.rows, scan.spec.columns
    known, own = np.zeros(shape, bool), np.zeros(shape, np.uint32)
    known[0, 1], own[2, 3] = True, 16
    np.save(tmp_path / "map.npy", known)
    file = NXtomoFile.create(tmp_path / f"{scan.spec.scan_id}.nx", scan.spec, "")
    file.mark(own)
    for index in range(HALF):
        file.append(scan.metas[index], scan.pixels[index])
    file.close("incomplete", note=ORPHANED)
    rig = build(source={"defects": str(tmp_path / "map.npy")})
    assert rig.ingest.admit(message(scan, HALF)) == ""
    session, both = rig.session(scan), own + 256 * known
    assert session.mask is not None
    np.testing.assert_array_equal(session.mask, both)
    both[4, 4] = 2
    rig.ingest.series(scan.spec.scan_id, SeriesStart("1", mask=both & 31))
    np.testing.assert_array_equal(session.mask, both)
    rig.feed(scan, range(HALF, scan.spec.frames))
    with ScanFile.open(Path(rig.finish(scan).raw_file)) as master:
        assert master.mask is not None
        np.testing.assert_array_equal(master.mask, both)
