from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.io.archive import write_archive
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import seal, segment_path
from streamer.io.tomogram import TomogramFile
from streamer.serve.folder import about, arrays, scans
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of
from tests.io.test_archive import ARCHIVE
from tests.io.test_nexus import raw_file


def test_the_scan_that_was_written_last_comes_last(tmp_path: Path) -> None:
    for age, name in ((30, "b"), (20, "c"), (10, "a")):
        path = raw_file(tmp_path / f"{name}.nx", SPEC, range(2))
        os.utime(path, (1_700_000_000 - age,) * 2)
    (tmp_path / "a.txt").touch()
    assert list(scans(tmp_path)) == ["b", "c", "a"]


def test_arrays_grow_with_the_file(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
    assert arrays(file.path) == {}
    assert about(file.path)["status"] == "running"
    for index in range(12):
        file.append(meta_of(index), pixels_of(index))
        if index in (4, 11):
            file.flush()
            found = arrays(file.path)
            assert list(found) == ["raw", "rotation_angle", "image_key", "frame_index"]
            assert found["raw"].shape == (index + 1, SPEC.rows, SPEC.columns)
            np.testing.assert_array_equal(found["raw"].read()[-1], pixels_of(index))
    held = arrays(file.path)["raw"]
    file.append(meta_of(12), pixels_of(12))
    file.close("complete")
    assert held.read().shape == held.read((...,)).shape == (12, SPEC.rows, SPEC.columns)  # as it was announced


@pytest.mark.parametrize(
    "where", [(3,), (slice(2, 5), 1), (slice(None), slice(1, 3), 4), (..., 0), (-1,), (slice(0, 12, 3),), ()]
)
def test_parts_are_those_of_the_array(tmp_path: Path, where: tuple[object, ...]) -> None:
    raw = arrays(raw_file(tmp_path / "a.nx", SPEC, range(12)))["raw"]
    whole = np.stack([pixels_of(index) for index in range(12)])
    np.testing.assert_array_equal(raw.read(where), whole[where])


def test_a_scan_in_segments_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    raw_file(path, SPEC, range(10))
    raw_file(segment_path(path, 1), SPEC, range(10, 20))
    seal(path)
    assert list(scans(tmp_path)) == ["a"]
    assert arrays(path)["raw"].read()[15].tolist() == pixels_of(15).tolist()


def test_a_finished_scan_has_its_tomogram_and_verdict(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx", SPEC)
    write_archive(path, ARCHIVE)
    with TomogramFile.create(tmp_path / "a.tomogram.h5", (2, 3, 4), SPEC) as file:
        file.write_rows(0, np.ones((2, 3, 4), np.float32))
        assert "tomogram" not in arrays(path)
    assert arrays(path)["tomogram"].read((1,)).tolist() == np.ones((3, 4)).tolist()
    told = about(path)
    assert (told["scan_id"], told["status"], told["verdict"]) == (SPEC.scan_id, "complete", ARCHIVE.verdict.decision)
    assert told["spec"]["columns"] == SPEC.columns


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.nx").write_text("no HDF5")
    assert "not a readable HDF5 file" in about(tmp_path / "a.nx")["note"]
    with pytest.raises(BadInput):
        arrays(tmp_path / "a.nx")
