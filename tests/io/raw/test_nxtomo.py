from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.raw.nxtomo import BLOCK, NXtomoFile
from streamer.io.raw.unclosed import clear_swmr_flags, lookup3, open_raw
from tests.io.helpers import ENDED, SPEC, STARTED, meta_of, pixels_of
from tests.paths import ROOT

DATA = "entry/instrument/detector/data"


def written(path: Path, indices: range | list[int] = range(SPEC.frames), spec: ScanSpec = SPEC, **close: Any) -> Path:
    file = NXtomoFile.create(path, spec, STARTED)
    for index in indices:
        file.append(meta_of(index, spec), pixels_of(index, spec))
    file.close(**{"status": "complete", "ended": ENDED, **close})
    return path


def test_frames_lie_in_the_order_of_arrival_with_everything_known_about_them(tmp_path: Path) -> None:
    order = [3, 1, 49, 2, 0]
    with h5py.File(written(tmp_path / "a.nx", order)) as file:
        detector = file["entry/instrument/detector"]
        np.testing.assert_array_equal(detector["sequence_number"], order)
        np.testing.assert_array_equal(detector["data"], [pixels_of(i) for i in order])
        metas = [meta_of(i) for i in order]
        np.testing.assert_array_equal(detector["image_key"], [m.kind for m in metas])
        np.testing.assert_array_equal(detector["image_key_control"], [m.kind for m in metas])
        np.testing.assert_array_equal(detector["timestamp"], [m.timestamp_ns for m in metas])
        np.testing.assert_array_equal(detector["count_time"], [m.exposure_s for m in metas])
        np.testing.assert_array_equal(file["entry/sample/rotation_angle"], [m.angle_deg for m in metas])
        np.testing.assert_array_equal(file["entry/control/data"], [m.monitor for m in metas])
        assert detector["sequence_number"].dtype == np.uint32
        assert detector["data"].chunks == (1, SPEC.rows, SPEC.columns)


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_every_dtype_is_kept(tmp_path: Path, dtype: str) -> None:
    spec = structs.replace(SPEC, dtype=dtype)
    with h5py.File(written(tmp_path / "a.nx", range(3), spec)) as file:
        assert file[DATA].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(file[DATA], [pixels_of(i, spec) for i in range(3)])


def test_the_file_says_how_the_scan_ended(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.nx",
        [0, 2],
        status="incomplete",
        frames={"missing": [1, 4], "corrupt": np.array([3]), "unusable": [2]},
        note="ended – early",
    )
    with h5py.File(path) as file:
        streamer = file["entry/streamer"]
        assert streamer.attrs["NX_class"] == "NXcollection"
        assert streamer["status"].asstr()[()] == "incomplete"
        assert streamer["note"].asstr()[()] == "ended – early"
        assert streamer["expected_frames"][()] == SPEC.frames
        np.testing.assert_array_equal(streamer["missing_frames"], [1, 4])
        np.testing.assert_array_equal(streamer["corrupt_frames"], [3])
        np.testing.assert_array_equal(streamer["unusable_frames"], [2])
        assert ScanSpec.from_dict(json.loads(streamer["spec"].asstr()[()])) == SPEC
        assert file["entry/end_time"].asstr()[()] == ENDED


def test_a_note_that_is_too_long_is_cut_between_characters(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "a.nx", [0], note="é" * 500)) as file:
        assert file["entry/streamer/note"].asstr()[()] == "é" * 200


def test_sizes_are_exact_after_every_flush_and_across_blocks(tmp_path: Path) -> None:
    spec = structs.replace(SPEC, rows=2, columns=2, projections=300)
    file = NXtomoFile.create(tmp_path / "a.nx", spec, STARTED)
    for index in range(2 * BLOCK + 5):
        file.append(meta_of(index, spec), pixels_of(index, spec))
        if index in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 4):
            assert file.flush() == index + 1 == file.written == file.frames
            with open_raw(file.path) as other:
                assert len(other[DATA]) == len(other["entry/sample/rotation_angle"]) == index + 1
                np.testing.assert_array_equal(other[DATA][-1], pixels_of(index, spec))
    assert file.flush() == file.close("complete") == 2 * BLOCK + 5


