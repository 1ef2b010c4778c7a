"""A recorded scan as arrays over its frames, whatever the layout of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.layouts.hdf5 import lost_frames
from streamer.io.layouts.units import REAL
from streamer.options import Options
from streamer.schema import runs


class ReadOptions(Options):
    """What a file of a scan does not say, or says wrongly."""

    entry: str | None = None
    """which scan of a file with several: its path, for example entry0001; default: that which the file calls default,
    else the first"""
    flats: str | None = None
    """flats from another HDF5 file instead of those of the scan: FILE, or FILE:DATASET"""
    darks: str | None = None
    """darks from another HDF5 file instead of those of the scan: FILE, or FILE:DATASET"""
    corrected: bool = False
    """the frames are transmissions already: no darks and flats are used"""
    angle_unit: Literal["deg", "mrad", "rad"] | None = None
    """unit of the angles, instead of that in the file"""


Stack: TypeAlias = Any
"""A dataset or an array (frames, rows, columns)."""


@dataclass(frozen=True)
class Layout:
    """A scan as arrays over its n frames, in the order of the file; frame k is ``datasets[source[k]][place[k]]``.

    ``lost`` frames are not there, though the file has a place for them.
    """

    name: str
    datasets: tuple[Stack, ...]
    source: NDArray[np.int64]
    place: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    angles_deg: NDArray[np.float64]
    index: NDArray[np.int64]
    timestamp_ns: NDArray[np.int64]
    exposure_s: NDArray[np.float64]
    monitor: NDArray[np.float64]
    lost: NDArray[np.bool_]
    sample: str | None = None
    pixel_size_m: float | None = None
    energy_kev: float | None = None
    distance_m: float | None = None
    status: str | None = None
    spec: ScanSpec | None = None
    missing_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mask: NDArray[np.uint32] | None = None
    """pixels (rows, columns) of the detector that are not to be used are not 0; None: the file does not say"""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        rows, columns = self.datasets[0].shape[1:]
        return int(rows), int(columns)

    def with_fields(self, kind: FrameKind, stack: Stack, name: str) -> Layout:
        """The same scan with other flats or darks, in front of everything. Raises BadInput when they do not fit."""
        if stack.shape[1:] != self.shape:
            raise BadInput(f"{name} has frames of {stack.shape[1:]}, the scan of {self.shape}")
        n, own = len(stack), self.kinds == kind
        lost, notes = lost_in(stack)
        if own.any():
            notes.append(f"{np.count_nonzero(own)} {kind.name.lower()}s of the scan are not used: others were given")

        def prepended(values: NDArray[Any], first: Any) -> NDArray[Any]:
            return np.concatenate([np.broadcast_to(np.asarray(first, values.dtype), n), values])

        return replace(
            self,
            datasets=(*self.datasets, stack),
            source=prepended(self.source, len(self.datasets)),
            place=prepended(self.place, np.arange(n)),
            kinds=prepended(np.where(own, np.uint8(FrameKind.INVALID), self.kinds), kind),
            angles_deg=prepended(self.angles_deg, 0.0),
            index=prepended(self.index + n, np.arange(n)),
            timestamp_ns=prepended(self.timestamp_ns, 0),
            exposure_s=prepended(self.exposure_s, 0.0),
            monitor=prepended(self.monitor, 1.0),
            lost=prepended(self.lost, lost),
            notes=(*self.notes, *notes),
        )

    def with_known_angles(self) -> Layout:
        """The same scan without the projections of unknown angle: of the encoder came no position."""
        unknown = (self.kinds == FrameKind.PROJECTION) & ~np.isfinite(self.angles_deg)
        if not unknown.any():
            return self
        note = f"projections without a position are left out: frames {runs(self.index[unknown].tolist())}"
        return replace(self, lost=self.lost | unknown, notes=(*self.notes, note))

    def corrected(self, path: Path) -> Layout:
        """The same scan as one whose flats are 1 and whose darks are 0. Raises BadInput for frames of whole numbers."""
        data = self.datasets[int(self.source[self.kinds == FrameKind.PROJECTION][0])]
        if data.dtype.kind != "f":
            raise BadInput(f"{path}: the frames are {data.dtype}; corrected ones are real numbers, 1 where the beam is")
        shape = (1, *self.shape)
        ones, zeros = (np.broadcast_to(np.float32(value), shape) for value in (1.0, 0.0))
        named = self.with_fields(FrameKind.FLAT, ones, "flats").with_fields(FrameKind.DARK, zeros, "darks")
        return replace(named, notes=(*named.notes, "the frames are taken for transmissions, corrected already"))


def lost_in(stack: Stack) -> tuple[NDArray[np.bool_], list[str]]:
    """Which frames are not there, and a line for each cause."""
    if isinstance(stack, h5py.Dataset):
        lost, notes = lost_frames(stack)
        return lost, list(notes)
    return np.zeros(len(stack), bool), []


def as_stack(found: Any, shape: tuple[int, int] | None = None) -> Stack | None:
    """A dataset of images as (frames, rows, columns), a single image as one; None for anything else."""
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in REAL or not found.size:
        return None
    if found.ndim == 2 and found.shape == shape:
        check = lost_frames(found)[0]
        return None if check.any() else np.asarray(found[()])[None]
    return found if found.ndim == 3 else None


def datasets_of(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """All datasets below a group."""
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.shape else None)
    yield from found
