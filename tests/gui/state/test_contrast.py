"""Contrast by name: automatic, by hand, linked; colours of pictures that have nothing in common are never linked."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.flow.wire.looks import Look, Looked
from streamer.frames import FrameKind
from streamer.gui.state.contrast import Contrast, Levels
from streamer.gui.state.model import ViewModel
from streamer.gui.state.plane import robust_levels
from tests.gui.state.test_view_model import ENDPOINT, header, pixels, show


@pytest.fixture
def contrast() -> Contrast:
    """Of two planes and of a raw frame."""
    made = Contrast()
    made.measured("xy", -1.0, 3.0, "1/cm")
    made.measured("xz", 0.0, 9.0, "1/cm")
    made.measured("raw", 100.0, 60_000.0, "counts")
    return made


def test_what_is_linked_is_of_one_unit(contrast: Contrast) -> None:
    contrast.linked = True
    assert contrast.levels("xy") == contrast.levels("xz") == Levels(-1.0, 9.0)
    assert contrast.levels("raw") == Levels(100.0, 60_000.0)
    contrast.set_levels("xy", 0.5, 2.0)
    assert contrast.levels("xz") == Levels(0.5, 2.0, auto=False)
    assert contrast.levels("raw").auto


def test_a_plane_that_is_gone_has_no_say(contrast: Contrast) -> None:
    contrast.linked = True
    contrast.forget("xz")
    assert contrast.levels("xy") == Levels(-1.0, 3.0)
    assert not contrast.manual


def test_unlinked_pictures_are_set_one_by_one(contrast: Contrast) -> None:
    contrast.set_levels("xy", 0.5, 2.0)
    assert contrast.levels("xz") == Levels(0.0, 9.0)
    contrast.auto_levels("xy")
    assert contrast.levels("xy") == Levels(-1.0, 3.0)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_an_empty_range_is_ignored(contrast: Contrast, low: float, high: float) -> None:
    contrast.set_levels("xy", low, high)
    assert contrast.levels("xy").auto


def test_a_picture_that_did_not_come_yet_has_some_contrast() -> None:
    contrast = Contrast()
    contrast.linked = True
    assert contrast.levels("xy") == Levels(0.0, 1.0)
    contrast.set_levels("xy", 3.0, 4.0)
    assert contrast.levels("xy") == Levels(3.0, 4.0, auto=False)


def test_a_raw_frame_beside_linked_planes_leaves_them_as_they_are() -> None:
    model = ViewModel("tcp://127.0.0.1:1")
    model.contrast.linked = True
    model.contrast.measured("xy", -1.0, 3.0, "1/cm")
    pixels = np.arange(600, dtype="<u2") * 100
    look = Looked(
        scan_id="s1", sample="foam", subject="raw", shape=(20, 30), lo=0.0, hi=65535.0, unit="counts", index=3,
        kind=FrameKind.FLAT, row=None, count=9, pixels=pixels.tobytes(),
    )  # fmt: skip
    model.answer(Look("raw"), look, 0.0)
    assert model.contrast.levels("xy") == Levels(-1.0, 3.0)
    assert model.contrast.levels("raw").high > 50_000


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3, 2), (700, 900)])
def test_levels_span_what_is_there_but_for_a_few_pixels(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).uniform(0.0, 1.0, shape).astype(np.float32)
    low, high = robust_levels(image)
    assert low < high
    if image.size > 1000:
        assert (low, high) == (pytest.approx(0.0, abs=0.02), pytest.approx(1.0, abs=0.02))
        hot = image.copy()
        hot.ravel()[:: image.size // 8] = 1e6
        assert robust_levels(hot)[1] < 1.1


def test_contrast_ignores_a_few_hot_pixels() -> None:
    image = np.random.default_rng(0).normal(5, 1, (300, 300)).astype(np.float32)
    image[::60, ::60] = 1e6
    low, high = robust_levels(image)
    assert 1 < low < 4
    assert 6 < high < 10


@pytest.mark.parametrize("value", [0.0, 7.5, -3.0])
def test_contrast_of_a_flat_picture_is_not_empty(value: float) -> None:
    low, high = robust_levels(np.full((5, 5), value, np.float32))
    assert low < value < high


def test_contrast_by_hand_stays_until_auto() -> None:
    model = ViewModel(ENDPOINT)
    show(model, header(), pixels(), 0.0)
    show(model, header(plane="xz", lo=0.0, hi=10.0), pixels(), 0.0)
    automatic = model.contrast.levels("xy")
    model.contrast.set_levels("xy", 0.5, 1.5)
    show(model, header(hi=9.0), pixels(), 1.0)
    assert (model.contrast.levels("xy").low, model.contrast.levels("xy").high, model.contrast.manual) == (
        0.5,
        1.5,
        True,
    )
    assert model.contrast.levels("xz").auto
    model.contrast.set_levels("xy", 2.0, 1.0)
    model.contrast.set_levels("xy", float("nan"), 1.0)
    assert model.contrast.levels("xy").low == 0.5
    model.contrast.auto_levels()
    assert model.contrast.levels("xy").auto
    assert model.contrast.levels("xy").high > automatic.high


def test_linked_planes_share_one_contrast() -> None:
    model = ViewModel(ENDPOINT)
    show(model, header(), pixels(), 0.0)
    show(model, header(plane="xz", lo=0.0, hi=10.0), pixels(), 0.0)
    model.contrast.linked = True
    assert model.contrast.levels("xy") == model.contrast.levels("xz")
    model.contrast.set_levels("xz", 1.0, 2.0)
    assert model.contrast.levels("xy").high == 2.0
