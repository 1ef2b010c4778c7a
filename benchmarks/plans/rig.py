"""A virtual beamline, a daemon and a RunEngine for one measurement."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bluesky import RunEngine

from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.client import Link
from streamer.flow.wire.beamline import FindTruth
from streamer_plans.devices.beamline import Beamline, sim_beamline
from streamer_plans.stubs import Plan, mount


@dataclass(frozen=True)
class Rig:
    """``run`` runs a plan and returns its result; ``truth`` is the path of a scan's truth file."""

    beamline: Beamline
    folder: Path
    engine: RunEngine
    link: Link

    def run(self, plan: Plan) -> Any:
        return self.engine(plan).plan_result

    def truth(self, scan_id: str) -> Path:
        return Path(self.link.ask(FindTruth(scan_id)).path)


@contextmanager
def rig(
    size: int, rows: int, kinds: list[str], preset: str = "demo", *words: str, mount_s: float = 0.05, **sections: Any
) -> Iterator[Rig]:
    """The sample of slot 0 is mounted. ``words`` are for the virtual beamline, ``sections`` for the daemon."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        magazine = folder / "magazine.json"
        magazine.write_text(json.dumps(kinds), encoding="utf-8")
        options = ("--size", str(size), "--rows", str(rows), "--magazine", str(magazine), "--mount-s", str(mount_s))
        hardware = start_beamline(folder, *options, "--preset", preset, "--truth-dir", str(folder / "truth"), *words)
        source = {"endpoint": hardware.wait_ready()["frames"]}
        daemon = start_daemon(folder, source=source, writer={"directory": folder, "reserve_mb": 0}, **sections)
        daemon.wait_ready()
        beamline = sim_beamline(hardware.endpoints["control"], daemon.endpoints["control"])
        engine = RunEngine({}, context_managers=[], call_returns_result=True)
        link = Link(hardware.endpoints["control"], "the virtual beamline")
        try:
            engine(mount(beamline.changer, 0))
            yield Rig(beamline, folder, engine, link)
        finally:
            link.close()
            beamline.close()
            daemon.stop()
            hardware.stop()
            engine.loop.call_soon_threadsafe(engine.loop.stop)
