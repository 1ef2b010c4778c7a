"""From what the detector counts to attenuation: darks, flats, logarithm, dead pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.jit import as_input
from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.kernels import PIXEL_KINDS, moment_margin, prepare_frames, row_moments
from streamer.frames import DTYPES, BadInput

DEEPEST_ATTENUATION = 12.0
"""Largest attenuation of float detectors: a lower transmission is raised to exp(-12)."""

HALF_COUNT = 0.5
"""Net signal of a counting detector that counted nothing, whose logarithm would be infinite."""

BRIGHTEST_RATIO = 1000.0
"""A net signal above this many times the beam is damage (or infinity), and is cut there."""

LARGEST = float(np.finfo(np.float32).max)

OPEN_BEAM_PERCENTILE = 95.0

NO_MOMENTS = np.empty((0, 0, 0), np.float64)
"""For kernels that write moments: none are wanted."""


@dataclass(frozen=True)
class CorrectionTables:
    """What ``FlatFieldCorrection`` does to frames of one dtype, as read-only arrays for kernels.

    Attenuation is log_flat - ln(clip(raw - dark, low, high)), then ``dead`` pixels are filled; ``dark`` and
    ``log_flat`` (rows, columns) float32.
    """

    dark: Image
    log_flat: Image
    low: np.float32
    high: np.float32
    dead: DeadPixels


class FlatFieldCorrection:
    """Turns raw projections into attenuation, -ln((P - D) / (F - D)).

    Without darks D is 0. Without flats (``flat_known`` False) F - D is one number, a high percentile of the first
    projection: the image is then right up to the unevenness of the beam. Pixels that the flats show to be dead
    (F ≤ D, or not a number) are filled from their neighbours in the row; ``dead_share`` is their share.
    """

    def __init__(self, dark: Array | None, flat: Array | None, threads: int = 1) -> None:
        """``dark`` and ``flat`` are mean frames (rows, columns), or None. Raises BadInput when their shapes differ."""
        if dark is not None and flat is not None and dark.shape != flat.shape:
            raise BadInput(f"the darks are {dark.shape}, the flats {flat.shape}: they must be the same detector region")
        self._threads = threads
        self._dark = None if dark is None else as_input(np.nan_to_num(dark), np.float32)
        self._log_flat: Image | None = None
        self._bright = 1.0
        self._dead = DeadPixels.none(0)
        self.flat_known = flat is not None
        self.dead_share = 0.0
        if flat is not None:
            self._use_flat(np.asarray(flat, np.float64) - (0.0 if dark is None else np.nan_to_num(dark)))

    def attenuation(self, raw: Array, out: Image | None = None) -> Image:
        """Attenuation of one raw projection (rows, columns); float32, positive for matter, finite.

        ``raw`` has a dtype of DTYPES. Writes into ``out`` when given. Raises BadInput on another dtype, or a shape that
        the flats do not have.
        """
        if out is None:
            out = np.empty(raw.shape, np.float32)
        self.prepare(raw[None], out[None])
        return out

    def prepare(self, raw: Array, attenuation: Image, moments: Values = NO_MOMENTS) -> None:
        """Attenuation, and unless left out the moments (frames, rows, 4), of raw projections (frames, rows, columns).

        The moments of a row are the sums Σ v, Σ v·(column - middle), and those over the ``moment_margin`` outermost
        columns on the left and on the right; float64. Raises BadInput as ``attenuation``.
        """
        if not len(raw):
            return
        t, (pixels, kind) = self.tables(raw[0]), as_bytes(raw)
        prepare_frames(
            pixels, kind, t.dark, t.log_flat, t.low, t.high, t.dead.first, t.dead.places, t.dead.share,
            moment_margin(raw.shape[2]), self._threads, attenuation, moments,
        )  # fmt: skip

    def tables(self, raw: Array) -> CorrectionTables:
        """The tables of ``attenuation`` for projections (rows, columns) like this one. Raises BadInput as it does.

        Without flats the first projection that this object meets sets the level of the beam.
        """
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
        low = HALF_COUNT if raw.dtype.kind == "u" else self._bright * float(np.exp(-DEEPEST_ATTENUATION))
        high = min(self._bright * BRIGHTEST_RATIO, LARGEST)
        return CorrectionTables(self._dark, self._log_flat, np.float32(low), np.float32(high), self._dead)

    def rows(self, part: slice) -> FlatFieldCorrection:
        """The same for the detector rows ``part`` alone: its results are these rows of the whole one's.

        Without flats that holds once this one has met a projection; before, the part takes the level of the beam from
        its own rows. Raises BadInput when the slice skips rows.
        """
        if part.step not in (None, 1):
            raise BadInput(f"detector rows {part} leave rows out; a range is needed")
        result = FlatFieldCorrection(None, None, self._threads)
        result.flat_known = self.flat_known
        result._bright = self._bright
        if self._dark is not None:
            result._dark = as_input(self._dark[part])
        if self._log_flat is not None:
            result._log_flat = as_input(self._log_flat[part])
            result._dead = self._dead.rows(part)
            result.dead_share = len(result._dead) / max(1, result._log_flat.size)
        return result

    def _use_flat(self, net: Values) -> None:
        alive = np.isfinite(net) & (net > 0)
        self._bright = float(np.median(net[alive])) if alive.any() else 1.0
        self._log_flat = as_input(np.log(np.where(alive, net, 1.0)), np.float32)
        self._dead = DeadPixels.of(alive)
        self.dead_share = len(self._dead) / max(1, alive.size)


def row_moments_of(attenuation: Image, threads: int = 1) -> Values:
    """Moments (frames, rows, 4) float64 of attenuation (frames, rows, columns); see ``FlatFieldCorrection.prepare``."""
    moments = np.empty((*attenuation.shape[:2], 4), np.float64)
    row_moments(as_input(attenuation, np.float32), moment_margin(attenuation.shape[2]), threads, moments)
    return moments


def as_bytes(frames: Array) -> tuple[Array, int]:
    """Raw frames (frames, rows, columns) as bytes (uint8) for the kernels, and their kind; see PIXEL_KINDS.

    Raises BadInput on another dtype.
    """
    native = as_input(frames)
    kind: Any = PIXEL_KINDS.get(native.dtype.str)
    if kind is None:
        raise BadInput(f"projections of dtype {frames.dtype} cannot be read; use one of {', '.join(DTYPES)}")
    return native.view(np.uint8), kind
