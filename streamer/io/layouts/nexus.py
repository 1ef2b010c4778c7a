"""NXtomo, and NeXus files that are like it: a detector with an image key."""

from __future__ import annotations

from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.layouts.angles import check_turned, fit_angles, is_dataset, read_angles
from streamer.io.layouts.hdf5 import attribute, broken_links, get, lost_frames, text, why_lacking
from streamer.io.layouts.layout import Layout, ReadOptions, lost_in
from streamer.io.layouts.units import DISTANCE, ENERGY, METRES, PIXEL_SIZE, REAL, quantity, scale_of, unit_of
from streamer.io.raw.nxtomo import UNWRITTEN

ANGLE_WORDS = ("theta", "rot", "angle", "omega")
KEYS = ("image_key", "image_key_control")
ALIGNMENT = -1  # in image_key_control, and in some files in image_key
SQUARE = 0.01  # relative difference of the sides of a square pixel
MOVED_PX = 0.2
MOVED_M = 1e-7
"""Displacements of the sample up to these are those of a motor that holds it."""


def detectors(entry: Any) -> list[h5py.Group]:
    """The groups with image keys of an entry, those with images where there are any: that of the entry's default plot
    first, then the usual one.
    """
    instrument = get(entry, "instrument")
    if not isinstance(instrument, h5py.Group):
        return []
    plotted = _plotted(entry)
    groups = [get(instrument, name) for name in instrument]
    found = [group for group in groups if isinstance(group, h5py.Group) and any(key in group for key in KEYS)]

    def place(group: h5py.Group) -> tuple[bool, bool, str]:
        return plotted is None or get(group, "data") != plotted, _last(group) != "detector", group.name

    found.sort(key=place)
    return [group for group in found if _is_stack(get(group, "data"))] or found


def _plotted(entry: h5py.Group) -> h5py.Dataset | None:
    plot = get(entry, attribute(entry, "default") or "data")
    found = get(plot, attribute(plot, "signal") or "data")
    return found if isinstance(found, h5py.Dataset) else None


def _is_stack(found: Any) -> bool:
    return isinstance(found, h5py.Dataset) and found.ndim == 3 and found.dtype.kind in REAL


def _last(group: h5py.Group) -> str:
    return str(group.name).rsplit("/", 1)[1]


def nexus(entry: h5py.Group, detector: h5py.Group, path: Path, options: ReadOptions) -> Layout:
    """Raises BadInput, one line, when images or angles are missing or do not fit."""
    data = get(detector, "data")
    if not _is_stack(data):
        raise BadInput(f"{path}: no images at {detector.name}/data: {why_lacking(detector, 'data')}")
    missing, links = broken_links(entry, path)
    notes, status, spec = list(links), text(entry, "streamer/status"), _stored_spec(entry)
    kinds = _kinds(detector, path, notes)
    angles = _angles(entry, detector, kinds, path, options, notes)
    # Elsewhere sequence numbers need not count the frames of this scan.
    indices = get(detector, "sequence_number") if spec is not None else None
    # A file whose writer was killed may have more images than keys, or the other way round.
    n = min(len(data), len(kinds), len(angles), len(data) if indices is None else len(indices))
    if status is None and len(kinds) != len(data):
        notes.append(f"{len(data)} images and {len(kinds)} image keys: only the first {n} of them are used")
    kept = np.arange(n) if indices is None else np.flatnonzero(indices[:n] < UNWRITTEN)
    kept = kept if indices is not None else kept[kinds[:n] != FrameKind.INVALID]
    lost, gone = lost_in(data) if spec is None or data.is_virtual else (np.zeros(len(data), bool), [])
    notes += gone
    if spec is None:
        check_turned(angles[:n][kinds[:n] == FrameKind.PROJECTION], path)

    def per_frame(group: Any, name: str, empty: float, dtype: Any) -> NDArray[Any]:
        found = get(group, name)
        if isinstance(found, h5py.Dataset) and found.dtype.kind in REAL:
            if found.size == 1:
                return np.full(len(kept), np.ravel(found[()])[0], dtype)
            if found.size == max(found.shape, default=1) and found.size >= n:
                return np.asarray(np.ravel(found[()])[:n], dtype)[kept]
            notes.append(f"{found.name} has shape {found.shape} for {n} frames: it is not used")
        return np.full(len(kept), empty, dtype)

    pixel_size = quantity(get(detector, "x_pixel_size"), PIXEL_SIZE, notes)
    other_side = quantity(get(detector, "y_pixel_size"), PIXEL_SIZE, [])
    if pixel_size and other_side and abs(other_side - pixel_size) > SQUARE * pixel_size:
        notes.append(f"the pixels are not square: {detector.name}/y_pixel_size is not used")
    mask = _pixel_mask(detector, data.shape[1:], notes)
    _displacements(entry, kinds[:n] == FrameKind.PROJECTION, pixel_size, notes)
    return Layout(
        name="NXtomo" if (text(entry, "definition") or "").lower() == "nxtomo" else "NeXus",
        datasets=(data,),
        source=np.zeros(len(kept), np.int64),
        place=kept,
        kinds=kinds[kept],
        angles_deg=angles[:n][kept],
        index=np.arange(len(kept)) if indices is None else indices[:n].astype(np.int64)[kept],
        timestamp_ns=per_frame(detector, "timestamp", 0, np.int64),
        exposure_s=per_frame(detector, "count_time", 0.0, np.float64),
        monitor=per_frame(get(entry, "control"), "data", 1.0, np.float64),
        lost=lost[kept],
        sample=text(entry, "sample/name"),
        pixel_size_m=pixel_size,
        energy_kev=quantity(get(entry, "instrument/beam/incident_energy"), ENERGY, notes)
        or quantity(get(entry, "beam/incident_energy"), ENERGY, notes),
        distance_m=quantity(get(detector, "distance"), DISTANCE, notes),
        status=status,
        spec=spec,
        missing_files=missing,
        notes=tuple(notes),
        mask=mask,
    )


