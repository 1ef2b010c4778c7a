"""From what the detector counts to attenuation: darks, flats, logarithm, dead pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image, Mask, Values
from streamer.core.backend.selection import Backend
from streamer.core.jit import as_input
from streamer.frames import DTYPES, BadInput

DEEPEST = 12.0
"""Attenuation that no float detector resolves: a transmission below exp(-12) is taken for exp(-12)."""

HALF_COUNT = 0.5
"""Net signal that stands for "nothing counted" in a counting detector, whose logarithm would be infinite."""

BRIGHTEST = 1000.0
"""A net signal above this many times the beam is damage (or infinity), and is cut there."""

OPEN_BEAM_PERCENTILE = 95.0


@dataclass(frozen=True)
class CorrectionTables:
    """What a Correction does to frames of one dtype, as read-only arrays for kernels that do it on their way.

    Attenuation is log_flat - ln(clip(raw - dark, low, high)); ``dark`` and ``log_flat`` (rows, cols) float32. Of the
    dead pixels, ``dead_from`` (rows + 1,) int64 counts those before each row; ``dead`` (3, n) int64 are their columns
    and the live ones left and right of them (-1: none), ``share`` (n,) float32 is what the right one contributes.
    """

    dark: Image
    log_flat: Image
    low: float
    high: float
    dead_from: NDArray[np.int64]
    dead: NDArray[np.int64]
    share: Image


class FlatFieldCorrection:
    """Turns raw projections into attenuation, -ln((P - D) / (F - D)).

    Without darks D is 0. Without flats (``flat_known`` False) F - D is one number, a high percentile of the first
    projection: the image is then right up to the unevenness of the beam. Pixels that the flats show to be dead
    (F ≤ D, or not a number) are filled from their neighbours in the row; ``dead_share`` says how many there are.
    """

    def __init__(self, backend: Backend, dark: Array | None, flat: Array | None) -> None:
        """``dark`` and ``flat`` are mean frames (rows, cols), or None. Raises BadInput when their shapes differ."""
        if dark is not None and flat is not None and dark.shape != flat.shape:
            raise BadInput(f"the darks are {dark.shape}, the flats {flat.shape}: they must be the same detector region")
        self._backend = backend
        self._dark = None if dark is None else as_input(np.nan_to_num(dark), np.float32)
        self._log_flat: Image | None = None
        self._bright = 1.0
        self.flat_known = flat is not None
        self.dead_share = 0.0
        self._mend: tuple[Array, ...] = ()
        if flat is not None:
            self._use_flat(np.asarray(flat, np.float64) - (0.0 if dark is None else np.nan_to_num(dark)))

    def attenuation(self, raw: Array, out: Image | None = None) -> Image:
        """Attenuation of one raw projection (rows, cols), dtype u1, u2, u4 or f4; float32, positive for matter, finite.

        Writes into ``out`` when given. Raises BadInput on another dtype or a shape that the flats do not have.
        """
        dark, log_flat = self._fitted(raw)
        if out is None:
            out = np.empty(raw.shape, np.float32)
        kernels, limits = self._backend.kernels, self._limits(raw.dtype)
        kernels.attenuate(as_input(raw), dark, log_flat, *limits, self._backend.threads, out)
        if self._mend:
            kernels.fill_dead_pixels(out, *self._mend)
        return out

    def constants(self, raw: Array) -> CorrectionTables:
        """The numbers behind ``attenuation`` for projections (rows, cols) like this one. Raises BadInput as it does.

        Without flats the first projection given to either of the two sets the level of the beam.
        """
        dark, log_flat = self._fitted(raw)
        row, *columns, share = self._mend or fill_tables(np.ones(raw.shape, np.bool_))
        dead_from = np.searchsorted(row, np.arange(len(raw) + 1))
        dead = as_input(np.stack(columns), np.int64)
        return CorrectionTables(dark, log_flat, *self._limits(raw.dtype), as_input(dead_from, np.int64), dead, share)

    def rows(self, part: slice) -> FlatFieldCorrection:
        """The same for the detector rows ``part`` alone: what it gives are these rows of what this one gives.

        Without flats that holds once this one has seen a projection; before, the part takes the level of the beam from
        its own rows. Raises BadInput when the slice skips rows.
        """
        if part.step not in (None, 1):
            raise BadInput(f"detector rows {part} leave rows out; a range is needed")
        result = FlatFieldCorrection(self._backend, None, None)
        result.flat_known = self.flat_known
        result._bright = self._bright
        if self._dark is not None:
            result._dark = as_input(self._dark[part])
        if self._log_flat is not None:
            result._log_flat = as_input(self._log_flat[part])
            first, last, _ = part.indices(len(self._log_flat))
            if self._mend and first < last:
                chosen = (self._mend[0] >= first) & (self._mend[0] < last)
                row, *rest = (array[chosen] for array in self._mend)
                result._mend = tuple(as_input(array) for array in (row - first, *rest))
                result.dead_share = float(chosen.sum()) / result._log_flat.size
        return result

    def _fitted(self, raw: Array) -> tuple[Image, Image]:
        """Dark and logarithm of the flat for a projection like this one, which must fit; see ``constants``."""
        if raw.dtype.newbyteorder("=").str not in DTYPES:
            raise BadInput(f"projections of dtype {raw.dtype} cannot be read; use one of {', '.join(DTYPES)}")
        if self._dark is None:
            self._dark = as_input(np.zeros(raw.shape if self._log_flat is None else self._log_flat.shape, np.float32))
        if self._log_flat is None:
            net = np.asarray(raw, np.float64) - self._dark if raw.shape == self._dark.shape else np.zeros(1)
            finite = net[np.isfinite(net)]
            level = float(np.percentile(finite, OPEN_BEAM_PERCENTILE)) if finite.size else 1.0
            self._use_flat(np.full(self._dark.shape, level if level > 0 else 1.0))
        assert self._log_flat is not None
        if raw.shape != self._log_flat.shape:
            raise BadInput(f"a projection is {raw.shape}, the flats and darks are {self._log_flat.shape}")
        return self._dark, self._log_flat

    def _limits(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Net signals that are cut to, below and above."""
        low = HALF_COUNT if dtype.kind == "u" else self._bright * float(np.exp(-DEEPEST))
        return low, self._bright * BRIGHTEST

    def _use_flat(self, net: Values) -> None:
        alive = np.isfinite(net) & (net > 0)
        self._bright = float(np.median(net[alive])) if alive.any() else 1.0
        self._log_flat = as_input(np.log(np.where(alive, net, 1.0)), np.float32)
        self.dead_share = 1.0 - float(np.mean(alive))
        if not alive.all():
            self._mend = fill_tables(alive)


def fill_tables(alive: Mask) -> tuple[Array, ...]:
    """Arguments of ``kernels.fill_dead_pixels`` for the pixels that are not alive.

    They are filled from the nearest live ones on both sides in the row; with a live pixel on one side only, that one is
    copied; a row without any becomes 0.
    """
    cols = alive.shape[1]
    column = np.broadcast_to(np.arange(cols), alive.shape)
    left = np.maximum.accumulate(np.where(alive, column, -1), axis=1)
    right = np.minimum.accumulate(np.where(alive, column, cols)[:, ::-1], axis=1)[:, ::-1]
    row, col = np.nonzero(~alive)
    a, b = left[row, col], right[row, col]
    share = np.where((a >= 0) & (b < cols), (col - a) / np.maximum(b - a, 1), 0.0)
    a, b = np.where(a < 0, np.where(b < cols, b, -1), a), np.where(b >= cols, a, b)
    integers = (as_input(array, np.int64) for array in (row, col, a, b))
    return (*integers, as_input(share, np.float32))
