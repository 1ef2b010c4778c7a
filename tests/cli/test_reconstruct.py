"""``streamer reconstruct`` with its options, on small analytic scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.cli import main
from streamer.core.masks import circle_mask
from streamer.core.preprocessing.binning import binned
from streamer.io.tomogram import Tomogram, read_tomogram
from streamer.phantoms import body_projections, gaussians, image, random_body, sinogram

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty

N, ROWS, ANGLES = 97, 13, 140
CENTER = 47.3
PIXEL_M = 2e-6
PER_CM = 100 * PIXEL_M
BEAM, DARK = 40_000, 100
SAMPLE = gaussians(N - 1)


def write(path: Path, attenuation: NDArray[Any], angles: NDArray[Any], bins: int = 1, dtype: str = "<f4") -> Path:
    """A DXchange scan of (angles, rows, columns); ``bins`` × ``bins`` pixels of its frames made one."""

    def frames(counts: NDArray[Any]) -> NDArray[Any]:
        n, rows, columns = (side // (1 if axis == 0 else bins) for axis, side in enumerate(counts.shape))
        blocks = counts[:, : rows * bins, : columns * bins].reshape(n, rows, bins, columns, bins)
        return blocks.mean(axis=(2, 4)).astype(dtype)

    shape = attenuation.shape[1:]
    with h5py.File(path, "w") as file:
        file["exchange/data"] = frames(BEAM * np.exp(-attenuation) + DARK)
        file["exchange/data_white"] = frames(np.full((2, *shape), float(BEAM + DARK)))
        file["exchange/data_dark"] = frames(np.full((2, *shape), float(DARK)))
        file["exchange/theta"] = np.rad2deg(angles)
    return path


def half_turn_scan() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Smooth, of a strength that changes from row to row."""
    angles = np.arange(ANGLES) * np.pi / ANGLES
    one = 0.03 * sinogram(SAMPLE, N, angles, CENTER)
    return one[:, None] * np.linspace(0.7, 1.3, ROWS, dtype=np.float32)[:, None], angles


def made(scan: Path, folder: Path, *options: str) -> tuple[Tomogram, dict[str, Any]]:
    out, told = folder / f"{len(list(folder.iterdir()))}.h5", folder / "told.json"
    assert main(["reconstruct", str(scan), "-o", str(out), "--json", str(told), *options]) == 0
    return read_tomogram(out), json.loads(told.read_text())


