from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from msgspec import structs
from PIL import Image

from streamer.cli import main
from streamer.frames import BadInput
from streamer.io.export.dxchange import write_dxchange
from streamer.io.export.ome_zarr import SHARD, halved, levels, write_ome_zarr
from streamer.io.export.tiff import Scaling, range_of, write_bigtiff, write_tiff_stack
from streamer.io.export.volume import open_volume
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import DATA, TomogramFile
from tests.io.helpers import SPEC, small_disk
from tests.io.test_nexus import raw_file

SHAPE = (66, 70, SHARD + 45)  # odd sizes, two shards abreast


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(1).normal(1.0, 0.5, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("export") / "v.h5"
    with TomogramFile.create(path, SHAPE, SPEC, unit="1/cm", parameters={"center_px": 3.5, "limits": [1, 2]}) as file:
        file.write_rows(0, values)
    return path


def quiet(_done: int, _total: int) -> None:
    pass


def export(tomogram: Path, write: Callable[..., None], out: Path, *more: Any) -> Path:
    with open_volume(tomogram) as volume:
        write(volume, out, *more, quiet)
    return out


def test_ome_zarr_has_levels_of_means_in_shards(tmp_path: Path, tomogram: Path, values: np.ndarray) -> None:
    group = zarr.open_group(export(tomogram, write_ome_zarr, tmp_path / "v.ome.zarr"), mode="r")
    arrays = [group[str(level)] for level in range(len(levels(SHAPE)))]
    assert [array.shape for array in arrays] == [(66, 70, 301), (33, 35, 151), (17, 18, 76), (9, 9, 38)]
    np.testing.assert_array_equal(arrays[0][:], values)
    expected = values
    for array in arrays[1:]:
        expected = halved(expected)
        np.testing.assert_array_equal(array[:], expected)
    assert arrays[0].metadata.dimension_names == ("z", "y", "x")
    files = [path for path in (tmp_path / "v.ome.zarr" / "0").rglob("*") if path.is_file()]
    assert len(files) == 3  # the description and two shards


def test_halving_takes_means_and_keeps_the_last_of_an_odd_number() -> None:
    block = np.arange(3 * 2 * 5, dtype=np.float32).reshape(3, 2, 5)
    result = halved(block)
    assert result.shape == (2, 1, 3)
    assert result[0, 0, 0] == block[:2, :2, :2].mean()
    assert result[1, 0, 2] == block[2, :, 4].mean()
    np.testing.assert_array_equal(block, np.arange(30).reshape(3, 2, 5))
    assert halved(np.ones((1, 1, 1), np.float32)).shape == (1, 1, 1)


def test_ome_zarr_places_every_level_where_the_tomogram_lies(tmp_path: Path, tomogram: Path) -> None:
    described = zarr.open_group(export(tomogram, write_ome_zarr, tmp_path / "v.ome.zarr"), mode="r").attrs
    assert described["ome"]["version"] == "0.5"
    multiscale = described["ome"]["multiscales"][0]
    assert multiscale["axes"] == [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    with h5py.File(tomogram) as file:
        axes = [file["entry/data"][name][()] * 1e6 for name in "zyx"]
    for level, entry in enumerate(multiscale["datasets"]):
        scale, translation = (each[each["type"]] for each in entry["coordinateTransformations"])
        np.testing.assert_allclose(scale, [6.5 * 2**level] * 3)
        np.testing.assert_allclose(translation, [axis[: 2**level].mean() for axis in axes])
    assert described["streamer"]["unit"] == "1/cm"
    assert described["streamer"]["parameters"]["center_px"] == 3.5


def test_without_a_pixel_size_lengths_are_pixels(tmp_path: Path) -> None:
    with TomogramFile.create(tmp_path / "v.h5", (3, 4, 5), structs.replace(SPEC, pixel_size_m=None)) as file:
        file.write_rows(0, np.ones((3, 4, 5), np.float32))
    group = zarr.open_group(export(tmp_path / "v.h5", write_ome_zarr, tmp_path / "z"), mode="r")
    multiscale = group.attrs["ome"]["multiscales"][0]
    assert multiscale["axes"][0] == {"name": "z", "type": "space"}
    assert multiscale["datasets"][0]["coordinateTransformations"][1]["translation"] == [0, 0, 0]
    export(tmp_path / "v.h5", write_tiff_stack, tmp_path / "t", None)
    with tifffile.TiffFile(tmp_path / "t" / "tooth_00002.tif") as file:
        assert file.imagej_metadata["unit"] == "pixel"


def test_tiff_stack_is_exact_in_float32(tmp_path: Path, tomogram: Path, values: np.ndarray) -> None:
    folder = export(tomogram, write_tiff_stack, tmp_path / "t", None)
    assert sorted(path.name for path in folder.iterdir())[:2] == ["tooth_00000.tif", "tooth_00001.tif"]
    for z in range(SHAPE[0]):
        with Image.open(folder / f"tooth_{z:05}.tif") as image:
            np.testing.assert_array_equal(np.asarray(image), values[z])
    with tifffile.TiffFile(folder / "tooth_00000.tif") as file:
        across, unit = file.pages.first.tags["XResolution"].value, file.imagej_metadata["unit"]
        assert (across[1] / across[0], unit, file.imagej_metadata["spacing"]) == (6.5, "um", 6.5)
    about = json.loads((folder / "volume.json").read_text())
    assert (about["unit"], about["pixel_size_m"], about["offset"], about["scale"]) == ("1/cm", 6.5e-6, 0, 1)


def test_uint16_comes_back_by_the_scaling_that_is_written_down(
    tmp_path: Path, tomogram: Path, values: np.ndarray
) -> None:
    with open_volume(tomogram) as volume:
        scaling = range_of(volume, quiet)
        write_tiff_stack(volume, tmp_path / "t", scaling, quiet)
    with tifffile.TiffFile(tmp_path / "t" / "tooth_00007.tif") as file:
        pixels, told = file.asarray(), file.imagej_metadata
    about = json.loads((tmp_path / "t" / "volume.json").read_text())
    assert (about["offset"], about["scale"]) == (told["c0"], told["c1"]) == (scaling.offset, scaling.scale)
    assert pixels.dtype == np.uint16
    assert np.abs(told["c0"] + told["c1"] * pixels - values[7]).max() <= 0.501 * scaling.scale


def test_scaling_takes_values_outside_of_its_range_to_the_ends() -> None:
    scaling = Scaling.of_range(-1, 1)
    given = np.array([-9, -1, 0, 1, 9, np.nan, np.inf], np.float32)
    assert scaling.pixels(given).tolist() == [0, 0, 32768, 65535, 65535, 0, 65535]
    for low, high in ((1, 1), (2, 1), (0, np.inf)):
        with pytest.raises(BadInput, match="give --range LOW HIGH"):
            Scaling.of_range(low, high)


def test_bigtiff_is_one_file_with_lengths(tmp_path: Path, tomogram: Path, values: np.ndarray) -> None:
    path = export(tomogram, write_bigtiff, tmp_path / "v.ome.tif", None)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray(), values)
        assert file.ome_metadata is not None
        assert 'PhysicalSizeZ="6.5" PhysicalSizeZUnit="µm"' in file.ome_metadata


def test_dxchange_is_the_same_scan(tmp_path: Path) -> None:
    raw = raw_file(tmp_path / "a.nx", SPEC)
    with ScanFile.open(raw) as scan:
        write_dxchange(scan, tmp_path / "a.dx.h5", quiet)
        with ScanFile.open(tmp_path / "a.dx.h5") as copy:
            assert copy.info.layout == "DXchange"
            same = ("sample", "rows", "columns", "dtype", "projections", "flats", "darks", "pixel_size_m", "energy_kev")
            assert {name: getattr(copy.info, name) for name in same} == {n: getattr(scan.info, n) for n in same}
            np.testing.assert_array_equal(copy.angles_deg, scan.angles_deg)
            np.testing.assert_array_equal(copy.rows(0, SPEC.rows), scan.rows(0, SPEC.rows))
            for kind in ("darks", "flats"):
                np.testing.assert_array_equal(
                    np.concatenate(list(getattr(copy, kind)())), np.concatenate(list(getattr(scan, kind)()))
                )


@pytest.mark.parametrize("write", [write_ome_zarr, write_tiff_stack, write_bigtiff])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, tomogram: Path, write: Any, error: type) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise error

    more = () if write is write_ome_zarr else (None,)
    with open_volume(tomogram) as volume, pytest.raises(error):
        write(volume, tmp_path / "out", *more, interrupt)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("out", "link"):
        for form in ("ome-zarr", "tiff", "bigtiff"):
            assert main(["export", str(tomogram), "--to", form, str(tmp_path / name)]) == 2
            assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path, tomogram: Path) -> None:
    out = tmp_path / "out"

    def take(_done: int, _total: int) -> None:
        out.write_text("precious")

    for write, more in ((write_ome_zarr, ()), (write_bigtiff, (None,))):
        with open_volume(tomogram) as volume, pytest.raises(BadInput, match=str(out)):
            write(volume, out, *more, take)
        assert out.read_text() == "precious"
        out.unlink()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, tomogram: Path) -> None:
    with small_disk(tmp_path, 2048) as folder:
        with pytest.raises(BadInput, match=r"cannot be made \(No space left on device\)"):
            export(tomogram, write_bigtiff, folder / "v.tif", None)
        with pytest.raises(BadInput, match="cannot be made"):
            export(tomogram, write_ome_zarr, folder / "v.ome.zarr")
        assert not list(folder.iterdir())


