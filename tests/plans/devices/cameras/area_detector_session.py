"""A session with a camera of areaDetector: each line of its input is an expression in Python, and its value is printed.

A process of its own: the library of Channel Access reads its environment once, and other tests have loaded it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine

from streamer.frames import FrameKind, ScanSpec
from streamer_plans import stubs
from streamer_plans.devices.cameras.area_detector import AreaDetector
from streamer_plans.devices.daemon import StreamerDaemon
from streamer_plans.devices.detector import TomoDetector
from streamer_plans.devices.requests import Closing, Exposures, ScanSetup

PATIENCE_S = 100.0
SPEC = ScanSpec("scan-1", "wood", 6, 32, 12, exposure_s=0.015)
SETUP = ScanSetup("scan", "disc", projections=40, flats=4, darks=3, rate_hz=200.0)
KINDS = (FrameKind.DARK, SETUP.darks), (FrameKind.FLAT, SETUP.flats), (FrameKind.PROJECTION, SETUP.projections)


def expose(detector: TomoDetector) -> Generator[Any, Any, None]:
    yield from stubs.prepare(detector, SETUP)
    yield from bps.declare_stream(detector, name="primary", collect=True)
    for kind, frames in KINDS:
        yield from stubs.prepare_and_kickoff(detector, Exposures(frames, kind), PATIENCE_S)
        yield from stubs.collect_until_complete(detector, "primary", PATIENCE_S)
    yield from stubs.close_scan(detector, "primary", Closing())


def scan(camera: AreaDetector, control: str) -> int:
    """A scan by the RunEngine: darks, flats, projections. The number of frames that its documents announce."""
    detector = TomoDetector(camera, StreamerDaemon(control), stall_s=PATIENCE_S)
    announced: list[int] = [0]

    def count(name: str, document: dict[str, Any]) -> None:
        if name == "stream_datum":
            announced.append(document["indices"]["stop"])

    def run() -> Generator[Any, Any, None]:
        yield from bps.stage(detector)
        yield from bps.open_run()
        yield from expose(detector)
        yield from bps.close_run()
        yield from bps.unstage(detector)

    RunEngine({}, context_managers=[])(run(), count)
    return max(announced)


def warned(act: Callable[[], object]) -> list[str]:
    """What is logged as a warning meanwhile."""
    texts: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    act()
    logging.getLogger().removeHandler(handler)
    return texts


def converse(camera: AreaDetector) -> None:
    names = {**globals(), "camera": camera}
    for line in sys.stdin:
        try:
            print(repr(eval(line, names)), flush=True)
        except Exception as error:  # of whatever class
            print(f"{type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    converse(AreaDetector(*sys.argv[1:], pixel_size_m=6.5e-6, max_rate_hz=500.0))
