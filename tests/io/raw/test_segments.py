"""A scan in several files: which frames are taken, what is listed, and that other programs see one scan."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.frames import BadInput
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import DATA, Account, next_segment, seal, segments_of
from streamer.io.source_file import ScanFile
from tests.io.helpers import ENDED, SPEC, STARTED, frames_held, meta_of, pixels_of

N = SPEC.frames


def closed(path: Path, indices: range, status: str = "complete", **lists: Any) -> Path:
    """A segment that its writer closed."""
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in indices:
        file.append(meta_of(index), pixels_of(index))
    file.close(status, N, lists, ENDED)
    return path


def crashed(path: Path, indices: range) -> Path:
    """A segment as the death of its writer leaves it: the bytes that were in the file at that moment."""
    original = path.with_suffix(".original")
    file = NXtomoFile.create(original, SPEC, STARTED)
    for index in indices:
        file.append(meta_of(index), pixels_of(index))
    file.flush()
    shutil.copy(original, path)
    file.close("complete")
    original.unlink()
    return path


def account(status: str = "complete", **lists: Any) -> Account:
    return Account(SPEC, N, status, {name: np.array(values) for name, values in lists.items()}, STARTED, ENDED)


def assert_holds(path: Path, indices: Any, status: str, missing: Any = (), lost: Any = ()) -> None:
    """As any program reads it: these frames and no others, all right, the rest listed."""
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file["entry/instrument/detector/sequence_number"], list(indices))
        for image, index in zip(file[DATA], indices, strict=True):
            np.testing.assert_array_equal(image, pixels_of(index))
        angles = [meta_of(index).angle_deg for index in indices]
        np.testing.assert_array_equal(file["entry/sample/rotation_angle"], angles)
        streamer = file["entry/streamer"]
        assert streamer["status"].asstr()[()] == status
        np.testing.assert_array_equal(streamer["missing_frames"], list(missing))
        np.testing.assert_array_equal(streamer["lost_frames"], list(lost))


def scribble(path: Path, row: int) -> None:
    """Change the bytes of one image behind HDF5's back."""
    with h5py.File(path, "r") as file:
        offset = file[DATA].id.get_chunk_info(row).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 20)


def test_one_good_file_stays_as_it_is(tmp_path: Path) -> None:
    path = closed(tmp_path / "a.nx", range(N))
    before = path.read_bytes()
    sealed = seal(path, account())
    assert (sealed.written, len(sealed.lost), sealed.problems, sealed.segments) == (N, 0, (), 1)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.nx"]


def test_segments_become_one_scan_with_each_frame_once(tmp_path: Path) -> None:
    path = crashed(tmp_path / "a.nx", range(20))
    assert next_segment(path) == tmp_path / "a+1.nx"
    crashed(next_segment(path), range(15, 30))
    closed(next_segment(path), range(28, N))
    np.testing.assert_array_equal(frames_held(path), range(N))
    sealed = seal(path, account())
    assert (sealed.written, len(sealed.lost), sealed.segments) == (N, 0, 3)
    assert sorted(os.listdir(tmp_path)) == ["a+0.nx", "a+1.nx", "a+2.nx", "a.nx"]
    assert_holds(path, range(N), "complete")
    assert seal(path, account()).written == N, "it may be done again"
    assert_holds(path, range(N), "complete")
    with ScanFile.open(path) as scan:
        assert scan.info.projections == SPEC.projections
        for frame in scan.frames():
            np.testing.assert_array_equal(frame.pixels, pixels_of(frame.meta.index))


def test_the_master_has_the_pixel_mask_of_its_segments(tmp_path: Path) -> None:
    path, mask = tmp_path / "a.nx", np.zeros((SPEC.rows, SPEC.columns), np.uint32)
    mask[1, 2] = 2
    for first, last in ((0, 20), (20, N)):
        segment = next_segment(path)
        file = NXtomoFile.create(segment, SPEC, STARTED)
        for index in range(first, last):
            file.append(meta_of(index), pixels_of(index))
        file.mark(mask)
        mask[1, 2], mask[3, 4] = 0, 256
        file.close("incomplete")
    seal(path, account())
    with ScanFile.open(path) as scan:
        assert scan.mask is not None
        assert scan.mask[1, 2] == 2
        assert scan.mask[3, 4] == 256
        assert scan.mask.sum() == 258


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    crashed(folder / "a.nx", range(20))
    closed(folder / "a+1.nx", range(20, N))
    seal(folder / "a.nx", account())
    assert_holds(folder.rename(tmp_path / "there") / "a.nx", range(N), "complete")


def test_a_damaged_frame_is_taken_from_another_segment_or_listed(tmp_path: Path) -> None:
    path = crashed(tmp_path / "a.nx", range(20))
    closed(tmp_path / "a+1.nx", range(18, N))
    sealed = seal(path, account())
    assert sealed.written == N
    scribble(tmp_path / "a+0.nx", 19)
    assert seal(path, account()).written == N, "frame 19 is in the other one"
    scribble(tmp_path / "a+0.nx", 4)
    sealed = seal(path, account(missing=[]))
    assert (sealed.written, list(sealed.lost)) == (N - 1, [4])
    assert sealed.problems == ("a+0.nx: damaged frames: 2",)
    assert_holds(path, [*range(4), *range(5, 19), 19, *range(20, N)], "incomplete", lost=[4])


def test_a_file_that_was_scribbled_on_after_its_end_is_noticed(tmp_path: Path) -> None:
    path = closed(tmp_path / "a.nx", range(N))
    scribble(path, 7)
    assert seal(path, account(), verify=False).written == N, "it is not looked at"
    sealed = seal(path, account())
    assert list(sealed.lost) == [7]
    assert_holds(path, [*range(7), *range(8, N)], "incomplete", lost=[7])


