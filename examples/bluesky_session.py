"""Scan one sample from Bluesky and let the daemon's verdict decide.

python examples/bluesky_session.py [BEAMLINE] [DAEMON]

BEAMLINE is the control socket of the virtual beamline (default tcp://127.0.0.1:5590), DAEMON that of the daemon
(default tcp://127.0.0.1:5581); docs/tutorial.md says how to start both. At a real beamline, build ``Beamline`` from
your own devices instead of ``sim_beamline``.
"""

import sys

from bluesky import RunEngine

from streamer.frames import Decision
from streamer_plans import stubs
from streamer_plans.devices.beamline import sim_beamline
from streamer_plans.tomo import TomoScan, tomo_fly


def main(beamline_endpoint: str, daemon_endpoint: str) -> None:
    beamline = sim_beamline(beamline_endpoint, daemon_endpoint)
    engine = RunEngine(call_returns_result=True)
    scan = TomoScan("weevil", projections=180, rate_hz=200)

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
        beamline.close()
    print(outcome.verdict)
    print(f"centre of rotation {outcome.center_px:.2f} px")
    print(f"raw file {outcome.report.raw_file}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["tcp://127.0.0.1:5590", "tcp://127.0.0.1:5581"]))
