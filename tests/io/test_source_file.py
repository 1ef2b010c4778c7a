from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streamer.frames import NAME, BadInput, FrameKind
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.source_file import ScanFile, as_name
from tests.io.helpers import SPEC, STARTED, kind_of, meta_of, pixels_of
from tests.paths import DATA

TOOTH = DATA / "tooth.h5"
DIAD = DATA / "diad" / "k11-18014.nxs"


def raw_file(path: Path, indices: Any = range(SPEC.frames), status: str = "complete") -> Path:
    file = NXtomoFile.create(path, SPEC, STARTED)
    for index in indices:
        file.append(meta_of(index), pixels_of(index))
    file.close(status)
    return path


def dxchange(path: Path, **changes: Any) -> Path:
    """A small DXchange file; a change of None leaves that member out."""
    members: dict[str, Any] = {
        "data": np.arange(6 * 2 * 3, dtype="<u2").reshape(6, 2, 3),
        "data_white": np.full((2, 2, 3), 9, "<u2"),
        "data_dark": np.full((1, 2, 3), 1, "<u2"),
        "theta": np.linspace(0, 150, 6),
    }
    with h5py.File(path, "w") as file:
        for name, value in {**members, **changes}.items():
            if value is not None:
                file[f"exchange/{name}"] = value
    return path


class TestNXtomo:
    def test_our_own_file_comes_back_as_it_was_sent(self, tmp_path: Path) -> None:
        with ScanFile.open(raw_file(tmp_path / "a.nx")) as scan:
            assert scan.spec() == SPEC
            assert scan.spec("other") == structs.replace(SPEC, scan_id="other")
            info = scan.info
            assert (info.layout, info.sample, info.status) == ("NXtomo", SPEC.sample, "complete")
            assert (info.rows, info.columns, info.dtype) == (SPEC.rows, SPEC.columns, SPEC.dtype)
            assert (info.projections, info.flats, info.darks) == (40, 4, 6)
            assert (info.pixel_size_m, info.energy_kev, info.distance_m) == (6.5e-6, 25.0, 0.1)
            assert (info.missing_files, info.notes) == ((), ())
            frames = list(scan.frames())
        assert [frame.meta for frame in frames] == [meta_of(i) for i in range(SPEC.frames)]
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.pixels, pixels_of(index))

    def test_the_order_of_the_file_and_the_indices_are_kept(self, tmp_path: Path) -> None:
        order = [12, 3, 49, 6, 11, 0]
        with ScanFile.open(raw_file(tmp_path / "a.nx", order, "incomplete")) as scan:
            assert [frame.meta.index for frame in scan.frames()] == order
            projections = [i for i in order if kind_of(i) is FrameKind.PROJECTION]
            np.testing.assert_array_equal(scan.angles_deg, [meta_of(i).angle_deg for i in projections])
            np.testing.assert_array_equal(scan.rows(2, 5), [pixels_of(i)[2:5] for i in projections])
            np.testing.assert_array_equal(scan.index, projections)
            numbered = [f.meta.index for f in scan.usable() if f.meta.kind is FrameKind.PROJECTION]
            np.testing.assert_array_equal(scan.usable_index, numbered)
            assert scan.info.projections == 3
            assert scan.spec().projections == 40, "as announced"

    def test_some_frames_together(self, tmp_path: Path) -> None:
        order = [12, 3, 49, 6, 11, 0]
        with ScanFile.open(raw_file(tmp_path / "a.nx", order, "incomplete")) as scan:
            parts = list(scan.some(lambda index: index not in (12, 6), 2))
        assert [[meta.index for meta in metas] for metas, _ in parts] == [[3, 49], [11, 0]]
        for metas, pixels in parts:
            assert metas == [structs.replace(meta_of(meta.index), seq=meta.seq) for meta in metas]
            np.testing.assert_array_equal(pixels, [pixels_of(meta.index) for meta in metas])

    def test_a_file_that_is_still_written_is_read_as_far_as_it_goes(self, tmp_path: Path) -> None:
        file = NXtomoFile.create(tmp_path / "a.nx", SPEC, STARTED)
        for index in range(30):
            file.append(meta_of(index), pixels_of(index))
            if index == 24:
                file.flush()
        with ScanFile.open(tmp_path / "a.nx") as scan:
            assert scan.info.status == "running"
            assert len(list(scan.frames())) == 25
        file.close("complete")

    def test_frames_that_a_crash_left_without_values_are_not_shown(self, tmp_path: Path) -> None:
        path = raw_file(tmp_path / "a.nx", range(20))
        with h5py.File(path, "r+") as file:
            for name in ("data", "image_key", "sequence_number"):
                file[f"entry/instrument/detector/{name}"].resize(30 if name != "image_key" else 25, 0)
            file["entry/sample/rotation_angle"].resize(25, 0)
        with ScanFile.open(path) as scan:
            assert [frame.meta.index for frame in scan.frames()] == list(range(20))

    def test_invalid_frames_of_other_programs_are_left_out(self, tmp_path: Path) -> None:
        path = raw_file(tmp_path / "a.nx", range(16))
        with h5py.File(path, "r+") as file:
            del file["entry/streamer"]
            file["entry/instrument/detector/image_key"][12] = 3
            file["entry/instrument/detector/sequence_number"][...] = np.arange(16) + 1000
        with ScanFile.open(path) as scan:
            assert [frame.meta.index for frame in scan.frames()] == list(range(15))
            assert scan.info.projections == 5
            assert scan.spec().frames == 15

    def test_without_angles_it_is_no_scan(self, tmp_path: Path) -> None:
        path = raw_file(tmp_path / "a.nx")
        with h5py.File(path, "r+") as file:
            del file["entry/sample/rotation_angle"]
        with pytest.raises(BadInput, match=r"no angles \(/entry/sample/rotation_angle is missing\)"):
            ScanFile.open(path)

    def test_angles_that_are_no_numbers_are_named(self, tmp_path: Path) -> None:
        path = raw_file(tmp_path / "a.nx")
        with h5py.File(path, "r+") as file:
            file["entry/sample/rotation_angle"][13] = np.nan
            file["entry/sample/rotation_angle"][2] = np.nan  # of a dark: nobody needs it
            del file["entry/streamer"]
        with pytest.raises(BadInput, match="the angle of projection 3 is not a number"):
            ScanFile.open(path)

    def test_projections_of_ours_that_had_no_position_are_left_out(self, tmp_path: Path) -> None:
        path = raw_file(tmp_path / "a.nx", range(16))
        with h5py.File(path, "r+") as file:
            file["entry/sample/rotation_angle"][13] = np.nan
        with ScanFile.open(path) as scan:
            assert 13 not in [frame.meta.index for frame in scan.frames()]
            assert np.isfinite(scan.angles_deg).all()
            assert scan.missing == 1
            assert "projections without a position are left out: frames 13" in scan.info.notes

    def test_nothing_but_darks_is_no_scan(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="holds no projections"):
            ScanFile.open(raw_file(tmp_path / "a.nx", range(5)))


