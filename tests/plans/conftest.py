"""Real processes: the virtual beamline, and a small daemon that can be made to fail.

With STREAMER_TEST_CONTROL=epics an IOC stands before the virtual beamline, and the devices are those of ``epics.toml``:
``interruptions/test_over_epics.py`` runs the tests again that way, in processes of their own.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from event_model import DocumentNames, schema_validators
from msgspec import convert

from streamer.cli.rig.processes import ManagedProcess, start_beamline, start_ioc
from streamer.client import Link
from streamer.flow.wire.beamline import Faults, GetBeamlineStatus, MoveRotation, MoveX, SetFaults
from streamer.flow.wire.changer import Confirm, HandOver
from streamer.flow.wire.daemon import GetStatus
from streamer_plans.devices.beamline import Beamline
from streamer_plans.devices.beamline_file import open_beamline
from streamer_plans.devices.epics.record import Record
from streamer_plans.tomo import TomoScan
from tests.paths import ROOT

SIZE = 32


class Documents:
    """Every document of a RunEngine, each checked against its schema."""

    def __init__(self, engine: RunEngine) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []
        engine.subscribe(self)

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        schema_validators[DocumentNames[name]].validate(document)
        self.all.append((name, document))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [document for kind, document in self.all if kind == name]

    def events(self, stream: str) -> list[dict[str, Any]]:
        """Events of one stream, of all runs."""
        wanted = {document["uid"] for document in self.of("descriptor") if document["name"] == stream}
        return [event for event in self.of("event") if event["descriptor"] in wanted]

    def announced(self, key: str) -> int:
        """Frames of a data key that the last run announced, gapless from 0."""
        resource = [r["uid"] for r in self.of("stream_resource") if r["data_key"] == key][-1:]
        stop = 0
        for datum in self.of("stream_datum"):
            if datum["stream_resource"] in resource:
                assert datum["indices"]["start"] == stop
                assert datum["seq_nums"] == {"start": stop + 1, "stop": datum["indices"]["stop"] + 1}
                stop = datum["indices"]["stop"]
        return stop


def as_an_operator(act: Callable[[], object]) -> None:
    """Call ``act`` on a thread. Returns when that runs, which a busy machine may start late."""
    begun = threading.Event()

    def work() -> None:
        begun.set()
        act()

    threading.Thread(target=work, daemon=True).start()
    begun.wait()


def after_frames(count: int, act: Callable[[], object]) -> Callable[[str, dict[str, Any]], None]:
    """A subscriber that calls ``act`` once, as an operator would, when so many frames are announced."""
    done = threading.Event()

    def look(name: str, document: dict[str, Any]) -> None:
        if name == "stream_datum" and document["indices"]["stop"] >= count and not done.is_set():
            done.set()
            as_an_operator(act)

    return look


def set_velocity(beamline: Beamline, velocity: float) -> None:
    """As an operator does, by hand."""
    if os.environ.get("STREAMER_TEST_CONTROL"):
        Record("SIM:rot.VELO", "SIM:rot.VELO").order(velocity)
    else:
        beamline.rotation.velocity.put(velocity)


def velocity_of(beamline: Beamline) -> float:
    if os.environ.get("STREAMER_TEST_CONTROL"):
        return float(Record("SIM:rot.VELO").read())
    return float(beamline.rotation.velocity.get())


@pytest.fixture(scope="session")
def beamline_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedProcess]:
    options = ("--size", str(SIZE), "--rows", "8", "--samples", "4", "--mount-s", "0.05")
    process = start_beamline(tmp_path_factory.mktemp("beamline"), *options)
    process.wait_ready()
    yield process
    process.kill()


@pytest.fixture(scope="session")
def where(beamline_process: ManagedProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What ``open_beamline`` opens."""
    control = os.environ.get("STREAMER_TEST_CONTROL")
    if control is None:
        yield beamline_process.endpoints["control"]
        return
    ioc = start_ioc(tmp_path_factory.mktemp("ioc"), beamline_process.endpoints["control"], {})
    ioc.wait_ready()
    yield control
    ioc.kill()


