"""Copies that are interrupted, spoiled, in the way, or changed afterwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.io.raw.unclosed import claim
from streamer.io.transfer.copying import BLOCK, Stopped, TransferError, checksum, copy, partial_of
from streamer.io.transfer.queue import Queue
from streamer.io.transfer.transfer import Rules, Transfer

NOW = 1e9


def content(seed: int = 1, size: int = 3 * BLOCK + 17) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def after(calls: int) -> Iterator[bool]:
    """True for so many times, then False: the copy is to stop."""
    yield from [True] * calls
    yield False


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "scan.nx"
    path.parent.mkdir()
    path.write_bytes(content())
    os.utime(path, (NOW, NOW))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target" / "scan.nx"


class TestCopy:
    def test_is_equal_and_has_the_time_and_permissions_of_the_original(self, source: Path, target: Path) -> None:
        source.chmod(0o640)
        found = copy(source, target)
        assert target.read_bytes() == source.read_bytes()
        assert found == checksum(source) == hashlib.sha256(content()).hexdigest()
        assert target.stat().st_mtime == NOW
        assert target.stat().st_mode & 0o777 == 0o640
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize("blocks", range(8))
    def test_goes_on_where_it_was_stopped(self, source: Path, target: Path, blocks: int) -> None:
        """Four blocks are written and then four are read back; the name comes after both."""
        answers = after(blocks)
        with pytest.raises(Stopped):
            copy(source, target, go_on=lambda: next(answers))
        assert not target.exists()
        assert partial_of(target).stat().st_size == min(blocks * BLOCK, source.stat().st_size)
        copy(source, target)
        assert target.read_bytes() == source.read_bytes()
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize("spoiled", [0, BLOCK + 5, 3 * BLOCK + 2])
    def test_what_a_crash_spoiled_is_written_anew(self, source: Path, target: Path, spoiled: int) -> None:
        left = bytearray(content())
        left[spoiled] ^= 1
        partial_of(target).write_bytes(left + b"and more than there should be")
        copy(source, target)
        assert target.read_bytes() == source.read_bytes()

    def test_a_file_that_is_in_the_way_is_left_alone(self, source: Path, target: Path) -> None:
        target.write_bytes(b"somebody else's")
        with pytest.raises(TransferError, match="exists already and is another file"):
            copy(source, target)
        assert target.read_bytes() == b"somebody else's"

    def test_an_equal_file_is_as_good_as_a_copy(self, source: Path, target: Path) -> None:
        target.write_bytes(content())
        partial_of(target).write_bytes(content())  # killed between giving the name and dropping the old one
        made = target.stat().st_ino
        assert copy(source, target) == checksum(source)
        assert target.stat().st_ino == made
        assert list(target.parent.iterdir()) == [target]

    def test_a_link_is_not_followed(self, source: Path, target: Path, tmp_path: Path) -> None:
        (tmp_path / "precious").write_bytes(b"keep")
        partial_of(target).symlink_to(tmp_path / "precious")
        with pytest.raises(OSError, match="symbolic links"):
            copy(source, target)
        assert (tmp_path / "precious").read_bytes() == b"keep"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue.sqlite")
    yield queue
    queue.close()


class TestTransfer:
    def make(self, source: Path, target: Path, queue: Queue, **rules: float) -> Transfer:
        return Transfer(source.parent, target.parent, queue, Rules(**rules))

    def test_only_finished_files_are_copied_each_once(self, source: Path, target: Path, queue: Queue) -> None:
        folder = source.parent / "2026" / "proposal"
        folder.mkdir(parents=True)
        for name in ("a.nx", "b.tomogram.h5", "young.nx", "c.partial.h5", ".hidden.nx", "notes.txt", "written.nx"):
            (folder / name).write_bytes(content(size=100))
            os.utime(folder / name, (NOW, NOW if name != "young.nx" else NOW + 95))
        transfer = self.make(source, target, queue, settle_s=10)
        with (folder / "written.nx").open("r+b") as writer:
            assert claim(writer.fileno())
            for _ in range(2):
                transfer.look(NOW + 100)
                transfer.copy(lambda: NOW + 100)
        found = {path.relative_to(target.parent).as_posix() for path in target.parent.rglob("*") if path.is_file()}
        assert found == {"scan.nx", "2026/proposal/a.nx", "2026/proposal/b.tomogram.h5"}
        assert {(entry.path, entry.copies) for entry in queue.entries()} == {(name, 1) for name in found}
        transfer.look(NOW + 200)
        assert {entry.path for entry in queue.waiting()} == {"2026/proposal/young.nx", "2026/proposal/written.nx"}

    def test_a_file_that_changed_is_copied_again(self, source: Path, target: Path, queue: Queue) -> None:
        transfer = self.make(source, target, queue)
        for seed in (1, 2):
            source.write_bytes(content(seed))
            os.utime(source, (NOW + seed, NOW + seed))
            transfer.look(NOW + 100)
            assert transfer.copy(lambda: NOW + 100) == 1
        assert target.read_bytes() == content(2)
        assert queue.find("scan.nx").copies == 2  # type: ignore[union-attr]

    def test_a_failure_keeps_no_other_file_back_and_is_tried_again(
        self, source: Path, target: Path, queue: Queue
    ) -> None:
        other = source.with_name("z.nx")
        other.write_bytes(b"other")
        os.utime(other, (NOW + 1, NOW + 1))
        target.write_bytes(b"in the way")
        transfer = self.make(source, target, queue)
        transfer.look(NOW + 100)
        assert transfer.copy(lambda: NOW) == 1
        (entry,) = queue.waiting()
        assert (entry.path, entry.failures) == ("scan.nx", 1)
        assert "another file" in entry.error
        target.unlink()
        assert transfer.copy(lambda: NOW) == 1
        assert queue.waiting() == []

    def test_sources_go_when_they_are_old_and_their_copy_is_sound(
        self, source: Path, target: Path, queue: Queue
    ) -> None:
        transfer = self.make(source, target, queue, keep_s=1000)
        transfer.look(NOW + 100)
        transfer.copy(lambda: NOW + 100)
        assert transfer.remove(NOW + 1000) == 0
        good = target.read_bytes()
        target.write_bytes(b"spoiled")
        assert transfer.remove(NOW + 2000) == 0
        assert source.exists()
        target.write_bytes(good)
        assert transfer.remove(NOW + 2000) == 1
        assert not source.exists()
        assert target.read_bytes() == good

    def test_folders_that_become_empty_go_with_their_last_file(self, source: Path, target: Path, queue: Queue) -> None:
        inner = source.parent / "2026" / "ev17" / "weevil"
        inner.mkdir(parents=True)
        source.rename(inner / "scan.nx")
        transfer = self.make(source, target, queue, keep_s=1000)
        transfer.look(NOW + 100)
        transfer.copy(lambda: NOW + 100)
        (source.parent / "2026" / "notes").touch()
        assert transfer.remove(NOW + 2000) == 1
        assert [path.name for path in source.parent.rglob("*")] == ["2026", "notes"]
        assert (target.parent / "2026/ev17/weevil/scan.nx").exists()

    def test_a_new_file_of_a_removed_name_does_not_replace_the_copy(
        self, source: Path, target: Path, queue: Queue
    ) -> None:
        transfer = self.make(source, target, queue, keep_s=0)
        transfer.look(NOW + 100)
        transfer.copy(lambda: NOW)
        transfer.remove(NOW + 1)
        source.write_bytes(b"another scan")
        os.utime(source, (NOW + 50, NOW + 50))
        transfer.look(NOW + 200)
        assert transfer.copy(lambda: NOW) == 0
        assert target.read_bytes() == content()

    @pytest.mark.parametrize("target", ["source", "source/inner", ".", "missing"])
    def test_folders_that_cannot_be_are_refused(self, source: Path, queue: Queue, target: str, tmp_path: Path) -> None:
        (tmp_path / "source/inner").mkdir()
        with pytest.raises(BadInput, match=r"lies in|no such folder"):
            Transfer(source.parent, tmp_path / target, queue, Rules())


def test_a_queue_has_one_worker_and_any_number_of_readers(tmp_path: Path) -> None:
    first = Queue(tmp_path / "queue")
    with pytest.raises(BadInput, match="another transfer uses it"):
        Queue(tmp_path / "queue")
    first.add("a.nx", 1, 2)
    reader = Queue(tmp_path / "queue", work=False)
    assert [entry.path for entry in reader.entries()] == ["a.nx"]
    reader.close()
    first.close()
    Queue(tmp_path / "queue").close()


def test_what_is_no_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue").write_bytes(b"not a table at all" * 100)
    with pytest.raises(BadInput, match="not a queue"):
        Queue(tmp_path / "queue")
