"""The kinds of fault, and the decision that is right for each: fixed before the first run.

A spoiled scan *counts* when its tomogram is worse than that of its twin by more than ``COUNTS``, or when the fault is
one that counts however the tomogram looks (misalignment, loss, empty holder) from the size given as ``always``. A
scan that counts must not be called ENOUGH; the decisions listed are right, any other but ENOUGH is an alarm with the
wrong advice. A spoiled scan that does not count may be called ENOUGH or one of the decisions listed. A good scan must
be called ENOUGH. CONTINUE is never right after the last frame.

The advice follows what a user would do next:
RETAKE   the same scan again may be good: the sample or the stage moved, beam or frames were lost
REALIGN  the sample or the axis must be moved first: off axis, out of the field, larger than the field
EMPTY    nothing is in the beam; the next sample is due
UNKNOWN  somebody must look: set-up, counts, flats, darks; the same scan again has the same fault
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.verdict_blind import detector_faults as det
from benchmarks.verdict_blind import object_faults as obj
from benchmarks.verdict_blind.scan import Draft

COUNTS = 1.1
"""Growth of the error from which a fault counts."""

RETAKE = frozenset({"RETAKE"})
REALIGN = frozenset({"REALIGN"})
REALIGN_OR_ASK = frozenset({"REALIGN", "UNKNOWN"})
REALIGN_OR_EMPTY = frozenset({"REALIGN", "EMPTY", "UNKNOWN"})
RETAKE_OR_EMPTY = frozenset({"RETAKE", "EMPTY"})
RETAKE_OR_ASK = frozenset({"RETAKE", "UNKNOWN"})
EMPTY_OR_ASK = frozenset({"EMPTY", "UNKNOWN"})
ENOUGH = frozenset({"ENOUGH"})

Edit = Callable[[Draft, np.random.Generator, float], None]
Plan = Callable[[float, np.random.Generator], dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """One kind of fault. Its size is drawn from ``low`` to ``high``, evenly in its logarithm.

    ``plan`` gives arguments of ``scan.draw``. ``always``: counts from this size on, whatever the damage. ``half_turn``:
    full turns are replaced, as the fault is none there.
    """

    name: str
    right: frozenset[str]
    edit: Edit
    low: float = 1.0
    high: float = 1.0
    unit: str = ""
    always: float = float("inf")
    plan: Plan | None = None
    half_turn: bool = False
    moves_axis: bool = False

    def size(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))


def _off_axis(size: float, rng: np.random.Generator) -> dict[str, Any]:
    return {"off_axis": float(rng.choice([-1, 1])) * size}


def _without_flats(size: float, rng: np.random.Generator) -> dict[str, Any]:
    return {"with_flats": bool(rng.random() < 0.5)}


def _moving(name: str, edit: Edit, low: float, high: float, unit: str = "px") -> Kind:
    return Kind(name, RETAKE, edit, low, high, unit, moves_axis=True)


KINDS = (
    _moving("vibration", obj.vibration, 0.15, 3),
    _moving("sway", obj.sway, 0.3, 6),
    _moving("drift in the lab", obj.drift_lab, 0.3, 10),
    _moving("drift of the sample", obj.drift_sample, 0.4, 10),
    _moving("drift along the axis", obj.drift_axis, 0.4, 8),
    _moving("settling", obj.settling, 0.4, 10),
    _moving("jump of the sample", obj.jump_sample, 0.4, 10),
    _moving("jump of the stage", obj.jump_stage, 0.4, 10),
    _moving("jump along the axis", obj.jump_axis, 0.5, 8),
    _moving("several jumps", obj.jumps, 0.4, 8),
    _moving("excursion", obj.excursion, 0.5, 10),
    _moving("slip on the holder", obj.slip, 0.3, 20, "deg"),
    _moving("shrinking", obj.shrinking, 0.003, 0.15, "share"),
    Kind("falls off", RETAKE_OR_EMPTY, obj.falls_off, 0.02, 0.95, "share", always=0.05, moves_axis=True),
    Kind("stage skips an angle", RETAKE, obj.skipped_angle, 0.3, 30, "deg", moves_axis=True),
    Kind("stage stalls", RETAKE, obj.stall, 0.02, 0.4, "share", moves_axis=True),
    Kind("wrong angle step", RETAKE_OR_ASK, obj.wrong_step, 0.01, 0.1, "share", moves_axis=True),
    Kind("angles in radians", RETAKE_OR_ASK, obj.radians, moves_axis=True),
    Kind("all angles equal", RETAKE_OR_ASK, obj.equal_angles, moves_axis=True),
    Kind("encoder wraps", RETAKE_OR_ASK, obj.wraps, 0.2, 1.2, "share", moves_axis=True),
    Kind("angle outliers", RETAKE_OR_ASK, obj.outliers, 0.003, 0.15, "share", moves_axis=True),
    Kind("short range", RETAKE_OR_ASK, obj.short_range, 0.03, 0.5, "share"),
    Kind("double step", RETAKE_OR_ASK, obj.double_step, moves_axis=True),
    Kind("wedge", RETAKE_OR_ASK, obj.wedge, 4, 60, "deg"),
    Kind("axis far off", REALIGN, det.planned, 0.07, 0.3, "share", always=0.0, plan=_off_axis, half_turn=True),
    Kind("out of the field", REALIGN_OR_EMPTY, obj.out_of_field, 0.4, 0.9, "share", always=0.0),
    Kind("truncated", REALIGN_OR_ASK, obj.truncated, 1.03, 2, "times", always=1.1),
    Kind("empty", EMPTY_OR_ASK, obj.empty, always=0.0, moves_axis=True),
    Kind("beam dump", RETAKE, det.beam_dump, 0.005, 0.3, "share", always=0.05),
    Kind("beam decay", RETAKE, det.beam_decay, 0.06, 0.7, "share"),
    Kind("flicker", RETAKE, det.flicker, 0.005, 0.3, "share"),
    Kind("beam moves", RETAKE, det.beam_moves, 0.3, 6, "px"),
    Kind("saturation at 16 bit", RETAKE_OR_ASK, det.saturation_16, 0.45, 1.8, "times"),
    Kind("saturation at 12 bit", RETAKE_OR_ASK, det.saturation_12, 0.45, 1.8, "times"),
    Kind("shutter over columns", RETAKE_OR_ASK, det.shutter_columns, 0.03, 0.6, "share"),
    Kind("shutter over rows", RETAKE_OR_ASK, det.shutter_rows, 0.08, 0.7, "share", always=0.25),
    Kind("sample in some flats", RETAKE_OR_ASK, det.sample_in_some_flats, 0.08, 0.8, "share"),
    Kind("sample in all flats", RETAKE_OR_ASK, det.sample_in_all_flats),
    Kind("no flats", RETAKE_OR_ASK, det.no_flats, plan=_without_flats),
    Kind("dark flats", RETAKE_OR_ASK, det.dark_flats, 0.1, 1.0, "share"),
    Kind("light in darks", RETAKE_OR_ASK, det.light_in_darks, 0.005, 0.8, "share"),
    Kind("flats and darks swapped", RETAKE_OR_ASK, det.swapped),
    Kind("stripes", RETAKE_OR_ASK, det.stripes, 0.002, 0.1, "share"),
    Kind("new hot pixels", RETAKE_OR_ASK, det.hot_pixels, 2e-4, 0.05, "share"),
    Kind("zingers", RETAKE, det.zingers, 1e-4, 0.03, "share"),
    Kind("torn frames", RETAKE_OR_ASK, det.torn_frames, 0.01, 0.5, "share"),
    Kind("NaN pixels", RETAKE_OR_ASK, det.nan_pixels, 2e-4, 0.1, "share"),
    Kind("frozen frames", RETAKE_OR_ASK, det.frozen_frames, 0.01, 0.5, "share"),
    Kind("frames lost anywhere", RETAKE, det.lost_anywhere, 0.01, 0.5, "share", always=0.1),
    Kind("frames lost together", RETAKE, det.lost_together, 0.01, 0.4, "share", always=0.06),
    Kind("duplicates", ENOUGH, det.duplicates, 0.01, 0.5, "share"),
    Kind("too few projections", RETAKE_OR_ASK, det.planned, 0.04, 0.6, "times", plan=lambda s, _: {"projections": s}),
    Kind("too low dose", RETAKE_OR_ASK, det.planned, 3e-4, 0.2, "times", plan=lambda s, _: {"dose": s}),
    Kind("defocus", RETAKE_OR_ASK, det.defocus, 0.8, 5, "px"),
)