def test_a_frame_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
    with pytest.raises(BadInput, match=r"frame 0 is \(8, 11\) uint16"):
        file.append(meta_of(0), pixels_of(0)[:, :-1])
    with pytest.raises(BadInput, match="float32"):
        file.append(meta_of(0), pixels_of(0).astype("<f4"))
    file.append(meta_of(0), np.asfortranarray(pixels_of(0)))
    file.close("complete")
    with h5py.File(tmp_path / "a.nx") as other:
        np.testing.assert_array_equal(other[DATA][0], pixels_of(0))


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nx")
    before = path.read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        NXtomoFile.create(path, SPEC, STARTED)
    assert path.read_bytes() == before
    link = tmp_path / "link.nx"
    link.symlink_to(tmp_path / "elsewhere.nx")
    with pytest.raises(BadInput):
        NXtomoFile.create(link, SPEC, STARTED)
    assert not (tmp_path / "elsewhere.nx").exists()
    with pytest.raises(BadInput, match="does not exist"):
        NXtomoFile.create(tmp_path / "no" / "a.nx", SPEC, STARTED)


def test_what_is_not_known_is_not_in_the_file(tmp_path: Path) -> None:
    spec = ScanSpec("s", "x", 2, 3, 4)
    with h5py.File(written(tmp_path / "a.nx", [0], spec)) as file:
        assert "incident_energy" not in file["entry/instrument/beam"]
        assert not {"x_pixel_size", "y_pixel_size", "distance"} & set(file["entry/instrument/detector"])


class TestOtherPrograms:
    def test_nxtomo_loads_it(self, tmp_path: Path) -> None:
        from nxtomo import NXtomo

        scan = NXtomo().load(str(written(tmp_path / "a.nx")), "entry", detector_data_as="as_numpy_array")
        assert scan.sample.name == SPEC.sample
        assert scan.energy.to("keV").magnitude == SPEC.energy_kev
        detector = scan.instrument.detector
        assert detector.x_pixel_size.to("m").magnitude == SPEC.pixel_size_m
        assert detector.distance.to("m").magnitude == SPEC.distance_m
        np.testing.assert_array_equal(detector.data, [pixels_of(i) for i in range(SPEC.frames)])
        np.testing.assert_array_equal(detector.sequence_number, range(SPEC.frames))
        np.testing.assert_allclose(scan.sample.rotation_angle.to("degree").magnitude[-1], 175.5)

    def test_tomoscan_finds_it_fit_for_reconstruction(self, tmp_path: Path) -> None:
        from tomoscan.esrf.scan.nxtomoscan import NXtomoScan
        from tomoscan.validator import BasicScanValidator, ReconstructionValidator

        scan = NXtomoScan(str(written(tmp_path / "a.nx")), "entry")
        for validator in (BasicScanValidator(scan), ReconstructionValidator(scan)):
            assert validator.is_valid(), validator.checkup(only_issues=True)
        assert (len(scan.projections), len(scan.darks), len(scan.flats)) == (40, 6, 4)
        assert scan.sample_name == SPEC.sample

    def test_silx_finds_the_default_plot(self, tmp_path: Path) -> None:
        from silx.io import open as silx_open
        from silx.io.nxdata import get_default

        with silx_open(str(written(tmp_path / "a.nx"))) as file:
            plot = get_default(file)
            assert plot is not None
            assert plot.is_valid
            assert plot.signal.shape == (SPEC.frames, SPEC.rows, SPEC.columns)


