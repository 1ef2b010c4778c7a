"""Real measured scans, from ``../shared/data`` beside the project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import pytest
from algotom.rec.reconstruction import fbp_reconstruction
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, label, shift
from station import Station

from streamer.cli import main
from streamer.core.backend.selection import select_backend
from streamer.core.masks import circle_mask
from streamer.frames import Decision, Quality, ReasonCode, Verdict
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
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


def rods() -> NDArray[np.uint16]:
    """Counts (n, columns) of one detector row over a full turn; the last projection is at the angle of the first."""
    return np.asarray(Image.open(DATA / "neutron_sinogram_360.tif")).astype("<u2")


def rods_file(path: Path, counts: NDArray[np.uint16]) -> Path:
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts[:, None]
        file["exchange/data_white"] = np.full((2, 1, counts.shape[1]), 46_900, "<u2")
        file["exchange/theta"] = np.arange(len(counts)) * 360.0 / (len(counts) - 1)
    return path


def judged(scan: Path) -> tuple[Quality, Verdict, list[Verdict]]:
    """Final quality and verdict of a file, and the verdicts while its projections came."""
    with ScanFile.open(scan) as file:
        pipeline = ScanPipeline(file.spec(), select_backend("numba", 1)[0], Settings(), planes=())
        looks = []
        for metas, pixels in file.some(lambda index: True, 32):
            pipeline.push_batch(metas, pixels)
            look = pipeline.look(0, 0)()
            pipeline.follow(look)
            looks.append(look.verdict)
    pipeline.refine_center()
    return *pipeline.judge(0, 0), looks


def moved(frames: NDArray[Any], by_px: NDArray[np.float64]) -> NDArray[Any]:
    """Frames (n, …, columns) each moved along its row."""
    steps = [(0,) * (frames.ndim - 2) + (by,) for by in by_px]
    return np.stack([shift(f.astype(float), by, order=1, mode="nearest") for f, by in zip(frames, steps, strict=True)])


def test_undamaged_rods_are_enough_and_never_taken_again(tmp_path: Path) -> None:
    quality, verdict, looks = judged(rods_file(tmp_path / "rods.h5", rods()))
    assert verdict.decision is Decision.ENOUGH, verdict
    assert (quality.dead_columns, ReasonCode.DEAD_COLUMNS in verdict.codes) == (2, True)
    assert len(looks) > 10
    assert {look.decision for look in looks} == {Decision.CONTINUE}


@pytest.mark.parametrize("by", [1.0, 3.0])
def test_rods_that_moved_are_taken_again(tmp_path: Path, by: float) -> None:
    counts = rods()
    after = moved(counts, by * (np.arange(len(counts)) >= len(counts) // 2))
    verdict = judged(rods_file(tmp_path / "rods.h5", after.astype("<u2")))[1]
    assert (verdict.decision, verdict.codes[0]) == (Decision.RETAKE, ReasonCode.MOTION), verdict


@pytest.mark.parametrize("by", [1.0, 3.0])
def test_a_tooth_that_moved_is_taken_again(tmp_path: Path, by: float) -> None:
    path = tmp_path / "tooth.h5"
    path.write_bytes((DATA / "tooth.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        data = file["exchange/data"]
        data[...] = moved(data[()], by * (np.arange(len(data)) >= len(data) // 2))
    verdict = judged(path)[1]
    assert verdict.decision is Decision.RETAKE, verdict
    assert {ReasonCode.MOTION, ReasonCode.MISFIT} & set(verdict.codes)


@pytest.mark.timeout(300)
def test_neutron_rods_over_a_full_turn(tmp_path: Path) -> None:
    scan = rods_file(tmp_path / "neutron.h5", rods())
    figures = {}
    for stripes in ("off", "full"):
        out, told = tmp_path / f"{stripes}.h5", tmp_path / f"{stripes}.json"
        words = ["reconstruct", str(scan), "-o", str(out), "--json", str(told), "--stripes", stripes]
        assert main(words) == 0
        figures[stripes] = json.loads(told.read_text())
        assert abs(figures[stripes]["center_px"] - 245.1) <= 0.5
        assert figures[stripes]["verdict"] == "ENOUGH"
    assert figures["full"]["artefacts"]["ring_index"] < 0.1 * figures["off"]["artefacts"]["ring_index"]
    slice_ = read_tomogram(tmp_path / "full.h5").data[0]
    _, found = label(gaussian_filter(slice_, 2) > 0.004)
    assert found >= 4


def test_a_beamline_file_whose_links_dangle_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "diad.h5"
    code = main(["reconstruct", str(DATA / "diad" / "k11-18014.nxs"), "-o", str(out)])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "is missing" in told.out
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
        ends = ("--to", station.daemon["source"], "--control", station.daemon["control"])
        subprocess.run([*command, *ends], check=True, capture_output=True)
        report = station.final("tooth")
        live = read_tomogram(Path(report.tomogram_file)).data
    finally:
        station.close()
    filed = read_tomogram(tooth / "tooth.h5").data
    assert np.abs(live - filed).max() <= 1e-4 * np.abs(filed).max()
