"""Devices and plans for bluesky-queueserver (``--startup-module streamer_plans.startup``) or an IPython profile.

Endpoints come from the environment: ``STREAMER_BEAMLINE`` (the virtual beamline) and ``STREAMER_DAEMON`` (the control
socket of ``streamer run``). Nothing is connected when this module is imported, and it defines no RunEngine: the
manager brings its own. Names with an underscore are hidden from users.
"""

import os as _os
from collections.abc import Generator as _Generator
from collections.abc import Sequence as _Sequence
from typing import Any as _Any

from bluesky.utils import Msg as _Msg

from . import batch as _batch
from . import orders as _orders
from . import tomo as _tomo
from .adaptive import Policy as _Policy
from .devices.beamline import sim_beamline as _sim_beamline

_beamline = _sim_beamline(
    _os.environ.get("STREAMER_BEAMLINE", "tcp://127.0.0.1:5590"),
    _os.environ.get("STREAMER_DAEMON", "tcp://127.0.0.1:5581"),
)

rotation = _beamline.rotation
sample_x = _beamline.sample_x
shutter = _beamline.shutter
changer = _beamline.changer
detector = _beamline.detector
streamer = _beamline.streamer


def fly_scan(
    sample_name: str,
    projections: int = 720,
    darks: int = 10,
    flats: int = 20,
    start_deg: float = 0.0,
    range_deg: float = 180.0,
    rate_hz: float = 50.0,
    x_in_mm: float = 0.0,
    x_out_mm: float = 10.0,
    stop_early: bool = False,
    stop_spoiled: bool = False,
    turns: int = 1,
) -> _Generator[_Msg, _Any, _Any]:
    """One tomogram of the mounted sample, with continuous rotation; interlaced if it turns more than once."""
    scan = _tomo.TomoScan(
        sample_name, projections, darks, flats, 0, start_deg, range_deg, rate_hz, x_in_mm, x_out_mm, stop_early,
        stop_spoiled,
    )  # fmt: skip
    yield from _tomo.tomo_fly(_beamline, scan) if turns == 1 else _tomo.tomo_interlaced(_beamline, scan, turns)


def golden_scan(
    sample_name: str,
    projections: int = 180,
    darks: int = 10,
    flats: int = 20,
    start_deg: float = 0.0,
    range_deg: float = 180.0,
    rate_hz: float = 10.0,
    x_in_mm: float = 0.0,
    x_out_mm: float = 10.0,
    stop_early: bool = False,
    stop_spoiled: bool = False,
) -> _Generator[_Msg, _Any, _Any]:
    """One tomogram of the mounted sample, step by step in golden-ratio order. May be paused."""
    scan = _tomo.TomoScan(
        sample_name, projections, darks, flats, 0, start_deg, range_deg, rate_hz, x_in_mm, x_out_mm, stop_early,
        stop_spoiled,
    )  # fmt: skip
    yield from _tomo.tomo_step(_beamline, scan, _orders.golden_angles(projections, start_deg, range_deg))


def batch_scan(
    slots: _Sequence[int],
    projections: int = 720,
    rate_hz: float = 50.0,
    retakes: int = 2,
    realign: bool = True,
    x_out_mm: float = 10.0,
) -> _Generator[_Msg, _Any, _Any]:
    """Scan the samples of these slots; the daemon's verdict decides about retakes and realignment."""
    scan = _tomo.TomoScan("sample", projections, rate_hz=rate_hz, x_out_mm=x_out_mm)
    yield from _batch.tomo_batch(_beamline, list(slots), scan, _Policy(retakes, realign))
