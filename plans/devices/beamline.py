"""All devices of one beamline, and those of the virtual one, built from two endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamer.client import Link

from .cameras.camera import SimDetector
from .changer import SimChanger
from .claim import Claim, SimClaims
from .daemon import StreamerDaemon
from .detector import TomoDetector
from .shutter import SimShutter
from .signals import BeamLimits, FrontEnd, PolledSignal, RingCurrent
from .stage import SimAxis, SimRotation, SimTranslation


@dataclass(frozen=True)
class Beamline:
    """What a tomography plan needs. Any object that satisfies Bluesky's protocols may stand in a place.

    ``top_x`` and ``top_y`` move the sample on the rotation, ``sample_z`` moves it along the axis, ``axis_tilt`` leans
    the axis in the plane of the detector, ``magnification`` divides the pixel size. Only some plans need these.
    """

    rotation: Any  # Axis, ophyd.EpicsMotor, ophyd_async.epics.motor.Motor, …
    sample_x: Any
    shutter: Any
    detector: Any
    streamer: StreamerDaemon
    changer: Any = None  # None: only single scans
    top_x: Any = None
    top_y: Any = None
    sample_z: Any = None
    axis_tilt: Any = None
    magnification: Any = None
    ring_current: Any = None
    front_end: Any = None
    beam_limits: BeamLimits = field(default_factory=BeamLimits)
    """Signals that say whether there is a beam, a number and "open" or "closed", and from which number on there is."""
    flat_positions: Mapping[str, float] = field(default_factory=dict)
    """Places of ``sample_x`` beside the beam, in mm, by name."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Further objects of ``beamline.toml`` by the names of their tables."""
    links: tuple[Link, ...] = field(default=(), repr=False)

    def close(self) -> None:
        """Give all sockets back, for good."""
        self.streamer.close()
        for signal in (self.ring_current, self.front_end):
            if isinstance(signal, PolledSignal):
                signal.close()
        for link in self.links:
            link.close()


def sim_beamline(
    control_endpoint: str, daemon_endpoint: str, stall_s: float = 8.0, user: str | None = None
) -> Beamline:
    """The devices of the virtual beamline at ``control_endpoint`` and of the daemon at ``daemon_endpoint``.

    ``user`` is shown to others who wait for the beamline; None is the user of this process. Nothing is connected yet,
    so it does not matter which process starts first.
    """
    link = Link(control_endpoint, "the virtual beamline")
    fast = Link(control_endpoint, "the virtual beamline")  # the camera's own, so that motors do not slow a scan
    renewals = Link(control_endpoint, "the virtual beamline")  # not to be held up by any other request
    claim = Claim(SimClaims(renewals), user)
    daemon = StreamerDaemon(daemon_endpoint)
    machine = Link(control_endpoint, "the virtual beamline")
    shutter = SimShutter(link, claim)
    return Beamline(
        rotation=SimRotation(link, claim),
        sample_x=SimTranslation(link, claim),
        shutter=shutter,
        changer=SimChanger(link, claim),
        detector=TomoDetector(SimDetector(fast, claim), daemon, stall_s=stall_s, shutter=shutter),
        streamer=daemon,
        top_x=SimAxis(link, claim, "top_x", "top_x", "mm"),
        top_y=SimAxis(link, claim, "top_y", "top_y", "mm"),
        sample_z=SimAxis(link, claim, "sample_z", "z", "mm"),
        axis_tilt=SimAxis(link, claim, "axis_tilt", "roll", "deg"),
        magnification=SimAxis(link, claim, "magnification", "magnification", ""),
        ring_current=RingCurrent(machine),
        front_end=FrontEnd(machine),
        links=(link, fast, renewals, machine),
    )
