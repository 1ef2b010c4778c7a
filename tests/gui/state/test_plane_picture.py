"""Pictures on their axes: where a pixel is, how large it is, and what is said under the mouse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from streamer.flow.wire.daemon import PlaneSpec, PreviewHeader
from streamer.flow.wire.looks import Looked
from streamer.frames import FrameKind
from streamer.gui.state.model import ViewModel
from streamer.gui.state.plane import PlanePicture
from tests.gui.state.test_view_model import ENDPOINT, header, pixels, show


def picture(rows: int, columns: int, **changes: Any) -> PlanePicture:
    """A picture whose value is 100 times the row plus the column."""
    image = np.add.outer(100 * np.arange(rows), np.arange(columns)).astype(np.float32)
    known = {"name": "xy", "scan_id": "s1", "sample": "foam", "image": image, "unit": "1/cm", "angles": 1, "of": 9}
    return PlanePicture(**{**known, **changes})


def looked(subject: str, **changes: Any) -> Looked:
    pixels = (1000 * np.arange(12, dtype="<u2")).tobytes()
    known: dict[str, Any] = {
        "scan_id": "s1", "sample": "foam", "subject": subject, "shape": (3, 4), "lo": 0.0, "hi": 65535.0,
        "unit": "counts", "index": 17, "count": 90, "pixels": pixels,
    }  # fmt: skip
    return Looked(**{**known, **changes})


@pytest.mark.parametrize(
    ("look", "caption"),
    [
        (looked("raw", kind=FrameKind.PROJECTION, angle_deg=12.34), "projection, frame 17, 12.3°"),
        (looked("raw", kind=FrameKind.FLAT, angle_deg=12.34), "flat, frame 17"),
        (looked("raw", kind=FrameKind.DARK), "dark, frame 17"),
        (looked("projection", angle_deg=44.96), "prepared: darks, flats, logarithm, 45.0°"),
        (looked("projection"), "prepared: darks, flats, logarithm"),
        (looked("sinogram", row=7), "detector row 7, 90 projections"),
        (looked("sinogram"), "90 projections"),
    ],
)
def test_what_the_detector_sees_is_named(look: Looked, caption: str) -> None:
    assert PlanePicture.of_look(look).caption == caption


def test_a_binned_look_is_read_in_pixels_of_the_detector() -> None:
    shown = PlanePicture.of_look(looked("raw", kind=FrameKind.DARK, bin=4))
    assert (shown.axis_names, shown.axis_unit) == (("column", "row"), "px")
    assert shown.rect == shown.extent == (-0.5, -0.5, 16.0, 12.0)
    assert shown.readout(9.0, 4.0) == "raw   column 8 px   row 4 px   6000 counts"
    assert shown.voxel_m is None
    assert PlanePicture.of_look(looked("sinogram")).axis_names == ("column", "projection")


@pytest.mark.parametrize(
    ("pixel_m", "words"),
    [
        (1e-4, "xy   x +0.15 mm   y −0.10 mm   pixel [0, 3]   3 1/cm"),
        (6.5e-6, "xy   x +0.0097 mm   y −0.0065 mm   pixel [0, 3]   3 1/cm"),
        (6.5e-7, "xy   x +0.00097 mm   y −0.00065 mm   pixel [0, 3]   3 1/cm"),
    ],
)
def test_a_place_is_said_to_a_tenth_of_a_pixel_or_so(pixel_m: float, words: str) -> None:
    shown = picture(3, 4, pixel_m=pixel_m)
    assert shown.readout(1.4999 * 1e3 * pixel_m, -1e3 * pixel_m) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (12345.0, "12345"), (65535.0, "65535"), (16777215.0, "16777215"), (9999.7, "10000"),
        (-12345.0, "−12345"), (1023.47, "1023"), (102.347, "102.3"), (0.0, "0"), (0.00012345, "0.0001234"),
        (-0.5, "−0.5"), (3e12, "3e+12"), (2e-7, "2e−07"),
    ],
)  # fmt: skip
def test_a_value_keeps_every_digit_before_the_point(value: float, words: str) -> None:
    shown = picture(1, 1, image=np.array([[value]], np.float32), unit="counts")
    assert shown.readout(0.0, 0.0).endswith(f" px   {words} counts")


def test_a_plane_with_long_steps_is_as_large_as_what_it_covers() -> None:
    place = PlaneSpec("xy", (0.0, 0.0, 3.0), (2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (10, 20))
    header = PreviewHeader(
        scan_id="s1", sample="foam", plane="xy", angles=5, of=9, shape=(5, 10), lo=-1.0, hi=1.0, unit="1/cm",
        pixel_size_m=5e-6, bin=2, place=place, volume=(8, 40, 40),
    )  # fmt: skip
    shown = PlanePicture.of_preview(header, np.full((5, 10), 65535, "<u2").tobytes())
    assert shown.pixel_m == pytest.approx(2e-5)
    assert shown.voxel_m == pytest.approx(5e-6)
    assert shown.extent == pytest.approx((-0.1, -0.05, 0.2, 0.1)), "20 × 10 pixels of 2 voxels of 5 µm"
    assert (shown.image == 1.0).all()
    assert shown.caption == "5 of 9 angles"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    bin_by=st.integers(1, 5),
    pixel_m=st.none() | st.floats(1e-8, 1e-3),
    data=st.data(),
)
def test_every_pixel_is_found_at_its_middle(
    rows: int, columns: int, bin_by: int, pixel_m: float | None, data: st.DataObject
) -> None:
    shown = picture(rows, columns, bin=bin_by, pixel_m=pixel_m)
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    middle = (row + 0.5) * bin_by - 0.5, (column + 0.5) * bin_by - 0.5
    x, y = shown.on_axes(*middle)
    assert shown.pixel_at(x, y) == (row, column)
    assert shown.full_pixel(x, y) == pytest.approx(middle, abs=1e-6)
    left, top, width, height = shown.rect
    assert (x - left) / width == pytest.approx((column + 0.5) / columns)
    assert (y - top) / height == pytest.approx((row + 0.5) / rows)


@pytest.mark.parametrize("pixel_m", [None, 1e-5])
def test_just_outside_there_is_no_pixel(pixel_m: float | None) -> None:
    shown = picture(3, 4, pixel_m=pixel_m)
    left, top, width, height = shown.rect
    little = 1e-6 * width
    assert shown.pixel_at(left + little, top + little) == (0, 0)
    assert shown.pixel_at(left + width - little, top + height - little) == (2, 3)
    for x, y in ((left - little, top), (left, top - little), (left + width + little, top), (left, top + 2 * height)):
        assert shown.pixel_at(x, y) is None
        assert shown.readout(x, y) == ""


def test_readout_in_mm() -> None:
    model = ViewModel(ENDPOINT)
    show(model, header(), pixels(), 0.0)
    plane = model.planes["xy"]
    assert plane.rect == pytest.approx((-0.06, -0.04, 0.12, 0.08))
    assert plane.pixel_at(-0.059, -0.039) == (0, 0)
    assert plane.pixel_at(0.059, 0.039) == (3, 5)
    assert plane.pixel_at(0.061, 0.0) is None
    assert plane.readout(0.061, 0.0) == ""
    assert plane.readout(0.059, -0.039) == "xy   x +0.059 mm   y −0.039 mm   pixel [0, 5]   −0.1305 1/cm"


def test_readout_in_pixels_of_the_detector() -> None:
    model = ViewModel(ENDPOINT)
    show(model, header(pixel_size_m=None, unit="1/pixel", plane="xz"), pixels(), 0.0)
    plane = model.planes["xz"]
    assert plane.rect == (-0.5, -0.5, 12.0, 8.0)
    assert plane.readout(11.0, 7.0) == "xz   x 10 px   z 6 px   3 1/pixel"


def test_a_coarse_picture_says_so_and_covers_the_same_plane() -> None:
    model = ViewModel(ENDPOINT)
    """Of a side that is odd the last pixels reach beyond the plane, which is shown as large as before."""
    plane = PlaneSpec("xz", (0.0, 3.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (7, 11))
    place = to_builtins(plane)
    show(model, header(plane="xz", shape=(7, 11), bin=1, place=place), pixels(7, 11), 0.0)
    fine = model.planes["xz"]
    show(model, header(plane="xz", shape=(4, 6), bin=2, place=place, coarse=True), pixels(4, 6), 0.0)
    coarse = model.planes["xz"]
    assert (fine.caption, coarse.caption) == ("127 of 360 angles", "127 of 360 angles, coarse")
    assert coarse.extent == pytest.approx(fine.extent)
    assert coarse.extent == pytest.approx(fine.rect)
    assert coarse.rect == pytest.approx((-0.055, -0.035, 0.12, 0.08))
    assert coarse.full_pixel(*fine.on_axes(3.0, 5.0)) == pytest.approx((3.0, 5.0))
    assert coarse.voxel_m == pytest.approx(fine.voxel_m)
