"""Devices and plans for bluesky-queueserver (``--startup-module streamer_plans.startup``) or an IPython profile.

The devices are those of a file, which ``STREAMER_BEAMLINE`` names; without it ``beamline.toml`` in the working
directory, and without that the virtual beamline at its usual endpoint. ``STREAMER_BEAMLINE`` may be the control socket
of a virtual beamline as well, and ``STREAMER_DAEMON`` is that of ``streamer run``, in place of what the file says.
Nothing is connected when this module is imported. The manager runs the plans in ``RE``, which it needs to find here.
Arguments are checked when a plan is submitted. With ``STREAMER_DOCUMENTS``, an address, ``RE`` publishes its documents
there. Names with an underscore are hidden from users.
"""

import os as _os
from collections.abc import Generator as _Generator
from dataclasses import replace as _replace
from pathlib import Path as _Path
from typing import Annotated as _Annotated
from typing import Any as _Any

from bluesky import RunEngine as _RunEngine
from bluesky.utils import Msg as _Msg
from pydantic import Field as _Field

from . import batch as _batch
from . import tomo as _tomo
from .devices.beamline_file import default_beamline as _default_beamline
from .guards.suspenders import suspended as _suspended
from .publishing import DocumentPublisher as _DocumentPublisher
from .scans import adaptive as _adaptive
from .scans import advise as _advise
from .scans import capture as _capture
from .scans import cine as _cine
from .scans.advice import Wanted as _Wanted
from .submission import submittable as _submittable
from .submission import with_arguments_of as _with_arguments_of

_beamline = _default_beamline(_os.environ)

RE = _RunEngine({}, context_managers=[])
RE.preprocessors.append(_suspended(_beamline))
if _address := _os.environ.get("STREAMER_DOCUMENTS"):
    RE.subscribe(_DocumentPublisher(_address))

rotation = _beamline.rotation
sample_x = _beamline.sample_x
shutter = _beamline.shutter
changer = _beamline.changer
detector = _beamline.detector
streamer = _beamline.streamer

_Projections = _Annotated[int, _Field(ge=1, le=1_000_000, description="over the whole range")]
_Frames = _Annotated[int, _Field(ge=0, le=10_000)]
_Angle = _Annotated[float, _Field(ge=-1e5, le=1e5, description="degrees")]
_Rate = _Annotated[float, _Field(ge=0.001, le=100_000.0, description="frames per second")]
_Place = _Annotated[float, _Field(ge=-1000.0, le=1000.0, description="mm")]
_Turns = _Annotated[int, _Field(ge=1, le=100, description="more than one: interlaced")]
_Rounds = _Annotated[int, _Field(ge=1, le=20, description="of these turns, at most")]
_Tomograms = _Annotated[int, _Field(ge=2, le=100_000)]
_Window = _Annotated[float, _Field(ge=180.0, le=360.0, description="degrees of one tomogram")]
_Before = _Annotated[int, _Field(ge=0, le=10_000, description="turns")]
_After = _Annotated[int, _Field(ge=1, le=100_000, description="turns, with the one of the trigger")]
_Seconds = _Annotated[float, _Field(ge=1.0, le=1e6, description="without a trigger")]
_Resolution = _Annotated[float, _Field(ge=2.0, le=10_000.0, description="wanted, as a period in pixels")]
_Dose = _Annotated[float, _Field(ge=0.001, le=1e9, description="looks and scan, in seconds of the open beam")]
_Velocity = _Annotated[float, _Field(ge=0.001, le=1e6, description="degrees per second, the fastest")]
_Slots = list[_Annotated[int, _Field(ge=0, le=10_000, description="of the sample changer")]]
_Losses = _Annotated[int, _Field(ge=0, le=100, description="of the beam that the scan waits for")]
_Retakes = _Annotated[int, _Field(ge=0, le=100)]


def _scan(
    sample_name: str,
    projections: _Projections = 720,
    darks: _Frames = 10,
    flats: _Frames = 20,
    start_deg: _Angle = 0.0,
    range_deg: _Angle = 180.0,
    rate_hz: _Rate = 50.0,
    x_in_mm: _Place = 0.0,
    x_out_mm: _Place = 10.0,
    stop_early: bool = False,
    stop_spoiled: bool = False,
    beam_losses: _Losses = 0,
) -> _tomo.TomoScan:
    """The arguments of all scans; each plan below has most of them."""
    return _tomo.TomoScan(
        sample_name, projections, darks, flats, 0, start_deg, range_deg, rate_hz, x_in_mm, x_out_mm, stop_early,
        stop_spoiled, beam_losses=beam_losses,
    )  # fmt: skip


