from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.planes.plane import MAX_PLANES, Plane, check_planes, orthogonal_planes
from streamer.frames import BadInput

FINE = {"name": "p", "origin": [0, 0, 0], "u": [1, 0, 0], "v": [0, 1, 0], "shape": [4, 5]}


@given(*(st.tuples(*[st.floats(-100, 100)] * 3) for _ in range(1)), st.integers(1, 4096), st.integers(1, 4096))
def test_planes_survive_the_round_trip(origin: tuple[float, float, float], rows: int, columns: int) -> None:
    plane = Plane("a-1", origin, (1.0, 0.5, 0.0), (0.0, 0.3, 1.0), (rows, columns))
    assert Plane.from_dict(plane.to_dict()) == plane


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etc"},
        {"origin": [0, 0]},
        {"origin": [0, float("nan"), 0]},
        {"u": [0, 0, 0]},
        {"u": [0, 2, 0]},
        {"v": "abc"},
        {"v": None},
        {"shape": [0, 4]},
        {"shape": [4, 4097]},
        {"shape": [4.5, 4]},
        {"shape": [4, float("inf")]},
        {"shape": [4]},
        {"color": 1},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Plane.from_dict({**FINE, **change})


def test_too_many_and_twins_are_refused() -> None:
    planes = [Plane(f"p{k}", (0.0, 0, 0), (1.0, 0, 0), (0.0, 1, 0), (2, 2)) for k in range(MAX_PLANES + 1)]
    check_planes(planes[:MAX_PLANES])
    with pytest.raises(BadInput, match="at most"):
        check_planes(planes)
    with pytest.raises(BadInput, match="same name"):
        check_planes(planes[:1] * 2)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 8), (5, 9)])
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
