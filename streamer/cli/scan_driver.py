"""Takes scans on the virtual beamline as a plan does, but without Bluesky: for measurements and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamer.cli.processes import ManagedProcess
from streamer.flow.scan import ScanState
from streamer.frames import FrameKind, StreamerError
from streamer.io.control import request
from streamer.io.sockets import Context

ANSWER_S = 100.0
POLL_S = 0.002
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

    def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        """A request to the daemon."""
        return request(self.context, self.daemon["control"], verb, args, ANSWER_S)

    def command(self, verb: str, **args: Any) -> dict[str, Any]:
        """A command to the beamline, which it begins to carry out."""
        return request(self.context, self.beamline["control"], verb, args, ANSWER_S)

    def do(self, verb: str, **args: Any) -> None:
        """A command to the beamline, and wait until nothing moves and no exposure is left."""
        self.command(verb, **args)
        self.until(self.at_rest, f"{verb} {args}")

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
        now = self.command("status")
        moving = now["rotation"]["moving"] or now["x"]["moving"] or now["changer"]["busy"]
        return not moving and not now["detector"]["acquiring"]

    def spec(self, scan_id: str, **entries: Any) -> dict[str, Any]:
        """The announcement of a scan, with the detector's pixel size."""
        pixel_size_m = self.command("status")["detector"]["pixel_size_m"]
        return {"scan_id": scan_id, "sample": "sample", "pixel_size_m": pixel_size_m, **entries}

    def begin(
        self, spec: dict[str, Any], rate_hz: float = 400.0, slot: int = 0, faults: dict[str, Any] | None = None
    ) -> None:
        """Mount the sample, arm daemon and detector, take darks and flats."""
        self.do("mount", slot=slot)
        self.do("faults", set=faults or {})
        self.do("rotation", target_deg=self._from_deg(spec))
        self.ask("arm", spec=spec)
        self.do("prepare", spec=spec, rate_hz=rate_hz)
        if spec["darks"]:
            self.do("shutter", open=False)
            self.do("acquire", frames=spec["darks"], kind=int(FrameKind.DARK), trigger="internal")
        self.do("shutter", open=True)
        if spec["flats"]:
            self.do("x", target_mm=self.command("status")["x"]["out_mm"])
            self.do("acquire", frames=spec["flats"], kind=int(FrameKind.FLAT), trigger="internal")
            self.do("x", target_mm=0.0)

    def fly(self, spec: dict[str, Any], rate_hz: float = 400.0) -> None:
        """Begin to take all projections while the stage turns; ``at_rest`` says when they are taken."""
        count, step = spec["projections"], self._step_deg(spec)
        start = spec.get("start_deg", 0.0)
        self.command("acquire", frames=count, kind=0, trigger="position", start_deg=start, step_deg=step)
        end = start + (count + LEAD_STEPS) * step
        self.command("rotation", target_deg=end, velocity_deg_s=min(abs(step) * rate_hz, MAX_DEG_S))

    def final(self, scan_id: str) -> dict[str, Any]:
        """The report of a scan, once it is over."""

        def over() -> dict[str, Any] | None:
            report: dict[str, Any] = self.ask("status", scan_id=scan_id)["scan"]
            return report if report and ScanState(report["state"]).final else None

        report: dict[str, Any] = self.until(over, f"the end of scan {scan_id}")
        return report

    def _from_deg(self, spec: dict[str, Any]) -> float:
        start: float = spec.get("start_deg", 0.0)
        return start - LEAD_STEPS * self._step_deg(spec)

    @staticmethod
    def _step_deg(spec: dict[str, Any]) -> float:
        step: float = spec.get("range_deg", 180.0) / spec["projections"]
        return step
