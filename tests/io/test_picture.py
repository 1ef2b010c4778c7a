"""Pictures for reports: there, right in size, not blank, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streamer.frames import BadInput
from streamer.io import picture
from streamer.io.picture import MAX_BYTES, slices_picture, strip_picture

LINES = ("ENOUGH", "centre 127.48 px (confidence 94 %)", "resolution 2.4 px")


def disc(rows: int, columns: int, value: float = 1.0) -> NDArray[np.float32]:
    y, x = np.mgrid[:rows, :columns]
    inside = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (0.4 * min(rows, columns)) ** 2
    return np.where(inside, np.float32(value), np.float32(0))


def three(value: float = 1.0) -> dict[str, NDArray[np.float32]]:
    return {"xy": disc(96, 96, value), "xz": disc(64, 96, value), "yz": disc(64, 96, value)}


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_slices(tmp_path: Path) -> None:
    path = tmp_path / "slices.png"
    slices_picture(path, three(), "foam", "1/cm", 6.5e-6, LINES)
    shown = pixels(path)
    assert 1400 < shown.shape[1] < 1800
    assert 400 < shown.shape[0] < 1000
    assert path.stat().st_size < MAX_BYTES
    assert (shown == 255).all(axis=2).mean() > 0.2  # paper
    assert (shown < 10).all(axis=2).mean() > 0.1  # the outside of the discs
    assert [file.name for file in tmp_path.iterdir()] == ["slices.png"]


def test_all_slices_have_one_contrast(tmp_path: Path) -> None:
    planes = {"xy": disc(80, 80, 1.0), "xz": disc(80, 80, 0.5)}
    slices_picture(tmp_path / "p.png", planes, "foam", "1/cm", None)
    grey = pixels(tmp_path / "p.png").mean(axis=2)
    middle = grey[grey.shape[0] // 2]
    values, counts = np.unique(middle.round(-1), return_counts=True)
    wide = set(values[counts > 100])
    assert 130 in wide  # half of the other one's white


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        slices_picture(tmp_path / name, three(), "foam", "1/cm", 6.5e-6, LINES)
        strip_picture(tmp_path / f"strip-{name}", [(1.0, 10, 10, three())])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "strip-a.png").read_bytes() == (tmp_path / "strip-b.png").read_bytes()


def test_noise_still_makes_a_small_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = {name: rng.normal(size=(900, 900)).astype(np.float32) for name in ("xy", "xz", "yz")}
    slices_picture(tmp_path / "noise.png", planes, "noise", "1/pixel", None)
    strip_picture(tmp_path / "strip.png", [(part, 1, 1, planes) for part in (0.1, 0.25, 0.5, 0.75, 1.0)])
    for name in ("noise.png", "strip.png"):
        assert (tmp_path / name).stat().st_size < MAX_BYTES


def test_a_picture_that_would_be_too_large_is_drawn_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "MAX_BYTES", 200_000)
    noise = np.random.default_rng(0).normal(size=(900, 900)).astype(np.float32)
    slices_picture(tmp_path / "noise.png", {"xy": noise}, "noise", "1/pixel", None)
    assert 50_000 < (tmp_path / "noise.png").stat().st_size < 200_000


def test_strip(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    stages = [(part, round(360 * part), 360, three(part)) for part in (0.1, 0.25, 0.5, 0.75, 1.0)]
    strip_picture(path, stages)
    shown = pixels(path)
    assert shown.shape[1] > 1.5 * shown.shape[0]
    fifth = shown.shape[1] // 5
    for column in range(5):
        part = shown[:, column * fifth + 80 : (column + 1) * fifth]
        assert part.std() > 50, column


def test_a_plane_that_was_not_yet_there_is_left_white(tmp_path: Path) -> None:
    strip_picture(tmp_path / "s.png", [(0.1, 1, 10, {}), (1.0, 10, 10, three())])
    shown = pixels(tmp_path / "s.png")
    assert (shown[shown.shape[0] // 2, 100 : shown.shape[1] // 2 - 20] == 255).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_odd_values_are_drawn_not_raised(tmp_path: Path, value: float) -> None:
    slices_picture(tmp_path / "odd.png", {"xy": np.full((8, 8), value, np.float32)}, "a$b_$", "1/cm", None, ["$x", "_"])
    assert (tmp_path / "odd.png").stat().st_size > 1000


@pytest.mark.parametrize("planes", [{}, {"xy": np.zeros(5)}, {"xy": np.zeros((0, 4))}])
def test_what_is_no_picture_is_bad_input(tmp_path: Path, planes: dict[str, NDArray[np.float64]]) -> None:
    with pytest.raises(BadInput):
        slices_picture(tmp_path / "no.png", planes, "foam", "1/cm", None)
    with pytest.raises(BadInput):
        strip_picture(tmp_path / "no.png", [(1.0, 1, 1, planes)])
    assert not list(tmp_path.iterdir())
