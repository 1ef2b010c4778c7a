"""Live planes against filtered backprojection of the same frames and against the truth."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numba
import numpy as np
import pytest

from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.masks import circle_mask
from streamer.core.planes.hilbert import HilbertLines, bin_edges, to_blocks
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import Ellipse, half_turn, image, shepp_logan, sinogram
from tests.core.filtered_planes import filtered_planes
from tests.core.plane_suite import PlaneSuite, all_kinds, blobs, inside, projections, raw_frames, rms


class TestNumba(PlaneSuite):
    level_error = 0.004

    @pytest.fixture
    def backend(self, numba_backend: Backend) -> Backend:
        return numba_backend


def test_edges_are_as_sharp_as_with_the_ramp_filter(numba_backend: Backend) -> None:
    """Shepp-Logan, 64 cuts through it both ways: no worse than filtered backprojection, no offset."""
    n = 256
    angles = half_turn(n)
    parts = shepp_logan(n)
    frames = sinogram(parts, n, angles)[:, None]
    cuts = np.arange(4, n, 8)
    planes = [Plane(f"x{k}", (0.0, float(k), 0.0), (1.0, 0, 0), (0.0, 0, 1), (1, n)) for k in cuts]
    planes += [Plane(f"y{k}", (float(k), 0.0, 0.0), (0.0, 1, 0), (0.0, 0, 1), (1, n)) for k in cuts]
    planes.append(orthogonal_planes(1, n)[0])
    expected, mask = image(parts, n), circle_mask(n, 0.95)
    fast_error, slow_error = [], []
    for chosen in [planes[k : k + 16] for k in range(0, len(planes), 16)]:
        fast = LivePlanes(numba_backend, chosen, 1, n, (n - 1) / 2)
        fast.add(frames, angles)
        slow = filtered_planes(chosen, frames, angles, (n - 1) / 2)
        for name, picture in fast.images().items():
            k = int(name[1:]) if name != "xy" else 0
            part = {"x": np.s_[k], "y": np.s_[:, k]}[name[0]] if name != "xy" else np.s_[:]
            difference, seen = picture - expected[part], np.broadcast_to(mask[part], picture.shape)
            if name == "xy":
                assert rms(difference[seen]) < 0.9 * rms((slow["xy"] - expected)[seen])
                continue
            fast_error.append(difference[seen])
            slow_error.append((slow[name] - expected[part])[seen])
    fast_all, slow_all = np.concatenate(fast_error), np.concatenate(slow_error)
    assert rms(fast_all) < 1.03 * rms(slow_all)
    assert rms(fast_all) < 0.024
    assert abs(fast_all.mean()) < 5e-4


@pytest.mark.parametrize("order", ["as measured", "interlaced", "golden", "full turn"])
def test_every_prefix_is_what_the_filter_gives(numba_backend: Backend, order: str) -> None:
    n, rows, count = 64, 20, 120
    angles = {
        "as measured": half_turn(count) + 0.1,
        "interlaced": half_turn(count).reshape(-1, 8).T.ravel(),
        "golden": np.arange(count) * np.pi * (np.sqrt(5) - 1) / 2,
        "full turn": 2 * half_turn(count - 1),
    }[order]
    parts = blobs(n, rows)
    planes = [plane for plane in all_kinds(rows, n) if plane.name in ("xy", "xz", "yz", "turned", "tilted", "oblique")]
    frames = projections(parts, rows, n, angles, 30.7)
    fast = LivePlanes(numba_backend, planes, rows, n, 30.7)
    first = 0
    for last in (1, 30, 60, len(angles)):
        fast.add(frames[first:last], angles[first:last])
        assert fast.count == last
        images = fast.images()
        slow = filtered_planes(planes, frames[:last], angles[:last], 30.7)
        for plane in planes:
            mask = inside(plane, rows, n)
            peak = float(np.abs(slow[plane.name]).max())
            # A ray along a plane's line is spread over the whole line and beyond; alone, it is the worst case.
            limit = 0.05 if last == 1 else 0.02
            assert rms((images[plane.name] - slow[plane.name])[mask]) < limit * peak, (plane.name, last)
        first = last


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For many tiny frames, where threads would only wait for one another."""
    usual = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(usual)


@pytest.mark.parametrize("window_rad", [None, np.pi / 2])
def test_a_snapshot_is_of_its_moment(numba_backend: Backend, window_rad: float | None) -> None:
    rows, n, count = 6, 24, 40
    frames = np.random.default_rng(8).normal(size=(count, rows, n)).astype(np.float32)
    angles = half_turn(count)
    live, there = (
        LivePlanes(numba_backend, orthogonal_planes(rows, n), rows, n, 11.5, window_rad=window_rad) for _ in range(2)
    )
    for planes in (live, there):
        planes.add(frames[:25], angles[:25])
    snapshot = live.snapshot()
    live.add(frames[25:], angles[25:])
    for name, picture in snapshot().items():
        np.testing.assert_array_equal(picture, there.images()[name])
        assert np.abs(live.images()[name] - picture).max() > 0