def _pixel_mask(detector: h5py.Group, shape: tuple[int, ...], notes: list[str]) -> NDArray[np.uint32] | None:
    """What NXdetector says of pixels that are not to be used; None when it says nothing."""
    found = get(detector, "pixel_mask")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "biu":
        return None
    if found.shape != shape:
        notes.append(f"{found.name} is {found.shape}, the images are {shape}: it is not used")
        return None
    mask = found[()].astype(np.uint32)
    if mask.all():
        notes.append(f"{found.name} marks every pixel: it is not used")
        return None
    return mask if mask.any() else None


def _kinds(detector: h5py.Group, path: Path, notes: list[str]) -> NDArray[np.uint8]:
    """What each frame shows; alignment projections, and keys that have no meaning, are INVALID."""
    keys = [found for name in KEYS if (found := get(detector, name)) is not None]
    if not keys:
        raise BadInput(f"{path}: no image keys at {detector.name}/{KEYS[0]}: {why_lacking(detector, KEYS[0])}")
    for key in keys:
        if not isinstance(key, h5py.Dataset) or key.dtype.kind not in REAL or not key.ndim:
            raise BadInput(f"{path}: {detector.name}/{KEYS[0]} is no array of real numbers")
        if lost_frames(key)[0].any():
            raise BadInput(f"{path}: {key.name} is not whole: {lost_frames(key)[1][0]}")
    values, *control = (np.nan_to_num(np.ravel(key[()]).astype(np.float64), nan=np.inf) for key in keys)
    alignment = values == ALIGNMENT
    if control and len(control[0]) == len(values):
        alignment |= control[0] == ALIGNMENT
    odd = ~np.isin(values, list(FrameKind)) & ~alignment
    if alignment.any():
        notes.append(f"{np.count_nonzero(alignment)} frames were taken for alignment: they are not used")
    if odd.any():
        notes.append(f"{np.count_nonzero(odd)} frames have an image key that means nothing: they are not used")
    return np.where(alignment | odd, FrameKind.INVALID, np.where(odd, 0, values)).astype(np.uint8)


def _stored_spec(entry: h5py.Group) -> ScanSpec | None:
    """What was announced, in files that Streamer wrote."""
    written = text(entry, "streamer/spec")
    try:
        return ScanSpec.from_dict(loads(written)) if written else None
    except (BadInput, JSONDecodeError, TypeError):
        return None


def _angles(
    entry: h5py.Group,
    detector: h5py.Group,
    kinds: NDArray[np.uint8],
    path: Path,
    options: ReadOptions,
    notes: list[str],
) -> NDArray[np.float64]:
    """Degrees per frame. Raises BadInput when there are none that fit."""
    own = get(entry, "sample/rotation_angle")
    if is_dataset(own):
        values = read_angles(own, own.name, options.angle_unit, notes)
        # A crash may have left more of the one than of the other.
        ours = text(entry, "streamer/status") is not None
        return values if ours else fit_angles(values, kinds, own.name, path, notes)
    broken: list[str] = []
    for plot in (get(entry, _last(detector)), get(entry, "data")):
        for name in _axis_names(plot):
            axis = get(plot, name)
            if is_dataset(axis) and axis.size == max(axis.shape, default=1) == len(kinds):
                notes.append(f"the angles are those of {plot.name}/{name}")
                return read_angles(axis, f"{plot.name}/{name}", options.angle_unit, notes)
            if isinstance(plot.get(name, getlink=True), h5py.ExternalLink):
                broken.append(f"{plot.name}/{name}: {why_lacking(plot, name)}")
    raise BadInput(f"{path}: no angles ({broken[0] if broken else f'{entry.name}/sample/rotation_angle is missing'})")


def _axis_names(plot: Any) -> list[str]:
    """Members of an NXdata group that may be the rotation angle: its first axis, then others along that dimension."""
    if not isinstance(plot, h5py.Group):
        return []
    axes = np.atleast_1d(plot.attrs.get("axes", []))[:1]
    first = [axis.decode() if isinstance(axis, bytes) else str(axis) for axis in axes]
    members = [*(name for name in first if name in plot), *plot]
    return [name for name in dict.fromkeys(members) if any(word in name.lower() for word in ANGLE_WORDS)]


def _displacements(
    entry: h5py.Group, projections: NDArray[np.bool_], pixel_size_m: float | None, notes: list[str]
) -> None:
    """A note when the sample was moved on purpose while it turned: the projections are not moved back."""
    for axis in "xyz":
        found = get(entry, f"sample/{axis}_translation")
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in REAL or found.size < len(projections):
            continue
        scale, values = scale_of(unit_of(found), METRES), np.ravel(found[()])[: len(projections)][projections]
        moved = float(np.ptp(values)) if values.size and np.isfinite(values).all() else 0.0
        least = MOVED_M if pixel_size_m is None else MOVED_PX * pixel_size_m
        if moved * (scale or 1.0) <= least:
            continue
        by = f"{moved:g} {unit_of(found)}".strip()
        if scale is not None and pixel_size_m is not None:
            by += f" ({moved * scale / pixel_size_m:.1f} px)"
        notes.append(f"{found.name}: the sample was moved by up to {by} between projections; they are not moved back")
