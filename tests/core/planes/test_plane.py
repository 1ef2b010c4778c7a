from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.masks import circle_mask
from streamer.core.planes.plane import MAX_PLANES, LivePlanes, Plane, orthogonal_planes
from streamer.frames import BadInput
from streamer.phantoms import Ellipse, gaussians, half_turn, image, sinogram

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


def test_too_many_and_twins_are_refused(numba_backend: Backend) -> None:
    planes = [Plane(f"p{k}", (0.0, 0, 0), (1.0, 0, 0), (0.0, 1, 0), (2, 2)) for k in range(MAX_PLANES + 1)]
    with pytest.raises(BadInput, match="at most"):
        LivePlanes(numba_backend, planes, 4, 8, 3.5)
    with pytest.raises(BadInput, match="same name"):
        LivePlanes(numba_backend, planes[:1] * 2, 4, 8, 3.5)


def test_bad_frames_and_centres_are_refused(numba_backend: Backend) -> None:
    live = LivePlanes(numba_backend, orthogonal_planes(4, 8), 4, 8, 3.5)
    with pytest.raises(BadInput):
        live.add(np.zeros((8, 4), np.float32), 0.0)
    with pytest.raises(BadInput):
        live.add(np.zeros((4, 8), np.float32), float("nan"))
    with pytest.raises(BadInput):
        live.reset(float("inf"))


@pytest.mark.parametrize("order", ["as measured", "shuffled", "golden"])
def test_every_prefix_has_the_right_scale(numba_backend: Backend, order: str) -> None:
    """After any number of frames the planes are what the volume would be from the same frames."""
    n = 64
    rng = np.random.default_rng(0)
    angles = half_turn(120)
    if order == "shuffled":
        angles = rng.permutation(angles)
    elif order == "golden":
        angles = np.arange(120) * np.pi * (np.sqrt(5) - 1) / 2
    lines = sinogram(gaussians(n), n, angles)[:, None]
    live = LivePlanes(numba_backend, orthogonal_planes(1, n)[:1], 1, n, (n - 1) / 2)
    ramp = RampFilter(n)
    for k, (angle, line) in enumerate(zip(angles, lines, strict=True), 1):
        live.add(ramp.apply(line), float(angle))
        assert live.count == k
        if order == "as measured" and k in (10, 30, 100, 120):
            expected = reconstruct_block(numba_backend, lines[:k], angles[:k], (n - 1) / 2)[0]
            np.testing.assert_allclose(live.images()["xy"], expected, atol=2e-3 * expected.max())
        if order != "as measured" and k in (60, 120):
            mask = circle_mask(n, 0.9)
            truth, seen = image(gaussians(n), n)[mask], live.images()["xy"][mask]
            assert np.vdot(truth, seen) / np.vdot(truth, truth) == pytest.approx(1, abs=0.05)


def test_object_appears_where_it_is(numba_backend: Backend) -> None:
    """Orientation: a small disc at (x, y) = (+12, -20) from the axis, axis off the detector's middle."""
    n, center = 80, 36.5
    angles = half_turn(120)
    lines = sinogram([Ellipse(1.0, 4, 4, 12.0, -20.0)], n, angles, center)
    frames = np.zeros((120, 9, n), np.float32)
    frames[:, 2] = lines
    live = LivePlanes(numba_backend, orthogonal_planes(9, n), 9, n, center)
    disc = Plane("disc", (0.0, 19.5, 0.0), (1.0, 0, 0), (0.0, 0, 1.0), (9, n))
    live = LivePlanes(numba_backend, [disc, orthogonal_planes(9, n)[0]], 9, n, center)
    for angle, frame in zip(angles, frames, strict=True):
        live.add(RampFilter(n).apply(frame), float(angle))
    side = live.images()["disc"]
    assert np.unravel_index(side.argmax(), side.shape)[0] == 2
    assert (side[2] * np.arange(n)).sum() / side[2].sum() == pytest.approx(39.5 + 12, abs=0.3)
    volume = reconstruct_block(numba_backend, frames[:, 2:3], angles, center)[0]
    y, x = np.unravel_index(volume.argmax(), volume.shape)
    assert abs(x - 51.5) <= 4.1
    assert abs(y - 19.5) <= 4.1


def test_reset_forgets_and_moves_the_axis(numba_backend: Backend) -> None:
    live = LivePlanes(numba_backend, orthogonal_planes(1, 32), 1, 32, 15.5)
    live.add(np.ones((1, 32), np.float32), 0.0)
    live.reset(14.0)
    assert (live.count, live.center) == (0, 14.0)
    assert not any(picture.any() for picture in live.images().values())


def test_halves_average_to_the_whole(numba_backend: Backend) -> None:
    n = 32
    angles = half_turn(40)
    live = LivePlanes(numba_backend, orthogonal_planes(1, n), 1, n, 15.5)
    assert live.half_images() is None
    for angle, line in zip(angles, sinogram(gaussians(n), n, angles), strict=True):
        live.add(RampFilter(n).apply(line[None]), float(angle))
    halves = live.half_images()
    assert halves is not None
    np.testing.assert_allclose(0.5 * (halves[0] + halves[1]), live.images()["xy"], atol=1e-5)
    assert not np.allclose(halves[0], halves[1], atol=1e-4)


def test_circle_mask() -> None:
    for n in (1, 2, 9, 64, 65):
        mask = circle_mask(n)
        assert np.array_equal(mask, mask[::-1])
        assert np.array_equal(mask, mask.T)
    assert circle_mask(200).mean() == pytest.approx(np.pi / 4, abs=0.01)
