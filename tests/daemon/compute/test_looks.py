"""What people look at: raw frames, projections, sinograms, the last pictures, planes that are moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from streamer.core.planes.plane import Plane
from streamer.daemon.compute.looks import FRESH_S, WAIT_S
from streamer.daemon.compute.pictures import spec_of
from streamer.flow.wire.control import Busy
from streamer.flow.wire.daemon import FixCenter, WatchPlanes
from streamer.flow.wire.looks import GetLatest, GetPast, Look, Looked
from streamer.frames import FrameKind
from streamer.io.messaging.control import DeferredReply
from streamer.pipeline.reconstruction import plane_sources
from streamer.pipeline.store import FRAMES_PER_BATCH
from tests.daemon.rig import COLUMNS, PROJECTIONS, ROWS, TURN_S, Rig, TinyScan

UPRIGHT = Plane("upright", (0.0, 30.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (ROWS, COLUMNS))


def look(rig: Rig, subject: Any, row: int | None = None) -> Looked:
    """The picture that a client gets; the compute thread turns meanwhile."""
    reply = rig.handlers.look(Look(subject, row))
    if isinstance(reply, Looked):
        return reply
    assert isinstance(reply, DeferredReply)
    found: list[Looked] = []

    def answered() -> bool:
        answer = reply.ask(False)
        if isinstance(answer, Looked):
            found.append(answer)
        return bool(found)

    rig.turn_until(answered)
    return found[0]


def planes(rig: Rig) -> list[dict[str, Any]]:
    return [entries for topic, entries in rig.preview_listener.heard() if topic == "plane"]


def test_the_newest_frame_is_seen_as_it_came(rig: Rig) -> None:
    scan = TinyScan()
    with pytest.raises(Busy, match="no scan"):
        look(rig, "raw")
    rig.scans.arm(scan.spec)
    with pytest.raises(Busy, match="no frame of scan scan-1"):
        look(rig, "raw")
    rig.clock.now += 1.0
    rig.feed(scan, range(5))
    seen = look(rig, "raw")
    assert (seen.index, seen.kind, seen.unit, seen.shape) == (4, FrameKind.FLAT, "counts", (ROWS, COLUMNS))
    np.testing.assert_allclose(seen.image, scan.pixels[4], atol=np.ptp(scan.pixels[4]) / 65535)


def test_projection_and_sinogram(rig: Rig) -> None:
    scan = TinyScan(turns=3)
    rig.run(scan, range(scan.first_projection))
    with pytest.raises(Busy, match="no projection of scan scan-1"):
        look(rig, "projection")
    rig.clock.now += 1.0
    rig.feed(scan, range(scan.first_projection, scan.first_projection + 40))
    session = rig.session(scan)
    assert session.pipeline is not None
    newest = look(rig, "projection")
    assert newest.angle_deg == pytest.approx(scan.metas[scan.first_projection + 39].angle_deg)
    step = (newest.hi - newest.lo) / 65535
    np.testing.assert_allclose(newest.image, session.pipeline.store.all[39], atol=step)
    sinogram = look(rig, "sinogram", row=3)
    assert (sinogram.row, sinogram.shape, sinogram.count) == (3, (40, COLUMNS), 40)
    order = np.argsort(session.pipeline.store.angles_rad)
    np.testing.assert_allclose(
        sinogram.image, session.pipeline.store.all[order, 3], atol=(sinogram.hi - sinogram.lo) / 65535
    )
    assert look(rig, "sinogram", row=1000).row == ROWS - 1


def test_a_picture_is_made_once_for_all_who_ask_at_that_moment(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(4))
    first = look(rig, "raw")
    rig.clock.now += FRESH_S / 2
    assert rig.handlers.look(Look("raw")) is first
    rig.clock.now += FRESH_S
    assert isinstance(rig.handlers.look(Look("raw")), DeferredReply)


def test_nothing_is_made_while_nobody_looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, served = TinyScan(), list[object]()
    monkeypatch.setattr("streamer.daemon.compute.looks._made", lambda *_: served.append(None))
    rig.run(scan)
    rig.finish(scan)
    rig.turn_for(1.0)
    assert not served


def test_whoever_asks_when_there_is_no_time_is_told(rig: Rig) -> None:
    reply = rig.handlers.look(Look("raw"))
    assert isinstance(reply, DeferredReply)
    assert reply.deadline == rig.clock.now + WAIT_S
    assert reply.ask(False) is None
    with pytest.raises(Busy, match="frames come first"):
        reply.ask(True)


def test_who_comes_late_gets_the_last_pictures_and_the_scans(rig: Rig) -> None:
    with pytest.raises(Busy, match="no picture of the plane 'xy'"):
        rig.handlers.latest(GetLatest("xy"))
    assert rig.handlers.past(GetPast()).planes == []
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    past = rig.handlers.past(GetPast())
    assert [each.scan_id for each in past.scans] == ["scan-1"]
    assert (past.scans[0].state, past.planes) == (report.state, ["xy", "xz", "yz"])
    latest = rig.handlers.latest(GetLatest("xz"))
    assert (latest.header.angles, latest.header.volume) == (PROJECTIONS, (ROWS, COLUMNS, COLUMNS))
    assert latest.header.place is not None
    assert latest.header.place.origin == (0.0, COLUMNS // 2, 0.0)
    assert latest.header.values(latest.pixels).std() > 0
    assert rig.handlers.past(GetPast(0)).scans == []
    second = TinyScan("scan-2")
    rig.run(second, range(30))
    rig.turn_for(1.0)
    assert rig.handlers.latest(GetLatest("xy")).header.scan_id == "scan-2"


def test_a_large_picture_is_thinned_for_the_reply(build: Callable[..., Rig]) -> None:
    rig = build(preview={"max_px": 8192})
    wide = Plane("wide", (0.0, 0.0, 8.0), (0.03, 0.0, 0.0), (0.0, 0.03, 0.0), (2000, 2100))
    rig.scans.watch((wide,))
    rig.run(TinyScan(), range(30))
    rig.turn_for(1.0)
    latest = rig.handlers.latest(GetLatest("wide"))
    assert (latest.header.shape, latest.header.bin) == ((667, 700), 3)
    assert len(latest.pixels) == 2 * 667 * 700


def test_a_plane_that_is_moved_is_shown_before_all_angles_are_in_it(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(scan.spec.frames - 1))
    rig.turn_for(1.0)
    before = planes(rig)[-1]
    assert before["place"] is not None
    slice_, *_ = rig.handlers.planes(WatchPlanes(None)).planes
    rig.handlers.planes(WatchPlanes([slice_, spec_of(UPRIGHT)]))
    rig.turn_for(1.0)
    seen = [plane for plane in planes(rig) if plane["plane"] == "upright"]
    assert seen
    assert seen[0]["place"]["origin"] == [0.0, 30.0, 0.0]
    assert seen[-1]["angles"] == PROJECTIONS - 1
    assert "xz" not in rig.compute.latest


def test_a_hand_that_does_not_rest_sees_coarse_pictures(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly it moves, the first picture of each place is finished. At rest there are all pixels."""
    monkeypatch.setattr(plane_sources, "COARSE_PX", 32)
    scan = TinyScan()
    rig.run(scan, range(scan.spec.frames - 1))
    rig.turn_for(1.0)
    planes(rig)
    steps = 12
    for y in range(steps):
        moved = structs.replace(spec_of(UPRIGHT), origin=(0.0, 20.0 + y, 0.0))
        rig.handlers.planes(WatchPlanes([moved]))
        rig.turn_for(1.5 * TURN_S)  # one turn
    seen = [plane for plane in planes(rig) if plane["plane"] == "upright"]
    assert [plane["place"]["origin"][1] for plane in seen] == [20.0 + y for y in range(steps)]
    assert {(plane["coarse"], plane["bin"], tuple(plane["shape"])) for plane in seen} == {(True, 2, (8, 32))}
    rig.turn_for(1.0)
    fine = [plane for plane in planes(rig) if plane["plane"] == "upright"]
    assert fine
    assert not any(plane["coarse"] for plane in fine)
    assert (fine[-1]["shape"], fine[-1]["bin"], fine[-1]["angles"]) == ([ROWS, COLUMNS], 1, PROJECTIONS - 1)


