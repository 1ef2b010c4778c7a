"""DXchange, the layout of APS: ``/exchange/data``, ``data_white``, ``data_dark``, ``theta``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamer.frames import BadInput, FrameKind
from streamer.io.layouts.angles import check_turned, planned_angles, read_angles
from streamer.io.layouts.hdf5 import get, text, why_lacking
from streamer.io.layouts.layout import Layout, ReadOptions, Stack, as_stack, lost_in
from streamer.io.layouts.units import ENERGY, PIXEL_SIZE, REAL, quantity


def dxchange(exchange: h5py.Group, path: Path, options: ReadOptions) -> Layout:
    """Raises BadInput, one line, when images or angles are missing or do not fit."""
    data = _member(exchange, "data", path)
    if data is None:
        raise BadInput(f"{path}: {exchange.name}/data is missing")
    if data.ndim != 3:
        raise BadInput(f"{path}: {data.name} has shape {data.shape}, it must be (projections, rows, columns)")
    notes: list[str] = []
    theta = _member(exchange, "theta", path)
    if theta is None:
        raise BadInput(f"{path}: {exchange.name}/theta is missing, so the angles are not known")
    written = read_angles(theta, theta.name, options.angle_unit, notes)
    angles = planned_angles(written, len(data), theta.name, path, notes)
    check_turned(angles, path)
    parts: list[tuple[FrameKind, Stack]] = [(FrameKind.PROJECTION, data)]
    for name, kind in (("data_white", FrameKind.FLAT), ("data_dark", FrameKind.DARK)):
        dataset = _member(exchange, name, path)
        if dataset is None or not dataset.size:
            continue
        stack = as_stack(dataset, data.shape[1:])
        if stack is None or stack.shape[1:] != data.shape[1:]:
            raise BadInput(f"{path}: {dataset.name} has shape {dataset.shape}, data {data.shape}")
        parts.insert(0, (kind, stack))
    kinds, datasets = zip(*parts, strict=True)
    planned = len(angles) - len(data)  # projections that were to come
    counts = [*(len(dataset) for dataset in datasets[:-1]), len(angles)]
    gone = [lost_in(dataset) for dataset in datasets]
    notes += [line for _, lines in gone for line in lines]
    file, n = exchange.file, sum(counts)
    return Layout(
        name="DXchange",
        datasets=datasets,
        source=np.repeat(np.arange(len(counts)), counts),
        place=np.concatenate([np.arange(count) for count in counts]),
        kinds=np.repeat(np.array(kinds, np.uint8), counts),
        angles_deg=np.concatenate([np.zeros(n - len(angles)), angles]),
        index=np.arange(n),
        timestamp_ns=np.zeros(n, np.int64),
        exposure_s=np.zeros(n),
        monitor=np.ones(n),
        lost=np.concatenate([*(lost for lost, _ in gone), np.ones(planned, bool)]),
        sample=text(file, "measurement/sample/name") or text(file, "measurement/sample/sample_name"),
        pixel_size_m=quantity(get(file, "measurement/instrument/detector/pixel_size_x"), PIXEL_SIZE, notes)
        or quantity(get(file, "measurement/instrument/detection_system/objective/resolution"), PIXEL_SIZE, notes),
        energy_kev=quantity(get(file, "measurement/instrument/monochromator/energy"), ENERGY, notes),
        notes=tuple(notes),
    )


def _member(exchange: Any, name: str, path: Path) -> h5py.Dataset | None:
    """Numbers of a DXchange file, None when there are none of that name. Raises BadInput for what cannot be read."""
    if exchange.get(name, getlink=True) is None:
        return None
    found = get(exchange, name)
    if found is None:
        raise BadInput(f"{path}: no {exchange.name}/{name}: {why_lacking(exchange, name)}")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in REAL or found.ndim == 0:
        raise BadInput(f"{path}: {found.name} is no array of real numbers")
    return found
