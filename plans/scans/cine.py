"""Time-resolved tomography: the rotation turns on and on, and each half turn is a tomogram of its own."""

from dataclasses import dataclass, replace
from typing import Any

from streamer.frames import BadInput

from ..exposing import fly
from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import take_scan


@dataclass(frozen=True)
class CineOutcome:
    """``tomograms`` of ``wanted`` that the daemon has written, in the folder of ``scan.report.tomogram_file``."""

    scan: ScanOutcome
    wanted: int
    tomograms: int


def tomo_cine(
    station: Station, scan: TomoScan, tomograms: int, every_deg: float = 180.0, md: dict[str, Any] | None = None
) -> Plan:
    """``tomograms`` one after the other, without a pause of the rotation. Returns a CineOutcome.

    ``scan.projections`` are those of one tomogram, over ``every_deg`` in the direction of ``scan.range_deg``. All
    frames are one scan in one raw file; the daemon writes each tomogram as soon as its projections have come and it
    has time, and those that are left when the scan is over. Its planes show the last ``every_deg``. What changes in
    the sample is no reason for a verdict. Raises BadInput.
    """
    if tomograms < 2:
        raise BadInput(f"tomo_cine: {tomograms} tomograms; give 2 or more, or use tomo_fly")
    if not 180.0 <= every_deg <= 360.0:
        raise BadInput(f"tomo_cine: a tomogram of {every_deg:g}°; give 180 to 360, half a turn or a whole one")
    turn = every_deg if scan.range_deg > 0 else -every_deg
    whole = replace(
        scan,
        projections=scan.projections * tomograms,
        range_deg=turn * tomograms,
        tomogram_deg=every_deg,
        flats_every=0,
        stop_early=False,
    )
    outcome = yield from take_scan(station, whole, "tomo_cine", fly, {"tomograms": tomograms, **(md or {})})
    made = 0 if outcome.report is None else outcome.report.tomograms
    return CineOutcome(outcome, tomograms, made)
