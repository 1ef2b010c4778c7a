"""``streamer reconstruct --method tv`` on a tiny scan of few angles, against the truth."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.io.tomogram import read_tomogram
from streamer.phantoms import image, shepp_logan, sinogram

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty

N, ROWS, ANGLES = 48, 6, 12
PIXEL_M = 1e-4  # so that 1/cm is 100 times 1/pixel
CENTER = (N - 1) / 2


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shepp-Logan seen at few angles, in counts with a little noise."""
    angles = np.arange(ANGLES) * np.pi / ANGLES
    attenuation = 0.05 * sinogram(shepp_logan(N), N, angles)[:, None].repeat(ROWS, axis=1)
    rng = np.random.default_rng(0)
    counts = rng.poisson(20_000 * np.exp(-attenuation)) + 100
    path = tmp_path_factory.mktemp("few") / "scan.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts.astype("<u2")
        file["exchange/data_white"] = np.full((2, ROWS, N), 20_100, "<u2")
        file["exchange/data_dark"] = np.full((2, ROWS, N), 100, "<u2")
        file["exchange/theta"] = np.rad2deg(angles)
    return path


def rmse(path: Path) -> float:
    tomogram = read_tomogram(path)
    truth = 0.05 * image(shepp_logan(N), N)
    per_pixel = tomogram.data / (1.0 if tomogram.pixel_size_m is None else 1.0 / (100 * tomogram.pixel_size_m))
    return float(np.sqrt(np.mean((per_pixel - truth) ** 2)))


def made(scan: Path, out: Path, *options: str) -> Path:
    assert main(["reconstruct", str(scan), "-o", str(out), "--center", str(CENTER), *options]) == 0
    return out


def test_few_angles_come_out_better_than_by_backprojection(scan: Path, tmp_path: Path) -> None:
    plain = made(scan, tmp_path / "fbp.h5")
    tv = made(scan, tmp_path / "tv.h5", "--method", "tv", "--json", str(tmp_path / "r.json"))
    assert rmse(tv) < 0.4 * rmse(plain)
    assert json.loads((tmp_path / "r.json").read_text())["method"] == "tv"
    told = read_tomogram(tv).parameters
    assert "total variation" in told["method"]
    assert (told["iterations"], told["strength"]) == (80, 1.0)
    assert told["center_px"] == CENTER


def test_blocks_and_rows_give_nearly_the_same(scan: Path, tmp_path: Path) -> None:
    whole = made(scan, tmp_path / "whole.h5", "--method", "tv", "--iterations", "40")
    blocks = made(scan, tmp_path / "blocks.h5", "--method", "tv", "--iterations", "40", "--memory-mb", "1.2")
    assert np.abs(read_tomogram(blocks).data - read_tomogram(whole).data).max() < 0.1 * read_tomogram(whole).data.max()
    part = made(scan, tmp_path / "part.h5", "--method", "tv", "--iterations", "40", "--rows", "2:4")
    assert read_tomogram(part).data.shape == (2, N, N)
    assert rmse(part) < 1.3 * rmse(whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--iterations", "0"), "--iterations: give a whole number from 1 to 100000, not '0'"),
        (("--iterations", "999999"), "--iterations: give"),
        (("--strength", "-1"), "--strength: give a number, 0 or more, not '-1'"),
        (("--strength", "nan"), "--strength: give"),
        (("--memory-mb", "0.1"), "MiB"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    scan: Path, tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", str(scan), "-o", str(tmp_path / "o.h5"), "--method", "tv", *options]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
