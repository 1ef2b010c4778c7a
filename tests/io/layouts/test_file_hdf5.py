"""Frames that HDF5 would make up, and what it cannot decompress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.io.layouts import hdf5
from streamer.io.layouts.hdf5 import lost_frames
from streamer.io.source_file import ScanFile
from tests.io.layouts.files import ANGLES, DARKS, FLATS, PROJECTIONS, SHAPE, dxchange, nxtomo

PARTS = np.array_split(np.arange(20), 4)


def virtual(folder: Path, name: str = "scan.h5", member: str = "data", stack: Any = PROJECTIONS) -> Path:
    """A DXchange file one of whose members is made of four files, part0.h5 to part3.h5."""
    layout = h5py.VirtualLayout(stack.shape, stack.dtype)
    for number, part in enumerate(np.array_split(np.arange(len(stack)), 4)):
        with h5py.File(folder / f"part{number}.h5", "w") as file:
            file["d"] = stack[part]
        layout[part[0] : part[-1] + 1] = h5py.VirtualSource(f"part{number}.h5", "d", (len(part), *stack.shape[1:]))
    path = dxchange(folder / name, **{member: None})
    with h5py.File(path, "r+") as file:
        file["exchange"].create_virtual_dataset(member, layout)
        if member == "theta":
            file["exchange/theta"].attrs["units"] = "deg"
    return path


def lost_in(path: Path, name: str = "exchange/data") -> tuple[list[int], tuple[str, ...]]:
    with h5py.File(path) as file:
        lost, causes = lost_frames(file[name])
    return np.flatnonzero(lost).tolist(), causes


class TestVirtual:
    def test_whole(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        assert lost_in(path) == ([], ())
        with ScanFile.open(path) as scan:
            assert (scan.missing, scan.info.notes) == (0, ())
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS)

    def test_without_a_source_its_projections_are_missing(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        (tmp_path / "part1.h5").unlink()
        assert lost_in(path) == (PARTS[1].tolist(), ("part1.h5 is missing, a source of /exchange/data",))
        kept = np.setdiff1d(np.arange(20), PARTS[1])
        with ScanFile.open(path) as scan:
            assert scan.info.notes == ("part1.h5 is missing, a source of /exchange/data",)
            assert (scan.info.projections, scan.missing, scan.spec().projections) == (15, 5, 20)
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS[kept])
            np.testing.assert_array_equal(scan.angles_deg, ANGLES[kept])
            np.testing.assert_array_equal(scan.usable_index, 5 + kept)
            assert [int(frame.pixels[0, 0]) for frame in scan.frames()][5:] == (100 + kept).tolist()

    def test_the_last_ones_count_as_well(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        (tmp_path / "part3.h5").unlink()
        with ScanFile.open(path) as scan:
            assert (scan.missing, scan.spec().projections, scan.spec().range_deg) == (5, 20, pytest.approx(180))

    def test_without_any_source_there_is_no_scan(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        for number in range(4):
            (tmp_path / f"part{number}.h5").unlink()
        with pytest.raises(BadInput, match=r"holds no projections \(part0.h5 is missing, a source of /exchange/data; "):
            ScanFile.open(path)

    def test_flats_that_are_gone_are_no_flats(self, tmp_path: Path) -> None:
        path = virtual(tmp_path, member="data_white", stack=np.repeat(FLATS, 2, axis=0))
        (tmp_path / "part0.h5").unlink()
        with ScanFile.open(path) as scan:
            assert (scan.info.flats, scan.missing) == (4, 0)
            assert all(block.min() >= 900 for block in scan.flats())

    def test_without_all_angles_it_is_no_scan(self, tmp_path: Path) -> None:
        path = virtual(tmp_path, member="theta", stack=ANGLES)
        (tmp_path / "part2.h5").unlink()
        with pytest.raises(BadInput, match=r"/exchange/theta is not whole: part2\.h5 is missing"):
            ScanFile.open(path)

    def test_a_source_that_is_too_short(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        with h5py.File(tmp_path / "part1.h5", "w") as file:
            file["d"] = PROJECTIONS[:2]
        assert lost_in(path) == (PARTS[1][2:].tolist(), ("part1.h5 holds only 2 frames in d",))

    def test_a_source_without_the_dataset(self, tmp_path: Path) -> None:
        path = virtual(tmp_path)
        with h5py.File(tmp_path / "part1.h5", "w") as file:
            file["other"] = 1
        assert lost_in(path) == (PARTS[1].tolist(), ("part1.h5 lacks d",))

    def test_frames_that_nothing_is_mapped_to(self, tmp_path: Path) -> None:
        path = dxchange(tmp_path / "a.h5", data=None)
        layout = h5py.VirtualLayout(PROJECTIONS.shape, "<u2")
        layout[3:] = h5py.VirtualSource(".", "own", (17, *SHAPE))
        with h5py.File(path, "r+") as file:
            file["own"] = PROJECTIONS[3:]
            file["exchange"].create_virtual_dataset("data", layout)
        assert lost_in(path) == ([0, 1, 2], ("/exchange/data: 3 frames have no source",))

    def test_modules_in_turns_and_a_file_for_each_frame(self, tmp_path: Path) -> None:
        path = dxchange(tmp_path / "a.h5", data=None)
        layout = h5py.VirtualLayout(PROJECTIONS.shape, "<u2")
        for number in range(4):  # frame k is in file k modulo 4
            with h5py.File(tmp_path / f"m{number}.h5", "w") as file:
                file["d"] = PROJECTIONS[number::4]
            layout[number::4] = h5py.VirtualSource(f"m{number}.h5", "d", (5, *SHAPE))
        with h5py.File(path, "r+") as file:
            file["exchange"].create_virtual_dataset("data", layout)
        (tmp_path / "m2.h5").unlink()
        assert lost_in(path)[0] == list(range(2, 20, 4))
        single = h5py.VirtualLayout((3, *SHAPE), "<u2")
        for number in range(3):
            with h5py.File(tmp_path / f"f{number}.h5", "w") as file:
                file["d"] = PROJECTIONS[number]
            single[number] = h5py.VirtualSource(f"f{number}.h5", "d", SHAPE)
        with h5py.File(path, "r+") as file:
            file.create_virtual_dataset("single", single)
        assert lost_in(path, "single") == ([], ())
        (tmp_path / "f1.h5").unlink()
        assert lost_in(path, "single")[0] == [1]

    def test_virtual_datasets_of_virtual_datasets(self, tmp_path: Path) -> None:
        inner = virtual(tmp_path, "inner.h5")
        layout = h5py.VirtualLayout((10, *SHAPE), "<u2")
        with h5py.File(inner) as file:
            layout[:] = h5py.VirtualSource(file["exchange/data"])[5:15]
        outer = tmp_path / "outer.h5"
        with h5py.File(outer, "w") as file:
            file.create_virtual_dataset("d", layout)
        (tmp_path / "part1.h5").unlink()
        assert lost_in(outer, "d") == ([0, 1, 2, 3, 4], ("part1.h5 is missing, a source of /exchange/data",))

    def test_mappings_that_are_no_single_block(self, tmp_path: Path) -> None:
        path, kept, hole = dxchange(tmp_path / "a.h5", data=None), np.r_[0:7, 12:20], np.r_[7:12]
        layout = h5py.VirtualLayout(PROJECTIONS.shape, "<u2")
        layout[kept] = h5py.VirtualSource(".", "kept", (15, *SHAPE))
        layout[hole] = h5py.VirtualSource("gone.h5", "d", (5, *SHAPE))
        with h5py.File(path, "r+") as file:
            file["kept"] = PROJECTIONS[kept]
            file["exchange"].create_virtual_dataset("data", layout)
        assert lost_in(path) == (hole.tolist(), ("gone.h5 is missing, a source of /exchange/data",))

    def test_a_pattern_that_names_a_file_for_each_block(self, tmp_path: Path) -> None:
        # h5py has no call for it: a mapping without end, whose blocks of two frames are in s0.h5, s1.h5, …
        for number in range(4):
            with h5py.File(tmp_path / f"s{number}.h5", "w") as file:
                file["d"] = PROJECTIONS[2 * number : 2 * number + 2]
        endless = h5py.h5s.create_simple((8, *SHAPE), (h5py.h5s.UNLIMITED, *SHAPE))
        endless.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (2, 1, 1), (2, *SHAPE))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        source = h5py.h5s.create_simple((2, *SHAPE))
        properties.set_virtual(endless, b"s%b.h5", b"d", source)
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            h5py.h5d.create(file.id, b"d", h5py.h5t.STD_U16LE, endless, properties)
        assert lost_in(path, "d") == ([], ())
        with h5py.File(tmp_path / "s1.h5", "w") as file:
            file["d"] = PROJECTIONS[2:3]
        assert lost_in(path, "d") == ([3], ("s1.h5 holds only 1 frames in d",))


class TestUnwritten:
    def test_frames_that_were_never_written(self, tmp_path: Path) -> None:
        path = dxchange(tmp_path / "a.h5", data=None)
        with h5py.File(path, "r+") as file:
            data = file["exchange"].create_dataset("data", PROJECTIONS.shape, "<u2", chunks=(1, 2, 4))
            data[:15] = PROJECTIONS[:15]
            data[17, 0] = 1  # half of it
        cause = "/exchange/data: 5 frames were never written"
        assert lost_in(path) == ([15, 16, 17, 18, 19], (cause,))
        with ScanFile.open(path) as scan:
            assert (scan.missing, scan.info.projections, scan.info.notes) == (5, 15, (cause,))

    @pytest.mark.parametrize("chunks", [None, (3, 3, 4)])
    def test_whole_and_empty_datasets(self, tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("whole", data=PROJECTIONS, chunks=chunks)
            file.create_dataset("empty", PROJECTIONS.shape, "<u2", chunks=chunks)
        assert lost_in(tmp_path / "a.h5", "whole") == ([], ())
        assert lost_in(tmp_path / "a.h5", "empty")[0] == list(range(20))

    def test_pixels_in_a_file_of_their_own(self, tmp_path: Path) -> None:
        raw = tmp_path / "pixels.raw"
        raw.write_bytes(PROJECTIONS.tobytes())
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("d", PROJECTIONS.shape, "<u2", external=[("pixels.raw", 0, raw.stat().st_size)])
        assert lost_in(path, "d") == ([], ())
        raw.unlink()
        assert lost_in(path, "d") == (list(range(20)), ("pixels.raw is missing, which holds /d",))


class TestFilters:
    @pytest.mark.parametrize("filter_", [hdf5plugin.Bitshuffle(), hdf5plugin.LZ4(), hdf5plugin.Zstd()])
    def test_usual_ones_are_read(self, tmp_path: Path, filter_: Any) -> None:
        path = dxchange(tmp_path / "a.h5", data=None)
        with h5py.File(path, "r+") as file:
            file["exchange"].create_dataset("data", data=PROJECTIONS, chunks=(1, *SHAPE), **filter_)
        with ScanFile.open(path) as scan:
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS)

    def test_one_that_is_not_installed_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = nxtomo(tmp_path / "a.nx")
        with h5py.File(path, "r+") as file:
            del file["entry/instrument/detector/data"]
            stack = np.concatenate([DARKS, FLATS, PROJECTIONS])
            file["entry/instrument/detector"].create_dataset(
                "data", data=stack, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle()
            )
        monkeypatch.setattr(hdf5, "_available", lambda code: code != hdf5plugin.BSHUF_ID)
        with pytest.raises(BadInput, match=r"a.nx: \S+/data is compressed by the HDF5 filter 32008 \(bitshuffle.*pip"):
            ScanFile.open(path)