@pytest.mark.usefixtures("one_thread")
def test_sliding_window_equals_the_same_frames_alone(numba_backend: Backend) -> None:
    """After 100 000 frames the window holds what the filter and what new planes make of its frames."""
    n, rows, turn = 32, 3, 96
    base = half_turn(turn)
    parts = blobs(n, rows)
    planes = orthogonal_planes(rows, n)
    frames = projections(parts, rows, n, base, 15.5)
    mirrored = frames[:, :, ::-1]
    fast = LivePlanes(numba_backend, planes, rows, n, 15.5, window_rad=np.pi)
    total, piece = 100_037, 2 * turn
    both = np.concatenate([frames, mirrored])
    two_turns = np.concatenate([base, base + np.pi])
    for first in range(0, total, piece):
        size = min(piece, total - first)
        fast.add(both[:size], two_turns[:size])
    assert turn <= fast.count <= turn + turn // 8 + 2
    assert fast.angles[-1] == pytest.approx(two_turns[(total - 1) % piece])
    weights, angles = fast.weights, fast.angles
    kept = [both[k % piece] for k in range(total - fast.count, total)]
    np.testing.assert_allclose(angles, [two_turns[k % piece] for k in range(total - fast.count, total)])
    images = fast.images()

    covered = weights * angular_weights(angles).sum() / weights.sum()
    whole = filtered_planes(planes, np.stack(kept), angles, 15.5, covered)
    for plane in planes:
        mask = inside(plane, rows, n)
        assert rms((images[plane.name] - whole[plane.name])[mask]) < 0.015 * whole[plane.name].max()

    begin = LivePlanes(numba_backend, planes, rows, n, 15.5, window_rad=np.pi)
    begin.add(np.stack(kept), angles)
    np.testing.assert_allclose(begin.weights, weights)
    for name, picture in begin.images().items():
        np.testing.assert_allclose(images[name], picture, atol=1e-4 * picture.max())


def test_window_moves_on_smoothly(numba_backend: Backend) -> None:
    """A sample at rest looks the same all the time, also while the newest sector replaces the oldest."""
    n, step = 48, np.pi / 120
    parts = [Ellipse(1.0, 12, 8, 4.0, -3.0)]
    live = LivePlanes(numba_backend, orthogonal_planes(1, n), 1, n, 23.5, window_rad=np.pi)
    angles = np.arange(600) * step
    lines = sinogram(parts, n, angles)[:, None]
    expected, seen = image(parts, n), []
    for k in range(600):
        live.add(lines[k], angles[k])
        if k > 240 and k % 7 == 0:
            assert 120 <= live.count <= 136
            seen.append(live.images()["xy"])
    errors = [rms((picture - expected)[circle_mask(n, 0.9)]) for picture in seen]
    assert max(errors) < 1.25 * min(errors)


def test_error_of_the_logarithm(numba_backend: Backend) -> None:
    """Below 1e-6 for every 16-bit count."""
    raw = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    seen = np.empty(raw.shape, np.float32)
    live = LivePlanes(numba_backend, orthogonal_planes(256, 256), 256, 256, 127.5)
    live.add_raw(raw, FlatFieldCorrection(None, np.ones(raw.shape) * 60_000), 0.0, seen)
    exact = np.log(np.float32(60_000.0)) - np.log(np.maximum(raw.astype(np.float64), 0.5))
    assert np.abs(seen - exact).max() < 1e-6


def test_threads_and_batches_do_not_change_a_bit(numba_backend: Backend) -> None:
    rng = np.random.default_rng(3)
    rows, n = 37, 51
    raw, angles = raw_frames(rng, 13, rows, n, "<u2"), rng.uniform(0, np.pi, 13)
    images = []
    for threads, size in ((1, 13), (2, 13), (2, 1), (2, 3)):
        backend = select_backend("numba", threads)[0]
        live = LivePlanes(backend, all_kinds(rows, n), rows, n, 24.0)
        correction = FlatFieldCorrection(None, np.full((rows, n), 50_000.0))
        for first in range(0, 13, size):
            live.add_raw(raw[first : first + size], correction, angles[first : first + size])
        images.append(live.images())
    for other in images[1:]:
        for name, picture in other.items():
            tolerance = 1e-6 * np.abs(picture).max() if name in ("xy", "between", "fine", "coarse") else 0.0
            np.testing.assert_allclose(picture, images[0][name], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(images[0]["xy"], images[1]["xy"])


@pytest.mark.parametrize("window", [None, 1.0])
def test_their_memory_is_free_once_nobody_has_them(numba_backend: Backend, window: float | None) -> None:
    """Without waiting for the collector of cycles: the next planes may need this memory."""
    live = LivePlanes(numba_backend, orthogonal_planes(8, 16), 8, 16, 7.5, window)
    live.add(np.ones((40, 8, 16), np.float32), np.arange(40) * 0.1)
    live.images()
    watched = weakref.ref(live)
    gc.disable()
    try:
        del live
        assert watched() is None
    finally:
        gc.enable()


def test_hilbert_transform_of_a_bump() -> None:
    """f = 1/(1 + x²/a²) has b = 2π·H f = 2π·(x/a)/(1 + x²/a²): slow tails, known in closed form also in the bins."""
    samples, a = 201, 12.0
    x = np.arange(samples) - 100.0
    edges = bin_edges(samples) - 100.0
    sums = 2 * np.pi * (x / a) / (1 + (x / a) ** 2)
    tails = np.diff(np.pi * a * np.log1p((edges / a) ** 2))
    picture = HilbertLines(samples).apply(to_blocks(sums[None]), tails[None].astype(np.float32), 1.0, 1)[0]
    sign = np.sign(picture[100])
    error = sign * picture - 1 / (1 + (x / a) ** 2)
    assert np.abs(error[2:-2]).max() < 5e-4
