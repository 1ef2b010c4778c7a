"""Live planes with exact angular weights, after any prefix: against filtered backprojection from scratch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.masks import circle_mask
from streamer.core.planes.exact_planes import ExactPlanes
from streamer.core.planes.live_planes import FastPlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.planes.sliding_window import NEGLIGIBLE, ExactWeights
from streamer.frames import BadInput
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
Live = ExactPlanes | FastPlanes


class Store:
    """Attenuation of a scan, and how often it was asked for."""

    def __init__(self, angles: np.ndarray, rows: int = ROWS, shepp: bool = False) -> None:
        lines = sinogram(shepp_logan(N) if shepp else gaussians(N), N, angles, CENTER)
        self.frames = lines[:, None] * np.linspace(1, 0.5, rows, dtype=np.float32)[:, None]
        self.asked = 0

    def __call__(self, index: int) -> np.ndarray:
        self.asked += 1
        return self.frames[index]


def exact(backend: Backend, stored: Store, planes: tuple[Plane, ...] = orthogonal_planes(ROWS, N)) -> ExactPlanes:
    return ExactPlanes(backend, planes, stored.frames.shape[1], N, CENTER, stored=stored)


def fast(backend: Backend, stored: Store, planes: tuple[Plane, ...] = orthogonal_planes(ROWS, N)) -> FastPlanes:
    return FastPlanes(backend, planes, stored.frames.shape[1], N, CENTER, stored=stored)


MAKERS = [exact, fast]


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


@pytest.mark.parametrize("order", ORDERS)
def test_every_prefix_equals_a_reconstruction_from_scratch(numba_backend: Backend, order: str) -> None:
    """Within 1e-4 of the peak, for the horizontal and the vertical planes, without going through the whole scan."""
    angles = ORDERS[order]
    stored = Store(angles)
    live = exact(numba_backend, stored)
    for k, angle in enumerate(angles, 1):
        live.add(stored.frames[k - 1], float(angle))
        assert live.count == k
        if k in (1, 2, 7, len(angles) // 4, len(angles) // 2, 3 * len(angles) // 4, len(angles)):
            images = live.images()
            volume = reconstruct_block(numba_backend, stored.frames[:k], angles[:k], CENTER)
            expected = {"xy": volume[ROWS // 2], "xz": volume[:, N // 2], "yz": volume[:, :, N // 2]}
            for name, picture in images.items():
                assert np.abs(picture - expected[name]).max() < 1e-4 * np.abs(volume).max(), (name, k)
    assert stored.asked <= 2.3 * len(angles)
    if order == "as measured":
        assert stored.asked <= 30


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("order", ["interlaced", "golden"])
def test_prefixes_are_as_good_as_from_scratch(numba_backend: Backend, maker: Callable[..., Live], order: str) -> None:
    """Error against the truth after 25, 50, 75 and 100 % of the scan, in units of that from scratch: 1.05.

    Fast planes interpolate more sharply: better where angles are dense, up to 1.12 where streaks make the error.
    """
    limit = 1.05 if maker is exact else 1.12
    angles = ORDERS[order]
    stored = Store(angles, 1, shepp=True)
    live = maker(numba_backend, stored, orthogonal_planes(1, N)[:1])
    truth, mask = image(shepp_logan(N), N), circle_mask(N, 0.95)
    for k, angle in enumerate(angles, 1):
        live.add(stored.frames[k - 1], float(angle))
        if k % (COUNT // 4) == 0:
            scratch = reconstruct_block(numba_backend, stored.frames[:k], angles[:k], CENTER)[0]
            assert rms((live.images()["xy"] - truth)[mask]) <= limit * rms((scratch - truth)[mask]), k


@pytest.mark.parametrize("order", ORDERS)
def test_fast_planes_with_exact_weights(numba_backend: Backend, order: str) -> None:
    """The same sums as when all weights are known beforehand, for every kind of plane."""
    angles = ORDERS[order]
    stored = Store(angles)
    tilted = Plane("tilted", (0.0, CENTER - 4, 0.0), (1.0, 0, 0), (0.0, 0.7, 0.5), (9, N))
    planes = (*orthogonal_planes(ROWS, N), tilted)
    live, known = fast(numba_backend, stored, planes), fast(numba_backend, stored, planes)
    for first in range(0, len(angles), 24):
        part = slice(first, first + 24)
        live.add(stored.frames[part], angles[part])
        live.images()
    known.add(stored.frames, angles, angular_weights(angles))
    asked = stored.asked
    expected = known.images()
    assert stored.asked == asked
    np.testing.assert_allclose(live.weights, angular_weights(angles), rtol=0, atol=2 * NEGLIGIBLE * np.pi / len(angles))
    for name, picture in live.images().items():
        assert np.abs(picture - expected[name]).max() < 1e-4 * expected["xy"].max(), name


@pytest.mark.parametrize("maker", MAKERS)
def test_known_weights_need_no_second_look(numba_backend: Backend, maker: Callable[..., Live]) -> None:
    """A scan that is added again, as for a new centre, goes through its projections once."""
    angles = ORDERS["golden"]
    stored = Store(angles)
    grown, replayed = maker(numba_backend, stored), maker(numba_backend, stored)
    for frame, angle in zip(stored.frames, angles, strict=True):
        grown.add(frame, float(angle))
    expected, stored.asked = grown.images(), 0
    replayed.add(stored.frames[0], 0.3)
    replayed.reset(CENTER)
    for frame, angle, weight in zip(stored.frames, angles, angular_weights(angles), strict=True):
        replayed.add(frame, float(angle), float(weight))
    for name, picture in replayed.images().items():
        np.testing.assert_allclose(picture, expected[name], atol=1e-4 * expected["xy"].max())
    assert stored.asked == 0


@pytest.mark.parametrize("maker", MAKERS)
def test_work_leaves_little_for_the_picture(numba_backend: Backend, maker: Callable[..., Live]) -> None:
    angles = ORDERS["golden"][:80]
    stored = Store(angles)
    live = maker(numba_backend, stored)
    for frame, angle in zip(stored.frames, angles, strict=True):
        live.add(frame, float(angle))
    while live.work():
        pass
    stored.asked = 0
    live.images()
    assert stored.asked <= 5
    assert not live.work()


@pytest.mark.parametrize("maker", MAKERS)
def test_halves_average_to_the_whole(numba_backend: Backend, maker: Callable[..., Live]) -> None:
    angles = ORDERS["golden"]
    stored = Store(angles)
    live = maker(numba_backend, stored)
    live.add(stored.frames[0], float(angles[0]))
    assert live.half_images() is None
    for frame, angle in zip(stored.frames[1:], angles[1:], strict=True):
        live.add(frame, float(angle))
    halves = live.half_images()
    assert halves is not None
    whole = live.images(["xy"])
    assert list(whole) == ["xy"]
    np.testing.assert_allclose(0.5 * (halves[0] + halves[1]), whole["xy"], atol=0.03 * whole["xy"].max())
    assert not np.allclose(halves[0], halves[1], atol=1e-4)


def test_rows_that_no_plane_sees_are_not_needed(numba_backend: Backend) -> None:
    angles = ORDERS["golden"][:40]
    stored = Store(angles)
    middle = orthogonal_planes(ROWS, N)[0]
    live, spoilt = exact(numba_backend, stored, (middle,)), exact(numba_backend, stored, (middle,))
    for frame, angle in zip(stored.frames, angles, strict=True):
        live.add(frame, float(angle))
    expected = live.images()["xy"]
    stored.frames[:, [0, 1, 3, 4]] = np.nan
    for frame, angle in zip(stored.frames, angles, strict=True):
        spoilt.add(frame, float(angle))
    np.testing.assert_array_equal(spoilt.images()["xy"], expected)


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


def test_bad_input_is_refused(numba_backend: Backend) -> None:
    stored = Store(ORDERS["golden"][:2])
    live = exact(numba_backend, stored)
    with pytest.raises(BadInput, match="planes expect"):
        live.add(np.zeros((N, ROWS), np.float32), 0.0)
    with pytest.raises(BadInput, match="angle"):
        live.add(stored.frames[0], float("nan"))
    with pytest.raises(BadInput, match="finite column"):
        live.reset(float("nan"))
    with pytest.raises(BadInput, match="exact weights"):
        FastPlanes(numba_backend, live.planes, ROWS, N, CENTER, np.pi, stored=stored)
    assert live.count == 0
    assert not any(picture.any() for picture in live.images().values())