class Peers:
    """Small daemons (``tests.plans.peer``) at one virtual beamline, one at a time: it deals its frames out to all. The
    last one of a test serves the next test, unless it was killed.
    """

    def __init__(self, frames: str, folder: Path) -> None:
        self._frames, self._folder = frames, folder
        self._count = 0
        self._idle: ManagedProcess | None = None

    def start(self, directory: Path, script: tuple[dict[str, Any], ...]) -> ManagedProcess:
        """A daemon that has had no scan yet."""
        peer, self._idle = self._idle, None
        number = self._count if peer is not None else self._count + 1
        scratch, orders = self._folder / "orders.tmp", self._folder / f"orders{number}.json"
        scratch.write_text(json.dumps({"directory": str(directory), "script": script}), encoding="utf-8")
        scratch.replace(orders)
        if peer is not None:
            with Link(peer.endpoints["control"], "the peer", timeout_s=60.0) as link:
                while link.ask(GetStatus()).scan is not None:
                    time.sleep(0.002)
            return peer
        self._count, ready = number, self._folder / f"daemon{number}.json"
        words = ["-m", "tests.plans.peer", str(ready), self._frames, str(orders)]
        return ManagedProcess("daemon", words, ready.with_suffix(".log"), ready, cwd=ROOT)

    def take_back(self, started: list[ManagedProcess]) -> None:
        """Keep the last one for the next test, and end the others."""
        alive = [peer for peer in started if peer.poll() is None and peer.endpoints]
        self._idle = alive[-1] if alive and alive[-1] is started[-1] else None
        for peer in started:
            if peer is not self._idle:
                peer.kill()

    def close(self) -> None:
        if self._idle is not None:
            self._idle.kill()


@pytest.fixture(scope="session")
def peers(beamline_process: ManagedProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    made = Peers(beamline_process.endpoints["frames"], tmp_path_factory.mktemp("peers"))
    yield made
    made.close()


@pytest.fixture
def start_daemon(peers: Peers, tmp_path: Path) -> Iterator[Callable[..., ManagedProcess]]:
    """A daemon with a script of what it does in each scan."""
    started: list[ManagedProcess] = []

    def start(*script: dict[str, Any]) -> ManagedProcess:
        started.append(peers.start(tmp_path, script))
        if not started[-1].endpoints:
            started[-1].wait_ready()
        return started[-1]

    yield start
    peers.take_back(started)


@pytest.fixture
def connect(beamline_process: ManagedProcess, where: str) -> Iterator[Callable[..., Beamline]]:
    """The devices; the virtual beamline is brought back to its rest before and after."""
    built: list[Beamline] = []
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        link.ask(SetFaults(Faults()))
        changer = link.ask(GetBeamlineStatus()).changer
        if changer.fault or "nowhere" in changer.inventory:  # a person comes, and fills the magazine
            link.ask(HandOver())
            link.ask(Confirm(None))
        while link.ask(GetBeamlineStatus()).changer.busy:
            time.sleep(0.01)
        link.ask(MoveX(0.0))
        link.ask(MoveRotation(0.0, 1000.0))
        while (now := link.ask(GetBeamlineStatus())).rotation.moving or now.x.moving:
            time.sleep(0.01)

        def build(daemon: ManagedProcess, stall_s: float = 30.0) -> Beamline:
            overrides = {"streamer.endpoint": daemon.endpoints["control"], "detector.stall_s": stall_s}
            built.append(open_beamline(where, overrides))
            set_velocity(built[-1], 2000.0)
            return built[-1]

        yield build
        for beamline in built:
            beamline.close()
        link.ask(SetFaults(Faults()))


@pytest.fixture
def faults(beamline_process: ManagedProcess) -> Iterator[Callable[..., object]]:
    """Let things go wrong in the next scan (see docs/protocol.md §2.2)."""
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        yield lambda **kinds: link.ask(SetFaults(convert(kinds, Faults)))


@pytest.fixture
def engine() -> Iterator[RunEngine]:
    engine = RunEngine({}, context_managers=[], call_returns_result=True)
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()
    engine.loop.close()


@pytest.fixture
def documents(engine: RunEngine) -> Documents:
    return Documents(engine)


@pytest.fixture
def scan() -> TomoScan:
    """A short scan."""
    return TomoScan("wood", projections=40, darks=3, flats=4, rate_hz=100.0, x_out_mm=6.0, verdict_timeout_s=10.0)
