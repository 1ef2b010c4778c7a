"""OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5): Zarr 3 with shards, each level half as fine as the one before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from streamer.io.export.unfinished import Tell, unfinished
from streamer.io.export.volume import Volume
from streamer.io.tomogram import AXES

CHUNK = 64
SHARD = 256  # voxels along each side of a file: 64 MB
SMALLEST = 64  # the coarsest level has no longer side
VERSION = "0.5"

Corner = tuple[int, int, int]


def write_ome_zarr(volume: Volume, folder: Path, tell: Tell) -> None:
    """Write a volume as a multiscale image, float32. Raises BadInput when ``folder`` exists or cannot be written.

    A voxel of a level is the mean of up to 2 × 2 × 2 voxels of the level below. At most three shards are in memory.
    """
    shapes = levels(volume.shape)
    total, done = sum(len(_corners(shape)) for shape in shapes), 0
    with unfinished(folder) as partial:
        group = zarr.create_group(partial, zarr_format=3, attributes=_attributes(volume, shapes))
        source: Any = volume.data
        for level, shape in enumerate(shapes):
            target = _array(group, str(level), shape)
            for corner in _corners(shape):
                _write_shard(source, target, corner, halve=level > 0)
                done += 1
                tell(done, total)
            source = volume.data if level == 0 else target


def levels(shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Shapes of all levels, the finest first."""
    shapes = [shape]
    while max(shapes[-1]) > SMALLEST:
        z, y, x = (-(-n // 2) for n in shapes[-1])
        shapes.append((z, y, x))
    return shapes


def halved(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of neighbours along all axes; the last of an odd number stands alone."""
    for axis, n in enumerate(block.shape):
        first = block[(slice(None),) * axis + (slice(0, None, 2),)].copy()
        second = block[(slice(None),) * axis + (slice(1, None, 2),)]
        pairs = first[(slice(None),) * axis + (slice(0, n // 2),)]
        pairs += second
        pairs *= np.float32(0.5)
        block = first
    return block


def _corners(shape: tuple[int, int, int]) -> list[Corner]:
    z, y, x = (range(0, n, SHARD) for n in shape)
    return list(product(z, y, x))


def _array(group: zarr.Group, name: str, shape: tuple[int, int, int]) -> zarr.Array[Any]:
    shards = tuple(CHUNK * -(-min(n, SHARD) // CHUNK) for n in shape)
    return group.create_array(
        name,
        shape=shape,
        dtype="float32",
        chunks=(CHUNK,) * 3,
        shards=shards,
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=4),
        dimension_names=AXES,
    )


def _write_shard(source: Any, target: zarr.Array[Any], corner: Corner, halve: bool) -> None:
    """Fill the shard of ``target`` that begins at ``corner``."""
    end = tuple(min(at + SHARD, n) for at, n in zip(corner, target.shape, strict=True))
    where = tuple(map(slice, corner, end))
    if not halve:
        target[where] = source[where]
        return
    block = np.empty([stop - start for start, stop in zip(corner, end, strict=True)], np.float32)
    for octant in _octants(block.shape):
        part = tuple(
            slice(2 * (at + o.start), min(2 * (at + o.stop), n))
            for at, o, n in zip(corner, octant, source.shape, strict=True)
        )
        block[octant] = halved(source[part])
    target[where] = block


def _octants(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    half = SHARD // 2
    yield from product(*([slice(at, min(at + half, n)) for at in range(0, n, half)] for n in shape))


def _attributes(volume: Volume, shapes: list[tuple[int, int, int]]) -> dict[str, Any]:
    unit = {} if volume.about.pixel_size_m is None else {"unit": volume.length_unit}
    datasets = []
    for level in range(len(shapes)):
        # An axis of one voxel is not halved any more.
        factors = [min(2**level, 2 ** (n - 1).bit_length()) for n in volume.shape]
        scale = [volume.step * factor for factor in factors]
        middle = [at + volume.step * (factor - 1) / 2 for at, factor in zip(volume.origin, factors, strict=True)]
        transformations = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": middle}]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    about = volume.about
    multiscale = {
        "name": about.sample or volume.path.stem,
        "axes": [{"name": name, "type": "space", **unit} for name in AXES],
        "datasets": datasets,
        "type": "mean",
    }
    source = {"file": volume.path.name, "sample": about.sample, "unit": about.unit, "parameters": about.parameters}
    return {"ome": {"version": VERSION, "multiscales": [multiscale]}, "streamer": source}
