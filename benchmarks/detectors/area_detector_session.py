"""Bluesky with a camera of areaDetector, in a process of its own, since Channel Access reads its environment once.

``python -m benchmarks.detectors.area_detector_session live`` has the camera take images until its input ends;
``… scan CONTROL DARKS FLATS PROJECTIONS RATE_HZ`` takes a scan. ``area_detector`` starts it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine

from streamer.frames import FrameKind
from streamer_plans import stubs
from streamer_plans.devices.cameras.area_detector import AreaDetector
from streamer_plans.devices.daemon import StreamerDaemon
from streamer_plans.devices.detector import TomoDetector
from streamer_plans.devices.epics.record import Record
from streamer_plans.devices.requests import Closing, Exposures, ScanSetup

CAMERA, PLUGIN = "13SIM1:cam1:", "13SIM1:ZMQ1:"
PATIENCE_S = 100.0


def put(name: str, value: float | str) -> None:
    Record(CAMERA + name, CAMERA + name).write(value)


def one_image() -> None:
    """The IOC knows size and type only then. The ramp begins anew with it."""
    put("SimMode", "LinearRamp")
    put("ArrayCallbacks", 1)
    put("AcquireTime", 0.001)
    put("AcquirePeriod", 0.002)
    put("ImageMode", "Single")
    put("Reset", 1)
    put("Acquire", 1)
    counter = Record(CAMERA + "ArrayCounter_RBV")
    while not counter.read():
        time.sleep(0.05)


def dropped() -> int:
    return sum(int(Record(f"{PLUGIN}{name}_RBV").read()) for name in ("DroppedArrays", "DroppedOutputArrays"))


def live() -> dict[str, Any]:
    one_image()
    Record(PLUGIN + "EnableCallbacks", PLUGIN + "EnableCallbacks").write(1)
    put("AcquirePeriod", 0.01)
    put("ImageMode", "Continuous")
    put("Acquire", 1)
    print("acquires", flush=True)
    sys.stdin.readline()
    put("Acquire", 0)
    return {}


def scan(control: str, darks: str, flats: str, projections: str, rate_hz: str) -> dict[str, Any]:
    one_image()
    daemon = StreamerDaemon(control)
    camera = AreaDetector(CAMERA, PLUGIN, pixel_size_m=6.5e-6, max_rate_hz=500.0)
    detector = TomoDetector(camera, daemon, stall_s=PATIENCE_S)
    counts = {FrameKind.DARK: int(darks), FrameKind.FLAT: int(flats), FrameKind.PROJECTION: int(projections)}
    setup = ScanSetup("scan", "ramp", int(projections), int(flats), int(darks), rate_hz=float(rate_hz))

    def run() -> Generator[Any, Any, None]:
        yield from bps.stage(detector)
        yield from bps.open_run()
        yield from stubs.prepare(detector, setup)
        yield from bps.declare_stream(detector, name="primary", collect=True)
        for kind, frames in counts.items():
            yield from stubs.prepare_and_kickoff(detector, Exposures(frames, kind), PATIENCE_S)
            yield from stubs.collect_until_complete(detector, "primary", PATIENCE_S)
        yield from stubs.close_scan(detector, "primary", Closing())
        yield from bps.close_run()
        yield from bps.unstage(detector)

    before = dropped()
    RunEngine({}, context_managers=[])(run())
    daemon.close()
    return {"dropped by the plugin": dropped() - before}


print(json.dumps({"live": live, "scan": scan}[sys.argv[1]](*sys.argv[2:])), flush=True)
