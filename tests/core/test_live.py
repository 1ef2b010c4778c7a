"""The fast live planes against LivePlanes (filtered backprojection of the same frames) and against the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pytest

from streamer.core.backend import Backend, select_backend
from streamer.core.filters import RampFilter
from streamer.core.hilbert import HilbertLines, bin_edges, to_blocks
from streamer.core.live import FastPlanes, moment_margin
from streamer.core.planes import LivePlanes, Plane, circle_mask, orthogonal_planes
from streamer.core.prep import Correction
from streamer.frames import DTYPES, BadInput
from tests.core.phantom import Ellipse, half_turn, image, shepp_logan, sinogram

SLOPE = float(np.sqrt(0.5))
N, ROWS = 96, 40


def blobs(n: int, rows: int, seed: int = 1, count: int = 12) -> np.ndarray:
    """(count, 5) value, sigma, x, y, z of round Gaussians, from the axis and from row 0."""
    rng = np.random.default_rng(seed)
    turn, radius = rng.uniform(0, 2 * np.pi, count), 0.3 * n * np.sqrt(rng.uniform(0, 1, count))
    value, sigma = rng.uniform(0.3, 1, count), rng.uniform(0.035, 0.06, count) * n
    return np.stack([value, sigma, radius * np.cos(turn), radius * np.sin(turn), rng.uniform(0, rows, count)], axis=1)


def projections(parts: np.ndarray, rows: int, n: int, angles: np.ndarray, center: float) -> np.ndarray:
    """(angles, rows, n) float32 exact line integrals."""
    s, z = np.arange(n) - center, np.arange(rows)
    out = np.zeros((len(angles), rows, n))
    for value, sigma, x, y, z0 in parts:
        d = s - (x * np.cos(angles) + y * np.sin(angles))[:, None]
        across = np.exp(-0.5 * (d / sigma) ** 2)
        out += value * sigma * np.sqrt(2 * np.pi) * across[:, None] * np.exp(-0.5 * ((z - z0) / sigma) ** 2)[:, None]
    return out.astype(np.float32)


def where(plane: Plane, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y from the axis and z of each pixel."""
    i, j = np.mgrid[: plane.shape[0], : plane.shape[1]]
    x, y, z = (o + j * u + i * v for o, u, v in zip(plane.origin, plane.u, plane.v, strict=True))
    return x - (n - 1) / 2, y - (n - 1) / 2, z


