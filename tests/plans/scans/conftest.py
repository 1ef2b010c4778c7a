"""A virtual beamline with samples of chosen kinds, and a real daemon."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.cli.rig.processes import ManagedProcess, start_beamline
from streamer.cli.rig.processes import start_daemon as start_real_daemon
from streamer.client import Link
from streamer.flow.wire.beamline import FindTruth
from streamer_plans.devices.beamline import Beamline, sim_beamline

Whole = tuple[Beamline, Callable[[str], dict[str, Any]]]


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The devices, and a function from scan id to truth. A module says ``KINDS``, ``SIZE``, ``ROWS``,
    ``SECTIONS`` and ``WORDS``, for the virtual beamline."""
    module, folder = request.module, tmp_path_factory.mktemp("whole")
    magazine = folder / "magazine.json"
    magazine.write_text(json.dumps(module.KINDS), encoding="utf-8")
    options = ["--size", str(module.SIZE), "--rows", str(module.ROWS), "--mount-s", "0.05", "--truth-dir", str(folder)]
    options += ["--magazine", str(magazine), "--seed", "3", *getattr(module, "WORDS", ())]
    hardware = start_beamline(folder, *options)
    source = {"endpoint": hardware.wait_ready()["frames"]}
    sections = getattr(module, "SECTIONS", {})
    daemon = start_real_daemon(folder, source=source, writer={"directory": folder, "reserve_mb": 0}, **sections)
    daemon.wait_ready()
    yield from _devices(hardware, daemon)
    daemon.stop()
    hardware.stop()


def _devices(hardware: ManagedProcess, daemon: ManagedProcess) -> Iterator[Whole]:
    devices = sim_beamline(hardware.endpoints["control"], daemon.endpoints["control"], 30.0)
    devices.rotation.velocity.put(2000.0)
    with Link(hardware.endpoints["control"], "the virtual beamline") as link:

        def truth(scan_id: str) -> dict[str, Any]:
            path = link.ask(FindTruth(scan_id)).path
            found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            return found

        yield devices, truth
    devices.close()


@pytest.fixture
def beamline_link(whole: Whole) -> Iterator[Link]:
    """For commands that no device has."""
    with Link(whole[0].links[0].endpoint, "the virtual beamline") as link:
        yield link
