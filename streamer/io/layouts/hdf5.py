"""What HDF5 does not say by itself: links that lead nowhere, filters that are not installed, frames it makes up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.unclosed import open_raw

LINK_DEPTH = 8
NESTED = 4
"""Virtual datasets of virtual datasets that are followed."""

Bools = NDArray[np.bool_]


def get(group: Any, name: str) -> Any:
    """A member, or None when it is not there or its link leads nowhere."""
    try:
        return group.get(name) if isinstance(group, h5py.Group) else None
    except (KeyError, OSError):
        return None


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
        mapped = np.zeros(len(dataset), bool)
        for part in dataset.virtual_sources():
            for frames, gone, cause in _part(dataset, part, depth):
                mapped[frames] = True
                lost[frames] |= gone
                if cause is not None:
                    causes[cause] = None
        if not mapped.all():
            causes[f"{dataset.name}: {np.count_nonzero(~mapped)} frames have no source"] = None
        return lost | ~mapped, tuple(causes)
    for name, *_ in dataset.external or ():
        if _existing(dataset, name) is None:
            return ~lost, (f"{name} is missing, which holds {dataset.name}",)
    lost = _unwritten(dataset)
    return lost, (f"{dataset.name}: {np.count_nonzero(lost)} frames were never written",) if lost.any() else ()


def _part(dataset: h5py.Dataset, part: Any, depth: int) -> Iterator[tuple[NDArray[np.int64], Any, str | None]]:
    """The frames of one mapping of a virtual dataset, those that are gone (all or by frame), and why."""
    blocks = _blocks(part.vspace, len(dataset))
    if "%b" not in part.file_name + part.dset_name:
        frames = np.concatenate(blocks)
        yield frames, *_source(dataset, part, frames, depth)
        return
    for number, frames in zip(count(), blocks):
        named = [name.replace("%b", str(number)).replace("%%", "%") for name in (part.file_name, part.dset_name)]
        yield frames, *_source(dataset, part._replace(file_name=named[0], dset_name=named[1]), frames, depth)


def _source(dataset: h5py.Dataset, part: Any, frames: NDArray[np.int64], depth: int) -> tuple[Any, str | None]:
    """Which of ``frames`` the source of a mapping lacks (all of them: True), and why."""
    if part.file_name == ".":
        return _of_source(get(dataset.file, part.dset_name), part, frames, depth)
    found = _existing(dataset, part.file_name)
    if found is None:
        return True, f"{part.file_name} is missing, a source of {dataset.name}"
    with open_raw(found) as file:
        return _of_source(get(file, part.dset_name), part, frames, depth)


def _of_source(source: Any, part: Any, frames: NDArray[np.int64], depth: int) -> tuple[Any, str | None]:
    if not isinstance(source, h5py.Dataset) or not source.ndim:
        return True, f"{part.file_name} lacks {part.dset_name}"
    lost, causes = lost_frames(source, depth - 1)
    # A mapping of a whole source does not say how large it was; a source of one frame has no axis of frames.
    extent = (*part.src_space.get_simple_extent_dims(), len(frames) if source.ndim == 3 else len(source))[0]
    taken = np.concatenate(_blocks(part.src_space, extent))
    beyond = taken >= len(source)
    gone = beyond if beyond.all() else beyond | lost[np.where(beyond, 0, taken)]
    if beyond.any():
        causes = (*causes, f"{part.file_name} holds only {len(source)} frames in {part.dset_name}")
    return (gone if len(gone) == len(frames) else bool(gone.any())), causes[0] if causes else None


def _blocks(space: Any, extent: int) -> list[NDArray[np.int64]]:
    """Indices along the first axis, of ``extent``, that a selection takes, block by block."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        if space.get_select_type() == h5py.h5s.SEL_ALL:
            return [np.arange(extent)]
        first, last = (int(bound[0]) for bound in space.get_select_bounds())
        return [np.arange(first, min(last + 1, extent))]
    start, stride, number, size = (int(value[0]) for value in space.get_regular_hyperslab())
    last_block = min(start + number * stride, extent)  # an unlimited selection has no number
    blocks = [np.arange(first, min(first + size, extent)) for first in range(start, last_block, max(1, stride))]
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
