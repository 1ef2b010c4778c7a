"""Pixels that a detector masks, or says to be defects: mended, and never taken for saturated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.frames import BadInput, FrameKind, FrameMeta, Quality, ReasonCode, ScanSpec, Verdict
from streamer.phantoms import Ellipse, sinogram
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

COLUMNS, ROWS, COUNT, FIELDS = 96, 10, 150, 20
CENTER = 48.0
BODY = [Ellipse(0.02, 30.0, 24.0, 1.0, -2.0, 0.4), Ellipse(0.03, 5.0, 6.0, 14.0, 6.0)]
GAP = np.zeros((ROWS, COLUMNS), bool)
GAP[:, 70:72] = GAP[4, 20:23] = True  # between two modules, and some dead pixels
FULL = 2**16 - 1


class Counter:
    """What a photon counter sends: without darks, and ``FULL`` for what it masks."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.angles = np.arange(COUNT) * 180.0 / COUNT
        beam = 20_000 * (1 + 0.02 * rng.standard_normal((ROWS, COLUMNS)))
        lines = sinogram(BODY, COLUMNS, np.deg2rad(self.angles), CENTER)[:, None, :] * np.ones((ROWS, 1))
        self.darks = np.zeros((0, ROWS, COLUMNS), "<u2")
        self.flats = rng.poisson(beam, (FIELDS, ROWS, COLUMNS)).astype("<u2")
        self.projections = rng.poisson(beam * np.exp(-lines)).astype("<u2")

    def mask(self, where: NDArray[np.bool_], value: int) -> None:
        for part in (self.darks, self.flats, self.projections):
            part[:, where] = value

    def spec(self, **more: Any) -> ScanSpec:
        return ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=FIELDS, darks=len(self.darks), **more)

    def judged(
        self, backend: Backend, spec: ScanSpec | None = None, **known: Any
    ) -> tuple[NDArray[np.float32], Quality, Verdict]:
        """Tomogram, quality and verdict; ``known`` is what the detector says of itself."""
        pipeline = ScanPipeline(spec or self.spec(), backend, Settings(), fixed_center=CENTER)
        pipeline.know_detector(**known)
        kinds = ((FrameKind.DARK, self.darks), (FrameKind.FLAT, self.flats), (FrameKind.PROJECTION, self.projections))
        images = [(kind, image) for kind, part in kinds for image in part]
        angles = [0.0] * (len(images) - COUNT) + self.angles.tolist()
        for index, (kind, image) in enumerate(images):
            pipeline.push(FrameMeta("scan", index, kind, angles[index]), image)
        pipeline.refine_center()
        quality, verdict = pipeline.judge(0, 0)
        volume = np.empty(pipeline.shape, np.float32)
        for first, block in pipeline.tomogram(lambda first, last: (np.empty(0), np.empty(0), np.empty(0))):
            volume[first : first + len(block)] = block
        return volume, quality, verdict


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def sound(counter: Counter, numba_backend: Backend) -> NDArray[np.float32]:
    return counter.judged(numba_backend)[0]


def rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("darks", [0, 5])
def test_gaps_that_are_full_are_mended_and_not_saturated(
    counter: Counter, sound: NDArray[np.float32], numba_backend: Backend, darks: int
) -> None:
    counter.darks = np.zeros((darks, ROWS, COLUMNS), "<u2")
    counter.mask(GAP, FULL)
    volume, quality, verdict = counter.judged(numba_backend)
    assert quality.saturation == 0.0
    assert quality.unlit_columns == 0.0
    assert verdict.codes == (ReasonCode.NOTHING_WRONG,), verdict
    assert rms(volume - sound) < 0.35 * rms(sound), "two columns of 96 are interpolated"


def test_the_map_of_a_detector_that_masks_nothing_does_the_same(
    counter: Counter, sound: NDArray[np.float32], numba_backend: Backend
) -> None:
    counter.mask(GAP, 21_000)  # brighter than the beam, but not full
    _, quality, verdict = counter.judged(numba_backend, counter.spec(saturation=20_500))
    assert quality.saturation is not None
    assert quality.saturation > 0.02
    assert ReasonCode.SATURATED in verdict.codes
    volume, quality, verdict = counter.judged(numba_backend, counter.spec(saturation=23_000), defects=GAP)
    assert (quality.saturation, verdict.codes) == (0.0, (ReasonCode.NOTHING_WRONG,)), verdict
    assert rms(volume - sound) < 0.35 * rms(sound)


def test_a_beam_that_is_too_bright_is_no_mask(counter: Counter, numba_backend: Backend) -> None:
    counter.flats[:] = counter.projections[:, :, :40] = FULL
    _, quality, verdict = counter.judged(numba_backend)
    assert quality.saturation is not None
    assert quality.saturation > 0.3
    assert ReasonCode.SATURATED in verdict.codes


def test_the_level_at_which_the_detector_cuts_off_is_its_own_unless_the_scan_says_another(
    counter: Counter, numba_backend: Backend
) -> None:
    np.clip(counter.projections, 0, 15_000, out=counter.projections)
    np.clip(counter.flats, 0, 40_000, out=counter.flats)
    codes = {
        level: counter.judged(numba_backend, counter.spec(saturation=level), saturation=15_000.0)[2].codes
        for level in (None, 60_000.0)
    }
    assert ReasonCode.SATURATED in codes[None]
    # The noise of photons shows it all the same.
    assert ReasonCode.SATURATED in codes[60_000.0]


def test_a_map_of_another_shape_is_refused(counter: Counter, numba_backend: Backend) -> None:
    with pytest.raises(BadInput, match=r"the map of defects is \(9, 96\)"):
        counter.judged(numba_backend, defects=GAP[1:])
