"""Where the images, angles and counts of a recorded scan lie: one function per layout, one result for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.nxtomo import UNWRITTEN

ANGLE_WORDS = ("theta", "rot", "angle", "omega")
LENGTHS_M = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "micron": 1e-6, "microns": 1e-6, "nm": 1e-9}
ENERGIES_KEV = {"kev": 1.0, "ev": 1e-3}
LINK_DEPTH = 8
REAL = "uif"  # kinds of dtypes


@dataclass(frozen=True)
class Layout:
    """A scan as arrays over its n frames, in the order of the file; frame k is ``datasets[source[k]][place[k]]``."""

    name: str
    datasets: tuple[h5py.Dataset, ...]  # (frames, rows, columns) each
    source: NDArray[np.int64]
    place: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    angles_deg: NDArray[np.float64]
    index: NDArray[np.int64]
    timestamp_ns: NDArray[np.int64]
    exposure_s: NDArray[np.float64]
    monitor: NDArray[np.float64]
    sample: str | None = None
    pixel_size_m: float | None = None
    energy_kev: float | None = None
    distance_m: float | None = None
    status: str | None = None
    spec: ScanSpec | None = None
    missing_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_layout(file: h5py.File, path: Path) -> Layout:
    """Raises BadInput, one line, when the file has none of the known layouts or lacks what is needed."""
    if "exchange" in file:
        return _dxchange(file, path)
    for entry in _entries(file):
        if (detector := _detector(entry, path)) is not None:
            return _nexus(entry, detector, path)
    raise BadInput(f"{path}: neither NXtomo (a detector with image_key) nor DXchange (/exchange/data)")


def _dxchange(file: h5py.File, path: Path) -> Layout:
    exchange = _get(file, "exchange")
    data = _member(exchange, "data", path)
    if data is None:
        raise BadInput(f"{path}: /exchange/data is missing")
    if data.ndim != 3:
        raise BadInput(f"{path}: /exchange/data has shape {data.shape}, it must be (projections, rows, columns)")
    parts = [(FrameKind.PROJECTION, data)]
    for name, kind in (("data_white", FrameKind.FLAT), ("data_dark", FrameKind.DARK)):
        dataset = _member(exchange, name, path)
        if dataset is None or dataset.shape[:1] == (0,):
            continue
        if dataset.ndim != 3 or dataset.shape[1:] != data.shape[1:]:
            raise BadInput(f"{path}: /exchange/{name} has shape {dataset.shape}, data {data.shape}")
        parts.insert(0, (kind, dataset))
    kinds, datasets = zip(*parts, strict=True)
    angles = _member(exchange, "theta", path)
    if angles is None:
        raise BadInput(f"{path}: /exchange/theta is missing, so the angles are not known")
    theta = _degrees(angles)
    counts = [len(dataset) for dataset in datasets]
    if len(theta) != len(data):
        raise BadInput(f"{path}: {len(theta)} angles in /exchange/theta for {len(data)} projections")
    n = sum(counts)
    return Layout(
        name="DXchange",
        datasets=datasets,
        source=np.repeat(np.arange(len(counts)), counts),
        place=np.concatenate([np.arange(count) for count in counts]),
        kinds=np.repeat(np.array(kinds, np.uint8), counts),
        angles_deg=np.concatenate([np.zeros(n - len(theta)), theta]),
        index=np.arange(n),
        timestamp_ns=np.zeros(n, np.int64),
        exposure_s=np.zeros(n),
        monitor=np.ones(n),
        sample=_text(file, "measurement/sample/name") or _text(file, "measurement/sample/sample_name"),
        pixel_size_m=_number(file, "measurement/instrument/detector/pixel_size_x", LENGTHS_M)
        or _number(file, "measurement/instrument/detection_system/objective/resolution", LENGTHS_M),
        energy_kev=_number(file, "measurement/instrument/monochromator/energy", ENERGIES_KEV),
    )


def _member(exchange: Any, name: str, path: Path) -> h5py.Dataset | None:
    """Numbers of a DXchange file, None when there are none of that name. Raises BadInput for what cannot be read."""
    if not isinstance(exchange, h5py.Group) or exchange.get(name, getlink=True) is None:
        return None
    found = _get(exchange, name)
    if found is None:
        raise BadInput(f"{path}: no {exchange.name}/{name}: {_why_lacking(exchange, name)}")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in REAL or found.ndim == 0:
        raise BadInput(f"{path}: {found.name} is no array of real numbers")
    return found


def _entries(file: h5py.File) -> Iterator[h5py.Group]:
    """Groups of the root, the usual one first."""
    names = sorted(file, key=lambda name: (name != "entry", name))
    yield from (group for name in names if isinstance(group := _get(file, name), h5py.Group))


def _detector(entry: h5py.Group, path: Path) -> h5py.Group | None:
    """The group with image keys whose images are there. Raises BadInput when only the images are lacking."""
    instrument = _get(entry, "instrument")
    if not isinstance(instrument, h5py.Group):
        return None
    names = sorted(instrument, key=lambda name: (name != "detector", name))
    lacking = ""
    for name in names:
        group = _get(instrument, name)
        if not isinstance(group, h5py.Group) or "image_key" not in group:
            continue
        data = _get(group, "data")
        if isinstance(data, h5py.Dataset) and data.ndim == 3 and data.dtype.kind in REAL:
            return group
        lacking = lacking or f"{group.name}/data: {_why_lacking(group, 'data')}"
    if lacking:
        raise BadInput(f"{path}: no images at {lacking}")
    return None


def _why_lacking(group: h5py.Group, name: str) -> str:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"it links to {link.filename}, which is not there or lacks {link.path}"
    return "it is missing, or no stack of images of real numbers"


def _nexus(entry: h5py.Group, detector: h5py.Group, path: Path) -> Layout:
    data, keys = detector["data"], detector["image_key"]
    if keys.dtype.kind not in REAL:
        raise BadInput(f"{path}: {keys.name} is no array of real numbers")
    missing, notes = _broken_links(entry, path)
    angles, angle_note = _angles(entry, detector, len(keys), path)
    spec = _stored_spec(entry)
    # Elsewhere sequence numbers need not count the frames of this scan.
    indices = _get(detector, "sequence_number") if spec is not None else None
    # A file whose writer was killed may have more images than keys, or the other way round.
    n = min(len(data), len(keys), len(angles), len(data) if indices is None else len(indices))
    kinds = np.clip(keys[:n], 0, 3).astype(np.uint8)
    kept = np.flatnonzero(kinds != FrameKind.INVALID if indices is None else indices[:n] < UNWRITTEN)
    index = np.arange(len(kept)) if indices is None else indices[:n].astype(np.int64)[kept]

    def per_frame(group: Any, name: str, empty: float, dtype: Any) -> NDArray[Any]:
        found = _get(group, name)
        if isinstance(found, h5py.Dataset) and found.ndim == 1 and len(found) >= n:
            return np.asarray(found[:n], dtype)[kept]
        if isinstance(found, h5py.Dataset) and found.ndim == 0:
            empty = found[()]
        return np.full(len(kept), empty, dtype)

    return Layout(
        name="NXtomo" if (_text(entry, "definition") or "").lower() == "nxtomo" else "NeXus",
        datasets=(data,),
        source=np.zeros(len(kept), np.int64),
        place=kept,
        kinds=kinds[kept],
        angles_deg=angles[:n][kept],
        index=index,
        timestamp_ns=per_frame(detector, "timestamp", 0, np.int64),
        exposure_s=per_frame(detector, "count_time", 0.0, np.float64),
        monitor=per_frame(_get(entry, "control"), "data", 1.0, np.float64),
        sample=_text(entry, "sample/name"),
        pixel_size_m=_number(detector, "x_pixel_size", LENGTHS_M),
        energy_kev=_number(entry, "instrument/beam/incident_energy", ENERGIES_KEV)
        or _number(entry, "beam/incident_energy", ENERGIES_KEV),
        distance_m=_number(detector, "distance", LENGTHS_M),
        status=_text(entry, "streamer/status"),
        spec=spec,
        missing_files=missing,
        notes=(*notes, *angle_note),
    )


def _stored_spec(entry: h5py.Group) -> ScanSpec | None:
    """What was announced, in files that Streamer wrote."""
    text = _text(entry, "streamer/spec")
    try:
        return ScanSpec.from_dict(loads(text)) if text else None
    except (BadInput, JSONDecodeError, TypeError):
        return None


def _angles(entry: h5py.Group, detector: h5py.Group, n: int, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Degrees per frame, and what had to be assumed. Raises BadInput when there are none that fit."""
    own = _get(entry, "sample/rotation_angle")
    if isinstance(own, h5py.Dataset) and own.ndim == 1 and len(own):
        if _text(entry, "streamer/status") is None and len(own) != n:
            raise BadInput(f"{path}: {len(own)} angles in {own.name}, {n} image keys")
        return _degrees(own), ()
    plot = _get(entry, detector.name.rsplit("/", 1)[1])
    for name in _axis_names(plot):
        axis = _get(plot, name)
        if isinstance(axis, h5py.Dataset) and axis.shape == (n,):
            where = f"the angles are those of {plot.name}/{name}"
            unit = "" if "units" in axis.attrs else ", which has no unit: degrees assumed"
            return _degrees(axis), (where + unit,)
    broken = [f"{plot.name}/{name}: {_why_lacking(plot, name)}" for name in _axis_names(plot) if name in plot]
    raise BadInput(f"{path}: no angles ({broken[0] if broken else f'{entry.name}/sample/rotation_angle is missing'})")


