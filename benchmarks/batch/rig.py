"""The processes of a night: virtual beamline, daemon, and the session that runs the batch; and what happens to them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.batch.night import Night
from benchmarks.faults.killing import children, free_ports
from streamer.cli.rig.processes import ManagedProcess, start_beamline, start_daemon
from streamer.client import Link
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.beamline import BeamlineStatus, GetBeamlineStatus, SetBeam
from streamer_plans.batch.journal import JOURNAL

Line = dict[str, Any]

TURNS = 2
WANTED_PX = 6.0
SCAN: Mapping[str, Any] = {
    "projections": 120, "rate_hz": 40, "darks": 5, "flats": 10, "x_out_mm": 6, "stop_early": "true",
}  # fmt: skip
"""Columns of the sheets."""

FIRST_THIRD = 55
"""Frames of a scan after which something happens to it."""

DARK_S = 1.0
"""How long the beam is gone."""

TRANSPORT: Transport = "acknowledged"
"""What the daemon has not written when it is killed, the detector keeps."""

LOOK_S = 0.02
SCAN_S = 120.0


class Tail:
    """Lines of a journal as they come."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def new(self) -> list[Line]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class Rig:
    """Everything but the plan is started once; the daemon has ports of its own, so that it can be started again."""

    def __init__(
        self,
        folder: Path,
        kinds: tuple[str, ...],
        columns: int = 96,
        rows: int = 24,
        mount_s: float = 0.3,
        **limits: Any,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        magazine = folder / "magazine.json"
        magazine.write_text(json.dumps(kinds), encoding="utf-8")
        options = ["--magazine", str(magazine), "--size", str(columns), "--rows", str(rows), "--mount-s", str(mount_s)]
        options += ["--transport", TRANSPORT]
        self.truth = folder / "truth"
        self._beamline = start_beamline(folder / "beamline", *options, "--truth-dir", str(self.truth))
        self.beamline = self._beamline.wait_ready()
        port, events = free_ports(2)
        self.control = f"tcp://127.0.0.1:{port}"
        self.data = folder / "data"
        self._sections: dict[str, Any] = {
            "source": {"endpoint": self.beamline["frames"], "transport": TRANSPORT},
            "control": {"endpoint": self.control, "events": f"tcp://127.0.0.1:{events}"},
            "ring": {"memory_mb": 64},
            "scan": {"stall_timeout_s": 10.0},
            "limits": limits,
            "writer": {"directory": self.data, "reserve_mb": 0, "flush_s": 0.1},
            "reconstruction": {"threads": 1, "memory_mb": 256.0},
        }
        self._start_daemon()
        self._daemon.wait_ready()
        self.link = Link(self.beamline["control"], "the virtual beamline")
        self.session: ManagedProcess | None = None
        self._sessions = 0
        self.events: list[str] = []

    def _start_daemon(self) -> None:
        self._daemon = start_daemon(self.folder / "daemon", **self._sections)

    def close(self) -> None:
        self.link.close()
        for process in (self.session, self._daemon, self._beamline):
            if process is not None:
                process.stop()

    def status(self) -> BeamlineStatus:
        return self.link.ask(GetBeamlineStatus())

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────
    def start_session(self, sheet: Path, batch: Path, *options: str) -> None:
        """The command that a user gives, in a process of its own."""
        self._sessions += 1
        words = ["-m", "streamer_plans.batch", "run", str(sheet), str(batch), *options]
        words += ["--beamline", self.beamline["control"], "--daemon", self.control]
        self.session = ManagedProcess("session", words, self.folder / f"session{self._sessions}.log")

    def kill_daemon(self) -> None:
        victims = [self._daemon.pid, *children(self._daemon.pid)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                os.kill(pid, number)
        self._daemon.kill()
        self._start_daemon()

    def dump_beam(self) -> None:
        self.link.ask(SetBeam(current=0.0))
        time.sleep(DARK_S)
        self.link.ask(SetBeam(current=1.0))

    def run(self, night: Night, sheet: Path, batch: Path, limit_s: float, *options: str) -> int:
        """Run the batch with all its troubles; gives the exit code of the last session."""
        due: dict[str, tuple[str, Callable[[], None]]] = {}
        late: list[tuple[str, Callable[[], None]]] = []

        def plan(slot: int | None, what: str, act: Callable[[], None]) -> None:
            if slot is not None:
                due[name_of(slot)] = (what, act)

        def kill_session() -> None:
            assert self.session is not None
            self.session.kill()
            self.start_session(sheet, batch, *options)

        for slot in night.dumps:
            plan(slot, "beam dump", self.dump_beam)
        plan(night.daemon_killed, "kill -9 of the daemon", self.kill_daemon)
        plan(night.session_killed, "kill -9 of the session", kill_session)
        self.start_session(sheet, batch, *options)
        tail, end = Tail(batch / JOURNAL), time.monotonic() + limit_s
        while self.session is not None and (code := self.session.poll()) is None:
            for line in tail.new():
                if line["event"] != "scanning":
                    continue
                if line["sample"] in due:
                    late.append(due.pop(line["sample"]))
                # What came too late for its scan happens in the next one.
                if late and self._in_flight(line["scan_id"], late[0][1]):
                    self.events.append(f"{line['sample']}: {late.pop(0)[0]}")
            if time.monotonic() > end:
                raise TimeoutError(f"the batch did not end within {limit_s:g} s; see {self.folder}")
            time.sleep(LOOK_S)
        return code if code is not None else 1

    def _in_flight(self, scan_id: str, act: Callable[[], None]) -> bool:
        """Act when a third of the projections of a scan were taken. Returns False when it ended before."""
        end, seen = time.monotonic() + SCAN_S, False
        while time.monotonic() < end:
            detector = self.status().detector
            ours = detector.scan_id == scan_id
            if seen and not ours:
                return False
            seen |= ours
            if ours and detector.acquiring and detector.issued > FIRST_THIRD:
                act()
                return True
            time.sleep(LOOK_S / 4)
        return False


def name_of(slot: int) -> str:
    return f"sample {slot}"


def write_sheet(path: Path, slots: int, **columns: Any) -> Path:
    """A sheet with a row for each slot. The rotation turns to and fro, so that it need not go back."""
    header = ["sample", "slot", "start_deg", "range_deg", "plan", "turns", *columns]
    ways = ((0, 180), (180 * TURNS, -180))
    rows = [[name_of(slot), slot, *ways[slot % 2], "interlaced", TURNS, *columns.values()] for slot in range(slots)]
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8")
    return path
