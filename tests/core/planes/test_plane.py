from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.core.planes.hilbert import line_grid
from streamer.core.planes.plane import MAX_PLANES, MAX_SIDE, Plane, check_planes, orthogonal_planes
from streamer.frames import BadInput

FINE = {"name": "p", "origin": (0.0, 0, 0), "u": (1.0, 0, 0), "v": (0.0, 1, 0), "shape": (4, 5)}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etc"},
        {"origin": (0, 0)},
        {"origin": (0, float("nan"), 0)},
        {"origin": (0, 1e7, 0)},
        {"u": (0, 0, 0)},
        {"u": (0, 2, 0)},
        {"shape": (0, 4)},
        {"shape": (4, 16385)},
        {"shape": (4,)},
    ],
)
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="plane"):
        Plane(**{**FINE, **change})


def test_too_many_and_twins_are_refused() -> None:
    planes = [Plane(f"p{k}", (0.0, 0, 0), (1.0, 0, 0), (0.0, 1, 0), (2, 2)) for k in range(MAX_PLANES + 1)]
    check_planes(planes[:MAX_PLANES])
    with pytest.raises(BadInput, match="at most"):
        check_planes(planes)
    with pytest.raises(BadInput, match="pixels in total, at most"):
        check_planes([Plane(f"p{k}", (0.0, 0, 0), (1.0, 0, 0), (0.0, 1, 0), (MAX_SIDE, MAX_SIDE)) for k in range(3)])
    with pytest.raises(BadInput, match="same name"):
        check_planes(planes[:1] * 2)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 8), (5, 9), (4, 16_384)])
def test_orthogonal_planes_meet_in_the_middle(rows: int, columns: int) -> None:
    """All three hold the voxel (columns // 2, columns // 2, rows // 2), and stay within the tomogram."""
    point = np.array((columns // 2, columns // 2, rows // 2))
    for plane in orthogonal_planes(rows, columns):
        step = np.stack([plane.v, plane.u], axis=1)
        place, *_ = np.linalg.lstsq(step, point - np.array(plane.origin), rcond=None)
        np.testing.assert_allclose(np.array(plane.origin) + step @ place, point)
        assert all(0 <= p < side for p, side in zip(place, plane.shape, strict=True))
        corner = np.array(plane.origin) + step @ (np.array(plane.shape) - 1)
        assert (corner <= (columns - 1, columns - 1, rows - 1)).all()
        assert plane.horizontal == (plane.name == "xy")


@pytest.mark.parametrize("rise", [0.0, 5e-324, 1e-200, 1e-9])
def test_a_plane_that_hardly_rises_is_horizontal(rise: float) -> None:
    assert Plane("a", (0.0, 0.0, 3.0), (1.0, 0.0, rise), (0.0, 1.0, rise), (8, 8)).horizontal


def test_a_plane_that_rises_a_little_has_lines() -> None:
    plane = Plane("a", (0.0, 0.0, 3.0), (1.0, 0.0, 1e-5), (0.0, 1.0, 1e-5), (8, 8))
    assert not plane.horizontal
    assert np.isfinite([*line_grid(plane, 16, 32).course]).all()
