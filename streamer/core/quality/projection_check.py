"""Does a frame hold a projection? A look at every one when it comes, far shorter than folding it takes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.core.jit import as_input
from streamer.core.preprocessing.flat_field import as_bytes
from streamer.core.preprocessing.kernels import moment_margin
from streamer.core.quality.frame_look import look_at

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

LIT_SIDE = 0.5
"""Share of the flat's light that an edge of the detector has where nothing stands in front of it."""

TORN_ROWS = 0.02
"""Share of the rows, beyond those that never have light, whose light may be gone."""

BROKEN_PIXELS = 0.01
"""Share of pixels that may be no number: fewer are filled in from their neighbours."""

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


class Look(NamedTuple):
    """What a raw frame shows, in the rows that were looked at.

    ``light`` of the flat's; ``dark_rows`` share of rows without light; ``broken`` share of pixels that are no numbers;
    ``top`` the largest pixel, where the flats have beam, and ``at_top`` the share of pixels that equal it besides;
    ``spikes`` share of pixels that outshine their four neighbours; ``same`` the same bytes as the frame before;
    ``old_rows`` share of rows that are those of an earlier frame, where others are not; ``sides`` what ``light`` is of
    the columns at the left and at the right edge, 1 where the flat has none there.
    """

    light: float
    dark_rows: float
    broken: float
    top: float
    at_top: float
    spikes: float
    same: bool
    old_rows: float = 0.0
    sides: tuple[float, float] = (1.0, 1.0)


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
        known = net > 0
        self.known = bool(known.any())
        self._with_flat = as_input(known, np.float32)
        # Gaps between modules, and what is no pixel at all, are full in the flats as in the darks.
        lit = known if self.known else np.ones(net.shape, np.bool_)
        self._hidden = as_input(np.where(lit, 0.0, -np.inf), np.float32)
        ceiling = np.zeros((0, 0)) if saturation is None else np.where(lit, saturation, np.inf)
        self._ceiling = as_input(ceiling, np.float64)
        self._pixels = max(1, int(np.count_nonzero(known)))
        self._beam = as_input(np.where(known, net, 0.0).sum(axis=1, dtype=np.float64))
        self._whole_beam = float(self._beam.sum())
        self._margin = moment_margin(net.shape[1])
        edges = np.where(known, net, 0.0)[:, [*range(self._margin), *range(-self._margin, 0)]]
        side_beams = edges.reshape(len(net), 2, -1).sum(axis=(0, 2), dtype=np.float64)
        # A beam narrower than the detector leaves next to nothing there.
        faint = side_beams * net.shape[1] < FADED * self._margin * self._whole_beam
        # A share of the light is light · a + b: no more than that is to be done for each frame.
        per_light = np.where(faint, 0.0, 1.0 / np.maximum(side_beams, 1e-30))
        self._left, self._right = zip(per_light.tolist(), np.where(faint, 1.0, 0.0).tolist(), strict=True)
        self._noise, self._noisy = float(noise), noisy
        self._compared = as_input(np.unique(np.linspace(0, rows - 1, min(SAME_ROWS, rows)).astype(np.int64)))
        self._last: list[int] = []  # marks of the rows of the last frame that are compared
        self._marks: dict[int, None] = {}  # those of the frames before it as well, in the order in which they came
        self._differed = False
        self._light: deque[float] = deque()
        self._by_light: list[float] = []  # the same in order
        self._least_dark = 1.0
        self._most_sides = (0.0, 0.0)

    def look(self, raw: Array) -> Look:
        """Look at a raw frame (rows, columns) of a dtype of DTYPES. Raises BadInput on another one."""
        return self.looks(raw[None])[0]

    def looks(self, raw: Array) -> list[Look]:
        """``look`` at raw frames (frames, rows, columns), one after the other."""
        pixels, kind = as_bytes(raw)
        found, marks = np.empty((len(raw), 8)), np.empty((len(raw), len(self._compared)), np.uint64)
        look_at(
            pixels, kind, self._every, self._dark, self._flat, self._with_flat, self._hidden, self._ceiling, self._beam,
            DARK, self._noise, self._margin, self._compared, found, marks,
        )  # fmt: skip
        looked, beam = self._dark.size, self._whole_beam
        (a, b), (c, d) = self._left, self._right
        return [
            Look(
                light / beam if beam > 0 else 0.0,
                dark_rows / len(self._dark),
                broken / looked,
                top,
                max(0.0, at_top - 1.0) / looked,
                spikes / self._pixels,
                *self._seen(frame, its),
                (left * a + b, right * c + d),
            )
            for frame, its, (light, dark_rows, broken, top, at_top, spikes, left, right) in zip(
                raw, marks.tolist(), found.tolist(), strict=True
            )
        ]

    def _seen(self, frame: Array, marks: list[int]) -> tuple[bool, float]:
        """Whether the rows compared are all those of the frame before, and the share that earlier frames had."""
        same = marks == self._last
        known = self._noisy and not self._marks.keys().isdisjoint(marks)
        old = [k for k, mark in enumerate(marks) if mark in self._marks] if known else []
        self._last = marks
        self._marks.update(dict.fromkeys(marks))
        if len(self._marks) > 2 * BUFFERS * SAME_ROWS:
            self._marks = dict.fromkeys(list(self._marks)[BUFFERS * SAME_ROWS :])
        if len(old) == len(marks):
            return same, 1.0
        # A row that lies in the dark, or in a gap between modules, may well be the same again.
        shows = sum(np.unique(frame[self._compared[k]]).size >= FEW_VALUES for k in old)
        return same, shows / len(marks)

    def cause(self, look: Look) -> Unusable | None:
        """Why a frame is to be set aside, or None; what is usual is learnt from those that are not."""
        found = self._cause(look)
        self._differed = self._differed or (bool(self._light) and not look.same)
        if found is None and self.known:
            self._remember(look.light)
            self._least_dark = min(self._least_dark, look.dark_rows)
            (left, right), (most_left, most_right) = look.sides, self._most_sides
            if left > most_left or right > most_right:
                self._most_sides = max(left, most_left), max(right, most_right)
        return found

    def _remember(self, light: float) -> None:
        if len(self._light) == REMEMBERED:
            del self._by_light[bisect_left(self._by_light, self._light.popleft())]
        self._light.append(light)
        insort(self._by_light, light)

    @property
    def _usual_light(self) -> float:
        """The median; 0 before there is any."""
        ordered, count = self._by_light, len(self._by_light)
        return 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2]) if count else 0.0

    def _cause(self, look: Look) -> Unusable | None:
        if look.broken > BROKEN_PIXELS:
            return Unusable.NOT_A_NUMBER
        if self.known and look.light < max(DARK / 2, FADED * self._usual_light):
            return Unusable.NO_LIGHT
        if self.known and self._is_half_shut(look):
            return Unusable.NO_LIGHT
        # Computed frames without noise may all be alike; a camera that froze showed something else before.
        if look.same and (self._noisy or self._differed):
            return Unusable.FROZEN
        if self.known and self._light and look.dark_rows > self._least_dark + TORN_ROWS:
            return Unusable.TORN
        if self._noisy and 0 < look.old_rows < 1:
            return Unusable.TORN
        return None

    def _is_half_shut(self, look: Look) -> bool:
        """Whether something stands in front of an edge of the detector, at all heights, that was lit before.

        A shutter does that on its way, or a screen. A sample that leaves the field covers the edge, too, but light
        comes through it, or past it at some height.
        """
        left, right = look.sides
        dark_left, dark_right = left < DARK / 2, right < DARK / 2
        most_left, most_right = self._most_sides
        return (dark_left and most_left > LIT_SIDE) or (dark_right and most_right > LIT_SIDE)


def is_ceiling(top: float, noisy: bool, saturation: float | None = None) -> bool:
    """Whether pixels that share the largest value ``top`` were cut off there, rather than equal for want of noise.

    They were at the announced level ``saturation``, and at a full scale of 8 to 32 bits. Elsewhere a ``noisy`` beam
    shows it, in which chance lets hardly two pixels share a value.
    """
    full_scale = 255 <= top < 2**32 and float(top + 1).is_integer() and (int(top) + 1).bit_count() == 1
    announced = saturation is not None and top >= saturation
    return noisy or full_scale or announced
