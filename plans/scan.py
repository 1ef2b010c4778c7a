"""What a tomography scan is: its settings, the devices it needs, its outcome, its error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

from streamer.flow.wire.daemon import Report
from streamer.frames import StreamerError, Verdict

from .devices.failures import FailureCode
from .devices.requests import plain_numbers

NOTICED_S = 2.0
"""Time in which a plan notices that the beam is gone, with the detector stopped."""


class TomoScanError(StreamerError):
    """A scan failed; ``str(error)`` is one readable line. With the code ``failure`` before it, it is the reason in the
    run's stop document.

    ``fatal``: a server is gone, so that the next scan would fail too. ``scan_id`` and ``run_uid`` tell which scan.
    """

    def __init__(self, text: str, fatal: bool = False, failure: FailureCode = FailureCode.OTHER) -> None:
        super().__init__(text)
        self.fatal, self.failure = fatal, failure
        self.scan_id = ""
        self.run_uid = ""


class Station(Protocol):
    """The devices of a scan."""

    @property
    def rotation(self) -> Any: ...  # Movable, Readable, with a ``velocity`` that is Movable and Readable
    @property
    def sample_x(self) -> Any: ...  # Movable
    @property
    def shutter(self) -> Any: ...  # Movable: "open", "closed"
    @property
    def detector(self) -> Any: ...  # Stageable, Preparable, Flyable, WritesStreamAssets; Triggerable for steps
    @property
    def streamer(self) -> Any: ...  # Triggerable, Readable: the verdict

    # A station may have ``flat_positions``, a map from names to positions of sample_x beside the beam, in mm, and the
    # signals ``ring_current`` (relative to the usual one) and ``front_end`` ("open", "closed").


@dataclass(frozen=True)
class TomoScan:
    """What to measure. Rotation over ``range_deg`` from ``start_deg``, the end point left out.

    ``darks`` and ``flats`` are taken before the projections, ``darks_after`` and ``flats_after`` after them. With
    ``flats_every`` the same number of ``flats`` is taken again after each so many projections, as the beam drifts;
    a rotation that turns on and on stands still meanwhile. For flats the sample goes to ``x_out_mm``, or to the place
    that the station calls ``flat_position``. With ``tomogram_deg`` the daemon makes one tomogram of each so many
    degrees, else one of all. ``flats_during`` are announced, for a plan that takes flats where it finds them necessary.
    With ``before_trigger`` the daemon keeps no projection until it is triggered, then so many of the latest ones, and
    those that follow.

    So often as ``beam_losses`` the beam may be lost during the projections: the scan waits for it, takes ``flats``
    again, and the projections that were without light. What that needs is announced as further flats (``spare``), so
    that such a scan always ends as stopped. One loss more ends it as failed. The station must have ``ring_current`` or
    ``front_end``.

    ``stop_early`` ends the scan as soon as the daemon says ENOUGH, ``stop_spoiled`` when it says that no further
    projection can make the data good. ``exposure_s`` 0 is as long as the rate allows. ``energy_kev`` and
    ``distance_m``, from the sample to the detector, go into the files, and phase retrieval needs them.
    """

    sample: str
    projections: int = 720
    darks: int = 10
    flats: int = 20
    flats_after: int = 0
    start_deg: float = 0.0
    range_deg: float = 180.0
    rate_hz: float = 50.0
    x_in_mm: float = 0.0
    x_out_mm: float = 10.0
    stop_early: bool = False
    stop_spoiled: bool = False
    exposure_s: float = 0.0
    energy_kev: float | None = None
    distance_m: float | None = None
    verdict_timeout_s: float = 60.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    darks_after: int = 0
    flats_every: int = 0
    flat_position: str = ""
    tomogram_deg: float | None = None
    beam_losses: int = 0
    flats_during: int = 0
    before_trigger: int | None = None

    def __post_init__(self) -> None:
        plain_numbers(self)
        object.__setattr__(self, "metadata", {key: str(value) for key, value in self.metadata.items()})

    @property
    def step_deg(self) -> float:
        return self.range_deg / self.projections

    @property
    def parts(self) -> list[tuple[int, int]]:
        """(first projection, number) of each row of projections without flats in between."""
        every = self.flats_every if self.flats_every > 0 else self.projections
        return [(first, min(every, self.projections - first)) for first in range(0, self.projections, max(1, every))]

    @property
    def all_flats(self) -> int:
        """Flats before, between and after the projections."""
        return self.flats * max(1, len(self.parts)) + self.flats_after + self.flats_during

    @property
    def spare(self) -> int:
        """Frames for flats and projections that are taken again after losses of the beam."""
        return self.beam_losses * (self.flats + ceil(NOTICED_S * self.rate_hz))

    @property
    def velocity_deg_s(self) -> float:
        """The rotation turns by one step per frame."""
        return abs(self.step_deg) * self.rate_hz


@dataclass(frozen=True)
class ScanOutcome:
    """The result of one scan. ``report`` is the daemon's last report, None for other kinds of verdict devices."""

    scan_id: str
    run_uid: str
    verdict: Verdict
    center_px: float | None = None
    columns: int = 0
    pixel_size_m: float | None = None
    report: Report | None = None
