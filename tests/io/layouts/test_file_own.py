"""Raw files of Streamer: frames keep their indices, and what lacks is counted as the daemon counted it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.frames import FrameKind
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import next_segment, seal
from streamer.io.source_file import ScanFile
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of

FIRST = SPEC.darks + SPEC.flats  # index of the first projection


def segment(path: Path, indices: Iterable[int], status: str = "incomplete") -> Path:
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in indices:
        file.append(meta_of(index), pixels_of(index))
    file.close(status)
    return path


@pytest.mark.parametrize(
    ("indices", "missing"),
    [
        ([*range(SPEC.frames)], 0),
        ([*range(30), *range(33, SPEC.frames)], 3),
        ([*range(30)], 0),  # stopped: nobody misses the rest
        ([*range(2, 9), *range(FIRST, SPEC.frames)], 0),  # darks and a flat
        ([*range(FIRST, SPEC.frames), *range(FIRST)], 0),
        ([*reversed(range(SPEC.frames))], 0),
    ],
)
def test_indices_are_those_of_the_scan(tmp_path: Path, indices: list[int], missing: int) -> None:
    with ScanFile.open(segment(tmp_path / "a.nx", indices)) as scan:
        assert (scan.missing, scan.spec()) == (missing, SPEC)
        frames = list(scan.usable())
        assert sorted(frame.meta.index for frame in frames) == sorted(indices)
        for frame in frames:
            np.testing.assert_array_equal(frame.pixels, pixels_of(frame.meta.index))
        kinds = [frame.meta.kind for frame in frames]
        assert kinds[: kinds.count(FrameKind.DARK)] == [FrameKind.DARK] * kinds.count(FrameKind.DARK)
        np.testing.assert_array_equal(scan.usable_index, scan.index)


def test_a_segment_that_is_gone_is_named(tmp_path: Path) -> None:
    path = segment(tmp_path / "a.nx", range(20))
    segment(next_segment(path), range(20, 35))
    segment(next_segment(path), range(35, SPEC.frames))
    seal(path)
    with ScanFile.open(path) as scan:
        assert (scan.missing, scan.info.notes) == (0, ())
    (tmp_path / "a+1.nx").unlink()
    with ScanFile.open(path) as scan:
        assert scan.info.notes == ("a+1.nx is missing, a source of /entry/instrument/detector/data",)
        assert (scan.missing, scan.info.projections) == (15, 25)
        assert sorted(frame.meta.index for frame in scan.usable()) == [*range(20), *range(35, SPEC.frames)]


def test_the_pixel_mask_is_that_of_the_detector(tmp_path: Path) -> None:
    path = segment(tmp_path / "a.nx", range(SPEC.frames))
    with ScanFile.open(path) as scan:
        assert scan.mask is None
        assert scan.defects is None
    mask = np.zeros((SPEC.rows, SPEC.columns), np.uint32)
    mask[0, 3], mask[2, 1] = 1, 16
    with h5py.File(path, "r+") as file:
        file["entry/instrument/detector/pixel_mask"][...] = mask
    with ScanFile.open(path) as scan:
        assert scan.mask is not None
        np.testing.assert_array_equal(scan.mask, mask)
        np.testing.assert_array_equal(scan.defects, mask != 0)


@pytest.mark.parametrize(("value", "rows", "why"), [(1, SPEC.rows, "marks every pixel"), (0, 3, "it is not used")])
def test_a_pixel_mask_that_cannot_be_meant_is_noted(tmp_path: Path, value: int, rows: int, why: str) -> None:
    path = segment(tmp_path / "a.nx", range(SPEC.frames))
    with h5py.File(path, "r+") as file:
        del file["entry/instrument/detector/pixel_mask"]
        file["entry/instrument/detector/pixel_mask"] = np.full((rows, SPEC.columns), value, np.uint32)
    with ScanFile.open(path) as scan:
        assert scan.mask is None
        assert any(why in note for note in scan.info.notes)
