"""Rows that are written without the HDF5 library are there for every program that uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.frames import BadInput
from streamer.io.direct import ALIGNMENT, BulkWriter
from streamer.io.raw.nxtomo import LISTED, NXtomoFile
from streamer.io.raw.reserved import ReservedRows, create_rows, frame_places
from streamer.io.raw.segments import DATA, read_segment
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of
from tests.paths import ROOT

PAGES = structs.replace(SPEC, rows=32, columns=128)  # frames of two pages
FRAMES = range(PAGES.frames)


def file_of(path: Path, indices: range, direct: bool = True) -> NXtomoFile:
    file = NXtomoFile.create(path, PAGES, STARTED, direct=direct)
    for index in indices:
        file.append(meta_of(index, PAGES), pixels_of(index, PAGES))
    file.flush()
    return file


def assert_frames(path: Path, indices: range) -> None:
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/instrument/detector/sequence_number"], indices)
        np.testing.assert_array_equal(file[DATA], [pixels_of(index, PAGES) for index in indices])


@pytest.mark.parametrize("rows", [1, 3, 5000])
@pytest.mark.parametrize(("shape", "dtype"), [((), "<f8"), ((4, 5), "<u2")])
def test_rows_lie_one_after_the_other(tmp_path: Path, rows: int, shape: tuple[int, ...], dtype: str) -> None:
    path, values = tmp_path / "a.h5", np.random.default_rng(0).integers(0, 99, (rows, *shape)).astype(dtype)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        dataset = create_rows(file, "a", rows, shape, dtype, None if shape else 7)
        reserved = ReservedRows(dataset)
        file.flush()
        assert len(dataset) == 0
        bulk = BulkWriter(path)
        half = rows // 2
        reserved.write(bulk, 0, half, [values[:half]])
        reserved.write(bulk, half, rows - half, [values[k : k + 1] for k in range(half, rows)])
        with pytest.raises(BadInput, match=rf"row {rows} of {rows}: there is no room"):
            reserved.write(bulk, rows, 1, [values[:1]])
        bulk.close()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["a"], values)
        if shape:
            places = frame_places(file["a"])
            assert places is not None
            assert set(np.diff(places)) <= {values[0].nbytes}


@pytest.mark.parametrize("direct", [True, False])
def test_frames_of_whole_pages(tmp_path: Path, direct: bool) -> None:
    path = tmp_path / "a.nx"
    file = file_of(path, FRAMES[:20], direct)
    with h5py.File(path, "r", swmr=True) as reader:
        np.testing.assert_array_equal(reader[DATA], [pixels_of(index, PAGES) for index in FRAMES[:20]])
        file.append(meta_of(20, PAGES), pixels_of(20, PAGES))
        file.flush()
        reader[DATA].refresh()
        np.testing.assert_array_equal(reader[DATA][20], pixels_of(20, PAGES))
    assert file.close("complete") == 21
    assert_frames(path, FRAMES[:21])
    assert read_segment(path).good.all()


def test_frames_of_whole_pages_go_past_the_page_cache(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.nx", range(0))
    assert file._bulk._direct is not None, "this file system has no such way"
    with h5py.File(tmp_path / "a.nx", "r", swmr=True) as reader:
        assert reader[DATA].maxshape == (PAGES.frames, PAGES.rows, PAGES.columns)
    assert file._images is not None
    assert file._images.place % ALIGNMENT == 0
    file.close("complete")


KILLED = """
import os, sys
from pathlib import Path
from tests.io.raw.test_reserved import FRAMES, file_of, meta_of, pixels_of, PAGES
file = file_of(Path(sys.argv[1]), FRAMES[:20], sys.argv[2] == "direct")
for index in FRAMES[20:33]:
    file.append(meta_of(index, PAGES), pixels_of(index, PAGES))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("way", ["direct", "through the page cache"])
def test_what_was_flushed_is_there_when_the_process_is_killed(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a.nx"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path), way], cwd=ROOT, check=False).returncode == -9
    segment = read_segment(path)
    assert segment.account is not None
    assert len(segment.good) == 20
    assert segment.good.all()
    assert_frames(path, FRAMES[:20])


@pytest.mark.parametrize("missing", [range(0), FRAMES[5:]], ids=["stopped", "stalled"])
def test_a_scan_that_ended_early_takes_no_more_room_than_its_frames(tmp_path: Path, missing: range) -> None:
    short, long = tmp_path / "short.nx", tmp_path / "long.nx"
    file_of(short, FRAMES[:5]).close("incomplete", 5 + len(missing), {"missing": missing, "unusable": [4]})
    file_of(long, FRAMES).close("complete")
    nbytes = PAGES.frame_nbytes
    assert long.stat().st_size - short.stat().st_size == (PAGES.frames - 5) * nbytes
    assert_frames(short, FRAMES[:5])
    with h5py.File(short, "r+") as file:  # it can be changed as any other
        file["entry/streamer/note"][()] = b"later"
        file["entry/more"] = np.arange(5000)
    assert_frames(short, FRAMES[:5])
    with h5py.File(short) as file:
        np.testing.assert_array_equal(file["entry/streamer/missing_frames"], missing)
        np.testing.assert_array_equal(file["entry/streamer/unusable_frames"], [4])
    assert read_segment(short).good.all()


def test_all_frames_may_be_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    file_of(path, range(0)).close("incomplete", frames=dict.fromkeys(LISTED, FRAMES))
    with h5py.File(path) as file:
        for name in LISTED:
            np.testing.assert_array_equal(file[f"entry/streamer/{name}_frames"], FRAMES)


def test_more_frames_than_were_announced_are_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.nx", FRAMES)
    with pytest.raises(BadInput, match="there is no room for more"):
        file.append(meta_of(0, PAGES), pixels_of(0, PAGES))
    file.close("complete")
    assert_frames(tmp_path / "a.nx", FRAMES)


@pytest.mark.parametrize("direct", [True, False])
def test_damaged_frames_are_found_wherever_they_lie(tmp_path: Path, direct: bool, monkeypatch) -> None:
    monkeypatch.setattr("streamer.io.raw.segments.READ_BYTES", 4 * PAGES.frame_nbytes)
    path = tmp_path / "a.nx"
    file = file_of(path, FRAMES, direct)
    assert file._images is not None
    place = file._images.place
    file.close("complete")
    bad = [0, 3, 4, PAGES.frames - 1]
    with path.open("r+b") as raw:
        for row in bad:
            raw.seek(place + row * PAGES.frame_nbytes + 77)
            byte = raw.read(1)
            raw.seek(-1, 1)
            raw.write(bytes([byte[0] ^ 1]))
    segment = read_segment(path)
    np.testing.assert_array_equal(np.flatnonzero(~segment.good), bad)
    assert segment.problem == "a.nx: damaged frames: 4"
