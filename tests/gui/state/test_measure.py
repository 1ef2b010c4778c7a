"""Profile, length, scale bar."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.gui.state.measure import length_text, profile, scale_bar
from streamer.gui.state.plane import PlanePicture

RAMP = np.tile(np.arange(40, dtype=np.float32), (20, 1))
IN_MM = PlanePicture("xy", "s", "s", RAMP, "1/cm", 1, 1, pixel_m=1e-5)
IN_PX = PlanePicture("xy", "s", "s", RAMP, "1/pixel", 1, 1)


def test_a_profile_follows_the_values() -> None:
    distance, values = profile(IN_PX, (5.0, 10.0), (35.0, 10.0))
    np.testing.assert_allclose(values, 5.0 + distance, atol=1e-5)
    assert distance[-1] == 30.0
    _, across = profile(IN_PX, (7.0, 1.0), (7.0, 18.0))
    np.testing.assert_allclose(across, 7.0, atol=1e-5)


def test_a_profile_ends_where_the_picture_ends() -> None:
    distance, values = profile(IN_PX, (-20.0, 10.0), (60.0, 10.0))
    assert (distance.min(), distance.max()) == pytest.approx((19.5, 59.5), abs=0.6)
    assert (values.min(), values.max()) == (0.0, 39.0)
    assert profile(IN_PX, (100.0, 100.0), (200.0, 100.0))[0].size == 0


def test_lengths_are_in_micrometres_where_the_pixel_is_known() -> None:
    assert length_text(IN_PX, (0.0, 0.0), (3.0, 4.0)) == "5 px"
    assert length_text(IN_PX, (0.0, 0.0), (12345.0, 0.0)) == "12345 px"
    assert length_text(IN_MM, (0.0, 0.0), (0.03, 0.04)) == "50 µm"
    assert length_text(IN_MM, (0.0, 0.0), (3.0, 4.0)) == "5.000 mm"
    distance, values = profile(IN_MM, (-0.2, 0.0), (0.2, 0.0))
    assert distance[-1] == pytest.approx(400.0)
    assert values[-1] == 39.0


@pytest.mark.parametrize(
    ("seen", "unit", "bar"),
    [
        (1.3, "mm", (0.2, "200 µm")),
        (13.0, "mm", (2.0, "2 mm")),
        (0.001, "mm", (0.0002, "200 nm")),
        (512, "px", (100.0, "100 px")),
        (0.0, "mm", (0.0, "")),
        (float("nan"), "mm", (0.0, "")),
    ],
)
def test_the_scale_bar_is_a_round_length(seen: float, unit: str, bar: tuple[float, str]) -> None:
    size, text = scale_bar(seen, unit)
    assert (size, text) == (pytest.approx(bar[0]), bar[1])
