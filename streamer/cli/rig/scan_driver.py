"""Takes scans on the virtual beamline as a plan does, but without Bluesky: for measurements and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamer.cli.rig.processes import ManagedProcess
from streamer.client import Link
from streamer.flow.wire.beamline import (
    Acquire,
    Faults,
    GetBeamlineStatus,
    MoveRotation,
    MoveX,
    Prepare,
    SetFaults,
    SetShutter,
)
from streamer.flow.wire.changer import Mount
from streamer.flow.wire.control import R, Request
from streamer.flow.wire.daemon import Arm, GetStatus, Report
from streamer.frames import FrameKind, ScanSpec, StreamerError
from streamer.io.messaging.sockets import Context

ANSWER_S = 100.0
POLL_S = 0.02
"""Each question costs the daemon time that frames need: it is asked as seldom as the figures allow."""
MAX_DEG_S = 1e5
"""Highest speed of the rotation stage; the detector serves the triggers that it passes one after the other."""

LEAD_STEPS = 3
"""Angular steps in which the stage gains speed before the first projection and stops after the last one."""


class ScanDriver:
    """Commands a virtual beamline and a daemon that are ready. ``timeout_s`` is the patience with anything they do."""

    def __init__(
        self, context: Context, beamline: ManagedProcess, daemon: ManagedProcess, timeout_s: float = 150.0
    ) -> None:
        self.context, self._processes, self._timeout_s = context, (beamline, daemon), timeout_s
        self.beamline, self.daemon = beamline.endpoints, daemon.endpoints
        self._beamline_link = Link(self.beamline["control"], "the virtual beamline", ANSWER_S, context)
        self._daemon_link = Link(self.daemon["control"], "the daemon", ANSWER_S, context)

    def ask(self, request: Request[R]) -> R:
        """A request to the daemon."""
        return self._daemon_link.ask(request)

    def command(self, request: Request[R]) -> R:
        """A command to the beamline, which it begins to carry out."""
        return self._beamline_link.ask(request)

    def do(self, request: Request[Any]) -> None:
        """A command to the beamline, and wait until nothing moves and no exposure is left."""
        self.command(request)
        self.until(self.at_rest, request.verb)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of ``condition``. Raises StreamerError when a process ends, or none comes in time."""
        deadline = time.monotonic() + self._timeout_s
        while not (value := condition()):
            for process in self._processes:
                if process.poll() is not None:
                    raise StreamerError(f"the {process.name} ended: {process.last_line()}")
            if time.monotonic() > deadline:
                raise StreamerError(f"{what}: not within {self._timeout_s:g} s")
            time.sleep(POLL_S)
        return value

    def at_rest(self) -> bool:
        return self.command(GetBeamlineStatus()).at_rest

    def spec(self, scan_id: str, **fields: Any) -> ScanSpec:
        """The announcement of a scan, with the detector's pixel size."""
        pixel_size_m = self.command(GetBeamlineStatus()).detector.pixel_size_m
        return ScanSpec(scan_id, "sample", pixel_size_m=pixel_size_m, **fields)

    def begin(self, spec: ScanSpec, rate_hz: float = 400.0, slot: int = 0, faults: Faults | None = None) -> None:
        """Mount the sample, arm daemon and detector, take darks and flats."""
        if (mounted := self.command(GetBeamlineStatus()).changer.mounted) != slot:
            self.do(MoveX(0.0))  # where samples are exchanged
            if mounted is not None:
                self.do(Mount(None))
            self.do(Mount(slot))
        self.do(SetFaults(faults or Faults()))
        self.do(MoveRotation(spec.start_deg - LEAD_STEPS * self._step_deg(spec)))
        self.ask(Arm(spec))
        self.do(Prepare(spec, rate_hz))
        if spec.darks:
            self.do(SetShutter(False))
            self.do(Acquire(spec.scan_id, spec.darks, FrameKind.DARK))
        self.do(SetShutter(True))
        if spec.flats:
            self.do(MoveX(self.command(GetBeamlineStatus()).x.out_mm))
            self.do(Acquire(spec.scan_id, spec.flats, FrameKind.FLAT))
            self.do(MoveX(0.0))

    def fly(self, spec: ScanSpec, rate_hz: float = 400.0) -> None:
        """Begin to take all projections while the stage turns; ``at_rest`` says when they are taken."""
        step = self._step_deg(spec)
        kind = FrameKind.PROJECTION
        self.command(Acquire(spec.scan_id, spec.projections, kind, "position", spec.start_deg, step))
        end = spec.start_deg + (spec.projections + LEAD_STEPS) * step
        self.command(MoveRotation(end, min(abs(step) * rate_hz, MAX_DEG_S)))

    def report(self, scan_id: str) -> Report:
        """How a scan goes. Raises StreamerError when the daemon does not know it."""
        report = self.ask(GetStatus(scan_id)).scan
        if report is None:
            raise StreamerError(f"the daemon does not know scan {scan_id}")
        return report

    def final(self, scan_id: str) -> Report:
        """The report of a scan, once it is over."""

        def over() -> Report | None:
            report = self.report(scan_id)
            return report if report.state.final else None

        report: Report = self.until(over, f"the end of scan {scan_id}")
        return report

    @staticmethod
    def _step_deg(spec: ScanSpec) -> float:
        return spec.range_deg / spec.projections
