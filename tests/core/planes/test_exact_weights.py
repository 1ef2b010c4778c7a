"""Exact angular weights after any prefix of a scan: the weights alone, and live planes that have them."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.masks import circle_mask
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.planes.sliding_window import INVISIBLE_ERROR, ExactWeights
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram

N, ROWS, COUNT = 64, 5, 144
CENTER = (N - 1) / 2
GOLDEN = np.pi * (np.sqrt(5) - 1) / 2
ORDERS = {
    "as measured": half_turn(COUNT) + 0.05,
    "interlaced": half_turn(COUNT).reshape(-1, 8).T.ravel(),
    "golden": np.arange(COUNT) * GOLDEN,
    "jittered golden": np.arange(COUNT) * GOLDEN + np.random.default_rng(0).normal(0, 0.003, COUNT),
    "full turn": 2 * half_turn(COUNT),
    "lost frames": np.delete(half_turn(COUNT + 30), np.r_[20:40, 90:100]),
}


class Store:
    """Attenuation of a scan, and how often it was asked for."""

    def __init__(self, angles: np.ndarray, rows: int = ROWS, shepp: bool = False) -> None:
        lines = sinogram(shepp_logan(N) if shepp else gaussians(N), N, angles, CENTER)
        self.frames = lines[:, None] * np.linspace(1, 0.5, rows, dtype=np.float32)[:, None]
        self.asked = 0

    def __call__(self, index: int) -> np.ndarray:
        self.asked += 1
        return self.frames[index]


def new(backend: Backend, stored: Store, planes: tuple[Plane, ...] = orthogonal_planes(ROWS, N)) -> LivePlanes:
    return LivePlanes(backend, planes, stored.frames.shape[1], N, CENTER, stored=stored)


def grown(backend: Backend, stored: Store, angles: np.ndarray) -> LivePlanes:
    """All frames, one after the other."""
    live = new(backend, stored)
    for frame, angle in zip(stored.frames, angles, strict=True):
        live.add(frame, float(angle))
    return live


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


@pytest.mark.parametrize("order", ["interlaced", "golden"])
def test_prefixes_are_as_good_as_from_scratch(numba_backend: Backend, order: str) -> None:
    """Error against the truth after 25, 50, 75 and 100 % of the scan: at most 1.12 times that from scratch.

    Live planes interpolate more sharply: better where angles are dense, worse where streaks make the error.
    """
    angles = ORDERS[order]
    stored = Store(angles, 1, shepp=True)
    live = new(numba_backend, stored, orthogonal_planes(1, N)[:1])
    truth, mask = image(shepp_logan(N), N), circle_mask(N, 0.95)
    for k, angle in enumerate(angles, 1):
        live.add(stored.frames[k - 1], float(angle))
        if k % (COUNT // 4) == 0:
            scratch = reconstruct_block(numba_backend, stored.frames[:k], angles[:k], CENTER)[0]
            assert rms((live.images()["xy"] - truth)[mask]) <= 1.12 * rms((scratch - truth)[mask]), k


@pytest.mark.parametrize("order", ORDERS)
def test_the_sums_are_those_of_weights_known_beforehand(numba_backend: Backend, order: str) -> None:
    """For every kind of plane, and with about two frames fetched per frame, none of an even scan's."""
    angles = ORDERS[order]
    stored = Store(angles)
    tilted = Plane("tilted", (0.0, CENTER - 4, 0.0), (1.0, 0, 0), (0.0, 0.7, 0.5), (9, N))
    planes = (*orthogonal_planes(ROWS, N), tilted)
    live, known = new(numba_backend, stored, planes), new(numba_backend, stored, planes)
    for first in range(0, len(angles), 24):
        part = slice(first, first + 24)
        live.add(stored.frames[part], angles[part])
        live.images()
    assert stored.asked <= (30 if order == "as measured" else 2.3 * len(angles))
    known.add(stored.frames, angles, angular_weights(angles))
    asked = stored.asked
    expected = known.images()
    assert stored.asked == asked
    np.testing.assert_allclose(live.weights, angular_weights(angles), rtol=0, atol=2e-4 * np.pi / len(angles))
    for name, picture in live.images().items():
        assert np.abs(picture - expected[name]).max() < 1e-4 * expected["xy"].max(), name


def test_known_weights_need_no_second_look(numba_backend: Backend) -> None:
    """A scan that is added again, as for a new centre, goes through its projections once."""
    angles = ORDERS["golden"]
    stored = Store(angles)
    expected = grown(numba_backend, stored, angles).images()
    stored.asked = 0
    replayed = new(numba_backend, stored)
    for frame, angle, weight in zip(stored.frames, angles, angular_weights(angles), strict=True):
        replayed.add(frame, float(angle), float(weight))
    for name, picture in replayed.images().items():
        np.testing.assert_allclose(picture, expected[name], atol=1e-4 * expected["xy"].max())
    assert stored.asked == 0


def test_work_leaves_little_for_the_picture(numba_backend: Backend) -> None:
    angles = ORDERS["golden"][:80]
    stored = Store(angles)
    live = grown(numba_backend, stored, angles)
    while live.work():
        pass
    assert 40 <= stored.asked <= 160
    stored.asked = 0
    live.images()
    assert stored.asked <= 5
    assert not live.work()


def test_an_even_scan_changes_no_weight() -> None:
    weights = ExactWeights(np.pi)
    assert weights.due() == []
    late = 0
    for angle in np.arange(200) * 0.01:
        weights.enter(float(angle))
        late += len(weights.due())
    assert late <= 6
    np.testing.assert_allclose(weights.given, 0.01, rtol=1e-3)


def test_the_largest_differences_come_first() -> None:
    weights = ExactWeights(np.pi)
    for angle in (0.0, 1.0, 2.0, 0.9, 2.1):
        weights.enter(angle, 0.0)
    exact_ones = angular_weights(np.array([0.0, 1.0, 2.0, 0.9, 2.1]))
    first = weights.due(2)
    assert {k for k, _ in first} == set(np.argsort(-exact_ones)[:2].tolist())
    rest = weights.due()
    assert sorted(k for k, _ in [*first, *rest]) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(weights.given, exact_ones)


@pytest.mark.parametrize(("error", "again"), [(0.5 * INVISIBLE_ERROR, []), (2.0 * INVISIBLE_ERROR, [17])])
def test_errors_that_nobody_sees_wait(error: float, again: list[int]) -> None:
    angles = half_turn(100)
    weights, mean = ExactWeights(np.pi), np.pi / 100
    for k, angle in enumerate(angles):
        weights.enter(float(angle), mean * (1.0 - error) if k == 17 else mean)
    due = weights.due()
    assert [k for k, _ in due] == again
    assert all(missing == pytest.approx(error * mean) for _, missing in due)
    assert weights.due() == []
