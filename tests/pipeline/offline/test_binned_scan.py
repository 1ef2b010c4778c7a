"""A recorded scan in larger pixels: its frames, its rows, and its verdict in pixels of the detector."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from streamer.core.quality.verdict import Limits, judge
from streamer.frames import BadInput, Decision, Frame, FrameKind, FrameMeta, Quality, ReasonCode, ScanSpec
from streamer.pipeline.offline.binned_scan import BinnedScan

ROWS, COLUMNS, COUNT = 9, 14, 5
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT, flats=1, pixel_size_m=1e-6, center_px=6.5, saturation=60_000.0)
GOOD = Quality(
    projections=COUNT, expected=COUNT, coverage=1.0, snr=9.0, peak_attenuation=1.0, flats=1,
    center_px=3.0, center_confidence=0.9, center_offset_px=0.0, motion_px=0.1, resolution_px=1.5, truncation=0.9,
)  # fmt: skip


class Recording:
    """A recording in memory."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.raw = rng.integers(0, 50_000, (COUNT, ROWS, COLUMNS)).astype("<u2")
        self.angles_deg = np.arange(COUNT) * 36.0
        self.usable_index = 1 + np.arange(COUNT)
        self.missing = 0
        self.defects: NDArray[np.bool_] | None = None

    def rows(self, first: int, last: int, memory: object = None) -> NDArray[Any]:
        return self.raw[:, first:last]

    def projections(self, block: int | None = None, rows: slice = slice(None)) -> Iterator[Any]:
        for places in (np.array([1, 0]), np.arange(2, COUNT)):
            yield places, self.raw[places, rows]

    def frames(self, rows: slice) -> Iterator[Frame]:
        yield Frame(FrameMeta("scan", 0, FrameKind.FLAT, 0.0), np.full((ROWS, COLUMNS), 65_535, "<u2")[rows])
        for k in range(COUNT):
            yield Frame(FrameMeta("scan", 1 + k, FrameKind.PROJECTION, self.angles_deg[k]), self.raw[k, rows])


def binned(recording: Recording, bin_: int, rows: slice = slice(1, 8), spec: ScanSpec = SPEC) -> BinnedScan:
    return BinnedScan(recording, spec, rows, bin_, threads=1)


def means(raw: NDArray[Any], bin_: int) -> NDArray[np.float64]:
    rows, columns = raw.shape[0] // bin_, raw.shape[1] // bin_
    blocks = raw[: rows * bin_, : columns * bin_].reshape(rows, bin_, columns, bin_)
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("bin_", [2, 3])
def test_frames_and_rows_are_means_of_blocks(bin_: int) -> None:
    recording = Recording()
    scan = binned(recording, bin_)
    frames = list(scan.frames(recording.frames(slice(1, 8))))
    assert [frame.meta.index for frame in frames] == list(range(COUNT + 1))
    for frame, raw in zip(frames[1:], recording.raw, strict=True):
        np.testing.assert_allclose(frame.pixels, means(raw[1:8], bin_), rtol=1e-6)
    index, angles, rows = scan.read(0, scan.spec.rows)
    assert index.tolist() == recording.usable_index.tolist()
    np.testing.assert_allclose(angles, np.deg2rad(recording.angles_deg))
    np.testing.assert_array_equal(rows, np.stack([frame.pixels for frame in frames[1:]]))
    np.testing.assert_array_equal(scan.read(1, 2)[2], rows[:, 1:2])


