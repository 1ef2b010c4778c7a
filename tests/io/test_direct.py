"""Bulk data reach the file whole, past the page cache or not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from streamer.core.memory import Memory
from streamer.io import direct
from streamer.io.direct import ALIGNMENT, BulkReader, BulkWriter, aligned_bytes

SIZE = 3 * ALIGNMENT + 123


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bulk"
    path.write_bytes(bytes(8 * ALIGNMENT))
    return path


def random(count: int) -> np.ndarray:
    """Bytes that begin with a page."""
    values = Memory().array((count,), np.dtype(np.uint8))[0]
    values[:] = np.random.default_rng(1).integers(0, 256, count)
    return values


@pytest.mark.parametrize("way", ["direct", "refused at once", "refused later", "unknown to the system"])
@pytest.mark.parametrize(
    ("place", "first", "last"),
    [(ALIGNMENT, 0, 2 * ALIGNMENT), (ALIGNMENT, 0, SIZE), (77, 0, SIZE), (ALIGNMENT, 1, SIZE), (0, 5, 5)],
    ids=["pages", "a broken end", "odd place", "odd memory", "nothing"],
)
def test_every_byte_arrives(file: Path, place: int, first: int, last: int, way: str, monkeypatch) -> None:
    plain_open, plain_write, refused = os.open, os.pwritev, []

    def refusing_open(path, flags, *rest):
        if flags & direct._DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return plain_open(path, flags, *rest)

    def refusing_write(number, data, at):
        if not refused:
            refused.append(number)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return plain_write(number, data, at)

    if way == "refused at once":
        monkeypatch.setattr(os, "open", refusing_open)
    elif way == "refused later" and not (place | first | last) % ALIGNMENT:
        monkeypatch.setattr(os, "pwritev", refusing_write)
    elif way == "unknown to the system":
        monkeypatch.setattr(direct, "_DIRECT", 0)
    values = random(SIZE)[first:last]
    writer = BulkWriter(file)
    writer.write(place, values)
    writer.close()
    writer.close()
    expected = bytearray(8 * ALIGNMENT)
    expected[place : place + values.size] = values.tobytes()
    assert file.read_bytes() == bytes(expected)
    assert bool(refused) == (way == "refused later" and not (place | first | last) % ALIGNMENT)


def test_large_data_are_written_in_pieces(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(direct, "PIECE_BYTES", ALIGNMENT)
    values = random(SIZE).view(np.int8)
    writer = BulkWriter(file)
    writer.write(ALIGNMENT, values)
    writer.close()
    assert file.read_bytes()[ALIGNMENT : ALIGNMENT + SIZE] == values.tobytes()


@pytest.mark.parametrize("part", [ALIGNMENT, 100])
@pytest.mark.parametrize("most", [1, 2, 512])
def test_arrays_follow_one_another(file: Path, part: int, most: int, monkeypatch) -> None:
    monkeypatch.setattr(direct, "MOST_PIECES", most)
    values = random(3 * ALIGNMENT)
    writer = BulkWriter(file)
    writer.write(ALIGNMENT, *(values[at : at + part] for at in range(0, values.size, part)))
    writer.close()
    assert file.read_bytes()[ALIGNMENT : ALIGNMENT + values.size] == values.tobytes()
    assert len(file.read_bytes()) == 8 * ALIGNMENT


def test_a_write_that_stops_halfway_goes_on_from_there(file: Path, monkeypatch) -> None:
    whole_write = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda number, pieces, at: whole_write(number, [pieces[0][:1000]], at))
    values = random(SIZE)
    writer = BulkWriter(file)
    writer.write(ALIGNMENT, values[:ALIGNMENT], values[ALIGNMENT:])
    writer.close()
    assert file.read_bytes()[ALIGNMENT : ALIGNMENT + SIZE] == values.tobytes()


@pytest.mark.parametrize(("place", "count"), [(ALIGNMENT, 2 * ALIGNMENT), (3, SIZE)])
def test_what_was_written_is_read_back(file: Path, place: int, count: int) -> None:
    file.write_bytes(np.random.default_rng(2).bytes(8 * ALIGNMENT))
    out = aligned_bytes(count)
    reader = BulkReader(file)
    reader.read(place, out)
    assert out.tobytes() == file.read_bytes()[place : place + count]
    with pytest.raises(OSError, match="the file ends at byte"):
        reader.read(7 * ALIGNMENT, out)
    reader.close()


def test_a_symbolic_link_is_not_followed(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        BulkWriter(link)


def test_a_full_disk_is_an_error() -> None:
    if not stat.S_ISCHR(os.stat("/dev/full").st_mode):
        pytest.fail("no /dev/full here")
    writer = BulkWriter(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        writer.write(0, random(ALIGNMENT))
    writer.close()
