from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.io.tomogram import TomogramFile
from streamer.web.archive import Archive
from streamer.web.geometry import FreePlane, Place, Volume, planes_at
from streamer.web.messages import Cut, split_picture
from streamer.web.tomogram import Tomogram
from tests.io.helpers import SPEC

RNG = np.random.default_rng(5)
VOXELS = RNG.normal(size=(12, 20, 20)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with TomogramFile.create(tmp_path / "s1.tomogram.h5", VOXELS.shape, SPEC, unit="1/cm") as volume:
        volume.write_rows(0, VOXELS)
    return tmp_path / "s1.tomogram.h5"


def test_a_file_is_mapped_where_it_lies(file: Path) -> None:
    tomogram = Tomogram.open(file)
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert (tomogram.unit, tomogram.pixel_size_m) == ("1/cm", SPEC.pixel_size_m)


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_what_is_no_tomogram_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.h5"
    if content is None:
        with h5py.File(path, "w") as file:
            file["entry/data/data"] = np.zeros((2, 2, 2), np.float64)
    else:
        path.write_bytes(content)
    with pytest.raises(BadInput):
        Tomogram.open(path)


def test_a_coarse_brick_holds_means() -> None:
    brick = Tomogram(VOXELS, "1/cm", None).brick(((0, 12), (0, 20), (0, 20)), 10)
    assert brick.step == 2
    means = VOXELS.reshape(6, 2, 10, 2, 10, 2).mean((1, 3, 5))
    seen = brick.lo + (brick.hi - brick.lo) * brick.voxels / 255
    np.testing.assert_allclose(seen, np.clip(means, brick.lo, brick.hi), atol=(brick.hi - brick.lo) / 200)


def test_sides_that_do_not_divide_lose_their_last_voxels() -> None:
    assert Tomogram(VOXELS, "", None).brick(((0, 12), (0, 20), (0, 20)), 8).voxels.shape == (4, 6, 6)
    assert Tomogram(VOXELS[:2], "", None).brick(((0, 2), (0, 20), (0, 20)), 5).voxels.shape == (1, 5, 5)


def test_a_box_has_every_voxel_at_the_levels_of_the_whole() -> None:
    tomogram = Tomogram(VOXELS, "", None)
    whole = tomogram.brick(tomogram.whole, 10)
    box = tomogram.brick(((3, 9), (10, 99), (0, 8)), 64)
    assert (box.step, box.box) == (1, ((3, 9), (10, 20), (0, 8)))
    assert (box.lo, box.hi) == (whole.lo, whole.hi)
    seen = box.lo + (box.hi - box.lo) * box.voxels / 255
    wanted = np.clip(VOXELS[3:9, 10:, :8], box.lo, box.hi)
    np.testing.assert_allclose(seen, wanted, atol=(box.hi - box.lo) / 200)


def test_a_flat_volume_has_levels_too() -> None:
    assert Tomogram(np.zeros((4, 4, 4), np.float32), "", None).brick(((0, 4),) * 3, 4).voxels.max() < 255


def test_cuts_are_the_voxels_of_their_planes() -> None:
    tomogram, volume = Tomogram(VOXELS, "", None), Volume(12, 20)
    xy, xz, yz = (tomogram.cut(plane) for plane in planes_at(volume, Place(3, 4, 5)))
    np.testing.assert_array_equal(xy, VOXELS[5])
    np.testing.assert_array_equal(xz, VOXELS[:, 4])
    np.testing.assert_array_equal(yz, VOXELS[:, :, 3])


def test_a_free_cut_that_lies_level_is_the_slice_between_two() -> None:
    plane = planes_at(Volume(12, 20), Place(0, 0, 0, FreePlane(0, 0, 2)))[-1]
    np.testing.assert_allclose(Tomogram(VOXELS, "", None).cut(plane), (VOXELS[7] + VOXELS[8]) / 2, atol=1e-5)


class TestArchive:
    def test_bricks_and_cuts_by_scan(self, file: Path) -> None:
        archive = Archive({"s1": file}.get)
        header, voxels = split_picture(archive.brick("s1", {"most": "10"}))
        assert (header["shape"], header["step"], len(voxels)) == ([6, 10, 10], 2, 600)
        header, voxels = split_picture(archive.brick("s1", {"z": "2:4", "y": "0:5", "x": "1:2"}))
        assert (header["shape"], header["box"]) == ([2, 5, 1], [[2, 4], [0, 5], [1, 2]])
        pictures = archive.cut(Cut("s1", Place(1, 2, 3, FreePlane())))
        assert set(pictures) == {"xy", "xz", "yz", "free"}
        assert split_picture(pictures["xz"])[0]["shape"] == [12, 20]

    @pytest.mark.parametrize(
        ("scan", "query", "words"),
        [
            ("s2", {}, "no tomogram of scan 's2'"),
            ("../s1", {}, "no tomogram"),
            ("s1", {"z": "1"}, "z='1': give FIRST:END"),
            ("s1", {"z": "5:5"}, "has no voxel"),
            ("s1", {"x": "90:99"}, "has no voxel"),
            ("s1", {"most": "9999"}, "most='9999'"),
            ("s1", {"most": "²"}, "most="),
        ],
    )
    def test_other_questions_are_one_line(self, file: Path, scan: str, query: dict[str, str], words: str) -> None:
        with pytest.raises(BadInput, match=words):
            Archive({"s1": file}.get).brick(scan, query)
