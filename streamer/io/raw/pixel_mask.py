"""Which pixels of a detector are not to be used: ``pixel_mask`` (rows, columns) of NXdetector, 0 for a good one.

Bits: 0 gap, 1 dead, 2 and 3 respond too little or too much, 4 noisy, 8 defined by the user, 31 virtual. The mask of a
detector is kept as it is.
"""

from __future__ import annotations

import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

PixelMask = NDArray[np.uint32]

NAME = "pixel_mask"
USER_DEFINED = np.uint32(1 << 8)


def as_mask(values: ArrayLike) -> PixelMask:
    """A detector's own mask, or, of truth values, the user's map of defects."""
    given = np.asarray(values)
    return given * USER_DEFINED if given.dtype == np.bool_ else given.astype(np.uint32)


def joined(*masks: PixelMask | None) -> PixelMask | None:
    """What any of the masks says; None when there is none."""
    known = [mask for mask in masks if mask is not None]
    return np.bitwise_or.reduce(known) if known else None


def pack(mask: PixelMask) -> bytes:
    """For a message to another of our processes: most masks are nearly empty."""
    return zlib.compress(np.ascontiguousarray(mask, "<u4").tobytes(), 1)


def unpack(packed: bytes, shape: tuple[int, int]) -> PixelMask:
    return np.frombuffer(zlib.decompress(packed), "<u4").reshape(shape)


def make_room(detector: h5py.Group, shape: tuple[int, int], mask: PixelMask | None = None) -> None:
    """A dataset that takes no room until a mask is written, which is allowed while the file is read."""
    options: dict[str, Any] = {"chunks": shape, "compression": "gzip", "compression_opts": 1, "fillvalue": 0}
    detector.create_dataset(NAME, shape, "<u4", data=mask, **options)


def read_mask(detector: h5py.Group) -> PixelMask | None:
    """What a file of ours says; None when it says nothing."""
    if NAME not in detector or not detector[NAME].id.get_storage_size():
        return None
    mask: PixelMask = detector[NAME][()]
    return mask if mask.any() else None
