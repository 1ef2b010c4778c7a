"""Does a frame hold a projection? A look at every one when it comes, far shorter than folding it takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.jit import as_input, kernel

Array = NDArray[Any]

ROWS = 32
"""Rows of a frame, or up to twice as many, that are looked at: a frame is torn or dark in whole rows."""

SAME_ROWS = 8
"""Rows that are compared with those of the last frames: the noise of no two frames is the same."""

BUFFERS = 32
"""Frames, at least, whose rows are remembered: a camera's driver fills so many buffers, about, one after the other."""

FEW_VALUES = 8
"""Different values of pixels from which on a row has noise."""

DARK = 0.02
"""Share of the flat's light below which a row, or a frame, shows no beam."""

FADED = 0.1
"""Share of the light that the frames before had, below which a frame shows no beam."""

TORN_ROWS = 0.02
"""Share of the rows, beyond those that never have light, whose light may be gone."""

BROKEN_PIXELS = 0.01
"""Share of pixels that may be no number: fewer are filled in from their neighbours."""

SPIKE, SPIKE_SIGMAS = 1.5, 8.0
"""A zinger is so much brighter than its neighbours, and by more than so many standard deviations of their noise."""

REMEMBERED = 33
"""Frames whose light says what is usual."""


class Unusable(StrEnum):
    """Why a frame that came whole holds no projection of the sample."""

    NO_LIGHT = "no light"
    TORN = "torn"
    FROZEN = "frozen"
    NOT_A_NUMBER = "not a number"
    NO_POSITION = "no position"
    WRONG_ANGLE = "wrong angle"


@dataclass(frozen=True)
class Look:
    """What a raw frame shows, in the rows that were looked at.

    ``light`` of the flat's; ``dark_rows`` share of rows without light; ``broken`` share of pixels that are no numbers;
    ``top`` the largest pixel, where the flats have beam, and ``at_top`` the share of pixels that equal it besides;
    ``spikes`` share of pixels that outshine their four neighbours; ``same`` the same bytes as the frame before;
    ``old_rows`` share of rows that are those of an earlier frame, where others are not.
    """

    light: float
    dark_rows: float
    broken: float
    top: float
    at_top: float
    spikes: float
    same: bool
    old_rows: float = 0.0


