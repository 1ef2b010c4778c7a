"""``streamer reconstruct`` on files as people have them: what is right, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.cli import main
from streamer.io.archive import read_archive
from streamer.io.tomogram import read_tomogram
from streamer.phantoms import exposures, half_turn, random_body, sinogram

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty

N, ROWS, COUNT, CENTER = 64, 3, 90, 33.2
ANGLES = half_turn(COUNT)
RNG = np.random.default_rng(5)
LINES = sinogram(random_body(np.random.default_rng(2), 0.7 * N), N, ANGLES, CENTER)
ATTENUATION = (LINES / LINES.max())[:, None].repeat(ROWS, axis=1)
PROJECTIONS = exposures(ATTENUATION, rng=RNG)
FLATS = exposures(np.zeros((8, ROWS, N)), rng=RNG)
DARKS = RNG.normal(100, 2, (8, ROWS, N)).round().astype("<u2")


def dxchange(path: Path, units: str | None = "deg", **changes: Any) -> Path:
    members = {"data": PROJECTIONS, "data_white": FLATS, "data_dark": DARKS, "theta": np.rad2deg(ANGLES), **changes}
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            if value is not None:
                file[f"exchange/{name}"] = value
        if units:
            file["exchange/theta"].attrs["units"] = units
    return path


def nxtomo(path: Path, order: str) -> Path:
    parts = {"d": (DARKS, 2, 0.0), "f": (FLATS, 1, 0.0), "p": (PROJECTIONS, 0, np.rad2deg(ANGLES))}
    with h5py.File(path, "w") as file:
        file["entry/definition"] = "NXtomo"
        detector = file.create_group("entry/instrument/detector")
        detector["data"] = np.concatenate([parts[part][0] for part in order])
        detector["image_key"] = np.concatenate([np.full(len(parts[part][0]), parts[part][1]) for part in order])
        angles = [np.broadcast_to(parts[part][2], len(parts[part][0])) for part in order]
        file["entry/sample/rotation_angle"] = np.concatenate(angles).astype(float)
        file["entry/sample/rotation_angle"].attrs["units"] = "deg"
    return path


def made(scan: Path, *options: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
    out, told = scan.with_name(f"{scan.stem}.out.h5"), scan.with_name(f"{scan.stem}.json")
    words = ["reconstruct", str(scan), "-o", str(out), "--json", str(told), "--center", str(CENTER), "--tilt", "off"]
    assert main([*words, *options]) == 0
    content = json.loads(told.read_text())
    archive = read_archive(out)
    assert archive["notes"] == content["notes"]
    assert archive["reasons"] == content["reasons"]
    return read_tomogram(out).data, content


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    volume, told = made(dxchange(tmp_path_factory.mktemp("plain") / "plain.h5"))
    assert (told["verdict"], told["notes"]) == ("ENOUGH", [])
    return volume


@pytest.mark.parametrize("order", ["dfp", "pfd", "dpf"])
def test_late_flats_and_darks_make_the_same_tomogram(tmp_path: Path, plain: NDArray[np.float32], order: str) -> None:
    volume, told = made(nxtomo(tmp_path / "scan.nxs", order))
    np.testing.assert_array_equal(volume, plain)
    assert told["verdict"] == "ENOUGH"


def test_radians_without_a_unit_make_the_same_tomogram(tmp_path: Path, plain: NDArray[np.float32]) -> None:
    volume, told = made(dxchange(tmp_path / "scan.h5", units=None, theta=ANGLES))
    np.testing.assert_allclose(volume, plain, atol=1e-6)
    assert told["notes"] == ["/exchange/theta has no unit and spans 3.11: taken for radians"]


def test_the_unit_may_be_given(tmp_path: Path, plain: NDArray[np.float32]) -> None:
    scan = dxchange(tmp_path / "scan.h5", units="counts", theta=1e3 * ANGLES)
    volume, told = made(scan, "--angle-unit", "mrad")
    np.testing.assert_allclose(volume, plain, atol=1e-6)
    assert told["notes"] == []


def test_flats_and_darks_of_other_files_make_the_same_tomogram(tmp_path: Path, plain: NDArray[np.float32]) -> None:
    scan = dxchange(tmp_path / "scan.h5", data_white=None, data_dark=None)
    with h5py.File(tmp_path / "fields.h5", "w") as file:
        file["flats"], file["darks"] = FLATS, DARKS
    volume, _ = made(scan, "--flats", f"{tmp_path}/fields.h5:/flats", "--darks", f"{tmp_path}/fields.h5:/darks")
    np.testing.assert_array_equal(volume, plain)


def test_corrected_frames_make_nearly_the_same_tomogram(tmp_path: Path, plain: NDArray[np.float32]) -> None:
    dark, flat = DARKS.mean(axis=0), FLATS.mean(axis=0)
    transmission = ((PROJECTIONS - dark) / (flat - dark)).astype("<f4")
    scan = dxchange(tmp_path / "scan.h5", data=transmission, data_white=None, data_dark=None)
    volume, told = made(scan, "--corrected")
    assert np.sqrt(np.mean((volume - plain) ** 2)) < 0.02 * plain.std()
    assert told["verdict"] == "ENOUGH"
    assert told["notes"] == ["the frames are taken for transmissions, corrected already"]


@pytest.mark.parametrize("gone", ["angles", "sources", "never written", "aborted"])
def test_a_scan_with_a_hole_is_not_enough(tmp_path: Path, gone: str) -> None:
    hole = np.r_[30:45] if gone != "aborted" else np.r_[75:90]
    kept = np.setdiff1d(np.arange(COUNT), hole)
    scan = tmp_path / "scan.h5"
    if gone == "angles":
        dxchange(scan, data=PROJECTIONS[kept], theta=np.rad2deg(ANGLES[kept]))
    elif gone == "aborted":
        dxchange(scan, data=PROJECTIONS[kept])
    else:
        dxchange(scan, data=None)
        with h5py.File(scan, "r+") as file:
            if gone == "sources":
                layout = h5py.VirtualLayout(PROJECTIONS.shape, "<u2")
                layout[kept] = h5py.VirtualSource(".", "kept", PROJECTIONS[kept].shape)
                layout[hole] = h5py.VirtualSource("gone.h5", "data", PROJECTIONS[hole].shape)
                file["kept"] = PROJECTIONS[kept]
                file["exchange"].create_virtual_dataset("data", layout)
            else:
                data = file["exchange"].create_dataset("data", PROJECTIONS.shape, "<u2", chunks=(1, ROWS, N))
                data[:30], data[45:] = PROJECTIONS[:30], PROJECTIONS[45:]
    _, told = made(scan)
    assert told["verdict"] == "RETAKE"
    assert [reason["code"] for reason in told["reasons"]][:2] == ["frames_lost", "angles_missing"]
    assert (told["quality"]["projections"], told["quality"]["missing"]) == (75, 15)
    assert told["quality"]["coverage"] == pytest.approx(75 / 90, abs=0.01)
    assert ("gone.h5 is missing" in " ".join(told["notes"])) == (gone == "sources")
