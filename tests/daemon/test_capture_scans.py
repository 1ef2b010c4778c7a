"""Capture on demand in the daemon: what a trigger keeps is in the raw file, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.flow import wire
from streamer.flow.wire.daemon import Report, Trigger
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from tests.daemon.rig import COLUMNS, PROJECTIONS, ROWS, Rig, TinyScan

EACH, BEFORE, AFTER = PROJECTIONS, 1, 2
KEPT = EACH * (BEFORE + AFTER)


@pytest.fixture(scope="module")
def turn() -> TinyScan:
    """Darks, flats and one half turn, which is sent again and again."""
    return TinyScan()


@pytest.fixture
def spec(turn: TinyScan) -> ScanSpec:
    turned = {"projections": KEPT, "range_deg": 180.0 * (BEFORE + AFTER), "tomogram_deg": 180.0}
    return structs.replace(turn.spec, scan_id="foam", before_trigger=EACH * BEFORE, **turned)


def rotation(turn: TinyScan, spec: ScanSpec, rig: Rig, projections: Iterable[int]) -> None:
    """Projections of a rotation that goes on and on; number k is marked with k in its first pixels."""
    for k in projections:
        index = turn.first_projection + k
        pixels = turn.pixels[turn.first_projection + k % EACH].copy()
        pixels[0, 0] = k
        meta = FrameMeta(spec.scan_id, index, FrameKind.PROJECTION, 180.0 * k / EACH, seq=index)
        rig.send(meta, pixels)
        if k % 16 == 0:
            rig.fold()
    rig.fold()


def begun(rig: Rig, turn: TinyScan, spec: ScanSpec) -> None:
    rig.scans.arm(spec)
    for meta, pixels in zip(turn.metas[: turn.first_projection], turn.pixels, strict=False):
        rig.send(structs.replace(meta, scan_id=spec.scan_id), pixels)


def ended(rig: Rig, spec: ScanSpec, issued: int) -> Report:
    session = rig.scans.of(spec.scan_id)
    assert session is not None
    rig.end(spec, issued, "stopped")
    rig.turn_until(lambda: session.over)
    report = rig.scans.report(spec.scan_id)
    assert report is not None
    return report


def marks(report: Report, first: int) -> list[int]:
    with h5py.File(report.raw_file) as file:
        return [int(pixels[0, 0]) for pixels in file["/entry/instrument/detector/data"][first:]]


def test_the_turns_about_the_trigger_are_kept(build: Callable[..., Rig], turn: TinyScan, spec: ScanSpec) -> None:
    rig = build(ring={"max_slots": 256})
    begun(rig, turn, spec)
    rotation(turn, spec, rig, range(5 * EACH + 30))
    waiting = rig.scans.report(spec.scan_id)
    assert waiting is not None
    assert (waiting.capture, waiting.frames.received, waiting.frames.passed) == (
        "waiting", turn.first_projection, 5 * EACH + 30,
    )  # fmt: skip
    assert (waiting.frames.missing, waiting.frames.late) == (0, 0)
    rig.handlers.trigger(Trigger(spec.scan_id))
    issued = 9 * EACH
    rotation(turn, spec, rig, range(5 * EACH + 30, issued))
    report = ended(rig, spec, turn.first_projection + issued)
    assert (report.state, report.capture) == ("complete", "done")
    counts = report.frames
    assert (counts.expected, counts.received, counts.missing) == (spec.frames, spec.frames, 0)
    assert counts.passed == issued - KEPT
    assert marks(report, turn.first_projection) == list(range(4 * EACH, 4 * EACH + KEPT))
    assert report.tomograms == BEFORE + AFTER
    assert f"kept from projection {4 * EACH} of the rotation on" in report.note
    with h5py.File(report.raw_file) as file:
        angles = file["/entry/sample/rotation_angle"][turn.first_projection :]
    np.testing.assert_allclose(angles, 180.0 * np.arange(4 * EACH, 4 * EACH + KEPT) / EACH)


def test_without_a_trigger_nothing_is_kept_and_nothing_is_missing(
    build: Callable[..., Rig], turn: TinyScan, spec: ScanSpec
) -> None:
    rig = build(ring={"max_slots": 256})
    begun(rig, turn, spec)
    rotation(turn, spec, rig, range(4 * EACH))
    report = ended(rig, spec, turn.first_projection + 4 * EACH)
    assert (report.state, report.capture, report.tomograms) == ("complete", "waiting", 0)
    assert (report.frames.received, report.frames.missing) == (turn.first_projection, 0)
    assert report.frames.passed == 4 * EACH
    with pytest.raises(BadInput, match="is over; nothing of it can be kept any more"):
        rig.handlers.trigger(Trigger(spec.scan_id))


def test_a_source_that_waits_for_the_trigger_for_long_is_not_given_up(
    build: Callable[..., Rig], turn: TinyScan, spec: ScanSpec
) -> None:
    rig = build(ring={"max_slots": 256}, scan={"stall_timeout_s": 5.0})
    begun(rig, turn, spec)
    for k in range(4):
        rotation(turn, spec, rig, [k])
        rig.turn_for(4.0)
    assert rig.scans.state == "acquiring"
    rig.turn_for(6.0)
    session = rig.scans.current
    assert session is not None
    assert session.ending is not None, "a source that is silent is"


def test_a_window_beyond_the_ring_is_refused(build: Callable[..., Rig], spec: ScanSpec) -> None:
    rig = build(ring={"max_slots": 64})
    with pytest.raises(BadInput, match="180 projections are to be held until the trigger, the ring has room for 64"):
        rig.scans.arm(spec)


def test_a_scan_that_keeps_every_frame_has_no_trigger(rig: Rig, turn: TinyScan) -> None:
    rig.scans.arm(turn.spec)
    with pytest.raises(BadInput, match="keeps every frame: it was announced without before_trigger"):
        rig.handlers.trigger(Trigger(turn.spec.scan_id))


def test_a_corrupt_frame_is_counted_under_its_number(build: Callable[..., Rig], turn: TinyScan, spec: ScanSpec) -> None:
    rig = build(ring={"max_slots": 256})
    begun(rig, turn, spec)
    rotation(turn, spec, rig, range(EACH))
    rig.handlers.trigger(Trigger(spec.scan_id))
    rotation(turn, spec, rig, range(EACH, EACH + 5))
    rig.ingest.corrupt(_header(spec, turn.first_projection + EACH + 5), "checksum")
    rotation(turn, spec, rig, range(EACH + 6, KEPT + 3))
    report = ended(rig, spec, turn.first_projection + KEPT + 3)
    assert (report.frames.corrupt, report.frames.missing) == (1, 0)
    assert report.frames.received == spec.frames - 1
    lacking = set(range(KEPT)) - set(marks(report, turn.first_projection))
    assert lacking == {EACH + 5}


def _header(spec: ScanSpec, index: int) -> Any:
    meta = FrameMeta(spec.scan_id, index, FrameKind.PROJECTION, 0.0)
    return wire.decode(wire.encode_frame(meta, np.zeros((ROWS, COLUMNS), "<u2"))[0])
