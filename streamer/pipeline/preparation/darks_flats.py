"""Mean darks and flats, defects and the correction, computed before the first projection waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamer.core.arrays import Array, Image, Mask
from streamer.core.preprocessing.defects import PixelStatistics, defects, mask_pixels, masked_by_value
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.quality.fields import AlikeFrames
from streamer.frames import ScanSpec
from streamer.pipeline.preparation.beam_drift import BeamDriftCorrection, MeanFrame

IDLE_PATIENCE = 20
"""Idle moments without another dark or flat, after which announced ones are no longer waited for."""

KEPT_ROWS = 8
"""Detector rows about the middle of which every flat is kept."""

LEAST_NOISE = 1e-4
"""Relative noise of a pixel that every detector exceeds: 10^8 photons would have less."""

USUAL_NOISE = 0.02
"""Relative noise of a pixel of a flat of a few thousand photons."""


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
        self.marked: Mask | None = None
        """Defects (rows, columns) that are known before the scan: never used, never judged."""
        self.defects = 0
        """Pixels of the latest mean flat that are not used."""
        self._counted = (0, 0)
        self._idle = 0
        self._steps: Iterator[None] | None = None
        self._next: FlatFieldCorrection | None = None
        self._middle, self._flat_rows = _about_middle(spec.rows), list[Image]()

    def add_dark(self, pixels: Array) -> None:
        self._dark_groups.add(pixels, 0.0)

    def add_flat(self, pixels: Array, monitor: float) -> None:
        self._flat_groups.add(pixels, monitor)
        self._flat_rows.append(np.array(pixels[self._middle], np.float32))

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
    def flat_noise(self) -> float:
        """Relative noise of a pixel of one flat; that of a usual beam where there are not two."""
        flats, pixels = self.flats, self.flats.pixels
        if flats.count < 2:
            return USUAL_NOISE
        return float(np.sqrt(np.median(pixels.variance)) / max(float(np.median(pixels.mean)), 1e-9))

    @property
    def flats_have_noise(self) -> bool:
        """Whether two flats or more differ as photons make them: computed ones are alike."""
        pixels = self.flats.pixels
        if self.flats.count < 2:
            return False
        return float(np.sqrt(pixels.variance.mean())) > LEAST_NOISE * float(pixels.mean.mean())

    def flat_halves(self, top: int, bottom: int) -> Image:
        """What the earlier and the later half of the flats add to the attenuation, (2, bottom - top, columns).

        Noise of the flats is in all projections alike. So that two reconstructions do not share it, each has to be
        corrected by flats of its own. ``top`` … ``bottom`` - 1 are some of ``KEPT_ROWS`` about the middle. Zero where
        there are fewer than two flats, or some that were left out.
        """
        count = len(self._flat_rows)
        if count < 2 or self.odd or self.flat is None:
            return np.zeros((2, bottom - top, self._spec.columns), np.float32)
        dark = 0.0 if self.dark is None else self.dark[self._middle]
        net = np.stack(self._flat_rows) - dark
        means = np.stack([net.mean(axis=0), net[: count // 2].mean(axis=0), net[count // 2 :].mean(axis=0)])
        whole, *halves = np.log(np.where(((means > 0) & np.isfinite(means)).all(axis=0), means, 1.0))
        added: Image = np.nan_to_num(np.stack(halves) - whole)[
            :, top - self._middle.start : bottom - self._middle.start
        ]
        return added

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
        bad = self._known(flats)
        if self._find_defects:
            bad = defects(flats.pixels, self._dark_pixels, self._threads, bad)
        self.defects = int(np.count_nonzero(bad))
        return mask_pixels(flats.pixels.mean, bad) if self.defects else flats.pixels.mean

    def without_known(self) -> tuple[Image | None, Image | None]:
        """Mean dark and flat (rows, columns), NaN where a defect is known; None where there are none."""
        flats, dark = self.flats, self.dark
        if not flats.count:
            return dark, None
        known = self._known(flats)
        if not known.any():
            return dark, flats.pixels.mean
        return None if dark is None else mask_pixels(dark, known), mask_pixels(flats.pixels.mean, known)

    def _known(self, flats: MeanFrame) -> Mask:
        """Defects that the detector or the user names, and those that the detector fills with its largest number."""
        masked = masked_by_value(flats.pixels, self._dark_pixels, self._spec.dtype)
        return masked if self.marked is None else masked | self.marked

    @property
    def _dark_pixels(self) -> PixelStatistics | None:
        return self.darks.pixels if self.darks.count else None


def _about_middle(rows: int) -> slice:
    first = max(0, rows // 2 - KEPT_ROWS // 2)
    return slice(first, min(rows, first + KEPT_ROWS))


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