def test_command_line_writes_every_format(tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_file(tmp_path / "a.nx", SPEC)
    for source, form, *more in (
        (tomogram, "ome-zarr"),
        (tomogram, "tiff", "--dtype", "uint16"),
        (tomogram, "bigtiff", "--dtype", "uint16", "--range", "0", "2"),
        (raw, "dxchange"),
    ):
        out = tmp_path / form
        assert main(["export", str(source), "--to", form, str(out), *more]) == 0
        assert out.exists()
        assert capsys.readouterr().out == f"{out} written\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{v}", "--to", "ome-zarr", "{out}", "--dtype", "uint16"], "--dtype uint16 is for TIFF"),
        (["{v}", "--to", "tiff", "{out}", "--range", "0", "1"], "--range is for --dtype uint16"),
        (["{v}", "--to", "tiff", "{out}", "--range", "0", "x"], "give a number, not 'x'"),
        (["{v}", "--to", "tiff", "{out}", "--dtype", "uint16", "--range", "1", "0"], "give --range LOW HIGH"),
        (["{v}", "--to", "tiff", "{out}/none/x"], "cannot be made (No such file or directory)"),
        (["{v}", "--to", "jpeg", "{out}"], "invalid choice: 'jpeg'"),
        (["{raw}", "--to", "tiff", "{out}"], "no tomogram at"),
        (["{v}", "--to", "dxchange", "{out}"], "v.h5"),
        (["none.h5", "--to", "tiff", "{out}"], "none.h5: not a readable HDF5 file"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    names = {"v": tomogram, "out": tmp_path / "out", "raw": raw_file(tmp_path / "a.nx", SPEC)}
    assert main(["export", *(text.format(**names) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.nx"]


def test_an_unfinished_tomogram_is_refused(tmp_path: Path) -> None:
    file = TomogramFile.create(tmp_path / "v.h5", (2, 2, 2), SPEC)
    partial = file.close("failed")
    with h5py.File(partial) as stored:
        assert DATA in stored
    with pytest.raises(BadInput, match="the tomogram is failed"), open_volume(partial):
        pass
