"""Where the slices of a picture lie, and how its texts are broken."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.io.picture import slices_picture

FINE_PRINT = "REALIGN: the rotation axis lies 44.5 px to the right of the detector's middle (limit 8.0); " * 3


def drawn(folder: Path, rows: int, side: int = 200, lines: tuple[str, ...] = ()) -> NDArray[np.float32]:
    """Grey picture (y, x), 0 … 1, of three bright slices of a volume (rows, side, side)."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    disc = (x**2 + y**2 < 0.8).astype(np.float32)
    upright = np.tile(disc[side // 2], (rows, 1))
    path = folder / "picture.png"
    slices_picture(path, {"xy": disc, "xz": upright, "yz": upright}, "sample", "1/cm", 1e-6, lines)
    return np.asarray(matplotlib.image.imread(path)[..., :3].mean(axis=2))


def test_flat_slices_lie_above_one_another_and_leave_more_room(tmp_path: Path) -> None:
    flat, tall = drawn(tmp_path, 20), drawn(tmp_path, 200)
    assert flat.shape[0] > 1.3 * tall.shape[0]  # two squares side by side in the width of three
    assert flat.shape[1] == pytest.approx(tall.shape[1], rel=0.02)


def test_a_single_slice_of_one_row_scans_fills_the_page(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    slices_picture(path, {"xy": np.eye(300)}, "sample", "1/pixel", None)
    height, width = matplotlib.image.imread(path).shape[:2]
    assert 0.9 < height / width < 1.1


def test_long_texts_are_broken_and_stay_on_the_page(tmp_path: Path) -> None:
    plain, told = drawn(tmp_path, 200), drawn(tmp_path, 200, lines=(FINE_PRINT,))
    assert told.shape[1] == plain.shape[1]
    more = told.shape[0] - plain.shape[0]
    assert more > 60  # two lines or more
    assert (told[:, -8:] > 0.95).all()
    assert (told[:, :8] > 0.95).all()