class ProjectionCheck:
    """Looks at the projections of one scan, in any order. Constant time and memory per frame; not thread-safe."""

    def __init__(
        self,
        dark: Array | None,
        flat: Array | None,
        shape: tuple[int, int],
        noise: float = 0.02,
        saturation: float | None = None,
        noisy: bool = True,
    ) -> None:
        """``dark`` and ``flat`` mean frames (rows, columns), None where there are none; ``noise`` of the open beam in
        one pixel, relative; ``saturation`` the level at which the detector is full, where it is known; ``noisy``
        whether frames have the noise of photons.
        """
        rows, _ = shape
        self._every = max(1, rows // ROWS)
        part = np.s_[:: self._every]
        level = np.zeros(shape, np.float32)[part] if dark is None else np.nan_to_num(dark[part])
        self._dark = as_input(level, np.float32)
        if flat is None:
            net = np.full_like(self._dark, np.nan)
        else:
            net = np.asarray(flat[part], np.float32) - self._dark
            net[~(net > 0)] = np.nan
        self._flat = as_input(net, np.float32)
        self.known = bool(np.isfinite(net).any())
        self._full = np.inf if saturation is None else float(saturation)
        self._noise, self._noisy = float(noise), noisy
        self._same = np.unique(np.linspace(0, rows - 1, min(SAME_ROWS, rows)).astype(int))
        self._last: list[int] = []  # hashes of the rows of the last frame
        self._marks: dict[int, None] = {}  # those of the frames before it as well, in the order in which they came
        self._differed = False
        self._light: list[float] = []
        self._least_dark = 1.0

    def look(self, raw: Array) -> Look:
        """Look at a raw frame (rows, columns) of any real type."""
        same, old_rows = self._seen(raw[self._same])
        found = np.zeros(7)
        _look(as_input(raw), self._every, self._dark, self._flat, DARK, self._noise, self._full, found)
        pixels = max(1.0, found[6])
        light, dark_rows, broken, top, at_top, spikes, _ = found.tolist()
        looked = self._dark.size
        return Look(
            light,
            dark_rows / len(self._dark),
            broken / looked,
            top,
            max(0.0, at_top - 1.0) / looked,
            spikes / pixels,
            same,
            old_rows,
        )

    def _seen(self, rows: Array) -> tuple[bool, float]:
        """Whether some rows of a frame are all those of the frame before, and the share that earlier frames had."""
        marks = [hash(row.tobytes()) for row in rows]
        same = marks == self._last
        old = [row for row, mark in zip(rows, marks, strict=True) if self._noisy and mark in self._marks]
        self._last = marks
        self._marks.update(dict.fromkeys(marks))
        if len(self._marks) > 2 * BUFFERS * SAME_ROWS:
            self._marks = dict.fromkeys(list(self._marks)[BUFFERS * SAME_ROWS :])
        if len(old) == len(rows):
            return same, 1.0
        # A row that lies in the dark, or in a gap between modules, may well be the same again.
        return same, sum(np.unique(row).size >= FEW_VALUES for row in old) / len(rows)

    def cause(self, look: Look) -> Unusable | None:
        """Why a frame is to be set aside, or None; what is usual is learnt from those that are not."""
        found = self._cause(look)
        self._differed = self._differed or (bool(self._light) and not look.same)
        if found is None and self.known:
            self._light = [*self._light[1 - REMEMBERED :], look.light]
            self._least_dark = min(self._least_dark, look.dark_rows)
        return found

    def _cause(self, look: Look) -> Unusable | None:
        if look.broken > BROKEN_PIXELS:
            return Unusable.NOT_A_NUMBER
        if self.known and look.light < max(DARK / 2, FADED * (median(self._light) if self._light else 0.0)):
            return Unusable.NO_LIGHT
        # Computed frames without noise may all be alike; a camera that froze showed something else before.
        if look.same and (self._noisy or self._differed):
            return Unusable.FROZEN
        if self.known and self._light and look.dark_rows > self._least_dark + TORN_ROWS:
            return Unusable.TORN
        if self._noisy and 0 < look.old_rows < 1:
            return Unusable.TORN
        return None


def is_ceiling(top: float, noisy: bool, saturation: float | None = None) -> bool:
    """Whether pixels that share the largest value ``top`` were cut off there, rather than equal for want of noise.

    They were at the announced level ``saturation``, and at a full scale of 8 to 32 bits. Elsewhere a ``noisy`` beam
    shows it, in which chance lets hardly two pixels share a value.
    """
    full_scale = 255 <= top < 2**32 and float(top + 1).is_integer() and (int(top) + 1).bit_count() == 1
    announced = saturation is not None and top >= saturation
    return noisy or full_scale or announced


@kernel()
def _stands_out(
    raw: Array,
    r: int,
    c: int,
    dark: float,
    flat: float,
    here: float,
    before: float,
    after: float,
    noise: float,
) -> bool:
    """Whether the pixel (r, c) outshines its four neighbours, and by more than the noise at their level."""
    level = max(before, after, 0.0)
    if r > 0:
        level = max(level, np.float64(raw[r - 1, c]) - dark)
    if r + 1 < raw.shape[0]:
        level = max(level, np.float64(raw[r + 1, c]) - dark)
    return here > SPIKE * level and here - level > SPIKE_SIGMAS * noise * np.sqrt(level * flat)


@kernel()
def _look(
    raw: Array, every: int, dark: Array, flat: Array, faint: float, noise: float, full: float, found: Array
) -> None:
    """found (7,): mean transmission, rows without light, pixels that are no number, the largest pixel, how many equal
    it, spikes, pixels with a flat; of each ``every``-th row of raw (rows, columns); dark and flat are those rows.
    """
    rows, columns = dark.shape
    light, beam = 0.0, 0.0
    top, at_top = np.float64(-np.inf), 0
    no_flat = not (flat > 0).any()
    for r in range(rows):
        row_light, row_beam = 0.0, 0.0
        before, here = np.float64(0.0), np.float64(0.0)
        for c in range(columns):
            value = np.float64(raw[r * every, c])
            if not np.isfinite(value):
                found[2] += 1.0
                value = np.float64(0.0)
            elif flat[r, c] > 0 or no_flat:
                # Gaps between modules, and what is no pixel at all, are full in the flats as in the darks.
                value = np.float64(full) if value > full else value
                if value > top:
                    top, at_top = value, 1
                elif value == top:
                    at_top += 1
            # A pixel is judged when its right neighbour has come.
            after = value - dark[r, c]
            if c > 1 and here > 0.2 * flat[r, c - 1] and here > SPIKE * max(before, after):
                found[5] += _stands_out(
                    raw, r * every, c - 1, dark[r, c - 1], flat[r, c - 1], here, before, after, noise
                )
            before, here = here, after
            if flat[r, c] > 0:
                row_light += after
                row_beam += flat[r, c]
                found[6] += 1.0
        if row_beam > 0 and row_light < faint * row_beam:
            found[1] += 1.0
        light += row_light
        beam += row_beam
    found[0] = light / beam if beam > 0 else 0.0
    found[3], found[4] = top, at_top
