"""A whole beamline for a test: the virtual beamline and the daemon as processes, scanned without Bluesky."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from streamer.cli.processes import Child
from streamer.io.control import request
from streamer.sim.truth import read_truth

ANYWHERE = "tcp://127.0.0.1:*"
START_S = 300.0


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 150.0) -> Any:
    """The first true value of ``condition``; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)
    return value


class Station:
    """``scan`` takes one scan with darks, flats and projections, as a plan would."""

    def __init__(self, folder: Path, size: int = 64, rows: int = 48, **daemon: Any) -> None:
        self.folder, self.size, self.rows = folder, size, rows
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.children: list[Child] = []
        self.beamline = self._start_beamline()
        self.daemon = self.start_daemon(**daemon)

    def _start_beamline(self) -> dict[str, Any]:
        ready = self.folder / "beamline.json"
        command = ["streamer.sim", "--size", str(self.size), "--rows", str(self.rows), "--seed", "3", "--mount-s", "0"]
        command += ["--truth-dir", str(self.folder / "truth"), "--ready-file", str(ready)]
        child = Child("virtual beamline", command, self.folder / "beamline.log", ready)
        self.children.append(child)
        return child.wait_ready(START_S)

    def start_daemon(self, **sections: dict[str, Any]) -> dict[str, Any]:
        """A daemon that listens to the beamline; ``sections`` of its configuration go on top of the usual ones."""
        config: dict[str, dict[str, Any]] = {
            "source": {"endpoint": self.beamline["frames"]},
            "control": {"endpoint": ANYWHERE, "events": ANYWHERE},
            "preview": {"endpoint": ANYWHERE},
            "metrics": {"port": 0},
            "writer": {"directory": str(self.folder / "data"), "reserve_mb": 0},
        }
        for name, section in sections.items():
            config.setdefault(name, {}).update(section)
        lines = [f"{s}.{key} = {json.dumps(value)}" for s, keys in config.items() for key, value in keys.items()]
        path = self.folder / "daemon.toml"
        path.write_text("\n".join(lines))
        ready = self.folder / "daemon.json"
        command = ["streamer", "run", str(path), "--ready-file", str(ready), "--with-parent"]
        child = Child("daemon", command, self.folder / "daemon.log", ready)
        self.children.append(child)
        return child.wait_ready(START_S)

    @property
    def daemon_process(self) -> Child:
        return self.children[-1]

    def close(self) -> None:
        for child in reversed(self.children):
            child.stop()
        self.context.destroy(linger=0)

    def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        """A request to the daemon."""
        return request(self.context, self.daemon["control"], verb, args, 100.0)

    def do(self, verb: str, **args: Any) -> dict[str, Any]:
        """A command to the beamline, and wait until nothing moves and nothing is taken any more."""
        reply = request(self.context, self.beamline["control"], verb, args, 100.0)
        eventually(self.at_rest, f"{verb} {args} done")
        return reply

    def at_rest(self) -> bool:
        now = request(self.context, self.beamline["control"], "status", {}, 100.0)
        moving = now["rotation"]["moving"] or now["x"]["moving"] or now["changer"]["busy"]
        return not moving and not now["detector"]["acquiring"]

    def spec(self, scan_id: str, **changes: Any) -> dict[str, Any]:
        numbers = {"rows": self.rows, "columns": self.size, "projections": 90, "flats": 8, "darks": 4}
        detector = request(self.context, self.beamline["control"], "status", {}, 100.0)["detector"]
        return {
            "scan_id": scan_id,
            "sample": "sample",
            "pixel_size_m": detector["pixel_size_m"],
            **numbers,
            **changes,
        }

    def begin(
        self, spec: dict[str, Any], rate_hz: float = 400.0, slot: int = 0, faults: dict[str, Any] | None = None
    ) -> None:
        """Mount, arm daemon and detector, take darks and flats."""
        self.do("mount", slot=slot)
        self.do("faults", set=faults or {})
        self.ask("arm", spec=spec)
        self.do("prepare", spec=spec, rate_hz=rate_hz)
        if spec["darks"]:
            self.do("shutter", open=False)
            self.do("acquire", frames=spec["darks"], kind=2, trigger="internal")
        self.do("shutter", open=True)
        if spec["flats"]:
            out_mm = request(self.context, self.beamline["control"], "status", {}, 100.0)["x"]["out_mm"]
            self.do("x", target_mm=out_mm)
            self.do("acquire", frames=spec["flats"], kind=1, trigger="internal")
        self.do("x", target_mm=0.0)

    def fly(self, spec: dict[str, Any], rate_hz: float = 400.0) -> None:
        """All projections on the fly."""
        start, count = spec.get("start_deg", 0.0), spec["projections"]
        step = spec.get("range_deg", 180.0) / count
        lead = 3 * step
        self.do("rotation", target_deg=start - lead)
        control = self.beamline["control"]
        args = {"frames": count, "kind": 0, "trigger": "position", "start_deg": start, "step_deg": step}
        request(self.context, control, "acquire", args, 100.0)
        self.do("rotation", target_deg=start + count * step + lead, velocity_deg_s=abs(step) * rate_hz)

    def scan(self, scan_id: str, slot: int = 0, faults: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """One whole scan; the daemon's final report."""
        spec = self.spec(scan_id, **changes)
        self.begin(spec, slot=slot, faults=faults)
        self.fly(spec)
        self.do("finish", status="ok")
        return self.final(scan_id)

    def final(self, scan_id: str, timeout_s: float = 150.0) -> dict[str, Any]:
        """The report, once the scan is over."""

        def over() -> dict[str, Any] | None:
            report: dict[str, Any] = self.ask("status", scan_id=scan_id)["scan"]
            return report if report and report["state"] in ("complete", "incomplete", "aborted", "failed") else None

        report: dict[str, Any] = eventually(over, f"scan {scan_id} is over", timeout_s)
        return report

    def truth(self, scan_id: str) -> Any:
        return read_truth(self.folder / "truth" / f"{scan_id}.truth.json")
