"""From the exposure of a frame to what the plan does: ``python -m benchmarks.plans.latency [--scans N]``.

A scan of interlaced turns ends when the daemon says that the data are enough. Measured are, in every scan: the exposure
of the last projection that the verdict rests on → the verdict at a client → the plan stops the detector. The exposure
is the time stamp in the frame's header, the moment of its trigger; all clocks are of one machine.
"""

from __future__ import annotations

import argparse
import time

import h5py
import numpy as np
from bluesky import Msg

from benchmarks.plans.rig import Rig, rig
from benchmarks.record import record
from streamer.client import Events
from streamer.flow.wire.daemon import GetStatus
from streamer.flow.wire.events import Event, VerdictEvent
from streamer_plans.tomo import TomoScan, tomo_interlaced

TURNS = 8
SCAN = TomoScan("sample", 400, darks=5, flats=10, rate_hz=50.0, x_out_mm=6.0, stop_early=True)
WANTED_PX = 8.0


def one_scan(place: Rig) -> tuple[float, float, int] | None:
    """Seconds from the exposure to the verdict, and on to the stop, and projections exposed before the stop arrived."""
    heard: list[tuple[float, int]] = []
    ordered: list[float] = []
    streamer, detector = place.beamline.streamer, place.beamline.detector

    def hear(event: Event) -> None:
        if isinstance(event, VerdictEvent) and event.verdict == "ENOUGH" and not event.final:
            heard.append((time.time(), event.quality.projections))

    def look(message: Msg) -> None:
        if message.command == "stop" and message.obj is detector:
            ordered.append(time.time())

    events = Events(streamer._link.ask(GetStatus()).endpoints.events, hear)
    place.engine.msg_hook = look
    try:
        outcome = place.run(tomo_interlaced(place.beamline, SCAN, TURNS))
    finally:
        events.close()
        place.engine.msg_hook = None
    if not ordered or not heard or outcome.report is None:
        return None
    with h5py.File(outcome.report.raw_file) as file:
        kinds = file["/entry/instrument/detector/image_key"][()]
        stamps = file["/entry/instrument/detector/timestamp"][()][kinds == 0] * 1e-9
    (told, used), stopped = heard[0], ordered[0]
    return told - float(stamps[used - 1]), stopped - told, int((stamps > told).sum())


def quantiles(values: list[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(values, q)), 3) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=40)
    count = parser.parse_args().scans
    with rig(64, 32, ["good"], limits={"max_resolution_px": WANTED_PX}) as place:
        found = [row for _ in range(count) if (row := one_scan(place)) is not None]
    verdict, act, after = (list(column) for column in zip(*found, strict=True))
    result = {
        "scans": count,
        "ended_by_the_verdict": len(found),
        "frame_rate_hz": SCAN.rate_hz,
        "frame_to_verdict_s": quantiles(verdict),
        "verdict_to_stop_s": quantiles(act),
        "frame_to_stop_s": quantiles([a + b for a, b in zip(verdict, act, strict=True)]),
        "projections_after_the_verdict": quantiles(after),
    }
    record("decision_latency", result)


if __name__ == "__main__":
    main()
