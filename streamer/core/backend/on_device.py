"""Attenuation that stays in the memory of a device: read there by those who can, and downloaded when NumPy asks for it.

A projection crosses the bus once, as raw counts. What the host needs of it afterwards (sums, means of bands of rows, a
few rows, now and then a whole one) is made on the device, and only that comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamer.core.arrays import Array, Image
from streamer.core.backend.engine import DeviceOutOfMemory, Engine

THREADS = 256  # of a block


class OnDevice:
    """Images (n, rows, columns) float32 on a device, or one (rows, columns); ``array`` is the engine's, C-contiguous.

    NumPy takes it for an array and downloads it. Slices [a:b] and single images are views of the same memory. Where the
    device has no memory for what is asked of it, the host makes it from what it downloads.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, engine: Engine, array: Any, lists: dict[bytes, Any] | None = None) -> None:
        """``lists`` are lists of rows that are on the device already; views share them."""
        self.engine, self.array = engine, array
        self._lists = {} if lists is None else lists

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | None) -> OnDevice:
        """One image, those of a slice without steps, or with None this one as the only one of a stack."""
        if isinstance(key, slice) and key.step not in (None, 1):
            raise TypeError("images on a device have no slices with steps; see ``lines``")
        return OnDevice(self.engine, self.array[key], self._lists)

    def __iter__(self) -> Iterator[OnDevice]:
        return (self[k] for k in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        out = np.empty(self.shape, np.float32)
        if out.size:
            self.engine.download(self.array, out)
        return out if dtype is None else out.astype(dtype, copy=False)

    def lines(self, numbers: NDArray[np.intp], rows: NDArray[np.intp]) -> Projections:
        """(numbers, rows, columns), a copy: these rows of the images with these numbers."""
        whole = self if self.ndim == 3 else self[None]
        _, height, columns = whole.shape
        if not (len(numbers) and len(rows)):
            return np.empty((len(numbers), len(rows), columns), np.float32)
        try:
            upload = self.engine.upload
            lists = upload(np.asarray(numbers, np.int32)), upload(np.asarray(rows, np.int32))
            out = self.engine.empty((len(numbers), len(rows), columns), np.float32)
        except DeviceOutOfMemory:
            return np.stack([np.asarray(whole[int(number)])[rows] for number in numbers])
        sizes = np.int32(height), np.int32(columns)
        self._launch("pick_lines", out.shape, whole.array, *sizes, *lists, out)
        return OnDevice(self.engine, out, self._lists)

    def band_means(self, first_rows: NDArray[Any], height: int) -> Image:
        """Means (n, bands, columns) of bands of ``height`` rows, from each of ``first_rows`` on, on the host.

        Raises DeviceOutOfMemory.
        """
        return self._bands(first_rows, height, len(self), 1, 1)

    def band_sum(self, first_rows: NDArray[Any], height: int, every: int) -> Image:
        """Sum (bands, columns) of the ``band_means`` of the first image and of each ``every``-th after it.

        Raises DeviceOutOfMemory.
        """
        total: Image = self._bands(first_rows, height, 1, -(-len(self) // every), every)[0]
        return total

    def _bands(self, first_rows: NDArray[Any], height: int, images: int, count: int, step: int) -> Image:
        _, rows, columns = self.shape
        result = np.empty((images, len(first_rows), columns), np.float32)
        out = self.engine.empty(result.shape, np.float32)
        sizes = map(np.int32, (count, step, rows, columns))
        self._launch("band_means", out.shape, self.array, *sizes, self._list(first_rows), np.int32(height), out)
        self.engine.download(out, result)
        return result

    def _list(self, rows: NDArray[Any]) -> Any:
        """A list of rows on the device. There are few, which are asked for with every projection."""
        values = np.asarray(rows, np.int32)
        known = values.tobytes()
        if known not in self._lists:
            self._lists[known] = self.engine.upload(values)
        return self._lists[known]

    def _launch(self, kernel: str, shape: tuple[int, ...], *arguments: Any) -> None:
        """For results (images, rows, columns)."""
        images, rows, columns = shape
        self.engine.launch(kernel, (images, rows, -(-columns // THREADS)), (THREADS, 1, 1), arguments)


Projections: TypeAlias = Image | OnDevice
"""Attenuation (n, rows, columns) float32, on the host or on a device; NumPy reads either."""


def add_late(
    source: OnDevice, top: int, fixed: OnDevice | None, pattern: OnDevice | None, base: Image, share: Image
) -> OnDevice:
    """A copy of images (n, rows, columns) with ``fixed`` + base[n] + ln(1 + share[n]·``pattern``) added.

    ``fixed`` and ``pattern`` are (detector rows, columns), either may be None; the images begin at row ``top`` of them.
    As ``preprocessing.flat_pair.add_late``. Raises DeviceOutOfMemory.
    """
    engine, (images, rows, columns) = source.engine, source.shape
    factors = engine.upload(np.asarray(base, np.float32)), engine.upload(np.asarray(share, np.float32))
    out = engine.empty(source.shape, np.float32)
    grid, block = (images, rows, -(-columns // THREADS)), (THREADS, 1, 1)
    terms = (None if term is None else term.array for term in (fixed, pattern))
    arguments = source.array, np.int32(columns), np.int32(top), *terms, *factors, out
    engine.launch("add_late", grid, block, arguments)
    return OnDevice(engine, out)


def fill_dead(images: OnDevice, row: NDArray[Any], places: NDArray[Any], share: Image) -> None:
    """Fill dead pixels of images (n, rows, columns), in place: ``row`` (count,) of each, the others as in DeadPixels.

    Raises DeviceOutOfMemory.
    """
    engine, (count, rows, columns) = images.engine, images.shape
    lists = engine.upload(np.asarray(row, np.int32)), engine.upload(np.ascontiguousarray(places)), engine.upload(share)
    grid, block = (count, 1, -(-len(row) // THREADS)), (THREADS, 1, 1)
    arguments = np.int32(rows), np.int32(columns), *lists, np.int64(len(row)), images.array
    engine.launch("fill_dead", grid, block, arguments)
