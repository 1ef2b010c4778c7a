"""Which scan of a file is read, and which of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.frames import BadInput, FrameKind
from streamer.io.layouts.layout import ReadOptions
from streamer.io.source_file import ScanFile
from tests.io.layouts.files import ANGLES, DARKS, FLATS, PROJECTIONS, SHAPE, dxchange, images, nxtomo


def first_pixels(scan: ScanFile) -> list[int]:
    return [int(frame.pixels[0, 0]) for frame in scan.usable()]


class TestEntries:
    def test_diamonds_subentry(self, tmp_path: Path) -> None:
        path = nxtomo(tmp_path / "i12.nxs", "entry1/tomo_entry")
        with h5py.File(path, "r+") as file:
            file["entry1/instrument/pco/data"] = h5py.ExternalLink("gone.h5", "/data")
            file["entry1"].attrs["NX_class"], file["entry1/tomo_entry"].attrs["NX_class"] = "NXentry", "NXsubentry"
        with ScanFile.open(path) as scan:
            assert (scan.info.layout, scan.info.notes) == ("NXtomo", ())
            np.testing.assert_array_equal(scan.angles_deg, ANGLES)
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS)

    @pytest.mark.parametrize(
        ("default", "entry", "level", "noted"),
        [
            (None, None, 0, "entry0000"),
            ("entry0001", None, 5, "entry0001"),
            ("/entry0001/data", None, 5, "entry0001"),
            ("entry0001", "entry0000", 0, None),
            (None, "/entry0001/", 5, None),
            (None, "entry0001/instrument/detector", 5, None),
            ("nowhere", None, 0, "entry0000"),
        ],
    )
    def test_one_of_several(
        self, tmp_path: Path, default: str | None, entry: str | None, level: int, noted: str | None
    ) -> None:
        path = nxtomo(nxtomo(tmp_path / "two.nxs", "entry0000"), "entry0001", level=5)
        with h5py.File(path, "r+") as file:
            if default is not None:
                file.attrs["default"] = default
        with ScanFile.open(path, ReadOptions(entry=entry)) as scan:
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS + level)
            notes = [note for note in scan.info.notes if note.startswith("the file has 2 scans (")]
            assert [note.rsplit(": ", 1)[1] for note in notes] == ([] if noted is None else [f"{noted} is taken"])

    def test_one_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        path = nxtomo(nxtomo(tmp_path / "two.nxs", "entry0000"), "entry0001")
        with pytest.raises(BadInput, match="no scan 'entry7'; there are entry0000, entry0001"):
            ScanFile.open(path, ReadOptions(entry="entry7"))

    def test_dxchange_beside_nxtomo(self, tmp_path: Path) -> None:
        path = dxchange(nxtomo(tmp_path / "both.h5", level=5))
        with ScanFile.open(path) as scan:
            assert scan.info.layout == "DXchange"
            assert scan.info.notes == ("the file has 2 scans (exchange, entry): exchange is taken",)
        with ScanFile.open(path, ReadOptions(entry="entry")) as scan:
            assert scan.info.layout == "NXtomo"

    def test_two_names_of_one_scan_are_one(self, tmp_path: Path) -> None:
        path = nxtomo(tmp_path / "a.nxs", "entry0000")
        with h5py.File(path, "r+") as file:
            file["entry"] = h5py.SoftLink("/entry0000")
        with ScanFile.open(path) as scan:
            assert scan.info.notes == ()

    @pytest.mark.parametrize(("default", "taken"), [(False, "a"), (True, "b")])
    def test_one_of_several_detectors(self, tmp_path: Path, default: bool, taken: str) -> None:
        path = nxtomo(nxtomo(tmp_path / "two.nxs", detector="a"), detector="b", level=5)
        with h5py.File(path, "r+") as file:
            if default:
                file["entry"].attrs["default"] = "plot"
                file["entry/plot/images"] = h5py.SoftLink("/entry/instrument/b/data")
                file["entry/plot"].attrs["signal"] = "images"
        with ScanFile.open(path) as scan:
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS + (5 if default else 0))
            (note,) = scan.info.notes
            assert note.startswith("entry has 2 detectors (")
            assert note.endswith(f"): /entry/instrument/{taken} is taken")
        with ScanFile.open(path, ReadOptions(entry="entry/instrument/b")) as scan:
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS + 5)
            assert scan.info.notes == ()


class TestKeys:
    def changed(self, path: Path, **members: Any) -> Path:
        with h5py.File(nxtomo(path), "r+") as file:
            for name, value in members.items():
                file["entry/instrument/detector"].pop(name, None)
                if value is not None:
                    file[f"entry/instrument/detector/{name}"] = value
        return path

    def test_alignment_projections_are_not_used(self, tmp_path: Path) -> None:
        control = np.r_[2, 2, 1, 1, 1, np.zeros(18), -1, -1].astype("i1")
        with ScanFile.open(self.changed(tmp_path / "a.nxs", image_key_control=control)) as scan:
            assert scan.info.projections == 18
            assert scan.info.notes == ("2 frames were taken for alignment: they are not used",)
            np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS[:18])

    def test_control_alone_says_all(self, tmp_path: Path) -> None:
        control = np.r_[2, 2, 1, 1, 1, np.zeros(19), -1].astype("i1")
        with ScanFile.open(self.changed(tmp_path / "a.nxs", image_key_control=control, image_key=None)) as scan:
            assert (scan.info.projections, scan.info.flats, scan.info.darks) == (19, 3, 2)

    @pytest.mark.parametrize("odd", [4, 99, -7, np.nan, 0.5])
    def test_keys_without_a_meaning(self, tmp_path: Path, odd: float) -> None:
        keys = np.r_[2.0, 2, 1, 1, 1, np.zeros(19), odd]
        with ScanFile.open(self.changed(tmp_path / "a.nxs", image_key=keys)) as scan:
            assert scan.info.projections == 19
            assert scan.info.notes == ("1 frames have an image key that means nothing: they are not used",)

    def test_keys_in_a_column(self, tmp_path: Path) -> None:
        keys = np.r_[2, 2, 1, 1, 1, np.zeros(20)][:, None]
        with ScanFile.open(self.changed(tmp_path / "a.nxs", image_key=keys)) as scan:
            assert scan.info.projections == 20

    def test_more_images_than_keys(self, tmp_path: Path) -> None:
        path = self.changed(tmp_path / "a.nxs", image_key=np.r_[2, 2, 1, 1, 1, np.zeros(15)])
        with h5py.File(path, "r+") as file:
            angles = file["entry/sample/rotation_angle"][:20]
            del file["entry/sample/rotation_angle"]
            file["entry/sample/rotation_angle"] = angles
            file["entry/sample/rotation_angle"].attrs["units"] = "deg"
        with ScanFile.open(path) as scan:
            assert scan.info.projections == 15
            assert scan.info.notes == ("25 images and 20 image keys: only the first 20 of them are used",)


class TestOrder:
    @pytest.mark.parametrize("order", ["dfp", "dpf", "pfd", "fpd", "fdp", "pdf"])
    def test_darks_and_late_flats_come_first(self, tmp_path: Path, order: str) -> None:
        with ScanFile.open(nxtomo(tmp_path / "a.nxs", order=order)) as scan:
            frames = list(scan.usable())
            kinds = [frame.meta.kind for frame in frames]
            assert kinds == [FrameKind.DARK] * 2 + [FrameKind.FLAT] * 3 + [FrameKind.PROJECTION] * 20
            assert [frame.meta.index for frame in frames] == list(range(25))
            np.testing.assert_array_equal(scan.usable_index, np.arange(5, 25))
            np.testing.assert_array_equal([frame.pixels[0, 0] for frame in frames[5:]], PROJECTIONS[:, 0, 0])

    def test_flats_on_both_sides_stay_there(self, tmp_path: Path) -> None:
        with ScanFile.open(nxtomo(tmp_path / "a.nxs", order="fpfd")) as scan:
            kinds = [frame.meta.kind for frame in scan.usable()]
        assert kinds[:5] == [FrameKind.DARK] * 2 + [FrameKind.FLAT] * 3
        assert kinds[-3:] == [FrameKind.FLAT] * 3


class TestFields:
    @pytest.fixture
    def bare(self, tmp_path: Path) -> Path:
        return dxchange(tmp_path / "scan.h5", data_white=None, data_dark=None)

    def sources(self, folder: Path) -> list[str]:
        """Files with the flats 900, 901, 902 and the darks 1, 2."""
        with h5py.File(folder / "plain.h5", "w") as file:
            file["1-DarkFieldImage/DarkImages"] = FLATS
            file["other"] = np.zeros((3, 9, 9))
        with h5py.File(folder / "more.h5", "w") as file:
            file["a"], file["b"] = FLATS, DARKS
        return [
            str(folder / "plain.h5"),
            f"{folder / 'more.h5'}:/a",
            str(dxchange(folder / "dx.h5", theta=None)),
            str(nxtomo(folder / "nx.nxs", order="pfd")),
        ]

    def test_flats_from_other_files(self, tmp_path: Path, bare: Path) -> None:
        for name in self.sources(tmp_path):
            with ScanFile.open(bare, ReadOptions(flats=name)) as scan:
                assert first_pixels(scan) == [900, 901, 902, *range(100, 120)]
                assert (scan.info.flats, scan.info.darks, scan.spec().flats) == (3, 0, 3)
                assert scan.info.notes == ()
                np.testing.assert_array_equal(scan.usable_index, np.arange(3, 23))
                np.testing.assert_array_equal(scan.rows(0, 3), PROJECTIONS)

    def test_those_of_the_scan_are_replaced(self, tmp_path: Path) -> None:
        path = dxchange(tmp_path / "scan.h5")
        with h5py.File(tmp_path / "d.h5", "w") as file:
            file["mean"] = images(1, 7)[0]  # a single image
        with ScanFile.open(path, ReadOptions(darks=str(tmp_path / "d.h5"))) as scan:
            assert first_pixels(scan) == [7, 900, 901, 902, *range(100, 120)]
            assert scan.info.notes == ("2 darks of the scan are not used: others were given",)

    @pytest.mark.parametrize(
        ("name", "complaint"),
        [
            ("none.h5", "no such file"),
            ("more.h5", r"frames of \(3, 4\) are in /a, /b; choose with \S+more.h5:/DATASET"),
            ("more.h5:/c", r"no frames of \(3, 4\) at /c"),
            ("more.h5:/wide", r"has frames of \(9, 9\), the scan of \(3, 4\)"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path: Path, bare: Path, name: str, complaint: str) -> None:
        with h5py.File(tmp_path / "more.h5", "w") as file:
            file["a"], file["b"], file["wide"] = FLATS, DARKS, np.zeros((2, 9, 9))
        with pytest.raises(BadInput, match=complaint):
            ScanFile.open(bare, ReadOptions(flats=str(tmp_path / name)))

    def test_a_mean_flat_is_one_flat(self, tmp_path: Path) -> None:
        with ScanFile.open(dxchange(tmp_path / "a.h5", data_white=FLATS.mean(axis=0))) as scan:
            assert (scan.info.flats, scan.info.dtype) == (1, "<f4")
            assert first_pixels(scan)[2] == 901

    def test_corrected_frames(self, tmp_path: Path) -> None:
        data = np.linspace(0, 1, 20 * 12, dtype="<f4").reshape(20, *SHAPE)
        path = dxchange(tmp_path / "a.h5", data=data, data_dark=None)
        with ScanFile.open(path, ReadOptions(corrected=True)) as scan:
            assert first_pixels(scan)[:2] == [0, 1]
            assert (scan.info.flats, scan.info.darks) == (1, 1)
            np.testing.assert_array_equal(scan.rows(0, 3), data)
            assert scan.info.notes == (
                "3 flats of the scan are not used: others were given",
                "the frames are taken for transmissions, corrected already",
            )

    def test_without_flats_the_ways_out_are_named(self, bare: Path) -> None:
        with ScanFile.open(bare) as scan:
            (note,) = scan.info.notes
        assert note.startswith("there are no flats: --flats takes others, --corrected is for frames")

    def test_counts_are_not_corrected(self, bare: Path) -> None:
        with pytest.raises(BadInput, match="the frames are uint16; corrected ones are real numbers"):
            ScanFile.open(bare, ReadOptions(corrected=True))


def test_pixels_that_are_not_square_are_noted(tmp_path: Path) -> None:
    path = nxtomo(tmp_path / "a.nxs")
    with h5py.File(path, "r+") as file:
        for side, size in (("x", 6.5), ("y", 13.0)):
            file[f"entry/instrument/detector/{side}_pixel_size"] = size
            file[f"entry/instrument/detector/{side}_pixel_size"].attrs["units"] = "um"
    with ScanFile.open(path) as scan:
        assert scan.info.pixel_size_m == pytest.approx(6.5e-6)
        note = "the pixels are not square: /entry/instrument/detector/y_pixel_size is not used"
        assert scan.info.notes == (note,)


@pytest.mark.parametrize(
    ("unit", "size_um", "note"),
    [
        ("m", 6.5, "/entry/sample/x_translation: the sample was moved by up to 5.2e-05 m (8.0 px) between projections"),
        ("m", None, "/entry/sample/x_translation: the sample was moved by up to 5.2e-05 m between projections"),
        ("steps", 6.5, "/entry/sample/x_translation: the sample was moved by up to 5.2e-05 steps between projections"),
        ("um", 6.5, None),
    ],
)
def test_a_sample_that_was_moved_on_purpose_is_named(
    tmp_path: Path, unit: str, size_um: float | None, note: str | None
) -> None:
    path = nxtomo(tmp_path / "a.nxs")
    with h5py.File(path, "r+") as file:
        file["entry/sample/x_translation"] = np.r_[np.zeros(5), np.linspace(-26e-6, 26e-6, 20)]
        file["entry/sample/x_translation"].attrs["units"] = unit
        if size_um is not None:
            file["entry/instrument/detector/x_pixel_size"] = size_um
            file["entry/instrument/detector/x_pixel_size"].attrs["units"] = "um"
    with ScanFile.open(path) as scan:
        assert [line.split("; ")[0] for line in scan.info.notes] == ([] if note is None else [note])
