"""Many tomograms of one scan that turns on and on: one for each so many degrees.

A moment is what a tomogram is made of: the projections of one window of angles. Windows are counted by frame indices,
which have no gaps, so that frames that come late, twice or not at all move no window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.core.fourier.factory import reconstruct_rows
from streamer.core.memory import Memory
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.reconstruction.row_blocks import Block, ReadRows, sinograms
from streamer.pipeline.reconstruction.stored_projections import StoredProjections

FEWEST_SHARE = 0.9
"""Share of the projections of a moment that must have come, once the scan is over."""

FEWEST_PROJECTIONS = 4

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Moment:
    """Tomogram number ``number``, of the projections with the numbers ``numbers`` of the store.

    ``index`` are the frames that belong to it, whether they came or not; ``from_deg`` … ``to_deg`` the announced
    angles, of the turn in which it was taken.
    """

    number: int
    numbers: Numbers = field(compare=False)
    index: NDArray[np.int64] = field(compare=False)
    from_deg: float
    to_deg: float

    def to_dict(self) -> dict[str, int | float]:
        """For the parameters of the tomogram."""
        bounds = {"from_deg": self.from_deg, "to_deg": self.to_deg}
        return {"tomogram": self.number, "projections": len(self.numbers), **bounds}


class Series:
    """The moments of a scan that announces ``tomogram_deg``. Not thread-safe.

    Raises BadInput when one holds fewer than four projections, or the scan is shorter than one.
    """

    def __init__(self, spec: ScanSpec) -> None:
        assert spec.tomogram_deg is not None
        self._spec = spec
        self.each = spec.projections_per_tomogram
        if not FEWEST_PROJECTIONS <= self.each <= spec.projections:
            raise BadInput(
                f"scan {spec.scan_id}: tomogram_deg is {spec.tomogram_deg:g}, that is {self.each} of "
                f"{spec.projections} projections; expected {FEWEST_PROJECTIONS} or more, and not all"
            )
        self.count = spec.projections // self.each
        """Moments of the whole scan."""
        self.done = 0
        """Moments before this one were given out, or lacked too many projections."""
        self.made = 0
        """Moments that were given out."""
        self._left: list[int] = []  # whose projections had not all come when those of the next one had

    def next(self, stored: StoredProjections, first_index: int, last_index: int, over: bool) -> Moment | None:
        """The next moment whose projections have come, None when there is none.

        ``first_index`` is the frame index of the first projection, ``last_index`` the highest one so far. Once the scan
        is ``over``, moments that lack a few projections are given out as well.
        """
        while self.done < self.count and (over or last_index >= first_index + (self.done + 1) * self.each - 1):
            number, self.done = self.done, self.done + 1
            moment = self._moment(stored, first_index, number)
            if len(moment.numbers) == self.each:
                self.made += 1
                return moment
            self._left.append(number)
        while over and self._left:
            moment = self._moment(stored, first_index, self._left.pop(0))
            if len(moment.numbers) >= FEWEST_SHARE * self.each:
                self.made += 1
                return moment
        return None

    def _moment(self, stored: StoredProjections, first_index: int, number: int) -> Moment:
        index = first_index + np.arange(number * self.each, (number + 1) * self.each)
        numbers = stored.preparation.numbers(index)
        spec = self._spec
        come, step = numbers[numbers >= 0], spec.range_deg / spec.projections
        turn = self.each * step
        begin = spec.start_deg + number * turn
        if spec.before_trigger is not None and len(come):  # it begins turns later than announced
            first = np.rad2deg(stored.angles_rad[come[0]]) - step * int(np.flatnonzero(numbers >= 0)[0])
            begin += turn * round((float(first) - begin) / turn)
        return Moment(number, come, index, begin, begin + turn)


def moment_blocks(
    backend: Backend,
    stored: StoredProjections,
    numbers: Numbers,
    read_rows: ReadRows,
    center: float,
    window: str,
    memory: Memory,
    rows_per_block: int,
) -> Iterator[Block]:
    """(first row, slices (rows, width, width) float32 per pixel) of a tomogram of the projections ``numbers`` alone.

    About ``center``, a detector column, and with exact weights; raw rows are read only where not all are stored.
    """
    layout = stored.layout
    for first in range(0, layout.rows, rows_per_block):
        last = min(layout.rows, first + rows_per_block)
        if stored.whole:
            rows, angles = stored.block(first, last, numbers), stored.angles_rad[numbers]
        else:
            rows, angles = sinograms(stored, read_rows, first, last, memory, numbers)
        out, _ = memory.floats(last - first, layout.width, layout.width)
        weights = layout.weights(angles)
        reconstruct_rows(backend, rows, angles, weights, layout.center(center), window, layout.extend, out, memory)
        out *= np.float32(layout.density_scale(angles))
        del rows
        yield first, out