class TestBlocks:
    @pytest.mark.parametrize("max_bytes", [1, 500, 10_000, 10**8])
    def test_no_read_exceeds_the_bound(self, tmp_path: Path, max_bytes: int) -> None:
        with ScanFile.open(raw_file(tmp_path / "a.nx")) as scan:
            blocks = list(scan.projections(max_bytes=max_bytes))
            assert all(block.nbytes <= max_bytes or len(block) == 1 for _, block in blocks)
            assert all(len(places) == len(block) for places, block in blocks)
            np.testing.assert_array_equal(np.concatenate([places for places, _ in blocks]), np.arange(40))
            stack = np.concatenate([block for _, block in blocks])
            np.testing.assert_array_equal(stack, [pixels_of(i) for i in range(10, 50)])
            assert sum(len(block) for block in scan.darks(max_bytes)) == 6
            assert sum(len(block) for block in scan.flats(max_bytes)) == 4

    @given(st.integers(0, 7), st.integers(1, 8), st.integers(1, 50))
    def test_any_rows_in_any_blocks(
        self, tmp_path_factory: pytest.TempPathFactory, first: int, count: int, block: int
    ) -> None:
        last = min(first + count, SPEC.rows)
        path = tmp_path_factory.getbasetemp() / "blocks.nx"
        if not path.exists():
            raw_file(path)
        with ScanFile.open(path) as scan:
            for places, pixels in scan.projections(block, slice(first, last)):
                assert len(places) <= block
                np.testing.assert_array_equal(pixels, [pixels_of(i + 10)[first:last] for i in places])

    def test_rows_that_are_not_there_are_refused(self, tmp_path: Path) -> None:
        with ScanFile.open(raw_file(tmp_path / "a.nx")) as scan:
            for rows in (slice(8, 9), slice(4, 4), slice(0, 4, 2)):
                with pytest.raises(BadInput, match="nothing to read"):
                    next(scan.projections(rows=rows))


