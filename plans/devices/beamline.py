"""All devices of one beamline, built from two endpoints."""

from dataclasses import dataclass, field

from streamer.client import Link

from .camera import SimDetector
from .changer import Changer, SimChanger
from .daemon import StreamerDaemon
from .detector import TomoDetector
from .shutter import Shutter, SimShutter
from .stage import Axis, SimRotation, SimTranslation


@dataclass(frozen=True)
class Beamline:
    """What a tomography plan needs. Any object that satisfies Bluesky's protocols may stand in a place."""

    rotation: Axis
    sample_x: Axis
    shutter: Shutter
    changer: Changer
    detector: TomoDetector
    streamer: StreamerDaemon
    links: tuple[Link, ...] = field(default=(), repr=False)

    def close(self) -> None:
        """Give all sockets back."""
        self.streamer.close()
        for link in self.links:
            link.close()


def sim_beamline(control_endpoint: str, daemon_endpoint: str, stall_s: float = 8.0) -> Beamline:
    """The devices of the virtual beamline at ``control_endpoint`` and of the daemon at ``daemon_endpoint``.

    Nothing is connected yet, so it does not matter which process starts first.
    """
    link = Link(control_endpoint, "the virtual beamline")
    fast = Link(control_endpoint, "the virtual beamline")  # the camera's own, so that motors do not slow a scan
    daemon = StreamerDaemon(daemon_endpoint)
    return Beamline(
        rotation=SimRotation(link),
        sample_x=SimTranslation(link),
        shutter=SimShutter(link),
        changer=SimChanger(link),
        detector=TomoDetector(SimDetector(fast), daemon, stall_s=stall_s),
        streamer=daemon,
        links=(link, fast),
    )
