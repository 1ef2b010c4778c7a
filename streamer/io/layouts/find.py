"""Finds the scan in a file, and flats and darks in other files."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from streamer.frames import BadInput, FrameKind
from streamer.io.layouts.dxchange import dxchange
from streamer.io.layouts.hdf5 import attribute, get, text
from streamer.io.layouts.layout import Layout, ReadOptions, Stack, as_stack, datasets_of
from streamer.io.layouts.nexus import detectors, nexus
from streamer.io.raw.unclosed import open_raw

EXCHANGE = re.compile(r"exchange(_\d+)?")


@dataclass(frozen=True)
class Found:
    """A scan in a file. ``detector`` is None in DXchange."""

    group: h5py.Group
    detector: h5py.Group | None = None

    @property
    def path(self) -> str:
        return str(self.group.name).strip("/")

    def layout(self, path: Path, options: ReadOptions) -> Layout:
        if self.detector is None:
            return dxchange(self.group, path, options)
        return nexus(self.group, self.detector, path, options)


def find_layout(file: h5py.File, path: Path, options: ReadOptions, others: ExitStack) -> Layout:
    """The scan that ``options`` or the file's own default choose, else the first. ``others`` closes further files.

    Raises BadInput, one line, when the file has none of the known layouts or lacks what is needed.
    """
    scans = _scans(file)
    if not scans:
        raise BadInput(f"{path}: neither NXtomo (a detector with image_key) nor DXchange (/exchange/data)")
    chosen, notes = _choose(scans, path, options.entry)
    layout = chosen.layout(path, options)
    layout = layout if layout.spec is None else layout.with_known_angles()
    for name, kind in ((options.flats, FrameKind.FLAT), (options.darks, FrameKind.DARK)):
        if name is not None:
            layout = layout.with_fields(kind, _fields(name, kind, layout.shape, others), name)
    layout = layout.corrected(path) if options.corrected else layout
    if not (layout.kinds == FrameKind.FLAT).any():
        notes.append("there are no flats: --flats takes others, --corrected is for frames that are transmissions")
    return replace(layout, notes=(*notes, *layout.notes))


def _scans(file: h5py.File) -> list[Found]:
    """All scans, the one to take first."""
    default = attribute(file, "default").strip("/")
    groups = [group for name in file if isinstance(group := get(file, name), h5py.Group)]
    groups += [inner for group in groups for name in group if isinstance(inner := get(group, name), h5py.Group)]
    found: list[Found] = []
    for group in groups:
        if any(group == other.group for other in found):  # two names of the same
            continue
        if EXCHANGE.fullmatch(str(group.name).strip("/")):
            found.append(Found(group))
        found += [Found(group, detector) for detector in detectors(group)]

    def place(scan: Found) -> tuple[bool, int, bool, str]:
        wanted = bool(default) and os.path.commonpath((scan.path, default)) in (scan.path, default)
        nxtomo = (text(scan.group, "definition") or "").lower() == "nxtomo"
        return not wanted, 0 if scan.detector is None else 1 if nxtomo else 2, scan.path not in USUAL, scan.path

    return sorted(found, key=place)


USUAL = ("exchange", "entry")


def _choose(scans: list[Found], path: Path, entry: str | None) -> tuple[Found, list[str]]:
    """One of the scans, and a note when there are several. Raises BadInput when ``entry`` is none of them."""
    entries = list(dict.fromkeys(scan.path for scan in scans))
    first = scans[0]
    if entry is not None:
        wanted = entry.strip("/")
        names = {str((scan.detector or scan.group).name).strip("/"): scan for scan in reversed(scans)}
        names |= {scan.path: scan for scan in reversed(scans)}
        if wanted not in names:
            raise BadInput(f"{path}: no scan {entry!r}; there are {', '.join(entries)}")
        return names[wanted], []
    notes = []
    if len(entries) > 1:
        notes.append(f"the file has {len(entries)} scans ({', '.join(entries)}): {first.path} is taken")
    cameras = [str(scan.detector.name) for scan in scans if scan.path == first.path and scan.detector is not None]
    if len(cameras) > 1:
        notes.append(f"{first.path} has {len(cameras)} detectors ({', '.join(cameras)}): {cameras[0]} is taken")
    return first, notes


def _fields(name: str, kind: FrameKind, shape: tuple[int, int], others: ExitStack) -> Stack:
    """Flats or darks of another file: the dataset that is named, else those of its scan, else its only images."""
    whole = Path(name)
    file_name, _, dataset = (name, "", "") if whole.is_file() else name.partition(":")
    path = Path(file_name)
    file = others.enter_context(open_raw(path))
    if dataset:
        stack = as_stack(get(file, dataset), shape)
        if stack is None:
            raise BadInput(f"{path}: no frames of {shape} at {dataset}")
        return stack
    for scan in _scans(file):
        if (stack := _of_scan(scan, kind, shape)) is not None:
            return stack
    images = [found for found in datasets_of(file) if found.shape[-2:] == shape and found.ndim in (2, 3)]
    if len(images) != 1:
        listed = ", ".join(found.name for found in images) or "no dataset"
        raise BadInput(f"{path}: frames of {shape} are in {listed}; choose with {path}:/DATASET")
    stack = as_stack(images[0], shape)
    if stack is None:
        raise BadInput(f"{path}: {images[0].name} has no frames")
    return stack


def _of_scan(scan: Found, kind: FrameKind, shape: tuple[int, int]) -> Stack | None:
    """The frames of one kind in a scan; None where it has none."""
    if scan.detector is None:
        return as_stack(get(scan.group, "data_white" if kind is FrameKind.FLAT else "data_dark"), shape)
    keys, images = get(scan.detector, "image_key"), as_stack(get(scan.detector, "data"), shape)
    if not isinstance(keys, h5py.Dataset) or images is None:
        return None
    chosen = np.flatnonzero(np.ravel(keys[()])[: len(images)] == kind)
    return images[chosen] if chosen.size else None