@pytest.mark.parametrize("bins", [2, 4])
def test_binning_is_that_of_the_frames(tmp_path: Path, bins: int) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    smaller = write(tmp_path / "binned.h5", attenuation, angles, bins)
    ours, told = made(
        scan, tmp_path, "--bin", str(bins), "--center", str(CENTER), "--tilt", "off", "--pixel-size-m", str(PIXEL_M)
    )
    center, size = str(binned(CENTER, bins)), str(bins * PIXEL_M)
    theirs, _ = made(smaller, tmp_path, "--center", center, "--tilt", "off", "--pixel-size-m", size)
    assert ours.data.shape == (ROWS // bins, N // bins, N // bins)
    np.testing.assert_allclose(ours.data, theirs.data, atol=2e-6 * theirs.data.max())
    assert ours.pixel_size_m == pytest.approx(bins * PIXEL_M)
    assert told["center_px"] == pytest.approx(CENTER)
    assert told["center_binned_px"] == pytest.approx(binned(CENTER, bins))
    assert ours.parameters["center_px"] == pytest.approx(CENTER)
    assert ours.parameters["bin"] == bins


def test_binned_slices_are_the_truth_in_larger_pixels(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    truth = 0.03 * image(SAMPLE, N - 1) / PER_CM
    truth = truth.reshape(N // 2, 2, N // 2, 2).mean(axis=(1, 3))
    ours, told = made(scan, tmp_path, "--bin", "2", "--pixel-size-m", str(PIXEL_M))
    assert told["center_px"] == pytest.approx(CENTER, abs=0.1)
    row = 3
    strength = np.linspace(0.7, 1.3, ROWS)[2 * row : 2 * row + 2].mean()
    error = (ours.data[row] - strength * truth)[circle_mask(N // 2, 0.95)]
    assert np.sqrt(np.mean(error**2)) < 0.01 * truth.max()


def test_rows_are_those_of_the_detector(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    part = write(tmp_path / "part.h5", attenuation[:, 3:12], angles)
    options = ("--bin", "2", "--center", str(CENTER), "--tilt", "off")
    ours, _ = made(scan, tmp_path, *options, "--rows", "3:12")
    theirs, _ = made(part, tmp_path, *options)
    assert ours.data.shape == (4, N // 2, N // 2)
    np.testing.assert_array_equal(ours.data, theirs.data)
    assert ours.parameters["first_row"] == 3


def test_a_binned_scan_larger_than_the_memory_is_read_again(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    options = ("--bin", "2", "--center", str(CENTER), "--tilt", "off")
    whole, _ = made(scan, tmp_path, *options)
    blocks, _ = made(scan, tmp_path, *options, "--memory-mb", "0.12")
    np.testing.assert_allclose(blocks.data, whole.data, atol=1e-6 * whole.data.max())


def test_saturation_is_told_before_binning_hides_it(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles, dtype="<u2")
    with h5py.File(scan, "a") as file:
        raw = file["exchange/data"][()]
        raw[:, ::4, ::4] = 65535
        file["exchange/data"][...] = raw
    _, told = made(scan, tmp_path, "--bin", "2", "--center", str(CENTER))
    assert told["quality"]["saturation"] == pytest.approx(np.mean(raw == 65535))
    assert told["verdict"] == "RETAKE"
    assert told["reasons"][0]["code"] == "saturated"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    """Half acquisition of a body wider than the detector, and the truth of its middle row about column 64 of 129."""
    body = random_body(np.random.default_rng(5), 130)
    angles = np.arange(120) * 2 * np.pi / 120
    path = tmp_path_factory.mktemp("half") / "scan.h5"
    write(path, body_projections(body, 5, 80, angles, 64.0), angles)
    return path, image(body, 129)


def rmse(slice_: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(slice_ - truth)[circle_mask(len(truth), 0.95)])))


def test_half_acquisition_is_wider_by_either_method(half: tuple[Path, NDArray[np.float32]], tmp_path: Path) -> None:
    scan, truth = half
    plain, told = made(scan, tmp_path)
    assert told["geometry"]["geometry"] == "half acquisition"
    assert told["shape"] == [5, 129, 129]
    assert told["center_px"] == pytest.approx(64.0, abs=0.1)
    iterated, _ = made(scan, tmp_path, "--method", "tv", "--iterations", "30")
    assert iterated.data.shape == plain.data.shape
    assert rmse(plain.data[2], truth) < 0.1 * truth.max()
    assert rmse(iterated.data[2], truth) < rmse(plain.data[2], truth)
    narrow, told = made(scan, tmp_path, "--geometry", "plain")
    assert narrow.data.shape == (5, 80, 80)
    assert told["geometry"]["reason"].startswith("plain: asked for")


def test_an_axis_near_the_edge_is_no_fault_in_half_acquisition(
    half: tuple[Path, NDArray[np.float32]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = made(half[0], tmp_path, "--bin", "2", "--geometry", "half")
    assert told["geometry"]["width_px"] in (64, 65)
    assert told["verdict"] != "REALIGN"
    assert not any(reason["code"] == "truncated" for reason in told["reasons"])
    assert "geometry half acquisition: " in capsys.readouterr().out


def test_what_is_prepared_is_prepared_for_tv_as_well(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    attenuation, angles = attenuation[::6, :5].copy(), angles[::6]
    rng = np.random.default_rng(2)
    attenuation += 0.005 * rng.standard_normal(attenuation.shape).astype(np.float32)
    options = ("--center", str(CENTER), "--tilt", "off", "--method", "tv", "--iterations", "20")
    clean, _ = made(write(tmp_path / "clean.h5", attenuation, angles), tmp_path, *options)
    hit = rng.random(attenuation.shape) < 2e-3
    attenuation[hit] -= 1.5
    spoiled = write(tmp_path / "spoiled.h5", attenuation, angles)
    left, _ = made(spoiled, tmp_path, *options)
    removed, told = made(spoiled, tmp_path, *options, "--zingers", "8")
    assert told["preparation"]["zingers_removed"] >= 0.9 * np.count_nonzero(hit)
    assert told["preparation"]["method"].startswith("least squares")
    assert np.abs(removed.data - clean.data).mean() < 0.3 * np.abs(left.data - clean.data).mean()


def test_stripes_are_taken_off_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attenuation, angles = half_turn_scan()
    rng = np.random.default_rng(3)
    attenuation = attenuation + 0.003 * rng.standard_normal(attenuation.shape).astype(np.float32)
    attenuation[:, :, [20, 61, 80]] += 0.08
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    options = ("--center", str(CENTER), "--tilt", "off")
    _, before = made(scan, tmp_path, *options)
    _, after = made(scan, tmp_path, *options, "--stripes", "full")
    assert after["artefacts"]["ring_index"] < 0.3 * before["artefacts"]["ring_index"]
    assert after["preparation"]["stripe_columns"] >= 3 * ROWS
    told = capsys.readouterr().out
    assert "with a stripe" in told
    assert "middle slice: " in told


def test_phase_retrieval_needs_only_what_the_file_lacks(tmp_path: Path) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation, angles)
    optics = ("--energy-kev", "20", "--distance-m", "0.05", "--pixel-size-m", "1e-6")
    sharp, _ = made(scan, tmp_path, "--center", str(CENTER), *optics)
    smooth, told = made(scan, tmp_path, "--center", str(CENTER), *optics, "--delta-beta", "200")
    assert told["preparation"]["phase_length_px"] > 1
    assert smooth.data.max() < 0.95 * sharp.data.max()
    assert smooth.data[6].sum() == pytest.approx(sharp.data[6].sum(), rel=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tilt", "left"), "--tilt: give auto, off or a number from -5 to 5, not 'left'"),
        (("--tilt", "9"), "--tilt: give auto, off or a number from -5 to 5, not '9'"),
        (("--geometry", "round"), "--geometry: give auto, plain or half, not 'round'"),
        (("--stripes", "on"), "--stripes: give off, live or full, not 'on'"),
        (("--zingers", "-1"), "--zingers: give a number, 0 or more, not '-1'"),
        (("--zingers", "nan"), "--zingers: give a number"),
        (("--flat-drift", "yes"), "--flat-drift: give off, margins, monitor or eigen"),
        (("--flat-drift", "eigen"), "needs three flats"),
        (("--delta-beta", "-1"), "--delta-beta: give a number, 0 or more"),
        (("--delta-beta", "50", "--distance-m", "1"), "give --energy-kev, --pixel-size-m"),
        (("--energy-kev", "0"), "--energy-kev: give a number above 0, not '0'"),
        (("--distance-m", "far"), "--distance-m: give"),
        (("--pixel-size-m", "inf"), "--pixel-size-m: give"),
        (("--bin", "3"), "--bin: give 1, 2, 4 or 8, not '3'"),
        (("--bin", "two"), "--bin: give 1, 2, 4 or 8"),
        (("--bin", "8", "--rows", "0:5"), "bin 8: too much for 5 rows"),
        (("--memory-mb", "much"), "--memory-mb: give a number above 0"),
        (("--memory-mb", "0"), "--memory-mb: give"),
        (("--center", "inf"), "--center: give auto or a number, not 'inf'"),
        (("--center", "900"), "900"),
        (("--center", "left"), "--center: give auto or a number, not 'left'"),
        (("--rows", "2"), "--rows: give A:B with whole numbers, for example 100:200, not '2'"),
        (("--rows", "7:99"), "--rows 7:99: the scan has rows 0:13"),
        (("--rows", "5:5"), "--rows 5:5: the scan has rows 0:13"),
        (("--radius", "5"), "unrecognized arguments: --radius"),
        (("--backend", "gpu"), "--backend: give auto, numba or cupy, not 'gpu'"),
        (("--png", "/no/such/folder/x.png"), "/no/such/folder"),
        (("--json", "/no/such/folder/x.json"), "/no/such/folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attenuation, angles = half_turn_scan()
    scan = write(tmp_path / "scan.h5", attenuation[::20], angles[::20])
    assert main(["reconstruct", str(scan), "-o", str(tmp_path / "o.h5"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("streamer reconstruct: ")
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]
