"""Frames that are stored compressed, as the detector sent them: every program reads them, and nothing else changes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from streamer.flow.codecs import compress
from streamer.flow.ring.layout import bytes_needed, packed_room
from streamer.flow.ring.ring import Ring
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import DATA, Account, read_segment, seal
from streamer.io.raw.unfinished import find_unfinished
from streamer.io.raw.writer import WriterProcess
from streamer.io.raw.writer_child import WriterOptions
from streamer.io.shared import SharedBuffer
from streamer.io.source_file import ScanFile
from tests.io.helpers import ENDED, SPEC, STARTED, frames_held, meta_of, wait_until

WIDE = structs.replace(SPEC, rows=64, columns=48)
N = WIDE.frames
SLOTS = 16


def pixels_of(index: int) -> NDArray[np.uint16]:
    return (np.arange(64 * 48).reshape(64, 48) // 7 % 50 + index).astype("<u2")


def packed_of(index: int) -> bytes:
    return compress("bslz4-h5", pixels_of(index).data.cast("B"), 2)


def is_packed(index: int) -> bool:
    """Some frames come uncompressed."""
    return index % 3 != 0


def growing(path: Path, indices: range) -> NXtomoFile:
    file = NXtomoFile.create(path, WIDE, STARTED, keep_compressed=True)
    for index in indices:
        packed = np.frombuffer(packed_of(index), np.uint8) if is_packed(index) else None
        file.append(meta_of(index, WIDE), pixels_of(index), packed)
    file.flush()
    return file


def assert_holds(path: Path, indices: range) -> None:
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/instrument/detector/sequence_number"], list(indices))
        for image, index in zip(file[DATA], indices, strict=True):
            np.testing.assert_array_equal(image, pixels_of(index))


def test_chunks_are_the_bytes_that_came_and_every_program_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    growing(path, range(N)).close("complete", N, ended=ENDED)
    assert_holds(path, range(N))
    with h5py.File(path) as file:
        for index in range(N):
            passed_over, chunk = file[DATA].id.read_direct_chunk((index, 0, 0))
            assert chunk == (packed_of(index) if is_packed(index) else pixels_of(index).tobytes())
            assert passed_over == (not is_packed(index))
        assert file[DATA].id.get_storage_size() < 0.5 * N * WIDE.frame_nbytes
    with ScanFile.open(path) as scan:
        assert sum(len(block) for block in scan.darks()) == WIDE.darks
    assert seal(path, Account(WIDE, N, "complete")).written == N


def test_a_file_that_was_made_without_it_takes_the_pixels(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", WIDE, STARTED)
    file.append(meta_of(1, WIDE), pixels_of(1), np.frombuffer(packed_of(1), np.uint8))
    file.close("complete", 1)
    assert_holds(tmp_path / "a.nx", range(1, 2))


@pytest.mark.parametrize("index", [1, 3])  # one that came compressed, and one that did not
def test_a_damaged_frame_is_found(tmp_path: Path, index: int) -> None:
    path = tmp_path / "a.nx"
    growing(path, range(N)).close("complete", N, ended=ENDED)
    with h5py.File(path) as file:
        place = file[DATA].id.get_chunk_info(index)
    with path.open("r+b") as stream:
        stream.seek(place.byte_offset + place.size // 2)
        stream.write(b"\xa5\x5a\xa5\x5a")
    sealed = seal(path, Account(WIDE, N, "complete"))
    assert sealed.written == N - 1
    assert sealed.lost.tolist() == [index]


def test_what_a_crash_leaves_is_read_joined_and_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    original = growing(tmp_path / "original", range(20))
    shutil.copy(original.path, path)
    original.close("complete")
    assert frames_held(path).tolist() == list(range(20))
    unfinished = find_unfinished(path, None)
    assert unfinished is not None
    for metas, pixels in unfinished.batches(lambda _: True, 7):
        for meta, image in zip(metas, pixels, strict=True):
            np.testing.assert_array_equal(image, pixels_of(meta.index))
    growing(tmp_path / "a+1.nx", range(20, N)).close("complete", N)
    assert seal(path, Account(WIDE, N, "complete")).segments == 2
    assert_holds(path, range(N))


def test_a_file_whose_end_is_missing_lacks_the_frames_of_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    growing(path, range(N)).close("complete", N, ended=ENDED)
    with h5py.File(path) as file:
        place = file[DATA].id.get_chunk_info(N - 1)
    os.truncate(path, place.byte_offset + 5)
    segment = read_segment(path)
    assert segment.account is None or not segment.good[-1]


class Process:
    """A ring with room for compressed frames, and a writer process that keeps them."""

    def __init__(self, folder: Path) -> None:
        shape = WIDE.rows, WIDE.columns
        size = bytes_needed(shape, WIDE.dtype, SLOTS, packed_room(shape, WIDE.dtype))
        self.shared = SharedBuffer.create(size)
        self.ring = Ring(self.shared.memory)
        assert self.ring.format(shape, WIDE.dtype, SLOTS, keep_packed=True) == SLOTS
        options = WriterOptions(hang_s=100.0, patience_s=100.0, keep_compressed=True)
        self.writer = WriterProcess(self.shared, folder, options)

    def commit(self, indices: range) -> None:
        for index in indices:
            wait_until(lambda i=index: self._tried(i), "a free slot")
            self.writer.notify()

    def _tried(self, index: int) -> bool:
        slot = self.ring.acquire()
        if slot is None:
            self.writer.poll_events()
            return False
        slot[:] = pixels_of(index).data.cast("B")
        self.ring.commit(meta_of(index, WIDE), memoryview(packed_of(index)) if is_packed(index) else None)
        return True


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.writer.stop()
    process.shared.close()


def test_the_writer_keeps_what_came_compressed_also_after_its_death(process: Process, tmp_path: Path) -> None:
    path = process.writer.open(WIDE, Path("a.nx"), STARTED)
    process.commit(range(20))
    os.kill(process.writer.pid, signal.SIGKILL)
    process.commit(range(20, N))
    result = process.writer.finish("complete", expected=N)
    assert (result.written, result.lost, result.error) == (N, 0, "")
    assert_holds(path, range(N))
    for name in tmp_path.glob("a+*.nx"):
        with h5py.File(name) as file:
            assert file[DATA].id.get_storage_size() < 0.5 * len(file[DATA]) * WIDE.frame_nbytes
