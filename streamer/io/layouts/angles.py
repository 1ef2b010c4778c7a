"""The rotation angles of a recorded scan: their unit, which frame each belongs to, and which ones lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.core.quality.angles import FEWEST_STEPS
from streamer.frames import BadInput, FrameKind
from streamer.io.layouts.hdf5 import lost_frames
from streamer.io.layouts.units import ANGLES_DEG, REAL, scale_of, unit_of

Angles = NDArray[np.float64]

FULL_TURN = 2 * np.pi * 1.01
"""Angles without a unit that span no more are radians: nobody makes a tomogram from six degrees."""


def read_angles(dataset: Any, name: str, unit: str | None, notes: list[str]) -> Angles:
    """All angles of a dataset in degrees, (n,). ``name`` is for people; ``unit`` replaces that of the file.

    Raises BadInput for anything but a whole line of real numbers in a known unit.
    """
    where = f"{dataset.file.filename}: {name}"
    if dataset.dtype.kind not in REAL:
        raise BadInput(f"{where} is no array of real numbers")
    if dataset.size != max(dataset.shape, default=1):
        raise BadInput(f"{where} has shape {dataset.shape}; one angle for each frame is needed")
    lost, causes = lost_frames(dataset) if dataset.ndim else (np.zeros(1, bool), ())
    if lost.any():
        raise BadInput(f"{where} is not whole: {causes[0]}")
    values = np.asarray(dataset[()], np.float64).ravel()
    values = np.where(np.isfinite(values), values, np.nan)
    written = unit_of(dataset) if unit is None else unit
    scale = scale_of(written, ANGLES_DEG)
    if scale is not None:
        degrees: Angles = values * scale
        if scale == 1.0 and unit is None and _spans_radians(values):
            span = f"{name} spans only {np.ptp(values):.2f} {written}"
            notes.append(f"{span}: if these are radians, choose the unit of the angles by hand")
        return degrees
    if written:
        raise BadInput(f"{where} has the unit {written!r}, which is not known; choose the unit of the angles by hand")
    if _spans_radians(values):
        notes.append(f"{name} has no unit and spans {np.ptp(values):.2f}: taken for radians")
        return np.rad2deg(values)
    notes.append(f"{name} has no unit: degrees assumed")
    return values


def _spans_radians(values: Angles) -> bool:
    known = values[np.isfinite(values)]
    return known.size > FEWEST_STEPS and 0 < float(np.ptp(known)) <= FULL_TURN


def fit_angles(values: Angles, kinds: NDArray[np.uint8], name: str, path: Path, notes: list[str]) -> Angles:
    """One angle for each frame of ``kinds`` (n,), from as many angles, from those of the projections, or from more.

    Raises BadInput when there are too few.
    """
    projections = kinds == FrameKind.PROJECTION
    n, wanted = len(kinds), int(np.count_nonzero(projections))
    if len(values) == n:
        return values
    if len(values) == wanted:
        angles = np.zeros(n)
        angles[projections] = values
        return angles
    if len(values) < n:
        raise BadInput(f"{path}: {len(values)} angles in {name} for {wanted} projections")
    notes.append(f"{name} has {len(values)} angles for {n} frames: the last {len(values) - n} are not used")
    return values[:n]


def planned_angles(values: Angles, projections: int, name: str, path: Path, notes: list[str]) -> Angles:
    """The angles of projections that come without those of darks and flats, from as many or more.

    More of them than ``projections`` are returned when a scan ended early. Raises BadInput when there are too few.
    """
    spare = len(values) - projections
    if spare < 0:
        raise BadInput(f"{path}: {len(values)} angles in {name} for {projections} projections")
    told = f"{name} has {len(values)} angles for {projections} projections"
    # The stage does not move while darks and flats are taken.
    if spare > 1 and np.ptp(values[:spare]) == 0:
        notes.append(f"{told}: the first {spare} are those of other frames")
        return values[spare:]
    if spare > 1 and np.ptp(values[projections:]) == 0:
        notes.append(f"{told}: the last {spare} are those of other frames")
        return values[:projections]
    if spare:
        notes.append(f"{told}: the last were not taken")
    return values


def check_turned(angle_deg: Angles, path: Path) -> None:
    """Raises BadInput when all angles of several projections are the same: some programs write 0 for "not known"."""
    if angle_deg.size > 2 and np.isfinite(angle_deg[0]) and (angle_deg == angle_deg[0]).all():
        raise BadInput(f"{path}: all {angle_deg.size} angles are {angle_deg[0]:g}°, so they are not known")


def is_dataset(found: Any) -> bool:
    return isinstance(found, h5py.Dataset) and found.size > 0
