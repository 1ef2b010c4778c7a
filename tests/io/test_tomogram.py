from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer import __version__
from streamer.frames import BadInput
from streamer.io.tomogram import DATA, TomogramFile, read_tomogram
from tests.io.helpers import SPEC, small_disk
from tests.paths import ROOT

SHAPE = (6, 5, 4)
VOLUME = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def create(path: Path, **changes: Any) -> TomogramFile:
    options: dict[str, Any] = {"unit": "1/cm", **changes}
    return TomogramFile.create(path, SHAPE, options.pop("spec", SPEC), **options)


def test_a_volume_written_in_blocks_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    parameters = {"center_px": 3.25, "window": "ramp", "angles": 180, "zingers": None, "limits": [1, 2]}
    with create(path, parameters=parameters, raw_file=tmp_path / "raw" / "a.nx") as volume:
        for first in (4, 0, 2):
            volume.write_rows(first, VOLUME[first : first + 2])
        assert not path.exists()
    back = read_tomogram(path)
    np.testing.assert_array_equal(back.data, VOLUME)
    assert back.data.dtype == np.float32
    assert (back.unit, back.pixel_size_m, back.sample, back.status) == ("1/cm", 6.5e-6, "tooth", "complete")
    assert back.parameters == {"center_px": 3.25, "window": "ramp", "angles": 180, "limits": "[1, 2]"}
    np.testing.assert_array_equal(read_tomogram(path, slice(1, 3)).data, VOLUME[1:3])
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.h5"]


def test_the_layout_is_that_of_the_contract(tmp_path: Path) -> None:
    with create(tmp_path / "v.h5", raw_file=tmp_path / "raw" / "a.nx"):
        pass
    with h5py.File(tmp_path / "v.h5") as file:
        assert file["entry/definition"].asstr()[()] == "NXtomoproc"
        data = file["entry/data/data"]
        assert (data.dtype, data.shape, data.chunks) == (np.dtype("<f4"), SHAPE, None)
        assert data.attrs["units"] == "1/cm"
        assert file["entry/reconstruction/parameters/raw_file"].asstr()[()] == "raw/a.nx"
        assert file["entry/reconstruction/version"].asstr()[()] == __version__
        assert file["entry/instrument/beam/incident_energy"][()] == SPEC.energy_kev
        assert file["entry/end_time"].asstr()[()]


def test_without_a_pixel_size_the_unit_is_that_of_the_pixel(tmp_path: Path) -> None:
    with create(tmp_path / "v.h5", spec=structs.replace(SPEC, pixel_size_m=None), unit="1/pixel"):
        pass
    back = read_tomogram(tmp_path / "v.h5")
    assert (back.unit, back.pixel_size_m) == ("1/pixel", None)
    with pytest.raises(BadInput, match="unit '1/mm' is not one of 1/cm, 1/pixel"):
        create(tmp_path / "w.h5", unit="1/mm")


def test_silx_plots_it_by_default(tmp_path: Path) -> None:
    from silx.io import open as silx_open
    from silx.io.nxdata import get_default

    with create(tmp_path / "v.h5") as volume:
        volume.write_rows(0, VOLUME)
    with silx_open(str(tmp_path / "v.h5")) as file:
        plot = get_default(file)
        assert plot is not None
        assert plot.is_valid
        assert plot.signal.shape == SHAPE
        assert plot.axes_names == ["z (m)", "y (m)", "x (m)"]


def test_tomoscan_loads_it(tmp_path: Path) -> None:
    from tomoscan.esrf.volume.hdf5volume import HDF5Volume

    with create(tmp_path / "v.h5") as volume:
        volume.write_rows(0, VOLUME)
    loaded = HDF5Volume(str(tmp_path / "v.h5"), data_path="entry/reconstruction")
    np.testing.assert_array_equal(loaded.load_data(), VOLUME)
    loaded.load_metadata()
    np.testing.assert_allclose(loaded.voxel_size, 6.5e-6)


def test_an_error_leaves_it_partial(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"

    def fail() -> None:
        with create(path) as volume:
            volume.write_rows(0, VOLUME[:1])
            raise KeyError("the reconstruction failed")

    with pytest.raises(KeyError, match="the reconstruction failed"):
        fail()
    assert not path.exists()
    with h5py.File(tmp_path / "v.partial.h5") as file:
        assert file["entry/reconstruction/status"].asstr()[()] == "failed"
        np.testing.assert_array_equal(file[DATA][0], VOLUME[0])
    with create(path) as volume:  # the next attempt replaces it
        volume.write_rows(0, VOLUME)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.h5"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with create(tmp_path / "v.h5") as volume:
            volume.write_rows(0, VOLUME[:1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.io.test_tomogram import VOLUME, create\n"
        "volume = create(Path(sys.argv[1])); volume.write_rows(0, VOLUME); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "v.h5")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.partial.h5"]


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    path.write_text("precious")
    with pytest.raises(BadInput, match="exists already"):
        create(path)
    path.unlink()
    volume = create(path)
    path.write_text("made meanwhile")
    with pytest.raises(BadInput, match=r"the result is in \S+partial\.h5"):
        volume.close()
    assert path.read_text() == "made meanwhile"
    volume.close()


def test_a_symbolic_link_is_neither_followed_nor_taken_for_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "v.partial.h5").symlink_to(precious)
    with create(tmp_path / "v.h5") as volume:
        volume.write_rows(0, VOLUME)
        (tmp_path / "w.h5").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadInput, match="exists already"):
            create(tmp_path / "w.h5")
    assert precious.read_text() == "precious"
    assert not (tmp_path / "v.h5").is_symlink()
    np.testing.assert_array_equal(read_tomogram(tmp_path / "v.h5").data, VOLUME)


@pytest.mark.parametrize(("first", "shape"), [(5, (2, 5, 4)), (-1, (1, 5, 4)), (0, (1, 4, 5)), (0, (5, 4))])
def test_a_block_that_does_not_fit_is_refused(tmp_path: Path, first: int, shape: tuple[int, ...]) -> None:
    with create(tmp_path / "v.h5") as volume, pytest.raises(ValueError, match="does not fit"):
        volume.write_rows(first, np.zeros(shape, np.float32))


def test_a_place_that_cannot_take_it_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be made"):
        create(tmp_path / "none" / "v.h5")
    with pytest.raises(BadInput, match=r"v\.h5: cannot be made \(No space left on device\)$"):
        TomogramFile.create(tmp_path / "v.h5", (60_000, 60_000, 60_000), SPEC)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_noted_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        create(tmp_path / "v.h5", parameters={"what": object()})
    assert not list(tmp_path.iterdir())


def test_a_small_disk_is_not_filled_up(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1024) as folder:
        with pytest.raises(BadInput, match="cannot be made"):
            TomogramFile.create(folder / "v.h5", (60, 100, 100), SPEC)
        assert not list(folder.iterdir())


def test_space_is_taken_at_the_start(tmp_path: Path) -> None:
    volume = TomogramFile.create(tmp_path / "v.h5", (64, 128, 128), SPEC)
    assert volume.partial.stat().st_blocks * 512 >= 64 * 128 * 128 * 4
    volume.close()


def test_what_holds_no_tomogram_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(BadInput, match="no tomogram"):
        read_tomogram(tmp_path / "a.h5")
    with pytest.raises(BadInput, match="not a readable HDF5 file"):
        read_tomogram(tmp_path / "none.h5")
