"""Real measured scans, from ``../shared/data`` beside the project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import matplotlib.image
import numpy as np
import pytest
from algotom.rec.reconstruction import fbp_reconstruction
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from station import Station

from streamer.cli import main
from streamer.core.masks import circle_mask
from streamer.io.tomogram import read_tomogram
from tests.paths import DATA


@pytest.fixture(scope="module")
def tooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tooth")
    out, png, told = (str(folder / name) for name in ("tooth.h5", "tooth.png", "tooth.json"))
    assert main(["reconstruct", str(DATA / "tooth.h5"), "-o", out, "--png", png, "--json", told]) == 0
    return folder


def test_tooth_agrees_with_an_independent_reconstruction(tooth: Path) -> None:
    told = json.loads((tooth / "tooth.json").read_text())
    assert abs(told["center_px"] - 295.9) <= 0.5
    assert told["verdict"] == "ENOUGH"
    with h5py.File(DATA / "tooth.h5") as file:
        scan = file["exchange"]
        dark, flat = scan["data_dark"][()].mean(axis=0), scan["data_white"][()].mean(axis=0)
        attenuation = -np.log((scan["data"][()] - dark) / (flat - dark))
        angles = np.deg2rad(scan["theta"][()])
    ours = read_tomogram(tooth / "tooth.h5")
    assert ours.unit == "1/pixel"
    mask = circle_mask(640, 0.95)
    for row in range(2):
        theirs = fbp_reconstruction(
            attenuation[:, row], 295.9, angles=angles, filter_name=None, ratio=None, apply_log=False, gpu=False
        )
        assert np.corrcoef(ours.data[row][mask], theirs[::-1][mask])[0, 1] >= 0.98


def test_tooth_picture_shows_the_tooth(tooth: Path) -> None:
    picture = matplotlib.image.imread(tooth / "tooth.png")
    assert picture[..., :3].std() > 0.1


def test_rows_and_centre_can_be_chosen(tooth: Path, tmp_path: Path) -> None:
    out = tmp_path / "row.h5"
    words = ["reconstruct", str(DATA / "tooth.h5"), "-o", str(out), "--rows", "1:2", "--center", "295.9"]
    assert main(words) == 0
    whole, row = read_tomogram(tooth / "tooth.h5").data, read_tomogram(out).data
    assert row.shape == (1, 640, 640)
    mask = circle_mask(640, 0.9)
    assert np.corrcoef(whole[1][mask], row[0][mask])[0, 1] > 0.999


def test_fewer_rings_in_the_tooth_without_stripes(tooth: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    words = ["reconstruct", str(DATA / "tooth.h5"), "-o", str(tmp_path / "t.h5"), "--json", str(told)]
    assert main([*words, "--stripes", "full"]) == 0
    before, after = (json.loads(path.read_text())["artefacts"] for path in (tooth / "tooth.json", told))
    assert after["ring_index"] < 0.5 * before["ring_index"]
    assert after["contrast"] == pytest.approx(before["contrast"], rel=0.03)
    cleaned, plain = (read_tomogram(path).data for path in (tmp_path / "t.h5", tooth / "tooth.h5"))
    assert np.corrcoef(cleaned[1].ravel(), plain[1].ravel())[0, 1] > 0.98


def test_binned_tooth_is_the_tooth(tooth: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    words = ["reconstruct", str(DATA / "tooth.h5"), "-o", str(tmp_path / "t.h5"), "--json", str(told)]
    assert main([*words, "--bin", "2"]) == 0
    assert abs(json.loads(told.read_text())["center_px"] - 295.9) <= 0.5
    ours = read_tomogram(tmp_path / "t.h5").data
    assert ours.shape == (1, 320, 320)
    # Attenuation per pixel, and the pixels are twice as long.
    whole = 2 * read_tomogram(tooth / "tooth.h5").data.mean(axis=0).reshape(320, 2, 320, 2).mean(axis=(1, 3))
    mask = circle_mask(320, 0.9)
    assert np.corrcoef(ours[0][mask], whole[mask])[0, 1] > 0.99
    assert ours[0][mask].mean() == pytest.approx(whole[mask].mean(), rel=0.01)


@pytest.mark.timeout(300)
def test_neutron_rods_over_a_full_turn(tmp_path: Path) -> None:
    transmission = np.asarray(Image.open(DATA / "neutron_sinogram_360.tif"))
    scan = tmp_path / "neutron.h5"
    with h5py.File(scan, "w") as file:
        file["exchange/data"] = transmission.astype("<u2")[:, None]
        file["exchange/data_white"] = np.full((2, 1, transmission.shape[1]), 46_900, "<u2")
        file["exchange/theta"] = np.arange(len(transmission)) * 360.0 / (len(transmission) - 1)
    figures = {}
    for stripes in ("off", "full"):
        out, told = tmp_path / f"{stripes}.h5", tmp_path / f"{stripes}.json"
        words = ["reconstruct", str(scan), "-o", str(out), "--json", str(told), "--stripes", stripes]
        assert main(words) == 0
        figures[stripes] = json.loads(told.read_text())
        assert abs(figures[stripes]["center_px"] - 245.1) <= 0.5
    assert figures["full"]["artefacts"]["ring_index"] < 0.1 * figures["off"]["artefacts"]["ring_index"]
    slice_ = read_tomogram(tmp_path / "full.h5").data[0]
    _, rods = label(gaussian_filter(slice_, 2) > 0.004)
    assert rods >= 4


def test_a_beamline_file_whose_links_dangle_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "diad.h5"
    code = main(["reconstruct", str(DATA / "diad" / "k11-18014.nxs"), "-o", str(out)])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "is not here" in told.out
    assert np.isfinite(read_tomogram(out).data).all()
    assert read_tomogram(out).data.shape == (22, 26, 26)


def test_replay_makes_the_same_tomogram_as_the_file(tooth: Path, tmp_path: Path) -> None:
    station = Station(tmp_path, source={"bind": True, "endpoint": "tcp://127.0.0.1:*"})
    try:
        command = [
            sys.executable,
            "-m",
            "streamer",
            "replay",
            str(DATA / "tooth.h5"),
            "--connect",
            "--scan-id",
            "tooth",
        ]
        subprocess.run([*command, "--to", station.daemon["source"]], check=True, capture_output=True)
        report = station.final("tooth")
        live = read_tomogram(Path(report.tomogram_file)).data
    finally:
        station.close()
    filed = read_tomogram(tooth / "tooth.h5").data
    assert np.abs(live - filed).max() <= 1e-4 * np.abs(filed).max()