def _axis_names(plot: Any) -> list[str]:
    """Members of an NXdata group that may be the rotation angle: its first axis, then others along that dimension."""
    if not isinstance(plot, h5py.Group):
        return []
    axes = np.atleast_1d(plot.attrs.get("axes", []))[:1]
    first = [axis.decode() if isinstance(axis, bytes) else str(axis) for axis in axes]
    members = [*first, *plot]
    return [name for name in dict.fromkeys(members) if any(word in name.lower() for word in ANGLE_WORDS)]


def _broken_links(entry: h5py.Group, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files that external links name and that are not there, and a line about each."""
    used: dict[str, list[str]] = {}

    def visit(group: h5py.Group, depth: int) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                if not (path.parent / link.filename).exists():
                    used.setdefault(link.filename, []).append(f"{group.name}/{name}")
            elif isinstance(link, h5py.HardLink) and depth and isinstance(child := group[name], h5py.Group):
                visit(child, depth - 1)

    visit(entry, LINK_DEPTH)
    lines = [f"{file} is missing: {len(at)} links to it lead nowhere, the first {at[0]}" for file, at in used.items()]
    return tuple(used), tuple(lines)


def _get(group: Any, name: str) -> Any:
    """A member, or None when it is not there or its link leads nowhere."""
    try:
        return group.get(name) if isinstance(group, h5py.Group) else None
    except (KeyError, OSError):
        return None


def _text(group: h5py.Group, name: str) -> str | None:
    found = _get(group, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "OSU":
        return None
    value = np.ravel(found[()])[0]
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip() or None


def _number(group: h5py.Group, name: str, units: dict[str, float]) -> float | None:
    """A positive number with a unit that we know; anything else counts as not known."""
    found = _get(group, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "iuf":
        return None
    scale = units.get(_unit(found).lower())
    value = float(np.ravel(found[()])[0]) * scale if scale is not None else 0.0
    return value if np.isfinite(value) and value > 0 else None


def _unit(dataset: h5py.Dataset) -> str:
    unit: Callable[[], Any] | Any = dataset.attrs.get("units", "")
    return unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)


def _degrees(dataset: h5py.Dataset) -> NDArray[np.float64]:
    if dataset.dtype.kind not in REAL:
        raise BadInput(f"{dataset.file.filename}: {dataset.name} is no array of real numbers")
    values = np.asarray(dataset[()], np.float64).ravel()
    return np.rad2deg(values) if _unit(dataset).lower().startswith("rad") else values
