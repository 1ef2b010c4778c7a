"""Both files keep to the definitions of NeXus, as an independent validator sees them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from msgspec import structs
from nexusformat.nexus.validate import validate_application, validate_file

from streamer.frames import ScanSpec
from streamer.gui.state.plane import PlanePicture
from streamer.io.archive import write_archive
from streamer.io.picture import slices_figure
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.segments import seal, segment_path
from streamer.io.tomogram import TomogramFile
from tests.io.helpers import ENDED, SPEC, STARTED, meta_of, pixels_of
from tests.io.test_archive import ARCHIVE

BARE = structs.replace(SPEC, pixel_size_m=None, energy_kev=None, distance_m=None, flats=0, darks=0)
FULL = structs.replace(SPEC, saturation=4095.0, metadata={"facility": "SOLARIS, POLYX"})


def raw_file(path: Path, spec: ScanSpec, frames: range | None = None) -> Path:
    file = NXtomoFile.create(path, spec, STARTED)
    for index in range(spec.frames) if frames is None else frames:
        file.append(meta_of(index, spec), pixels_of(index, spec))
    file.close("complete", ended=ENDED)
    return path


def tomogram(path: Path, spec: ScanSpec) -> Path:
    shape = (spec.rows, spec.columns, spec.columns)
    parameters = {"center_px": 5.5, "axis_tilt_deg": 0.1, "window": "ramp", "rows": [0, 8], "backend": None}
    with TomogramFile.create(path, shape, spec, raw_file=path.with_name("a.nx"), parameters=parameters) as file:
        file.write_rows(0, np.zeros(shape, np.float32))
    return path


@pytest.mark.parametrize("spec", [FULL, BARE])
@pytest.mark.parametrize("make", [raw_file, tomogram])
def test_nxvalidate_finds_no_error(tmp_path: Path, make: type, spec: ScanSpec) -> None:
    path = str(make(tmp_path / "a.nx", spec))
    write_archive(Path(path), ARCHIVE)
    assert validate_application(path)[1] == 0  # what the command nxvalidate calls
    assert validate_file(path)[1] == 0  # nxcheck: every group against its base class


def test_nxvalidate_finds_no_error_in_a_scan_of_several_segments(tmp_path: Path) -> None:
    path = tmp_path / "a.nx"
    raw_file(path, FULL, range(10))
    raw_file(segment_path(path, 1), FULL, range(10, FULL.frames))
    assert seal(path).segments == 2
    assert validate_application(str(path))[1] == validate_file(str(path))[1] == 0


def test_the_validator_sees_what_is_lacking(tmp_path: Path) -> None:
    path = tomogram(tmp_path / "a.h5", FULL)
    with h5py.File(path, "r+") as file:
        del file["entry/title"]
    assert validate_application(str(path))[1] == 1


def test_raw_file_says_how_the_sample_turns_and_what_the_detector_is(tmp_path: Path) -> None:
    with h5py.File(raw_file(tmp_path / "a.nx", FULL)) as file:
        angles = file[file["entry/sample/depends_on"].asstr()[()]]
        assert angles == file["entry/sample/rotation_angle"]
        assert (angles.attrs["transformation_type"], angles.attrs["depends_on"]) == ("rotation", ".")
        instrument = file["entry/instrument"]
        assert instrument["source/name"].asstr()[()] == "SOLARIS, POLYX"
        values = {name: file[f"entry/instrument/{name}"] for name in ("beam/incident_energy", "detector/distance")}
        assert {name: (found[()], found.attrs["units"]) for name, found in values.items()} == {
            "beam/incident_energy": (25.0, "keV"),
            "detector/distance": (0.1, "m"),
        }
        assert instrument["detector/saturation_value"][()] == 4095


@pytest.mark.parametrize("spec", [FULL, BARE])
def test_axes_are_those_of_the_viewer_and_of_pictures(tmp_path: Path, spec: ScanSpec) -> None:
    plane = np.zeros((spec.rows, spec.columns), np.float32)
    in_viewer = PlanePicture("xz", "scan-1", "tooth", plane, "1/cm", 1, 1, pixel_m=spec.pixel_size_m)
    drawn = slices_figure({"xz": plane}, "tooth", "1/cm", spec.pixel_size_m, []).axes[0]
    left, right, bottom, top = drawn.images[0].get_extent()
    scale = 1.0 if spec.pixel_size_m is None else 1e-3
    with h5py.File(tomogram(tmp_path / "a.h5", spec)) as file:
        plot = file["entry/data"]
        assert list(plot.attrs["axes"]) == ["z", "y", "x"]
        assert in_viewer.axis_names == ("x", "z")
        assert (drawn.get_xlabel()[0], drawn.get_ylabel()[0]) == ("x", "z")
        for name, low, high, start in (("x", left, right, in_viewer.rect[0]), ("z", top, bottom, in_viewer.rect[1])):
            axis = plot[name][()]
            step = axis[1] - axis[0]
            np.testing.assert_allclose([axis[0] - step / 2, axis[-1] + step / 2], np.multiply((low, high), scale))
            np.testing.assert_allclose(start * scale, axis[0] - step / 2)