CRASHING = """
import os, sys
from pathlib import Path
from streamer.io.raw.nxtomo import NXtomoFile
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of
file = NXtomoFile.create(Path(sys.argv[1]), SPEC, STARTED)
for index in range(int(sys.argv[3])):
    file.append(meta_of(index), pixels_of(index))
    if index == int(sys.argv[2]) - 1:
        file.flush()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def crashed(tmp_path: Path) -> Callable[[int, int], Path]:
    def crash(flushed: int, appended: int) -> Path:
        path = tmp_path / "crashed.nx"
        root = str(ROOT)
        command = [sys.executable, "-c", CRASHING, str(path), str(flushed), str(appended)]
        assert subprocess.run(command, cwd=root, check=False).returncode == -9
        return path

    return crash


@pytest.mark.parametrize(("flushed", "appended"), [(20, 20), (20, 33), (1, 50)])
def test_a_file_left_by_a_crash_is_readable_up_to_the_last_flush(
    crashed: Callable[[int, int], Path], flushed: int, appended: int
) -> None:
    path = crashed(flushed, appended)
    with pytest.raises(OSError, match="open"):
        h5py.File(path, "r")
    assert_readable(open_raw(path), flushed)
    assert clear_swmr_flags(path)
    assert_readable(h5py.File(path, "r"), flushed)
    assert not clear_swmr_flags(path), "there is nothing left to do"


def assert_readable(file: h5py.File, frames: int) -> None:
    with file:
        assert file["entry/streamer/status"].asstr()[()] == "running"
        assert len(file["entry/instrument/detector/image_key"]) >= frames
        np.testing.assert_array_equal(file[DATA][:frames], [pixels_of(i) for i in range(frames)])
        np.testing.assert_array_equal(file["entry/instrument/detector/sequence_number"][:frames], range(frames))


def test_a_repaired_file_is_accepted_by_nxtomo(crashed: Callable[[int, int], Path]) -> None:
    from nxtomo import NXtomo

    path = crashed(30, 30)
    clear_swmr_flags(path)
    scan = NXtomo().load(str(path), "entry", detector_data_as="as_numpy_array")
    assert len(scan.instrument.detector.data) == 30


def test_frames_without_values_count_as_invalid(tmp_path: Path) -> None:
    file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
    file.close("complete")
    with h5py.File(tmp_path / "a.nx", "r+") as other:
        for name in ("image_key", "image_key_control", "sequence_number"):
            other[f"entry/instrument/detector/{name}"].resize(2, 0)
        assert list(other["entry/instrument/detector/image_key"]) == [FrameKind.INVALID] * 2


class TestClearFlags:
    def test_a_file_of_another_kind_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "old.h5"
        with h5py.File(path, "w", libver=("earliest", "v110")) as file:
            file["a"] = 1
        before = path.read_bytes()
        with pytest.raises(BadInput, match="superblock of version 3"):
            clear_swmr_flags(path)
        assert path.read_bytes() == before
        path.write_bytes(b"short")
        with pytest.raises(BadInput, match="superblock of version 3"):
            clear_swmr_flags(path)

    def test_a_damaged_superblock_is_refused(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.nx", [0])
        content = bytearray(path.read_bytes())
        content[30] ^= 1
        path.write_bytes(content)
        with pytest.raises(BadInput, match="checksum"):
            clear_swmr_flags(path)

    def test_without_its_end_it_stays_readable_by_us_alone(self, crashed: Callable[[int, int], Path]) -> None:
        path = crashed(20, 20)
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(BadInput, match="its end is missing"):
            clear_swmr_flags(path)
        assert path.read_bytes() == content[:-1]
        open_raw(path).close()

    @pytest.mark.parametrize(
        ("data", "value"),
        [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)],
    )
    def test_the_checksum_is_lookup3(self, data: bytes, value: int) -> None:
        assert lookup3(data) == value


def test_open_raw_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        open_raw(tmp_path / "none.nx")
    text = tmp_path / "text.nx"
    text.write_text("hello")
    with pytest.raises(BadInput, match=r"^\S+: not a readable HDF5 file \(.*\)$"):
        open_raw(text)
    with pytest.raises(BadInput, match=r"\(is a directory\)$"):
        open_raw(tmp_path)


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_a_file_without_its_end_is_refused_at_once(tmp_path: Path, libver: str) -> None:
    """HDF5 must not be made to wait for a writer that there is none of: that takes minutes."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=(libver, "v110")) as file:
        file["a"] = np.arange(10_000)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(BadInput, match=r"\(its end is missing; copy it again\)$"):
        open_raw(path)


def test_a_disk_that_refuses_is_bad_input(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/a.nx")  # where not even root may make files
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "a.nx"
    with pytest.raises(BadInput, match=r"^raw file \S+: \w"):
        NXtomoFile.create(target, SPEC, STARTED)