_Plan = _Generator[_Msg, _Any, _Any]
_NO_ENDINGS = ("stop_early", "stop_spoiled")
_CONTINUOUS = ("range_deg", *_NO_ENDINGS, "beam_losses")
"""Arguments that a rotation which goes on and on does not have."""


@_submittable
@_with_arguments_of(_scan)
def fly_scan(scan: _tomo.TomoScan, turns: _Turns = 1) -> _Plan:
    """One tomogram of the mounted sample, with continuous rotation; interlaced if it turns more than once."""
    yield from _tomo.tomo_fly(_beamline, scan) if turns == 1 else _tomo.tomo_interlaced(_beamline, scan, turns)


@_submittable
@_with_arguments_of(_scan, projections=180, rate_hz=10.0)
def golden_scan(scan: _tomo.TomoScan) -> _Plan:
    """One tomogram of the mounted sample, step by step in golden-ratio order. May be paused."""
    yield from _tomo.tomo_golden(_beamline, scan)


@_submittable
@_with_arguments_of(_scan, *_NO_ENDINGS)
def adaptive_scan(scan: _tomo.TomoScan, turns: _Turns = 8, rounds: _Rounds = 2, retakes: _Retakes = 1) -> _Plan:
    """Interlaced turns of the mounted sample until the data are enough, or improve no more."""
    how = _adaptive.Adaptation(turns=turns, rounds=rounds, retakes=retakes)
    yield from _adaptive.tomo_adaptive(_beamline, scan, how)


@_submittable
@_with_arguments_of(_scan, "projections", "range_deg", "rate_hz", *_NO_ENDINGS)
def advised_scan(
    scan: _tomo.TomoScan,
    resolution_px: _Resolution,
    most_dose_s: _Dose = 1e9,
    max_velocity_deg_s: _Velocity = 1e6,
    take: bool = True,
) -> _Plan:
    """Looks with little light, which say how to scan the mounted sample; then, unless told otherwise, that scan."""
    wanted = _Wanted(resolution_px, most_dose_s)
    found = yield from _advise.tomo_advise(_beamline, scan, wanted, max_velocity_deg_s)
    for line in found.advice.why:
        print(line)
    if take:
        yield from _tomo.tomo_fly(_beamline, found.scan, {"advice": list(found.advice.why)})


@_submittable
@_with_arguments_of(_scan, *_CONTINUOUS, projections=180, rate_hz=180.0)
def cine_scan(scan: _tomo.TomoScan, tomograms: _Tomograms, every_deg: _Window = 180.0) -> _Plan:
    """One tomogram of the mounted sample after the other, of so many projections each, while the rotation goes on."""
    yield from _cine.tomo_cine(_beamline, scan, tomograms, every_deg)


@_submittable
@_with_arguments_of(_scan, *_CONTINUOUS, projections=180, rate_hz=180.0)
def capture_scan(
    scan: _tomo.TomoScan, before: _Before, after: _After, every_deg: _Window = 180.0, longest_s: _Seconds = 600.0
) -> _Plan:
    """The turns around the moment at which somebody says ``streamer trigger``."""
    yield from _capture.tomo_capture(_beamline, scan, before, after, None, every_deg, longest_s)


@_submittable
def batch_scan(
    slots: _Slots,
    projections: _Projections = 720,
    rate_hz: _Rate = 50.0,
    retakes: _Retakes = 2,
    realign: bool = True,
    x_out_mm: _Place = 10.0,
) -> _Plan:
    """Scan the samples of these slots; the daemon's verdict decides about retakes and realignment."""
    scan = _tomo.TomoScan("sample", projections, rate_hz=rate_hz, x_out_mm=x_out_mm, stop_spoiled=True)
    samples = [_batch.Sample(slot, _replace(scan, sample=f"sample-{slot}")) for slot in slots]
    yield from _batch.tomo_batch(_beamline, samples, _batch.Policy(retakes, realign))


@_submittable
def batch_sheet(sheet: str, folder: str) -> _Plan:
    """Scan the samples of a sheet (CSV or YAML), with journal and report in a folder; again, to go on after an end."""
    yield from _batch.sheet_batch(_beamline, _Path(sheet), _Path(folder))
