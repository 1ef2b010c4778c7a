"""One raw file over those of the shards."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cluster.master import MISSING_ROWS, join_rows, part_path, recover_rows
from streamer.cluster.rows import row_blocks
from streamer.flow.row_cut import RowCut
from streamer.frames import BadInput, FrameKind
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import Account, read_account
from streamer.io.source_file import ScanFile
from tests.cluster.cluster_rig import Scan

LACKING = 40
"""A projection of which the second shard has no rows."""


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan()


def written(folder: Path, scan: Scan, lacks: dict[int, set[int]]) -> list[tuple[RowCut, Path]]:
    """Raw files of two shards, of which each lacks some frames."""
    parts = []
    (folder / "scan.shards").mkdir()
    for number, block in enumerate(row_blocks(scan.spec.rows, 2)):
        path = part_path(folder / "scan.nx", block)
        file = NXtomoFile.create(path, block.part(scan.spec), "2026-01-01T00:00:00Z")
        for meta, pixels in zip(scan.metas, scan.pixels, strict=True):
            if meta.index not in lacks.get(number, set()):
                file.append(meta, pixels[block.first : block.end])
        file.close("complete")
        parts.append((block, path))
    return parts


def test_whole_frames_are_joined(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {})
    joined = join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    assert len(joined.whole) == scan.spec.frames
    assert joined.missing_rows.shape == (0, 3)
    with ScanFile.open(tmp_path / "scan.nx") as file:
        frames = list(file.frames())
        assert file.spec() == scan.spec
    np.testing.assert_array_equal(np.array([frame.pixels for frame in frames]), scan.pixels)
    assert [frame.meta.angle_deg for frame in frames] == [meta.angle_deg for meta in scan.metas]
    with h5py.File(tmp_path / "scan.nx") as opened:
        assert read_account(opened).status == "complete"
        assert opened["entry/instrument/detector/data"].is_virtual


def test_rows_that_lack_are_listed_and_their_frame_is_no_projection(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {1: {LACKING}, 0: {LACKING + 1}})
    joined = join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    assert joined.missing_rows.tolist() == [[LACKING, 32, 64], [LACKING + 1, 0, 32]]
    assert len(joined.whole) == scan.spec.frames - 2
    with h5py.File(tmp_path / "scan.nx") as file:
        account = read_account(file)
        assert (account.status, account.frames["missing"].tolist()) == ("incomplete", [LACKING, LACKING + 1])
        assert file[MISSING_ROWS][()].tolist() == joined.missing_rows.tolist()
        index = file["entry/instrument/detector/sequence_number"][()]
        place = int(np.flatnonzero(index == LACKING)[0])
        torn = file["entry/instrument/detector/data"][place]
        assert file["entry/instrument/detector/image_key"][place] == FrameKind.INVALID
    np.testing.assert_array_equal(torn[:32], scan.pixels[LACKING][:32])
    assert not torn[32:].any()
    with ScanFile.open(tmp_path / "scan.nx") as scan_file:
        assert LACKING not in scan_file.index


def test_a_scan_whose_scout_died_is_recovered_from_its_rows(tmp_path: Path, scan: Scan) -> None:
    written(tmp_path, scan, {1: {LACKING}})
    joined = recover_rows(tmp_path / "scan.nx")
    assert joined.missing_rows.tolist() == [[LACKING, 32, 64]]
    with ScanFile.open(tmp_path / "scan.nx") as file:
        assert file.spec() == scan.spec
    again = recover_rows(tmp_path / "scan.nx")
    assert (again.missing_rows.tolist(), again.whole.tolist()) == (joined.missing_rows.tolist(), sorted(joined.whole))


def test_rows_that_lack_between_the_parts_are_no_scan(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {})
    parts[0][1].unlink()
    with pytest.raises(BadInput, match="not of one scan, or rows lack"):
        recover_rows(tmp_path / "scan.nx")


def test_nothing_is_overwritten(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {})
    (tmp_path / "scan.nx").write_text("something else")
    with pytest.raises(BadInput, match="something else has this name"):
        join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    assert (tmp_path / "scan.nx").read_text() == "something else"


def test_frames_lie_as_they_came_to_the_shard_that_has_most(tmp_path: Path, scan: Scan) -> None:
    """Shards get the same order; one that is replaced reads its file first."""
    parts = written(tmp_path, scan, {1: {50, 51, 52}, 0: {LACKING}})
    join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    with h5py.File(tmp_path / "scan.nx") as file:
        order = file["entry/instrument/detector/sequence_number"][()].tolist()
    assert order == [index for index in range(scan.spec.frames) if index != LACKING] + [LACKING]


def test_corrupt_frames_stay_so_unless_they_came_again(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {1: {LACKING}})
    account = Account(scan.spec, scan.spec.frames, "complete", {"corrupt": np.array([LACKING, 60])})
    join_rows(tmp_path / "scan.nx", account, parts)
    with h5py.File(tmp_path / "scan.nx") as file:
        found = read_account(file)
    assert found.listed("corrupt").tolist() == [LACKING]  # 60 is whole
    assert found.listed("missing").tolist() == []
    assert found.status == "incomplete"


@pytest.mark.parametrize("status", ["aborted", "failed"])
def test_how_the_scan_ended_is_the_scouts_to_say(tmp_path: Path, scan: Scan, status: str) -> None:
    parts = written(tmp_path, scan, {})
    account = Account(scan.spec, scan.spec.frames, status, {}, "2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z", "why")
    join_rows(tmp_path / "scan.nx", account, parts)
    with h5py.File(tmp_path / "scan.nx") as file:
        found = read_account(file)
    assert (found.status, found.note, found.ended) == (status, "why", "2026-01-01T00:02:00Z")


def test_a_scan_of_which_nothing_came_is_a_file_as_well(tmp_path: Path, scan: Scan) -> None:
    everything = set(range(scan.spec.frames))
    parts = written(tmp_path, scan, {0: everything, 1: everything})
    joined = join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    assert len(joined.whole) == 0
    with h5py.File(tmp_path / "scan.nx") as file:
        assert file["entry/instrument/detector/data"].shape == (0, scan.spec.rows, scan.spec.columns)
        assert len(read_account(file).listed("missing")) == scan.spec.frames


def test_file_and_folder_may_be_moved_together(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {})
    join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("scan.nx", "scan.shards"):
        (tmp_path / name).rename(elsewhere / name)
    with ScanFile.open(elsewhere / "scan.nx") as file:
        np.testing.assert_array_equal(np.array([frame.pixels for frame in file.frames()]), scan.pixels)


def test_pixels_that_are_of_no_use_are_those_of_the_whole_detector(tmp_path: Path, scan: Scan) -> None:
    parts = written(tmp_path, scan, {})
    mask = np.zeros((scan.spec.rows, scan.spec.columns), np.uint32)
    mask[3, 5] = mask[40, 7] = 1
    join_rows(tmp_path / "scan.nx", Account(scan.spec, scan.spec.frames, "complete"), parts, mask)
    with h5py.File(tmp_path / "scan.nx") as file:
        np.testing.assert_array_equal(file["entry/instrument/detector/pixel_mask"][()] != 0, mask != 0)


def test_nothing_is_recovered_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"scan\.shards holds no rows of it"):
        recover_rows(tmp_path / "scan.nx")


@pytest.mark.parametrize("rows", [(0, 16), (100, 4096)])
def test_a_part_is_named_for_its_rows(rows: tuple[int, int]) -> None:
    path = part_path(Path("/data/scan.nx"), RowCut(*rows))
    assert path == Path(f"/data/scan.shards/rows-{rows[0]:05d}-{rows[1]:05d}.nx")
