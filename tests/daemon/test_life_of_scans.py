"""Any order of what a source, a stranger and an operator may do: the sums close, and the raw file holds what came.

A state machine of hypothesis drives the parts of the daemon, with a real ring, raw writer and files. The model only
remembers what was sent; whether a scan still takes frames is read from the daemon.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import structs

from streamer.core.backend.selection import Backend
from streamer.daemon.session import Session
from streamer.flow import wire
from streamer.flow.wire.control import Busy
from streamer.flow.wire.daemon import Abort, Arm, Disarm, FixCenter, GetStatus, GetVerdict, Report, WatchPlanes
from streamer.frames import BadInput
from tests.daemon.rig import COLUMNS, ROWS, Rig, TinyScan, Transport

CAMERA, STRANGER = "camera", "stranger"
SCAN = TinyScan()
INDICES = st.integers(0, SCAN.spec.frames - 1)


class LifeOfScans(RuleBasedStateMachine):
    """What is done to a daemon, in any order."""

    transport: Transport
    backend: Backend
    folder: Path
    examples = 0

    def __init__(self) -> None:
        super().__init__()
        LifeOfScans.examples += 1
        folder = self.folder / str(self.examples)
        folder.mkdir()
        self.rig = Rig(self.transport, self.backend, folder, writer={"tomogram": False})
        self.number = 0
        self.received: dict[int, int] = {}  # indices of the running scan, in the order in which they were accepted
        self.duplicate = self.late = 0
        self.reports: dict[str, Report] = {}

    def teardown(self) -> None:
        session = self.session
        if session is not None and not session.over:
            session.end("aborted", None, "the example is over")
        self.finish()
        self.rig.close()

    @property
    def session(self) -> Session | None:
        return self.rig.scans.current

    @property
    def scan_id(self) -> str:
        return f"scan-{self.number}"

    def busy(self) -> bool:
        return self.session is not None and not self.session.over

    # ── the operator ────────────────────────────────────────────────────────────────────────────────────────────
    @rule(by_control=st.booleans())
    @precondition(lambda self: not self.busy())
    def arm(self, by_control: bool) -> None:
        self.number += 1
        self.received, self.duplicate, self.late = {}, 0, 0
        spec = structs.replace(SCAN.spec, scan_id=self.scan_id)
        if by_control:
            self.rig.handlers.arm(Arm(spec))
        else:
            self.rig.ingest.start(wire.Start(spec, src=CAMERA))
        assert self.session is not None
        assert self.session.state == "armed"

    @rule()
    @precondition(lambda self: self.busy() and self.session.ending is None)
    def arm_another(self) -> None:
        with pytest.raises(Busy):
            self.rig.handlers.arm(Arm(structs.replace(SCAN.spec, scan_id="another")))

    @rule(number=st.integers(0, 5), verb=st.sampled_from([Abort, Disarm]))
    def end_by_control(self, number: int, verb: Any) -> None:
        scan_id = f"scan-{number}"
        known, session = self.rig.scans.of(scan_id) is not None, self.session
        allowed = known and (verb is Abort or not self.received)
        handler = self.rig.handlers.abort if verb is Abort else self.rig.handlers.disarm
        if allowed:
            handler(verb(scan_id))
            assert session is not None
            assert session.ending is not None
        else:
            with pytest.raises(BadInput):
                handler(verb(scan_id))

    @rule()
    def look(self) -> None:
        handlers = self.rig.handlers
        assert handlers.status(GetStatus()).state == self.rig.scans.state
        handlers.planes(WatchPlanes())
        handlers.center(FixCenter())
        if self.session is not None:
            assert handlers.verdict(GetVerdict(self.scan_id))

    # ── the source, and somebody else ───────────────────────────────────────────────────────────────────────────
    @rule(first=INDICES, count=st.integers(1, 30))
    @precondition(lambda self: self.number > 0)
    def send(self, first: int, count: int) -> None:
        for index in range(first, min(first + count, SCAN.spec.frames)):
            over = self.session is None or self.session.ending is not None
            sent = self.rig.send(structs.replace(SCAN.metas[index], scan_id=self.scan_id), SCAN.pixels[index], CAMERA)
            if over:
                assert not sent
                self.late += self.session is not None and not self.session.over
            elif index in self.received:
                self.duplicate += 1
            else:
                self.received[index] = len(self.received)

    @rule(index=INDICES)
    @precondition(lambda self: self.number > 0 and bool(self.received))
    def send_as_a_stranger(self, index: int) -> None:
        before = self.rig.ring.committed
        self.rig.send(structs.replace(SCAN.metas[index], scan_id=self.scan_id), SCAN.pixels[index], STRANGER)
        assert self.rig.ring.committed == before

    @rule(index=INDICES)
    def send_for_no_scan(self, index: int) -> None:
        assert not self.rig.send(structs.replace(SCAN.metas[index], scan_id="nobody"), SCAN.pixels[index], CAMERA)

    @rule(index=INDICES)
    @precondition(lambda self: self.busy())
    def send_the_wrong_shape(self, index: int) -> None:
        meta = structs.replace(SCAN.metas[index], scan_id=self.scan_id)
        self.late += self.session is not None and self.session.ending is not None
        assert not self.rig.send(meta, np.zeros((ROWS, COLUMNS + 1), "<u2"), CAMERA)

    @rule(
        status=st.sampled_from(["ok", "stopped", "aborted"]), frames=st.integers(0, SCAN.spec.frames), own=st.booleans()
    )
    @precondition(lambda self: self.number > 0)
    def end_by_message(self, status: wire.EndStatus, frames: int, own: bool) -> None:
        before = self.session.ends if self.session is not None else None
        self.rig.ingest.end(wire.End(self.scan_id, frames, status, src=CAMERA if own else STRANGER))
        if not own and self.received and self.session is not None:
            assert self.session.ends == before, "a stranger ended the scan"

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule()
    def turn(self) -> None:
        self.rig.turn_for(0.1)

    @rule()
    @precondition(lambda self: self.busy() and self.session.ends)
    def finish(self) -> None:
        session = self.session
        if session is None or session.spec.scan_id in self.reports:
            return
        self.rig.turn_until(lambda: session.over)
        report = self.rig.scans.report(session.spec.scan_id)
        assert report is not None
        self.reports[session.spec.scan_id] = report
        frames = report.frames
        assert report.state.final
        assert report.final
        assert report.written == frames.received == len(self.received)
        unreplaced = session.ledger.corrupt_unreplaced
        assert frames.expected == frames.received + frames.missing + unreplaced
        assert session.ledger.messages == frames.received + frames.duplicate + frames.late + frames.corrupt
        assert (report.state == "complete") <= (frames.received == frames.expected)
        with h5py.File(report.raw_file) as file:
            stored = file["entry/instrument/detector/data"][:]
            expected = [SCAN.pixels[index] for index in self.received]
            np.testing.assert_array_equal(stored, np.reshape(expected, (-1, ROWS, COLUMNS)))

    # ── always ──────────────────────────────────────────────────────────────────────────────────────────────────
    @invariant()
    def what_came_is_accounted_for(self) -> None:
        session = self.session
        if session is None:
            return
        frames = session.report().frames
        assert frames.received == len(self.received)
        assert frames.duplicate == self.duplicate
        assert frames.late == self.late

    @invariant()
    def what_is_over_does_not_change(self) -> None:
        for scan_id, report in self.reports.items():
            now = self.rig.scans.report(scan_id)
            assert now is not None
            assert (now.state, now.verdict, now.written) == (report.state, report.verdict, report.written)
            assert now.frames.received == report.frames.received


def test_any_order_of_events(transport: Transport, numba_backend: Backend, tmp_path: Path) -> None:
    LifeOfScans.transport, LifeOfScans.backend, LifeOfScans.folder = transport, numba_backend, tmp_path
    few = settings(max_examples=10, stateful_step_count=20, deadline=None, phases=[Phase.generate])
    run_state_machine_as_test(LifeOfScans, settings=few)
