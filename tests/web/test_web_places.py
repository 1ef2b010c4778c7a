from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.web.geometry import FreePlane, Place, Volume, place_of, planes_at, volume_of

VOLUME = Volume(48, 64)


def test_in_the_middle_they_are_the_planes_that_every_scan_begins_with() -> None:
    usual = orthogonal_planes(48, 64)
    found = [Plane(p.name, p.origin, p.u, p.v, p.shape) for p in planes_at(VOLUME, VOLUME.middle)]
    assert tuple(found) == usual


@given(
    st.floats(-179, 179), st.floats(1, 179), st.floats(-60, 60), st.integers(0, 63), st.integers(0, 47)
)  # fmt: skip
def test_a_place_is_read_back_from_its_planes(azimuth: float, tilt: float, offset: float, x: int, z: int) -> None:
    place = Place(float(x), 5.0, float(z), FreePlane(azimuth, tilt, offset))
    planes = planes_at(VOLUME, place)
    assert volume_of(planes) == VOLUME
    found = place_of(planes)
    assert found is not None
    assert found.free is not None
    assert (found.x, found.y, found.z) == (place.x, place.y, place.z)
    np.testing.assert_allclose(structs.astuple(found.free), (azimuth, tilt, offset), atol=1e-6)
    free = planes[-1]
    np.testing.assert_allclose(
        [np.linalg.norm(free.u), np.linalg.norm(free.v), np.dot(free.u, free.v)], [1, 1, 0], atol=1e-12
    )


def test_a_level_free_plane_is_the_level_plane() -> None:
    free = planes_at(VOLUME, Place(0, 0, 0, FreePlane(0, 0, 10)))[-1]
    assert free.shape == (64, 64)
    np.testing.assert_allclose(free.origin, (0, 0, 23.5 + 10), atol=1e-9)


@pytest.mark.parametrize("names", [[], ["xy"], ["xz", "yz"]])
def test_planes_of_others_say_nothing(names: list[str]) -> None:
    planes = [plane for plane in planes_at(VOLUME, VOLUME.middle) if plane.name in names]
    assert place_of(planes) is None
    assert volume_of(planes) is None


def test_coarse_planes_of_another_client_go_through_the_same_volume() -> None:
    coarse = [
        structs.replace(
            plane,
            u=tuple(2 * s for s in plane.u),
            v=tuple(2 * s for s in plane.v),
            shape=tuple(n // 2 for n in plane.shape),
        )
        for plane in planes_at(VOLUME, VOLUME.middle)
    ]
    assert volume_of(coarse) == VOLUME


def test_a_place_outside_is_moved_to_the_edge() -> None:
    assert VOLUME.within(Place(-5, 99.6, 3.4)) == Place(0, 63, 3)