def truth(parts: np.ndarray, plane: Plane, n: int) -> np.ndarray:
    x, y, z = where(plane, n)
    return sum(
        value * np.exp(-0.5 * ((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2) / sigma**2)
        for value, sigma, bx, by, bz in parts
    )


def inside(plane: Plane, rows: int, n: int, share: float = 0.9) -> np.ndarray:
    x, y, z = where(plane, n)
    return (np.hypot(x, y) <= share * n / 2) & (z >= 0) & (z <= rows - 1)


def all_kinds(rows: int, n: int) -> list[Plane]:
    """Orthogonal ones, one turned about the axis, tilted ones by either edge or both, magnified ones."""
    mid, c, s = (n - 1) / 2, float(np.cos(0.5)), float(np.sin(0.5))
    half, low = rows / 2, (rows - 1) / 2 - SLOPE * rows / 2
    back = mid - SLOPE * half
    return [
        *orthogonal_planes(rows, n),
        Plane("between", (0.0, 0.0, rows / 2 + 0.3), (1.0, 0, 0), (0.0, 1, 0), (n, n)),
        Plane("turned", (mid - mid * c, mid - mid * s, 0.0), (c, s, 0), (0.0, 0, 1), (rows, n)),
        Plane("tilted", (0.0, back, low), (1.0, 0, 0), (0.0, SLOPE, SLOPE), (rows, n)),
        Plane("upright", (back, 0.0, low), (SLOPE, 0.0, SLOPE), (0.0, 1.0, 0.0), (n, rows)),
        Plane("oblique", (10.0, 20.0, 1.0), (0.8, 0.1, 0.3), (-0.2, 0.7, 0.2), (50, 60)),
        Plane("sheared", (0.0, mid, 0.0), (0.9, 0.0, 0.3), (0.0, 0.0, 0.5), (20, n)),
        Plane("fine", (mid - 12, mid - 9, half), (0.25, 0.1, 0), (-0.1, 0.25, 0), (64, 90)),
        Plane("coarse", (0.0, 0.0, half), (2.0, 0, 0), (0.0, 2.0, 0), (n // 2, n // 2)),
        Plane("zoomed", (mid - 12, mid + 3, 8.0), (0.25, 0, 0), (0.0, 0, 0.5), (40, 90)),
    ]


def filtered_planes(
    backend: Backend, planes: list[Plane], frames: np.ndarray, angles: np.ndarray, center: float, extend: bool = False
) -> LivePlanes:
    rows, n = frames.shape[1:]
    live, ramp = LivePlanes(backend, planes, rows, n, center), RampFilter(n, extend=extend)
    for angle, frame in zip(angles, frames, strict=True):
        live.add(ramp.apply(frame), float(angle))
    return live


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


@pytest.mark.parametrize("n", [N, N + 1])
@pytest.mark.parametrize("shift", [0.0, -4.3])
def test_all_orientations_are_right(numba_backend: Backend, n: int, shift: float) -> None:
    """Smooth object, 1 at the peak: within 0.3 % of it for every plane, wherever the axis is."""
    rows, center, angles = ROWS - 3, (n - 1) / 2 + shift, half_turn(150)
    parts = blobs(n, rows)
    planes = all_kinds(rows, n)
    fast = FastPlanes(numba_backend, planes, rows, n, center)
    fast.add(projections(parts, rows, n, angles, center), angles)
    images = fast.images()
    assert list(images) == [plane.name for plane in planes]
    for plane in planes:
        mask = inside(plane, rows, n, 0.9 - 2 * abs(shift) / n)
        assert mask.sum() > 300
        error = (images[plane.name] - truth(parts, plane, n))[mask]
        assert images[plane.name].shape == plane.shape
        assert rms(error) < 3e-3, plane.name
        assert abs(error.mean()) < 1.5e-3, plane.name


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
        fast = FastPlanes(numba_backend, chosen, 1, n, (n - 1) / 2)
        fast.add(frames, angles)
        slow = filtered_planes(numba_backend, chosen, frames, angles, (n - 1) / 2).images()
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
    fast = FastPlanes(numba_backend, planes, rows, n, 30.7)
    first = 0
    for last in (1, 30, 60, len(angles)):
        fast.add(frames[first:last], angles[first:last])
        assert fast.count == last
        images = fast.images()
        slow = filtered_planes(numba_backend, planes, frames[:last], angles[:last], 30.7).images()
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


@pytest.mark.usefixtures("one_thread")
def test_sliding_window_equals_the_same_frames_alone(numba_backend: Backend) -> None:
    """After 100 000 frames the window holds what LivePlanes and what a new FastPlanes make of its frames."""
    n, rows, turn = 32, 3, 96
    base = half_turn(turn)
    parts = blobs(n, rows)
    planes = orthogonal_planes(rows, n)
    frames = projections(parts, rows, n, base, 15.5)
    mirrored = frames[:, :, ::-1]
    fast = FastPlanes(numba_backend, planes, rows, n, 15.5, window_rad=np.pi)
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

    slow, ramp = LivePlanes(numba_backend, planes, rows, n, 15.5), RampFilter(n)
    for frame, angle, weight in zip(kept, angles, weights, strict=True):
        slow.add(ramp.apply(frame), float(angle), float(weight))
    whole = slow.images()
    for plane in planes:
        mask = inside(plane, rows, n)
        assert rms((images[plane.name] - whole[plane.name])[mask]) < 0.015 * whole[plane.name].max()

    begin = FastPlanes(numba_backend, planes, rows, n, 15.5, window_rad=np.pi)
    begin.add(np.stack(kept), angles)
    np.testing.assert_allclose(begin.weights, weights)
    for name, picture in begin.images().items():
        np.testing.assert_allclose(images[name], picture, atol=1e-4 * picture.max())


def test_window_moves_on_smoothly(numba_backend: Backend) -> None:
    """A sample at rest looks the same all the time, also while the newest sector replaces the oldest."""
    n, step = 48, np.pi / 120
    parts = [Ellipse(1.0, 12, 8, 4.0, -3.0)]
    live = FastPlanes(numba_backend, orthogonal_planes(1, n), 1, n, 23.5, window_rad=np.pi)
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


def test_a_jump_of_the_angle_begins_a_sector(numba_backend: Backend) -> None:
    live = FastPlanes(numba_backend, orthogonal_planes(1, 16)[:1], 1, 16, 7.5, window_rad=0.4, sectors=2)
    live.add(np.ones((5, 1, 16), np.float32), [0.0, 0.1, 3.0, 3.05, 1.0])
    assert live.count == 5
    live.add(np.ones((1, 16), np.float32), 2.0)
    np.testing.assert_allclose(live.angles, [3.0, 3.05, 1.0, 2.0])


def raw_frames(rng: np.random.Generator, count: int, rows: int, n: int, dtype: str) -> np.ndarray:
    top = {"|u1": 200, "<u2": 40_000, "<u4": 3_000_000_000, "<f4": 40_000}[dtype]
    return rng.uniform(0.05 * top, top, (count, rows, n)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_raw_frames_are_prepared_as_by_the_correction(numba_backend: Backend, dtype: str) -> None:
    """Counts of every type, dead pixels, holes and infinities: attenuation, moments and planes as from Correction."""
    rng = np.random.default_rng(5)
    rows, n = 37, 51
    raw = raw_frames(rng, 6, rows, n, dtype)
    raw[0, 3, 4:9] = 0
    if dtype == "<f4":
        raw[1, 5, 6:9] = (np.nan, np.inf, -np.inf)
    top = float(raw[3:].max())
    dark, flat = rng.uniform(0, 0.02, (rows, n)) * top, rng.uniform(0.9, 1.1, (rows, n)) * top
    flat[2, 0], flat[7, 10:13], flat[9], flat[20, n - 1] = 0.0, np.nan, 0.0, 0.0
    correction = Correction(numba_backend, dark, flat)
    expected = np.stack([correction.attenuation(frame) for frame in raw])
    planes = [plane for plane in all_kinds(rows, n) if plane.name in ("xy", "between", "xz", "tilted")]
    angles = np.arange(6) * 0.5
    fast, plain = (FastPlanes(numba_backend, planes, rows, n, 24.0) for _ in range(2))
    seen, moments = np.empty_like(expected), np.empty((6, rows, 4))
    fast.add_raw(raw, correction, angles, seen, moments)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=2e-6)
    plain.add(seen, angles)
    for name, picture in fast.images().items():
        np.testing.assert_array_equal(picture, plain.images()[name])
    sums = np.empty((rows, 4))
    for frame, row_sums in zip(seen, moments, strict=True):
        numba_backend.kernels.row_moments(frame, moment_margin(n), 2, sums)
        np.testing.assert_allclose(row_sums, sums, rtol=1e-5, atol=1e-5 * np.abs(sums).max())


def test_without_flats_the_first_frame_sets_the_level(numba_backend: Backend) -> None:
    raw = raw_frames(np.random.default_rng(0), 1, 8, 20, "<u2")
    seen = np.empty(raw.shape, np.float32)
    live = FastPlanes(numba_backend, orthogonal_planes(8, 20), 8, 20, 9.5)
    live.add_raw(raw, Correction(numba_backend, None, None), 0.0, seen)
    np.testing.assert_allclose(seen[0], Correction(numba_backend, None, None).attenuation(raw[0]), atol=2e-6)


def test_error_of_the_logarithm(numba_backend: Backend) -> None:
    """Below 1e-6 for every 16-bit count."""
    raw = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    seen = np.empty(raw.shape, np.float32)
    live = FastPlanes(numba_backend, orthogonal_planes(256, 256), 256, 256, 127.5)
    live.add_raw(raw, Correction(numba_backend, None, np.ones(raw.shape) * 60_000), 0.0, seen)
    exact = np.log(np.float32(60_000.0)) - np.log(np.maximum(raw.astype(np.float64), 0.5))
    assert np.abs(seen - exact).max() < 1e-6


def test_threads_and_batches_do_not_change_a_bit(numba_backend: Backend) -> None:
    rng = np.random.default_rng(3)
    rows, n = 37, 51
    raw, angles = raw_frames(rng, 13, rows, n, "<u2"), rng.uniform(0, np.pi, 13)
    images = []
    for threads, size in ((1, 13), (2, 13), (2, 1), (2, 3)):
        backend = select_backend("numba", threads)[0]
        live = FastPlanes(backend, all_kinds(rows, n), rows, n, 24.0)
        correction = Correction(backend, None, np.full((rows, n), 50_000.0))
        for first in range(0, 13, size):
            live.add_raw(raw[first : first + size], correction, angles[first : first + size])
        images.append(live.images())
    for other in images[1:]:
        for name, picture in other.items():
            tolerance = 1e-6 * np.abs(picture).max() if name in ("xy", "between", "fine", "coarse") else 0.0
            np.testing.assert_allclose(picture, images[0][name], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(images[0]["xy"], images[1]["xy"])


def test_stored_rows_bring_the_planes_to_another_axis(numba_backend: Backend) -> None:
    angles = half_turn(90)
    frames = projections(blobs(N, 8), 8, N, angles, 44.0)
    moved, fresh = (FastPlanes(numba_backend, orthogonal_planes(8, N), 8, N, c) for c in (47.5, 44.0))
    moved.add(frames, angles)
    moved.reset(44.0)
    assert (moved.count, moved.center) == (0, 44.0)
    assert not any(picture.any() for picture in moved.images().values())
    for live in (moved, fresh):
        live.add(frames, angles)
    for name, picture in moved.images().items():
        np.testing.assert_array_equal(picture, fresh.images()[name])


@pytest.mark.parametrize("window", [None, np.pi])
def test_halves_average_to_the_whole(numba_backend: Backend, window: float | None) -> None:
    angles = half_turn(75)
    live = FastPlanes(numba_backend, orthogonal_planes(3, N), 3, N, 47.5, window)
    assert live.half_images() is None
    live.add(projections(blobs(N, 3), 3, N, angles, 47.5), angles)
    halves = live.half_images()
    assert halves is not None
    whole = live.images()["xy"]
    np.testing.assert_allclose(0.5 * (halves[0] + halves[1]), whole, atol=0.02 * whole.max())
    assert not np.allclose(halves[0], halves[1], atol=1e-4)
    slow = filtered_planes(numba_backend, list(orthogonal_planes(3, N)), projections(blobs(N, 3), 3, N, angles, 47.5),
                           angles, 47.5).half_images()  # fmt: skip
    assert slow is not None
    for mine, other in zip(halves, slow, strict=True):
        assert rms(mine - other) < 0.01 * whole.max()


def test_a_sample_wider_than_the_detector(numba_backend: Backend) -> None:
    """With ``extend`` the same extrapolation as the ramp filter's, so the same image."""
    n = 80
    angles = half_turn(120)
    parts = [Ellipse(1.0, 60, 50, 5.0, 0.0), Ellipse(0.5, 8, 8, -10.0, 12.0)]
    frames = np.repeat(sinogram(parts, n, angles)[:, None], 4, axis=1)
    planes = list(orthogonal_planes(4, n))
    fast = FastPlanes(numba_backend, planes, 4, n, (n - 1) / 2, extend=True)
    fast.add(frames, angles)
    slow = filtered_planes(numba_backend, planes, frames, angles, (n - 1) / 2, extend=True).images()
    for plane in planes:
        mask = inside(plane, 4, n)
        assert rms((fast.images()[plane.name] - slow[plane.name])[mask]) < 0.02, plane.name


def test_planes_outside_of_the_tomogram_are_empty(numba_backend: Backend) -> None:
    far = [
        Plane("above", (0.0, 0.0, 50.0), (1.0, 0, 0), (0.0, 1, 0), (16, 16)),
        Plane("away", (0.0, 500.0, 0.0), (1.0, 0, 0), (0.0, 0, 1), (4, 16)),
        Plane("beside", (500.0, 8.0, 0.0), (1.0, 0, 0), (0.0, 0, 1), (4, 16)),
        Plane("below", (0.0, 0.0, -90.0), (1.0, 0, 0), (0.0, 0.5, 0.5), (16, 16)),
    ]
    live = FastPlanes(numba_backend, far, 4, 16, 7.5)
    live.add(projections(blobs(16, 4), 4, 16, half_turn(20), 7.5), half_turn(20))
    assert live.half_images() is None
    for name, picture in live.images().items():
        assert np.abs(picture).max() < 0.05, name


def test_no_planes_and_no_frames(numba_backend: Backend) -> None:
    live = FastPlanes(numba_backend, [], 4, 16, 7.5)
    live.add(np.ones((2, 4, 16), np.float32), [0.0, 1.0])
    live.add(np.ones((0, 4, 16), np.float32), [])
    assert (live.count, live.images()) == (2, {})


def test_bad_input_is_refused(numba_backend: Backend) -> None:
    planes = orthogonal_planes(4, 8)
    live = FastPlanes(numba_backend, planes, 4, 8, 3.5)
    frame, correction = np.zeros((4, 8), np.uint16), Correction(numba_backend, None, None)
    with pytest.raises(BadInput, match="planes expect"):
        live.add_raw(frame.T, correction, 0.0)
    with pytest.raises(BadInput, match="finite angle"):
        live.add_raw(frame, correction, float("nan"))
    with pytest.raises(BadInput, match="finite angle"):
        live.add(np.zeros((2, 4, 8), np.float32), [0.0])
    with pytest.raises(BadInput, match="dtype"):
        live.add_raw(frame.astype(np.int64), correction, 0.0)
    with pytest.raises(BadInput):
        live.add_raw(frame, Correction(numba_backend, None, np.ones((3, 8))), 0.0)
    with pytest.raises(BadInput, match="finite column"):
        live.reset(float("inf"))
    with pytest.raises(BadInput, match="window"):
        FastPlanes(numba_backend, planes, 4, 8, 3.5, window_rad=0.0)
    with pytest.raises(BadInput, match="same name"):
        FastPlanes(numba_backend, planes[:1] * 2, 4, 8, 3.5)


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
