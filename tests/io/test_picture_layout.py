"""Where the slices of a picture lie, how its texts are broken, and that nothing lies upon anything else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from streamer.io.picture import STYLE, slices_figure, slices_picture, strip_figure

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
    assert more > 45  # two lines or more
    assert (told[:, -8:] > 0.95).all()
    assert (told[:, :8] > 0.95).all()


def planes(*shapes: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    return {name: np.eye(*shape, dtype=np.float32) for name, shape in zip(("xy", "xz", "yz"), shapes, strict=False)}


def texts(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Every text that is drawn, and where. Axes have numbers for places outside of them, which are not drawn."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        yield from ((text.get_text(), text.get_window_extent()) for text in (axes.title, axes._left_title, *axes.texts))
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label.get_text(), axis.label.get_window_extent()
            low, high = sorted(axis.get_view_interval())
            for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True):
                if low <= place <= high:
                    yield label.get_text(), label.get_window_extent()


def assert_nothing_overlaps(figure: Figure) -> None:
    slices = [axes.bbox for axes in figure.axes]
    found = [(text, place) for text, place in texts(figure) if text]
    for (one, here), (other, there) in combinations(found, 2):
        assert not here.padded(-1).overlaps(there), f"{one!r} lies on {other!r}"
    for one, here in found:
        assert not any(here.padded(-2).overlaps(slice_) for slice_ in slices), f"{one!r} lies on a slice"
    for here, there in combinations(slices, 2):
        assert not here.padded(-1).overlaps(there)


@pytest.mark.parametrize("pixel_size_m", [None, 6.5e-6])
@pytest.mark.parametrize(
    "shapes",
    [
        [(256, 256)] * 3,
        [(512, 512), (20, 512), (20, 512)],
        [(640, 640), (160, 640), (160, 640)],
        [(640, 640), (400, 640), (400, 640)],
        [(64, 64), (256, 64), (256, 64)],
        [(300, 300)],
        [(1, 500)],
        [(500, 2)],
    ],
    ids=str,
)
def test_no_text_lies_on_another_or_on_a_slice(shapes: list[tuple[int, int]], pixel_size_m: float | None) -> None:
    with style.context(["default", STYLE]):
        figure = slices_figure(planes(*shapes), "sample " * 12, "1/cm", pixel_size_m, [FINE_PRINT, "ENOUGH"])
        assert_nothing_overlaps(figure)


@pytest.mark.parametrize("rows", [256, 20])
def test_no_text_of_a_strip_lies_on_another(rows: int) -> None:
    stages = [(part, 10, 40, planes((256, 256), (rows, 256), (rows, 256))) for part in (0.25, 0.5, 1.0)]
    with style.context(["default", STYLE]):
        assert_nothing_overlaps(strip_figure(stages))


def test_all_slices_have_one_scale() -> None:
    with style.context(["default", STYLE]):
        figure = slices_figure(planes((400, 400), (160, 400), (160, 400)), "sample", "1/cm", 1e-6, [])
        figure.draw_without_rendering()
        scales = [axes.bbox.width / np.ptp(axes.get_xlim()) for axes in figure.axes[:3]]
        assert scales == pytest.approx([scales[0]] * 3, rel=0.02)
        assert [axes.bbox.y1 for axes in figure.axes[:3]] == pytest.approx([figure.axes[0].bbox.y1] * 3, abs=1)
