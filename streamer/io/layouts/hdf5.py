"""What HDF5 does not say by itself: links that lead nowhere, filters that are not installed, frames it makes up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.raw.unclosed import open_raw

LINK_DEPTH = 8
NESTED = 4
"""Virtual datasets of virtual datasets that are followed."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def get(group: Any, name: str) -> Any:
    """A member, or None when it is not there, has no values, or its link leads nowhere."""
    try:
        found = group.get(name) if isinstance(group, h5py.Group) else None
    except (KeyError, OSError):
        return None
    return None if isinstance(found, h5py.Dataset) and found.shape is None else found


def text(group: Any, name: str) -> str | None:
    found = get(group, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "OSU":
        return None
    value = np.ravel(found[()])[0]
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip() or None


def attribute(holder: Any, name: str) -> str:
    """An attribute that is one text; empty when it is not there."""
    value = np.ravel(holder.attrs.get(name, "")) if isinstance(holder, h5py.Group) else np.array([""])
    first = value[0] if value.size else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def why_lacking(group: h5py.Group, name: str) -> str:
    """Why a group has no images or numbers of that name."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"it links to {link.filename}, which is not there or lacks {link.path}"
    return "it is missing, or no stack of images of real numbers"


def broken_links(entry: h5py.Group, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def check_filters(dataset: h5py.Dataset) -> None:
    """Raises BadInput when the frames are compressed in a way that this installation cannot undo."""
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if _available(code):
            continue
        words = name.decode(errors="replace").split(";")[0].strip()
        named = f"HDF5 filter {code}" + (f" ({words})" if words else "")
        raise BadInput(
            f"{dataset.file.filename}: {dataset.name} is compressed by the {named}, which is not installed; "
            "pip install hdf5plugin has the usual ones"
        )


def _available(code: int) -> bool:
    if not h5py.h5z.filter_avail(code):
        with suppress(ImportError):
            import_module("hdf5plugin")  # importing it registers its filters
    return bool(h5py.h5z.filter_avail(code))


def lost_frames(dataset: h5py.Dataset, depth: int = NESTED) -> tuple[Bools, tuple[str, ...]]:
    """Which frames (first axis) are not there though HDF5 gives zeros for them, and why, a line for each cause.

    HDF5 does so where a source of a virtual dataset is missing or too short, and where nothing was ever written.
    Raises BadInput as ``check_filters`` does.
    """
    check_filters(dataset)
    lost, causes = np.zeros(len(dataset), bool), dict[str, None]()
    if dataset.is_virtual and depth:
        look = cache(partial(_look, dataset, depth - 1))
        mapped = np.zeros(len(dataset), bool)
        for part in dataset.virtual_sources():
            for names, frames in _named(part, len(dataset)):
                gone, cause = _gone(look(*names), part, frames)
                mapped[frames] = True
                lost[frames] |= gone
                if cause:
                    causes[cause] = None
        if not mapped.all():
            causes[f"{dataset.name}: {np.count_nonzero(~mapped)} frames have no source"] = None
        return lost | ~mapped, tuple(causes)
    for name, *_ in dataset.external or ():
        if _existing(dataset, name) is None:
            return ~lost, (f"{name} is missing, which holds {dataset.name}",)
    lost = _unwritten(dataset)
    return lost, (f"{dataset.name}: {np.count_nonzero(lost)} frames were never written",) if lost.any() else ()


@dataclass(frozen=True)
class _Source:
    """A dataset that a virtual one is made of. ``lost`` is None when there is none; ``cause`` says why, or of what."""

    cause: str
    lost: Bools | None = None
    frames: bool = True  # it has an axis of frames
    short: str = ""


def _look(dataset: h5py.Dataset, depth: int, file_name: str, name: str) -> _Source:
    if file_name == ".":
        return _source(get(dataset.file, name), depth, file_name, name)
    found = _existing(dataset, file_name)
    if found is None:
        return _Source(f"{file_name} is missing, a source of {dataset.name}")
    with open_raw(found) as file:
        return _source(get(file, name), depth, file_name, name)


def _source(found: Any, depth: int, file_name: str, name: str) -> _Source:
    if not isinstance(found, h5py.Dataset) or not found.ndim:
        return _Source(f"{file_name} lacks {name}")
    lost, causes = lost_frames(found, depth)
    short = f"{file_name} holds only {len(found)} frames in {name}"
    return _Source(causes[0] if causes else "", lost, found.ndim == 3, short)


def _named(part: Any, length: int) -> Iterator[tuple[tuple[str, str], Ints]]:
    """File and dataset of a mapping, with the frames that come from there; a pattern names one for each block."""
    blocks, names = _blocks(part.vspace, length), (part.file_name, part.dset_name)
    if not any("%b" in name for name in names):
        yield names, np.concatenate(blocks)
        return
    for number, frames in enumerate(blocks):
        file_name, name = (name.replace("%b", str(number)).replace("%%", "%") for name in names)
        yield (file_name, name), frames


def _gone(source: _Source, part: Any, frames: Ints) -> tuple[Any, str]:
    """Which of ``frames`` the source of a mapping lacks, or whether it lacks them all; and why."""
    if source.lost is None:
        return True, source.cause
    # A mapping of a whole source does not say how large it was; a source of one frame has no axis of frames.
    length = len(frames) if source.frames else len(source.lost)
    taken = np.concatenate(_blocks(part.src_space, (*part.src_space.get_simple_extent_dims(), length)[0]))
    beyond = taken >= len(source.lost)
    gone = beyond if beyond.all() else beyond | source.lost[np.where(beyond, 0, taken)]
    cause = source.cause if gone.any() else ""
    return gone if len(gone) == len(frames) else bool(gone.any()), source.short if beyond.any() else cause


def _blocks(space: Any, extent: int) -> list[Ints]:
    """Indices along the first axis, of ``extent``, that a selection takes, block by block."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        whole = space.get_select_type() == h5py.h5s.SEL_ALL
        first, last = (0, extent - 1) if whole else (int(bound[0]) for bound in space.get_select_bounds())
        return [np.arange(first, last + 1)]
    if not space.is_regular_hyperslab():
        corners = {(int(block[0][0]), int(block[1][0])) for block in space.get_select_hyper_blocklist()}
        return [np.unique(np.concatenate([np.arange(first, last + 1) for first, last in corners]))]
    start, stride, number, size = (int(value[0]) for value in space.get_regular_hyperslab())
    last = min(start + number * stride, extent)  # an unlimited selection has no number
    blocks = [np.arange(first, min(first + size, extent)) for first in range(start, last, max(1, stride))]
    return blocks or [np.arange(0)]


def _existing(dataset: h5py.Dataset, name: str) -> Path | None:
    """The file of that name where HDF5 looks for it, or None."""
    folder = Path(dataset.file.filename).parent
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(folder))
    places = [Path(name), *(place / part for part in (name, Path(name).name) for place in (folder, Path(prefix)))]
    return next((place for place in places if place.is_file()), None)


def _unwritten(dataset: h5py.Dataset) -> Bools:
    """Frames for which the file has no bytes."""
    lost = np.zeros(len(dataset), bool)
    if dataset.chunks is None:
        return lost if dataset.id.get_storage_size() or not dataset.size else ~lost
    grid = [-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() >= np.prod(grid):
        return lost
    thick, found = dataset.chunks[0], np.zeros(grid[0], np.int64)

    def visit(chunk: Any) -> None:
        found[chunk.chunk_offset[0] // thick] += 1

    dataset.id.chunk_iter(visit)
    return np.repeat(found < np.prod(grid[1:]), thick)[: len(dataset)]
