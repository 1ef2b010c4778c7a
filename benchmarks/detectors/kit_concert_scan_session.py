"""Bluesky with a camera of KIT's Concert, in an environment that has both; ``kit_concert_scan`` starts it.

``python kit_concert_scan_session.py fly BEAMLINE.toml SCAN`` takes one scan; SCAN are the settings of TomoScan in JSON.
``… rate ENDPOINT CONTROL SIDE FRAMES`` sends frames of SIDE × SIDE as fast as the camera gives them. Both print JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from concert.devices.cameras.dummy import Camera

from streamer.client import Link, final_report
from streamer.flow.wire.daemon import Arm
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.beamline_file import read_beamline
from streamer_plans.devices.cameras.concert import ConcertCamera
from streamer_plans.devices.requests import Exposures
from streamer_plans.tomo import TomoScan, TomoScanError, tomo_fly


def fly(file: str, settings: str) -> dict[str, Any]:
    beamline = read_beamline(Path(file))
    engine = RunEngine(context_managers=[], call_returns_result=True)
    try:
        outcome = engine(tomo_fly(beamline, TomoScan(**json.loads(settings)))).plan_result
    except TomoScanError as error:
        report = beamline.streamer.last_report
        return {"error": str(error), "failure": error.failure, "state": report.state, "written": report.written}
    finally:
        beamline.close()
    return {
        "verdict": outcome.verdict.decision,
        "reasons": [str(reason) for reason in outcome.verdict.reasons],
        "center_px": outcome.center_px,
        "state": outcome.report.state,
        "raw_file": outcome.report.raw_file,
    }


def rate(endpoint: str, control: str, side: str, frames: str) -> dict[str, Any]:
    pixels = np.random.default_rng(1).poisson(1000, (int(side), int(side))).astype("<u2")
    alone_s = asyncio.run(_grab(pixels, int(frames)))
    camera = ConcertCamera(Camera(pixels, simulate=False), endpoint, spool_mb=256.0)
    spec = ScanSpec(f"rate-{side}", "noise", int(side), int(side), projections=1, flats=int(frames), exposure_s=0.001)
    with Link(control, "the daemon") as daemon:
        daemon.ask(Arm(spec), timeout_s=60.0)
        camera.claim(spec.scan_id, 0.0, lambda: False)
        camera.prepare(spec, 1000.0)
        began_s = time.perf_counter()
        camera.acquire(Exposures(int(frames), FrameKind.FLAT))
        while (activity := camera.activity()).acquiring:
            time.sleep(0.005)
        took_s = time.perf_counter() - began_s
        camera.finish("stopped")
        report = final_report(daemon, spec.scan_id)
    camera.give_back(spec.scan_id)
    camera.close()
    assert report.written == int(frames), report.judgement
    assert activity.error is None, activity.error
    return {"grab_alone_frames_per_s": int(frames) / alone_s, "frames_per_s": activity.issued / took_s}


async def _grab(pixels: Any, frames: int) -> float:
    camera = await Camera(pixels, simulate=False)
    async with camera.recording():
        began_s = time.perf_counter()
        for _ in range(frames):
            await camera.grab()
        return time.perf_counter() - began_s


print(json.dumps({"fly": fly, "rate": rate}[sys.argv[1]](*sys.argv[2:])))
