"""Mean darks and flats, defects and the correction, computed before the first projection waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamer.core.arrays import Array, Image
from streamer.core.preprocessing.defects import defects, mask_pixels
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.quality.fields import AlikeFrames
from streamer.frames import ScanSpec
from streamer.pipeline.preparation.beam_drift import BeamDriftCorrection, MeanFrame

IDLE_PATIENCE = 20
"""Idle moments without another dark or flat, after which announced ones are no longer waited for."""


class DarksAndFlats:
    """Darks, and the flats before the projections, of one scan. Not thread-safe.

    The evaluation takes as long as some tens of frames. In a usual scan the shutter and the sample move between the
    last flat and the first projection: ``ahead`` uses that time, and saves ``fix`` the work.
    """

    def __init__(self, spec: ScanSpec, threads: int, drift: BeamDriftCorrection, find_defects: bool) -> None:
        """``find_defects``: mark the pixels of the detector that must not be used."""
        self._spec, self._threads, self._drift, self._find_defects = spec, threads, drift, find_defects
        self._dark_groups, self._flat_groups = _Groups(threads), _Groups(threads)
        self.dark: Image | None = None
        self.flat: Image | None = None
        """Mean frames (rows, cols), the flat NaN where a pixel must not be used; None where there are none."""
        self.correction: FlatFieldCorrection | None = None
        """The correction that holds for the whole scan; None before ``fix``."""
        self.defects = 0
        """Pixels of the latest mean flat that are not used."""
        self._counted = (0, 0)
        self._idle = 0
        self._steps: Iterator[None] | None = None
        self._next: FlatFieldCorrection | None = None

    def add_dark(self, pixels: Array) -> None:
        self._dark_groups.add(pixels, 0.0)

    def add_flat(self, pixels: Array, monitor: float) -> None:
        self._flat_groups.add(pixels, monitor)

    @property
    def darks(self) -> MeanFrame:
        """Those that look alike; others are left out."""
        return self._dark_groups.chosen(False)

    @property
    def flats(self) -> MeanFrame:
        """Those that look alike; others are left out."""
        return self._flat_groups.chosen(True)

    @property
    def odd(self) -> str:
        """Which darks and flats were left out, in words; empty when none."""
        kinds = (("darks", self._dark_groups, False), ("flats", self._flat_groups, True))
        return "; ".join(words for name, groups, brightest in kinds if (words := groups.odd(name, brightest)))

    @property
    def _counts(self) -> tuple[int, int]:
        return self._dark_groups.count, self._flat_groups.count

    def ahead(self) -> bool:
        """Use an idle moment for a part of it. False when there is nothing to do, or more frames are expected."""
        if self.correction is not None or not self.flats.count:
            return False
        if self._counts != self._counted:
            self._counted, self._idle, self._steps = self._counts, 0, None
        self._idle += 1
        darks, flats = self._counts
        complete = darks >= self._spec.darks and flats >= self._spec.flats
        if self._steps is None and (complete or self._idle >= IDLE_PATIENCE):
            self._steps = self._work()
        return self._steps is not None and next(self._steps, self) is None

    def fix(self) -> FlatFieldCorrection:
        """The correction by the darks and flats so far; later ones are handled by ``DeferredCorrections``."""
        if self._steps is None or self._counts != self._counted:
            self._steps = self._work()
        for _ in self._steps:
            pass
        assert self._next is not None
        self.correction = self._next
        return self.correction

    def _work(self) -> Iterator[None]:
        self.dark = self.darks.pixels.mean if self.darks.count else None
        self.flat = self.mean_flat(self.flats) if self.flats.count else None
        yield
        self._next = FlatFieldCorrection(self.dark, self.flat, self._threads)
        yield
        self._drift.begin(self.dark, self.flats.monitor)
        yield

    def mean_flat(self, flats: MeanFrame) -> Image:
        """Mean frame of these flats, NaN where a pixel must not be used."""
        if not self._find_defects:
            return flats.pixels.mean
        darks = self.darks.pixels if self.darks.count else None
        bad = defects(flats.pixels, darks, threads=self._threads)
        self.defects = int(np.count_nonzero(bad))
        return mask_pixels(flats.pixels.mean, bad)


class _Groups:
    """Statistics of the frames of one kind, those that look alike by themselves."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._alike = AlikeFrames()
        self._means: list[MeanFrame] = []

    def add(self, pixels: Array, monitor: float) -> None:
        number = self._alike.add(pixels)
        if number == len(self._means):
            self._means.append(MeanFrame(self._threads))
        self._means[number].add(pixels, monitor, 0)

    @property
    def count(self) -> int:
        return self._alike.count

    def chosen(self, brightest: bool) -> MeanFrame:
        return self._means[self._alike.chosen(brightest)] if self._means else MeanFrame(self._threads)

    def odd(self, name: str, brightest: bool) -> str:
        others = self._alike.others(self._alike.chosen(brightest)) if self._means else []
        listed = ", ".join(str(number + 1) for number in others[:8])
        return f"{len(others)} of {self.count} {name} look different from the rest (number {listed})" if others else ""