def test_a_hand_is_seen_now_and_then_while_frames_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One coarse picture in a tenth of a second; all pixels wait until the frames are folded in."""
    monkeypatch.setattr(plane_sources, "COARSE_PX", 32)
    scan = TinyScan()
    before = scan.first_projection + 20
    rig.run(scan, range(before))
    rig.turn_for(1.0)
    planes(rig)
    for index in range(before, before + 8 * FRAMES_PER_BATCH):
        rig.send(scan.metas[index], scan.pixels[index])
    places = []
    for y in range(8):
        rig.handlers.planes(WatchPlanes([structs.replace(spec_of(UPRIGHT), origin=(0.0, 20.0 + y, 0.0))]))
        rig.turn_for(1.5 * TURN_S)  # one turn, which takes a batch, of 0.04 s
        seen = [plane for plane in planes(rig) if plane["plane"] == "upright"]
        if rig.compute.backlog >= FRAMES_PER_BATCH:
            assert all(plane["coarse"] for plane in seen)
            places += [plane["place"]["origin"][1] for plane in seen]
    assert places == [20.0, 23.0, 26.0]


def test_planes_can_be_moved_after_the_scan_until_the_next_one(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    rig.finish(scan)
    planes(rig)
    rig.handlers.planes(WatchPlanes([spec_of(UPRIGHT)]))
    rig.turn_for(1.0)
    seen = [plane for plane in planes(rig) if plane["plane"] == "upright"]
    assert seen
    assert (seen[-1]["scan_id"], seen[-1]["angles"]) == ("scan-1", PROJECTIONS)
    assert look(rig, "sinogram").count == PROJECTIONS
    rig.handlers.center(FixCenter(20.0))
    rig.turn_for(1.0)
    assert [plane["plane"] for plane in planes(rig)].count("upright") >= 1
    rig.handlers.center(FixCenter(None))
    rig.run(TinyScan("scan-2"), range(3))
    rig.clock.now += 1.0
    with pytest.raises(Busy, match="no projection of scan scan-2"):
        look(rig, "sinogram")
