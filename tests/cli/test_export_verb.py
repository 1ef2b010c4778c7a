"""``streamer export``: the values and units of each format, as other programs read them; progress; what is lacking."""

from __future__ import annotations

import json
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from streamer.cli import main
from streamer.cli.terminal import extras
from streamer.io.tomogram import TomogramFile
from tests.io.helpers import SPEC, pixels_of
from tests.io.test_nexus import raw_file

SHAPE = (5, 6, 7)
VALUES = np.linspace(-0.5, 2.5, 210, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def tomogram(tmp_path: Path) -> Path:
    with TomogramFile.create(tmp_path / "v.h5", SHAPE, SPEC, unit="1/cm") as file:
        file.write_rows(0, VALUES)
    return tmp_path / "v.h5"


def test_ome_zarr_has_values_voxel_size_and_unit(tmp_path: Path, tomogram: Path) -> None:
    out = tmp_path / "v.ome.zarr"
    assert main(["export", str(tomogram), "--to", "ome-zarr", str(out)]) == 0
    group: Any = zarr.open_group(out, mode="r")
    np.testing.assert_array_equal(group["0"][:], VALUES)
    scales = group.attrs["ome"]["multiscales"][0]
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx([6.5] * 3)
    assert {axis["unit"] for axis in scales["axes"]} == {"micrometer"}
    assert group.attrs["streamer"]["unit"] == "1/cm"


def test_tiff_has_a_slice_a_file_with_its_values(tmp_path: Path, tomogram: Path) -> None:
    out = tmp_path / "slices"
    assert main(["export", str(tomogram), "--to", "tiff", str(out)]) == 0
    slices = sorted(out.glob("*.tif"))
    np.testing.assert_array_equal([tifffile.imread(path) for path in slices], VALUES)
    about = json.loads((out / "volume.json").read_text())
    assert (about["unit"], about["pixel_size_m"]) == ("1/cm", 6.5e-6)


def test_the_range_of_16_bits_is_that_of_the_option(tmp_path: Path, tomogram: Path) -> None:
    out = tmp_path / "slices"
    assert main(["export", str(tomogram), "--to", "tiff", str(out), "--dtype", "uint16", "--range", "0", "2"]) == 0
    pixels = np.array([tifffile.imread(path) for path in sorted(out.glob("*.tif"))])
    assert pixels.dtype == np.uint16
    np.testing.assert_allclose(pixels / 65535 * 2, np.clip(VALUES, 0, 2), atol=2 / 65535)
    assert (pixels[VALUES <= 0] == 0).all()
    assert (pixels[VALUES >= 2] == 65535).all()
    about = json.loads((out / "volume.json").read_text())
    assert (about["offset"], about["scale"]) == (0.0, pytest.approx(2 / 65535))


def test_without_a_range_16_bits_hold_the_whole_volume(
    tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.ome.tif"
    assert main(["export", str(tomogram), "--to", "bigtiff", str(out), "--dtype", "uint16"]) == 0
    pixels = tifffile.imread(out)
    assert (pixels.min(), pixels.max()) == (0, 65535)
    np.testing.assert_allclose(-0.5 + pixels / 65535 * 3.0, VALUES, atol=3 / 65535)
    told = capsys.readouterr()
    assert told.out == f"{out} written\n"
    labels = [line.split(":")[0] for line in told.err.splitlines()]
    assert list(dict.fromkeys(labels)) == ["finding the range", "writing v.ome.tif"]
    assert told.err.splitlines()[-1] == "writing v.ome.tif: 5 of 5"


def test_a_scan_as_dxchange_has_the_frames_and_their_units(tmp_path: Path) -> None:
    raw, out = raw_file(tmp_path / "a.nx", SPEC), tmp_path / "a.dx.h5"
    assert main(["export", str(raw), "--to", "dxchange", str(out)]) == 0
    first = SPEC.darks + SPEC.flats
    with h5py.File(out) as file:
        for name, frames in (
            ("data_dark", range(SPEC.darks)),
            ("data_white", range(SPEC.darks, first)),
            ("data", range(first, SPEC.frames)),
        ):
            np.testing.assert_array_equal(file[f"exchange/{name}"][()], [pixels_of(index) for index in frames])
        theta = file["exchange/theta"]
        np.testing.assert_allclose(theta[()], np.arange(40) * 4.5)
        assert theta.attrs["units"] in ("deg", "degree", "degrees")


def test_progress_is_not_broken_in_80_columns(
    tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / ("long-" * 20 + "[name]")
    assert main(["export", str(tomogram), "--to", "tiff", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"writing {out.name}: 5 of 5"
    assert all(line.startswith(f"writing {out.name}: ") for line in lines)


def test_a_library_that_is_not_there_is_named_before_anything_is_made(
    tmp_path: Path, tomogram: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_tifffile(name: str) -> ModuleSpec | None:
        return None if name == "tifffile" else find_spec(name)

    monkeypatch.setattr(extras, "find_spec", without_tifffile)
    assert main(["export", str(tomogram), "--to", "bigtiff", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("streamer export: --to bigtiff needs tifffile: ")
    assert " -m pip install -e '.[export]' in the repository" in line
    assert not (tmp_path / "out").exists()
    assert main(["export", str(tomogram), "--to", "ome-zarr", str(tmp_path / "out")]) == 0