@pytest.mark.parametrize("bin_", [2, 3])
def test_known_defects_are_left_out_of_the_means(bin_: int) -> None:
    recording = Recording()
    defects = np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.2
    defects[1 : 1 + bin_, :bin_] = True  # the first block has no other
    truth = np.where(defects, np.nan, recording.raw)[:, 1:8]
    recording.raw[:, defects] = 65_535
    recording.defects = defects
    scan = binned(recording, bin_)
    shape = scan.spec.rows, scan.spec.columns
    blocks = truth[:, : shape[0] * bin_, : shape[1] * bin_].reshape(COUNT, shape[0], bin_, shape[1], bin_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # blocks of which nothing is known
        expected = np.nanmean(blocks, axis=(2, 4))
    lost = np.isnan(expected[0])
    assert scan.defects is not None
    np.testing.assert_array_equal(scan.defects, lost)
    assert lost[0, 0]
    frames = [frame.pixels for frame in scan.frames(recording.frames(slice(1, 8)))][1:]
    _, _, rows = scan.read(1, shape[0])
    for k in range(COUNT):
        np.testing.assert_allclose(frames[k][~lost], expected[k][~lost], rtol=1e-5)
        np.testing.assert_allclose(rows[k][~lost[1:]], expected[k, 1:][~lost[1:]], rtol=1e-5)
    quality, _ = scan.verdict_at_full_resolution(GOOD, judge(GOOD, Limits(), True, COLUMNS), Limits(), False)
    assert quality.saturation == 0.0


def test_without_binning_nothing_is_copied() -> None:
    recording = Recording()
    scan = binned(recording, 1)
    frames = list(recording.frames(slice(1, 8)))
    assert [frame is given for frame, given in zip(scan.frames(frames), frames, strict=True)] == [True] * len(frames)
    assert np.shares_memory(scan.read(0, 3)[2], recording.raw)
    np.testing.assert_array_equal(scan.read(0, 3)[2], recording.raw[:, 1:4])
    assert scan.spec == structs.replace(SPEC, rows=7)


def test_the_announcement_is_that_of_the_larger_pixels() -> None:
    spec = binned(Recording(), 2).spec
    assert (spec.rows, spec.columns, spec.dtype, spec.pixel_size_m) == (3, 7, "<f4", 2e-6)
    assert spec.center_px == 3.0
    assert spec.saturation is None


def test_columns_go_both_ways() -> None:
    scan = binned(Recording(), 4)
    assert scan.binned_column(1.5) == 0.0  # the middle of the first four columns
    assert scan.detector_column(0.0) == 1.5
    assert scan.detector_column(scan.binned_column(6.1)) == pytest.approx(6.1)


@pytest.mark.parametrize(("bin_", "rows", "said"), [(8, slice(0, 9), "14 columns"), (4, slice(2, 5), "3 rows")])
def test_nothing_is_left(bin_: int, rows: slice, said: str) -> None:
    with pytest.raises(BadInput, match=f"bin {bin_}: too much for {said}"):
        binned(Recording(), bin_, rows)


def test_lengths_of_the_quality_are_of_the_detector() -> None:
    scan = binned(Recording(), 2)
    verdict = judge(GOOD, Limits(), True, columns=7)
    assert verdict.decision is Decision.ENOUGH
    quality, again = scan.verdict_at_full_resolution(GOOD, verdict, Limits(max_motion_px=0.15), half=False)
    assert (quality.center_px, quality.center_offset_px) == (6.5, 0.0)
    assert (quality.motion_px, quality.resolution_px) == (0.2, 3.0)
    assert again.decision is Decision.RETAKE
    assert ReasonCode.MOTION in again.codes
    unknown = replace(GOOD, center_px=None, center_offset_px=None, motion_px=None, resolution_px=None)
    quality, _ = scan.verdict_at_full_resolution(unknown, verdict, Limits(), half=False)
    assert (quality.center_px, quality.center_offset_px, quality.motion_px, quality.resolution_px) == (None,) * 4


def test_in_half_acquisition_an_axis_near_the_edge_and_a_cut_sample_are_meant() -> None:
    scan = binned(Recording(), 2)
    found = replace(GOOD, center_px=6.0)
    verdict = judge(GOOD, Limits(), True)
    plain = scan.verdict_at_full_resolution(found, verdict, Limits(), half=False)[1]
    half = scan.verdict_at_full_resolution(found, verdict, Limits(), half=True)[1]
    assert plain.decision is Decision.REALIGN
    assert half.decision is Decision.ENOUGH
    assert len(half.codes) < len(plain.codes)


def test_saturated_pixels_are_counted_before_binning_hides_them() -> None:
    recording = Recording()
    recording.raw[:, 1, :7] = 60_001
    scan = binned(recording, 2)
    list(scan.frames(recording.frames(slice(1, 8))))
    quality, _ = scan.verdict_at_full_resolution(GOOD, judge(GOOD, Limits(), True), Limits(), half=False)
    assert quality.saturation == pytest.approx(7 / (7 * COLUMNS))


def test_float_pixels_without_a_level_have_no_saturation() -> None:
    recording = Recording()
    recording.raw = recording.raw.astype("<f4")
    scan = binned(recording, 2, spec=structs.replace(SPEC, dtype="<f4", saturation=None))
    list(scan.frames(recording.frames(slice(1, 8))))
    quality, _ = scan.verdict_at_full_resolution(GOOD, judge(GOOD, Limits(), True), Limits(), half=False)
    assert quality.saturation is None
    whole = binned(recording, 1)
    assert whole.verdict_at_full_resolution(GOOD, judge(GOOD, Limits(), True), Limits(), half=False)[0] is GOOD