class TestDXchange:
    def test_the_tooth(self) -> None:
        with ScanFile.open(TOOTH) as scan:
            info = scan.info
            assert (info.layout, info.sample, info.dtype) == ("DXchange", "Tooth", "<f4")
            assert (info.projections, info.flats, info.darks) == (181, 10, 10)
            assert (info.rows, info.columns, info.pixel_size_m) == (2, 640, None)
            assert scan.angles_deg[[0, -1]] == pytest.approx([0, 179.0055], abs=1e-4)
            spec = scan.spec()
            assert (spec.scan_id, spec.range_deg) == ("tooth", pytest.approx(180.0))
            frames = list(scan.frames())
            assert [frame.meta.index for frame in frames] == list(range(201))
            assert frames[0].meta.kind is FrameKind.DARK
            assert frames[10].meta.kind is FrameKind.FLAT
            assert frames[21].meta.angle_deg == scan.angles_deg[1]
            with h5py.File(TOOTH) as file:
                np.testing.assert_array_equal(scan.rows(0, 2), file["exchange/data"][()])
                np.testing.assert_array_equal(next(scan.flats()), file["exchange/data_white"][()])

    @pytest.mark.parametrize("unit", ["rad", "radians", b"radian"])
    def test_angles_in_radians(self, tmp_path: Path, unit: Any) -> None:
        path = dxchange(tmp_path / "a.h5", theta=np.linspace(0, np.pi, 6))
        with h5py.File(path, "r+") as file:
            file["exchange/theta"].attrs["units"] = unit
        with ScanFile.open(path) as scan:
            np.testing.assert_allclose(scan.angles_deg, np.linspace(0, 180, 6))

    @pytest.mark.parametrize(("stored", "delivered"), [(">u2", "<u2"), ("<f8", "<f4"), ("<i2", "<f4"), ("u1", "|u1")])
    def test_other_types_are_converted(self, tmp_path: Path, stored: str, delivered: str) -> None:
        data = np.arange(36).reshape(6, 2, 3)
        fields = {name: np.ones((1, 2, 3), stored) for name in ("data_white", "data_dark")}
        path = dxchange(tmp_path / "a.h5", data=data.astype(stored), **fields)
        with ScanFile.open(path) as scan:
            assert scan.info.dtype == delivered
            assert all(frame.pixels.dtype == np.dtype(delivered) for frame in scan.frames())
            np.testing.assert_array_equal(scan.rows(0, 2), data)

    @pytest.mark.parametrize(
        ("stored", "flats", "delivered", "saturation"),
        [
            ("u1", "<u2", "<u2", 255),
            ("<u2", "<f8", "<f4", 65_535),
            ("<u2", "<u4", "<u4", 65_535),
            ("<f4", "<u2", "<f4", None),
        ],
    )
    def test_means_of_flats_and_darks_in_wider_numbers_are_not_cut_off(
        self, tmp_path: Path, stored: str, flats: str, delivered: str, saturation: float | None
    ) -> None:
        beam, shadow = 300 if flats == "<u2" else 70_000.5, 0.5 if flats == "<f8" else 1
        fields = {"data_white": np.full((1, 2, 3), beam, flats), "data_dark": np.full((1, 2, 3), shadow, flats)}
        with ScanFile.open(dxchange(tmp_path / "a.h5", data=np.ones((6, 2, 3), stored), **fields)) as scan:
            assert (scan.info.dtype, scan.spec().saturation) == (delivered, saturation)
            assert next(scan.flats())[0, 0, 0] == fields["data_white"][0, 0, 0]
            assert next(scan.darks())[0, 0, 0] == fields["data_dark"][0, 0, 0]

    def test_physical_values_with_units(self, tmp_path: Path) -> None:
        path = dxchange(tmp_path / "a.h5")
        with h5py.File(path, "r+") as file:
            objective = file.create_group("measurement/instrument/detection_system/objective")
            objective["resolution"] = [1.3]
            objective["resolution"].attrs["units"] = "microns"
            file["measurement/instrument/monochromator/energy"] = 25_000.0
            file["measurement/instrument/monochromator/energy"].attrs["units"] = "eV"
            file["measurement/sample/name"] = "fossil (left leg)"
        with ScanFile.open(path) as scan:
            assert scan.info.pixel_size_m == pytest.approx(1.3e-6)
            assert scan.info.energy_kev == pytest.approx(25.0)
            assert scan.info.sample == "fossil-left-leg"

    def test_darks_and_flats_may_be_lacking(self, tmp_path: Path) -> None:
        with ScanFile.open(dxchange(tmp_path / "a.h5", data_white=None, data_dark=None)) as scan:
            assert (scan.info.flats, scan.info.darks, list(scan.darks())) == (0, 0, [])
            assert scan.spec().frames == 6

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"theta": None}, "/exchange/theta is missing, so the angles are not known"),
            ({"data": None}, "/exchange/data is missing"),
            ({"theta": np.zeros(5)}, "5 angles in /exchange/theta for 6 projections"),
            ({"data_dark": np.zeros((1, 2, 4), "<u2")}, r"data_dark has shape \(1, 2, 4\)"),
            ({"data": np.zeros((6, 3), "<u2")}, r"data has shape \(6, 3\)|has shape"),
            ({"data": np.zeros((6, 2, 3), "c8")}, "/exchange/data is no array of real numbers"),
            ({"data": h5py.ExternalLink("gone.h5", "/d")}, "it links to gone.h5, which is not there or lacks /d"),
            ({"theta": h5py.SoftLink("/nowhere")}, "no /exchange/theta"),
            ({"theta": np.full(6, b"x")}, "/exchange/theta is no array of real numbers"),
            ({"data_white": 3}, "/exchange/data_white is no array of real numbers"),
            ({"theta": np.full(6, np.inf)}, "the angle of projection 0 is not a number"),
        ],
    )
    def test_what_is_lacking_is_named(self, tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
        with pytest.raises(BadInput, match=rf"^\S+a.h5: .*({complaint})[^\n]*$"):
            ScanFile.open(dxchange(tmp_path / "a.h5", **changes))


class TestDiad:
    def test_what_is_there_is_read_and_what_is_not_is_named(self) -> None:
        with ScanFile.open(DIAD) as scan:
            info = scan.info
            assert (info.layout, info.rows, info.columns, info.dtype) == ("NeXus", 22, 26, "<u2")
            assert (info.projections, info.flats, info.darks) == (3001, 100, 100)
            assert set(info.missing_files) == {
                "k11-18014/k11-18014-detectorPanda.h5",
                "k11-18014/k11-18014-EtherCAT.h5",
            }
            assert any("detectorPanda.h5 is missing: 21 links" in note for note in info.notes)
            assert any("gts_theta_value has no unit: degrees assumed" in note for note in info.notes)
            assert scan.angles_deg[[0, -1]] == pytest.approx([90.0, 270.0], abs=0.01)
            with h5py.File(DIAD) as file:
                keys = file["entry/instrument/imaging/image_key"][()]
                images = file["entry/instrument/imaging/data"][()]
            np.testing.assert_array_equal(scan.rows(3, 5), images[keys == 0, 3:5])
            np.testing.assert_array_equal(np.concatenate(list(scan.darks(10_000))), images[keys == 2])
            np.testing.assert_array_equal(np.concatenate(list(scan.flats(10_000))), images[keys == 1])

    def test_without_the_image_file_it_says_which_file_is_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "k11-18014.nxs"
        path.write_bytes(DIAD.read_bytes())
        with pytest.raises(BadInput, match=r"no images at \S*data: it links to k11-18014/k11-18014-\w+\.h5"):
            ScanFile.open(path)

    def test_without_the_angle_file_it_says_which_file_is_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "k11-18014.nxs"
        path.write_bytes(DIAD.read_bytes())
        folder = tmp_path / "k11-18014"
        folder.mkdir()
        (folder / "k11-18014-imaging.h5").symlink_to(DIAD.parent / "k11-18014" / "k11-18014-imaging.h5")
        with pytest.raises(BadInput, match=r"no angles \(\S+: it links to k11-18014/k11-18014-\w+\.h5"):
            ScanFile.open(path)


def test_what_is_no_scan_is_refused_in_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["a/b"] = 1
    (tmp_path / "text.h5").write_text("no")
    for name, complaint in (
        ("none.h5", "no such file"),
        ("text.h5", "not a readable HDF5 file"),
        ("empty.h5", "neither NXtomo .* nor DXchange"),
    ):
        with pytest.raises(BadInput, match=complaint) as caught:
            ScanFile.open(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_is_bad_input_when_it_is_read(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nx")
    with h5py.File(path, "r+") as file:
        chunk = file["entry/instrument/detector/data"].id.get_chunk_info(30)
        del file["entry/instrument/detector/data"]
        detector = file["entry/instrument/detector"]
        detector.create_dataset("data", (50, 8, 12), "<u2", chunks=(1, 8, 12), compression="gzip")
        for index in range(50):
            detector["data"].id.write_direct_chunk((index, 0, 0), b"not compressed")
    assert chunk.size == 8 * 12 * 2
    with ScanFile.open(path) as scan, pytest.raises(BadInput, match="frames from 10 on cannot be read"):
        next(scan.projections())


@given(st.text(max_size=200))
def test_any_text_becomes_a_name(text: str) -> None:
    assert NAME.fullmatch(as_name(text))
