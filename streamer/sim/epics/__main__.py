"""``python -m streamer.sim.epics``: serve the virtual beamline over Channel Access."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamer.sim.epics.drives import drives
from streamer.sim.epics.hardware import Hardware, Show
from streamer.sim.truth import write_json

CHECK_S = 0.2

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m streamer.sim.epics",
        description="Records of EPICS in front of a virtual beamline. The environment says where it serves: "
        "EPICS_CAS_INTF_ADDR_LIST (default 127.0.0.1) and EPICS_CA_SERVER_PORT.",
    )
    parse.add_argument("--beamline", required=True, metavar="ENDPOINT", help="control socket of the virtual beamline")
    parse.add_argument("--prefix", default="SIM:", help="first part of all names (default SIM:)")
    parse.add_argument("--ready-file", type=Path, metavar="FILE", help="JSON written when the records are served")
    return parse


async def serve(endpoint: str, prefix: str, ready_file: Path | None) -> None:
    """Serve until the task is cancelled."""
    from caproto.asyncio.server import start_server

    from streamer.sim.epics.camera import Camera, Plugin, PositionTrigger, Scan
    from streamer.sim.epics.motor import MotorRecord
    from streamer.sim.epics.records import Changer, Ownership, Ring, Shutter

    hardware = Hardware(endpoint)
    motors = [MotorRecord(prefix + name, hardware, drive) for name, drive in drives().items()]
    pulses = PositionTrigger(f"{prefix}trigger:")
    camera = Camera(f"{prefix}cam1:", hardware, pulses)
    shown: list[Any] = [*motors, camera, Shutter(f"{prefix}shutter:", hardware), Changer(f"{prefix}changer:", hardware)]
    shown += [Ownership(f"{prefix}claim:", hardware), Ring(f"{prefix}ring:")]
    groups = [*shown, pulses, Plugin(f"{prefix}stream:"), Scan(f"{prefix}scan:", hardware, camera)]
    tasks: list[asyncio.Task[Any]] = []

    async def begin(_library: Any) -> None:
        for motor in motors:
            await motor.setup()
        tasks.append(asyncio.create_task(hardware.watch(show_in(shown))))
        await hardware.fresh()
        if ready_file is not None:
            write_json(ready_file, {"prefix": prefix, "pid": os.getpid()})

    records = {name: record for group in groups for name, record in group.pvdb.items()}
    try:
        await start_server(records, interfaces=["127.0.0.1"], startup_hook=begin)
    finally:
        for task in tasks:
            task.cancel()
        hardware.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def show_in(groups: Sequence[Any]) -> Show:
    async def show(status: Any) -> None:
        for group in groups:
            await group.show(status)

    return show


async def until_ended(endpoint: str, prefix: str, ready_file: Path | None) -> None:
    """Serve until a signal, or the end of the parent process."""
    parent, ended = os.getppid(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = asyncio.create_task(serve(endpoint, prefix, ready_file))
    while not (ended.is_set() or server.done() or os.getppid() != parent):
        await asyncio.wait([server], timeout=CHECK_S)
    server.cancel()
    with suppress(asyncio.CancelledError):
        await server


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("caproto.ctx").addFilter(lambda record: "beacon" not in record.getMessage())  # nobody hears them
    try:
        import caproto  # noqa: F401
    except ImportError:
        print("streamer.sim.epics: caproto is not installed: pip install 'tomo-streamer[epics]'", file=sys.stderr)
        return 2
    asyncio.run(until_ended(args.beamline, args.prefix, args.ready_file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
