"""Where planes lie and where they are moved to."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.daemon.compute.pictures import spec_of
from streamer.gui.state.steering import FREE, FreePlane, Steering, orthogonal, pixel_of, point_at, same_place

VOLUME = (40, 64, 64)


@pytest.fixture
def steering() -> Steering:
    made = Steering()
    for plane in orthogonal_planes(40, 64):
        made.learn(spec_of(plane), VOLUME)
    return made


def test_the_cross_hair_goes_through_the_planes_of_the_daemon(steering: Steering) -> None:
    assert steering.point == (32.0, 32.0, 20.0)
    assert steering.wanted() == [spec_of(plane) for plane in orthogonal_planes(40, 64)]


def test_nothing_is_wanted_before_the_tomogram_is_known() -> None:
    assert Steering().wanted() == []


def test_a_plane_is_moved_within_the_tomogram(steering: Steering) -> None:
    steering.step("xy", 5)
    assert steering.wanted()[0].origin == (0.0, 0.0, 25.0)
    steering.step("xy", 1000)
    steering.step("xz", -1000)
    assert steering.point == (32.0, 0.0, 39.0)
    steering.to_middle()
    assert steering.point == (32.0, 32.0, 20.0)


def test_another_detector_begins_in_the_middle(steering: Steering) -> None:
    steering.step("xy", 5)
    steering.learn(spec_of(orthogonal_planes(10, 20)[1]), (10, 20, 20))
    assert steering.point == (10.0, 10.0, 4.0)


def test_a_point_and_its_pixel_are_inverse() -> None:
    place = FreePlane(20.0, 35.0, 4.0).spec(VOLUME)
    row, column = pixel_of(place, point_at(place, 7.25, 11.5))
    assert (row, column) == pytest.approx((7.25, 11.5))


@pytest.mark.parametrize(("azimuth", "tilt"), [(0, 0), (0, 90), (90, 90), (30, 60), (-140, 10), (77, 89.9)])
def test_a_free_plane_is_one_that_the_daemon_takes(azimuth: float, tilt: float) -> None:
    free = FreePlane(azimuth, tilt, offset=3.0)
    spec = free.spec(VOLUME)
    plane = Plane(spec.name, spec.origin, spec.u, spec.v, spec.shape)
    assert plane.u[2] == 0.0, "its columns run horizontally, which is the quick way"
    u, v = np.array(spec.u), np.array(spec.v)
    assert (np.linalg.norm(u), np.linalg.norm(v), u @ v) == pytest.approx((1, 1, 0), abs=1e-12)
    assert (u @ free.normal, v @ free.normal) == pytest.approx((0, 0), abs=1e-12)
    assert v[2] >= 0, "rows run down the detector"
    rows, columns = spec.shape
    middle = np.array(point_at(spec, (rows - 1) / 2, (columns - 1) / 2))
    np.testing.assert_allclose(middle - 3.0 * free.normal, [31.5, 31.5, 19.5], atol=1e-9)
    corners = np.array([point_at(spec, row, 31.5) for row in (0, rows - 1)])
    assert (corners[:, 2] > -5).all()
    assert (corners[:, 2] < 45).all()


def test_the_upright_free_plane_is_like_the_orthogonal_ones(steering: Steering) -> None:
    upright = FreePlane(0.0, 90.0).spec(VOLUME)
    assert upright.shape == orthogonal("yz", VOLUME, (31.5, 0, 0)).shape


def test_a_free_plane_turns_and_stops_at_upright(steering: Steering) -> None:
    steering.free = FreePlane(170.0, 80.0).turned(20.0, 30.0)
    assert (steering.free.azimuth_deg, steering.free.tilt_deg) == (-170.0, 90.0)
    assert [plane.name for plane in steering.wanted()] == ["xy", "xz", "yz", FREE]
    before = steering.wanted()[3]
    steering.step(FREE, 2.0)
    assert not same_place(before, steering.wanted()[3])
    np.testing.assert_allclose(
        np.subtract(steering.wanted()[3].origin, before.origin), 2.0 * steering.free.normal, atol=1e-9
    )
