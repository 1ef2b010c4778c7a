"""What is found of a scan whose daemon died."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from streamer.flow.wire.control import Busy
from streamer.frames import BadInput
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import seal, segment_path
from streamer.io.raw.unfinished import UnfinishedScan, find_unfinished, newest_scan
from streamer.io.raw.writer_process import ORPHANED
from tests.io.helpers import ENDED, SPEC, STARTED, kind_of, meta_of, pixels_of
from tests.io.raw.test_segments import closed, crashed

N = SPEC.frames


def orphaned(path: Path, indices: range) -> Path:
    """A segment that was closed by a writer whose daemon had died."""
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in indices:
        file.append(meta_of(index), pixels_of(index))
    file.close("incomplete", N, {}, ENDED, ORPHANED)
    return path


def found(path: Path) -> UnfinishedScan:
    unfinished = find_unfinished(path, None)
    assert unfinished is not None
    return unfinished


def assert_gives(unfinished: UnfinishedScan, wanted: list[int]) -> None:
    """Each wanted frame once, with its metadata and its pixels, in batches of at most four."""
    assert unfinished.spec == SPEC
    seen = []
    for metas, pixels in unfinished.batches(lambda index: index in wanted, 4):
        assert 0 < len(metas) == len(pixels) <= 4
        for meta, image in zip(metas, pixels, strict=True):
            expected = meta_of(meta.index)
            assert (meta.kind, meta.angle_deg, meta.monitor) == (expected.kind, expected.angle_deg, expected.monitor)
            np.testing.assert_array_equal(image, pixels_of(meta.index))
        seen += [meta.index for meta in metas]
    assert sorted(seen) == wanted


@pytest.mark.parametrize("left", [orphaned, crashed])
def test_a_scan_that_was_running_is_found_with_its_frames(left: object, tmp_path: Path) -> None:
    path = left(tmp_path / "scan-1.nx", range(25))  # type: ignore[operator]
    unfinished = found(path)
    assert unfinished.kinds == {index: kind_of(index) for index in range(25)}
    assert_gives(unfinished, [2, 3, 10, 11, 12, 13, 14, 24])


def test_frames_in_several_segments_are_given_once(tmp_path: Path) -> None:
    path = orphaned(tmp_path / "scan-1.nx", range(20))
    orphaned(segment_path(path, 1), range(15, 30))
    assert_gives(found(path), list(range(30)))
    seal(path)
    crashed(segment_path(path, 2), range(28, 40))  # the joined scan was gone on with, and its daemon died again
    assert_gives(found(path), list(range(40)))


def test_a_frame_that_was_not_whole_on_the_disk_is_not_given(tmp_path: Path) -> None:
    path = crashed(tmp_path / "scan-1.nx", range(10))
    data = path.read_bytes()
    broken = bytearray(pixels_of(7).tobytes())
    at = data.index(broken)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(len(broken)))
    assert set(found(path).kinds) == set(range(10)) - {7}


@pytest.mark.parametrize("status", ["complete", "incomplete"])
def test_a_scan_without_its_tomogram_is_not_over(status: str, tmp_path: Path) -> None:
    path, tomogram = closed(tmp_path / "scan-1.nx", range(N), status), tmp_path / "scan-1.tomogram.h5"
    assert find_unfinished(path, tomogram) is not None
    tomogram.touch()
    assert find_unfinished(path, tomogram) is None
    assert find_unfinished(path, None) is None


def test_what_is_over_or_not_ours_is_not_found(tmp_path: Path) -> None:
    aborted = closed(tmp_path / "scan-1.nx", range(5), "aborted")
    assert find_unfinished(aborted, tmp_path / "none.h5") is None
    assert find_unfinished(tmp_path / "scan-2.nx", None) is None
    foreign = tmp_path / "scan-3.nx"
    foreign.write_text("no HDF5 file")
    assert find_unfinished(foreign, None) is None


def test_a_file_that_is_still_written_is_waited_for(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "scan-1.nx", SPEC, STARTED)
    with pytest.raises(Busy, match="still being written"):
        find_unfinished(tmp_path / "scan-1.nx", None)
    file.close("incomplete", N, {}, ENDED, ORPHANED)
    assert found(tmp_path / "scan-1.nx").kinds == {}


def test_the_newest_scan_is_that_whose_file_changed_last(tmp_path: Path) -> None:
    for age, name in enumerate(("scan-1.nx", "scan-2+1.nx", "scan-2.nx", "notes.txt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 1000 - (age if age < 3 else -10)))
    assert newest_scan(tmp_path.glob("*.nx"), 0) == "scan-1"
    os.utime(tmp_path / "scan-2+1.nx", (0, 2000))
    assert newest_scan(tmp_path.glob("*.nx"), 0) == "scan-2"
    assert newest_scan(tmp_path.glob("*.nx"), 2000) is None


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_file_whose_writer_was_killed_while_it_was_made_is_not_over(length: int, tmp_path: Path) -> None:
    path = crashed(tmp_path / "scan-1.nx", range(0))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadInput, match="killed while it was made"):
        find_unfinished(path, None)
    unfinished = find_unfinished(path, None, SPEC)
    assert unfinished is not None
    assert (unfinished.spec, unfinished.kinds) == (SPEC, {})
