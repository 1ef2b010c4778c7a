"""The camera of the virtual beamline between two scans."""

from streamer.client import Link
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.cameras.camera import SimDetector
from streamer_plans.devices.claim import Claim, SimClaims
from streamer_plans.devices.requests import Exposures


def test_a_scan_may_follow_at_once_on_one_that_was_given_up(connect, start_daemon, beamline_process):
    """The camera still ends its last exposure then, and refuses as busy."""
    connect(start_daemon())  # brings the beamline to its rest, and takes the frames
    with Link(beamline_process.endpoints["control"], "the virtual beamline") as link:
        camera = SimDetector(link, Claim(SimClaims(link)))
        for number in range(5):
            scan_id = f"given-up-{number}"
            camera.prepare(ScanSpec(scan_id, "wood", 8, 32, 10), 50.0)
            camera.acquire(Exposures(10, FrameKind.PROJECTION, 10.0, 18.0))  # the rotation never comes
            camera.finish("aborted")
