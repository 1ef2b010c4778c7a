"""The raw files of the shards as the daemon's raw writer: real files, and shards that say what they are told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.cluster.master import part_path
from streamer.cluster.messages import Armed, Finish, Finished, PartStatus
from streamer.cluster.raw_parts import LOOK_S, Beginning, RawParts
from streamer.cluster.rows import row_blocks
from streamer.core.planes.plane import orthogonal_planes
from streamer.flow.row_cut import RowCut
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import read_account
from streamer.io.source_file import ScanFile
from streamer.pipeline.layout.layout import Layout
from tests.cluster.cluster_rig import Scan

STARTED = "2026-01-01T00:00:00Z"
SHARDS = 2


class InHand:
    """What the scout knows of the scan that the shards hold."""

    def __init__(self, path: Path, scan: Scan) -> None:
        self.blocks = row_blocks(scan.spec.rows, SHARDS)
        self.paths = tuple(part_path(path, block) for block in self.blocks)
        self.mask = None


class Shards:
    """Two shards that have written what they were told to; each lacks some frames."""

    def __init__(self, scan: Scan, lacks: Sequence[set[int]] = (set(), set())) -> None:
        self._scan, self._lacks = scan, lacks
        self.armed: InHand | None = None
        self.asked: list[Any] = []
        self.lost = self.replaced = 0
        self.pids = [11, 12]
        self.drains = True
        self.busy = False
        self.error = ""
        self.counts = (3, 5)

    def arm(self, _spec: Any, path: Path, started: str, *_: Any) -> tuple[Armed, ...]:
        self.armed = InHand(path, self._scan)
        self.armed.paths[0].parent.mkdir()
        for number, (block, file) in enumerate(zip(self.armed.blocks, self.armed.paths, strict=True)):
            self._write(block, file, started, self._lacks[number])
        return tuple(Armed({"tomogram": "grows with the scan", "memory_mb": 1.5 + number}) for number in range(SHARDS))

    def _write(self, block: RowCut, path: Path, started: str, lacks: set[int]) -> None:
        file = NXtomoFile.create(path, block.part(self._scan.spec), started)
        for meta, pixels in zip(self._scan.metas, self._scan.pixels, strict=True):
            if meta.index not in lacks:
                file.append(meta, pixels[block.first : block.end])
        file.close("complete")

    def detach(self) -> None:
        self.asked.append("detach")

    def drain(self, _timeout_s: float) -> bool:
        self.asked.append("drain")
        return self.drains

    def finish(self, request: Finish, _timeout_s: float) -> list[Finished]:
        self.asked.append(request)
        return [Finished(10, 0, ""), Finished(10, 0, self.error)]

    def status(self) -> list[PartStatus]:
        if self.busy:
            raise Busy("shard 1 did not answer")
        return [PartStatus("scan", 9, count, 9, 1) for count in self.counts]


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan("parts")


def opened(scan: Scan, folder: Path, lacks: Sequence[set[int]] = (set(), set())) -> tuple[RawParts, Shards]:
    shards = Shards(scan, lacks)
    parts = RawParts(shards)  # type: ignore[arg-type]
    layout = Layout(scan.spec.rows, scan.spec.columns, 31.0)
    parts.beginning = Beginning(layout, True, orthogonal_planes(scan.spec.rows, scan.spec.columns), None)
    assert parts.open(scan.spec, folder / "parts.nx", STARTED) == folder / "parts.nx"
    return parts, shards


def test_a_scan_becomes_one_file_when_all_rows_are_there(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path)
    assert parts.plan == {"tomogram": "grows with the scan", "memory_mb": 4.0, "shards": 2}
    parts.end("complete", {"unusable": np.array([4, 7])}, ended="2026-01-01T00:01:00Z", note="fine")
    assert shards.asked == []  # the shards may still have to write the tomogram from what they hold
    result = parts.await_end()
    assert (result.written, result.lost, result.error) == (scan.spec.frames, 0, "")
    assert shards.asked[:2] == ["detach", "drain"]
    assert shards.asked[2] == Finish("complete", scan.spec.frames, "2026-01-01T00:01:00Z", "fine", (4, 7))
    with ScanFile.open(tmp_path / "parts.nx") as file:
        np.testing.assert_array_equal(np.array([frame.pixels for frame in file.frames()]), scan.pixels)
    with h5py.File(tmp_path / "parts.nx") as file:
        account = read_account(file)
    assert (account.status, account.note, account.started) == ("complete", "fine", STARTED)
    assert account.listed("unusable").tolist() == [4, 7]


def test_rows_that_lack_are_lost_frames_and_said(scan: Scan, tmp_path: Path) -> None:
    parts, _ = opened(scan, tmp_path, ({20, 21}, {21, 22}))
    parts.end("complete")
    result = parts.await_end()
    assert (result.written, result.lost) == (scan.spec.frames - 3, 2 + 1)
    assert result.error == "rows of 3 frames lack, which /entry/streamer/missing_rows lists"


def test_frames_that_never_came_are_not_lost(scan: Scan, tmp_path: Path) -> None:
    parts, _ = opened(scan, tmp_path, ({20}, {20}))
    parts.end("incomplete", {"missing": [20]})
    result = parts.await_end()
    assert (result.written, result.lost, result.error) == (scan.spec.frames - 1, 0, "")


def test_a_shard_that_takes_no_rows_is_said_where_frames_are_lost(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path, (set(), {30}))
    shards.drains, shards.error = False, "the disk is full"
    parts.end("complete")
    result = parts.await_end()
    assert result.lost == 1
    assert result.error == "rows wait for a shard that takes none for 60 s; the disk is full"


def test_a_scan_that_is_cut_short_expects_what_was_issued(scan: Scan, tmp_path: Path) -> None:
    late = set(range(50, scan.spec.frames))
    parts, shards = opened(scan, tmp_path, (late, late))
    parts.end("aborted", expected=50)
    result = parts.await_end()
    assert shards.asked[2].expected == 50
    assert (result.written, result.lost) == (50, 0)
    with h5py.File(tmp_path / "parts.nx") as file:
        assert (read_account(file).status, read_account(file).expected) == ("aborted", 50)


def test_the_first_end_counts(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path)
    parts.end("complete", note="first")
    parts.end("aborted", note="second")
    first = parts.await_end()
    assert shards.asked[2].note == "first"
    assert parts.await_end() == first  # and is not done again
    assert len(shards.asked) == 3


def test_a_file_that_cannot_be_made_leaves_that_of_the_shards(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path)
    (tmp_path / "parts.nx").write_text("something else")
    parts.end("complete")
    result = parts.await_end()
    assert not result.sealed
    assert "something else has this name" in result.error
    assert shards.armed is not None
    assert all(path.exists() for path in shards.armed.paths)
    assert (tmp_path / "parts.nx").read_text() == "something else"


def test_a_scan_that_another_daemon_began_is_not_taken_up(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path)
    with pytest.raises(BadInput, match=r"is not taken up again; `streamer recover` joins it"):
        parts.open(scan.spec, tmp_path / "other.nx", STARTED, held=12)
    assert shards.asked == []


def test_a_death_is_an_event_once_and_the_state_until_it_is_mended(scan: Scan, tmp_path: Path) -> None:
    parts, shards = opened(scan, tmp_path)
    assert parts.state == ("ok", "")
    assert parts.poll_events() == []
    shards.lost = 1
    assert parts.state == ("recovering", "a shard is gone; another process takes its rows")
    (event,) = parts.poll_events()
    assert event.kind == "died"
    assert parts.poll_events() == []
    shards.replaced = 1
    assert parts.state[0] == "ok"


def test_what_is_written_is_what_all_have_written(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, shards = opened(scan, tmp_path)
    now = [100.0]
    monkeypatch.setattr("streamer.cluster.raw_parts.time.monotonic", lambda: now[0])
    parts.poll_events()
    assert parts.written == 3
    shards.counts = (6, 5)
    now[0] += LOOK_S / 2
    parts.poll_events()
    assert parts.written == 3  # they are not asked at every turn
    now[0] += LOOK_S
    shards.busy = True
    parts.poll_events()
    assert parts.written == 3  # a shard that has better to do is no news
    now[0] += LOOK_S
    shards.busy = False
    parts.poll_events()
    assert parts.written == 5


def test_the_scouts_frames_wait_for_nothing(scan: Scan, tmp_path: Path) -> None:
    parts, _ = opened(scan, tmp_path)
    assert parts.safe_position > 10**15
    assert not parts.await_written()
    assert parts.pid == 11
