"""Frames read past the HDF5 library are those that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.io.layouts.plain_stack import PlainStack

SHAPE = COUNT, ROWS, COLUMNS = 7, 12, 10
PIXELS = np.random.default_rng(0).integers(0, 2**16, SHAPE).astype("<u2")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "scan.h5", "w") as opened:
        yield opened


def written(file: h5py.File, pixels: np.ndarray = PIXELS, **options: Any) -> h5py.Dataset:
    dataset = file.create_dataset("frames", data=pixels, **options)
    file.flush()
    return dataset


@pytest.mark.parametrize("dtype", ["<u1", "<u2", ">u2", "<u4", "<f4"])
@pytest.mark.parametrize("options", [{}, {"chunks": (1, ROWS, COLUMNS)}], ids=["contiguous", "a chunk a frame"])
@pytest.mark.parametrize(("first", "count", "rows"), [(0, 7, slice(0, 12)), (2, 3, slice(5, 6)), (6, 1, slice(11, 12))])
def test_rows_of_frames(
    file: h5py.File, dtype: str, options: dict[str, Any], first: int, count: int, rows: slice
) -> None:
    pixels = PIXELS.astype(dtype)
    stack = PlainStack.of(written(file, pixels, **options))
    assert stack is not None
    assert stack.holds(first, count)
    with stack:
        out = np.empty((count, rows.stop - rows.start, COLUMNS), dtype)
        stack.read(first, rows, out)
        np.testing.assert_array_equal(out, pixels[first : first + count, rows])


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, ROWS, COLUMNS), "compression": "gzip"},
        {"chunks": (1, ROWS, COLUMNS), "fletcher32": True},
        {"chunks": (2, ROWS, COLUMNS)},
        {"chunks": (1, ROWS, 5)},
    ],
)
def test_frames_that_do_not_lie_there_byte_for_byte_are_left_to_the_library(
    file: h5py.File, options: dict[str, Any]
) -> None:
    assert PlainStack.of(written(file, **options)) is None


def test_frames_of_other_files_are_left_to_the_library(file: h5py.File, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as part:
        source = h5py.VirtualSource(written(part))
    layout = h5py.VirtualLayout(SHAPE, "<u2")
    layout[...] = source
    assert PlainStack.of(file.create_virtual_dataset("virtual", layout)) is None
    outside = file.create_dataset("outside", SHAPE, "<u2", external=[(tmp_path / "raw.bin", 0, PIXELS.nbytes)])
    outside[...] = PIXELS
    assert PlainStack.of(outside) is None
    assert PlainStack.of(PIXELS) is None, "no dataset of a file at all"


def test_frames_that_were_never_written_are_known(file: h5py.File) -> None:
    dataset = file.create_dataset("frames", SHAPE, "<u2", chunks=(1, ROWS, COLUMNS))
    dataset[:3] = PIXELS[:3]
    file.flush()
    stack = PlainStack.of(dataset)
    assert stack is not None
    with stack:
        assert stack.holds(0, 3)
        assert not stack.holds(2, 2)


def test_a_file_that_was_cut_off_is_an_error(file: h5py.File) -> None:
    dataset = written(file)
    stack = PlainStack.of(dataset)
    assert stack is not None
    path = Path(file.filename)
    whole = path.read_bytes()
    with stack:
        path.write_bytes(whole[: dataset.id.get_offset() + 3 * ROWS * COLUMNS * 2 + 5])
        out = np.empty(SHAPE, "<u2")
        with pytest.raises(OSError, match="the file ends at byte"):
            stack.read(0, slice(0, ROWS), out)
        path.write_bytes(whole)
