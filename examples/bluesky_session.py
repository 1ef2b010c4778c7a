"""Scan one sample from Bluesky and let the daemon's verdict decide.

python examples/bluesky_session.py [BEAMLINE] [DAEMON]

BEAMLINE is the control socket of the virtual beamline (default tcp://127.0.0.1:5590), DAEMON that of the daemon
(default tcp://127.0.0.1:5581); docs/tutorial.md says how to start both. At a real beamline, build ``Beamline`` from
your own devices instead of ``sim_beamline``.
"""

import sys

from bluesky import RunEngine

from streamer.client import Events, Link, reachable
from streamer.flow.wire.daemon import GetStatus
from streamer.flow.wire.events import Event, ProgressEvent
from streamer.frames import Decision
from streamer_plans import stubs
from streamer_plans.devices.beamline import sim_beamline
from streamer_plans.tomo import TomoScan, tomo_fly


def show(event: Event) -> None:
    """How the scan goes, on one line of the terminal."""
    if isinstance(event, ProgressEvent):
        frames = event.report.frames
        print(f"  {frames.received} of {frames.expected} frames, {event.report.verdict}   ", end="\r", flush=True)


def main(beamline_endpoint: str, daemon_endpoint: str) -> None:
    beamline = sim_beamline(beamline_endpoint, daemon_endpoint)
    engine = RunEngine(call_returns_result=True)
    scan = TomoScan("weevil", projections=180, rate_hz=200)
    with Link(daemon_endpoint, "the daemon") as daemon:
        status = daemon.ask(GetStatus())
    progress = Events(reachable(status.endpoints.events, daemon_endpoint), show)

    def session() -> stubs.Plan:
        yield from stubs.mount(beamline.changer, 0)
        outcome = yield from tomo_fly(beamline, scan)
        if outcome.verdict.decision is Decision.RETAKE:  # the verdict is data; what follows is up to the plan
            outcome = yield from tomo_fly(beamline, scan)
        yield from stubs.unmount(beamline.changer)
        return outcome

    try:
        outcome = engine(session()).plan_result
    finally:
        progress.close()
        beamline.close()
    print(f"\n{outcome.verdict}")
    print(f"centre of rotation {outcome.center_px:.2f} px")
    print(f"raw file {outcome.report.raw_file}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["tcp://127.0.0.1:5590", "tcp://127.0.0.1:5581"]))
