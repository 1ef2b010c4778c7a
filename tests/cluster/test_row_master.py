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