def test_a_file_that_was_removed_is_replaced_by_a_list_of_what_is_lost(tmp_path: Path) -> None:
    path = closed(tmp_path / "a.nx", range(3, N), missing=[0, 1, 2])
    path.unlink()
    sealed = seal(path, account("incomplete", missing=[0, 1], corrupt=[2]))
    assert (sealed.written, sealed.segments) == (0, 0)
    np.testing.assert_array_equal(sealed.lost, range(3, N))
    assert_holds(path, [], "incomplete", missing=[0, 1], lost=range(3, N))


@pytest.mark.parametrize("length", [0, 500, 5000, 20_000])
def test_a_file_without_its_end_gives_what_is_whole(tmp_path: Path, length: int) -> None:
    path = crashed(tmp_path / "a.nx", range(20))
    os.truncate(path, length)
    closed(tmp_path / "a+1.nx", range(20, N))
    sealed = seal(path, account())
    assert sealed.written + len(sealed.lost) == N
    assert sealed.written >= N - 20
    held = sorted(set(range(N)) - set(sealed.lost.tolist()))
    assert_holds(path, held, "incomplete" if len(sealed.lost) else "complete", lost=sealed.lost)


def test_after_a_crash_of_everything_the_rest_is_missing(tmp_path: Path) -> None:
    path = crashed(tmp_path / "a.nx", range(20))
    assert seal(path).written == 20
    assert_holds(path, range(20), "incomplete", missing=range(20, N))
    crashed(next_segment(path), range(20, 30))  # the scan went on
    assert segments_of(path) == [tmp_path / "a+0.nx", tmp_path / "a+1.nx"]
    seal(path)
    assert_holds(path, range(30), "incomplete", missing=range(30, N))


def test_what_a_crash_between_the_two_names_left_is_put_together_again(tmp_path: Path) -> None:
    path = crashed(tmp_path / "a.nx", range(20)).rename(tmp_path / "a+0.nx")
    closed(tmp_path / "a+1.nx", range(20, N))
    seal(tmp_path / "a.nx")
    assert_holds(tmp_path / "a.nx", range(N), "complete")
    assert path.exists()


def test_a_file_that_is_still_written_is_left_alone(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
    with pytest.raises(BadInput, match="is still being written"):
        seal(file.path)
    file.append(meta_of(0), pixels_of(0))
    file.close("aborted", 1)
    assert seal(file.path).written == 1


def test_nothing_of_others_is_overwritten_or_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path = tmp_path / "a.nx"
    path.symlink_to(precious)
    closed(tmp_path / "a+1.nx", range(N))
    (tmp_path / "a+new.nx").symlink_to(precious)
    assert seal(path, account()).written == N
    assert precious.read_text() == "precious"
    assert_holds(path, range(N), "complete")
    assert (tmp_path / "a+0.nx").is_symlink()


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither it nor a segment of it can be read"):
        seal(tmp_path / "a.nx")
    (tmp_path / "a.nx").write_text("text")
    with pytest.raises(BadInput, match="can be read"):
        seal(tmp_path / "a.nx")
    assert (tmp_path / "a.nx").read_text() == "text"


def test_other_scans_are_other_scans(tmp_path: Path) -> None:
    for name in ("a.nx", "a.1.nx", "ab.nx", "a+1.h5"):
        (tmp_path / name).touch()
    assert segments_of(tmp_path / "a.nx") == [tmp_path / "a.nx"]


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    path = crashed(tmp_path / "a.nx", range(20))
    closed(tmp_path / "a+1.nx", range(18, N))
    seal(path, account())
    return path


def test_nxtomo_loads_the_master(joined: Path) -> None:
    from nxtomo import NXtomo

    scan = NXtomo().load(str(joined), "entry", detector_data_as="as_numpy_array")
    np.testing.assert_array_equal(scan.instrument.detector.data, [pixels_of(i) for i in range(N)])


def test_tomoscan_finds_the_master_fit_for_reconstruction(joined: Path) -> None:
    from tomoscan.esrf.scan.nxtomoscan import NXtomoScan
    from tomoscan.validator import BasicScanValidator, ReconstructionValidator

    scan = NXtomoScan(str(joined), "entry")
    for validator in (BasicScanValidator(scan), ReconstructionValidator(scan)):
        assert validator.is_valid(), validator.checkup(only_issues=True)


def test_silx_finds_the_default_plot_of_the_master(joined: Path) -> None:
    from silx.io import open as silx_open
    from silx.io.nxdata import get_default

    with silx_open(str(joined)) as file:
        plot = get_default(file)
        assert plot is not None
        np.testing.assert_array_equal(plot.signal[N - 1], pixels_of(N - 1))


@pytest.mark.parametrize("dtype", ["|u1", "<u4", "<f4"])
def test_every_pixel_type_is_joined(tmp_path: Path, dtype: str) -> None:
    spec = structs.replace(SPEC, dtype=dtype)
    for part, indices in (("a.nx", range(3)), ("a+1.nx", range(3, 6))):
        file = NXtomoFile.create(tmp_path / part, spec, STARTED)
        for index in indices:
            file.append(meta_of(index, spec), pixels_of(index, spec))
        file.close("complete")
    seal(tmp_path / "a.nx", Account(spec, 6, "complete"))
    with h5py.File(tmp_path / "a.nx") as joined:
        assert joined[DATA].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(joined[DATA], [pixels_of(i, spec) for i in range(6)])
