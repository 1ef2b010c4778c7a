"""What live planes must do on every backend. Subclass ``PlaneSuite`` and give it its fixtures."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.planes.sliding_window import SECTORS
from streamer.core.preprocessing.flat_field import FlatFieldCorrection, row_moments_of
from streamer.frames import DTYPES, BadInput
from streamer.phantoms import Ellipse, half_turn, sinogram
from tests.core.filtered_planes import filtered_planes

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


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


def raw_frames(rng: np.random.Generator, count: int, rows: int, n: int, dtype: str) -> np.ndarray:
    top = {"|u1": 200, "<u2": 40_000, "<u4": 3_000_000_000, "<f4": 40_000}[dtype]
    return rng.uniform(0.05 * top, top, (count, rows, n)).astype(dtype)


def level_truth(
    frames: np.ndarray, angles: np.ndarray, center: float, plane: Plane, weights: np.ndarray | None = None
) -> np.ndarray:
    """A horizontal plane as it is defined, in float64: rows between two detector rows, the sum of the ramp filter over
    its lags, Catmull-Rom at the places of the pixels; all frames of half a turn weigh the same unless said otherwise.
    """
    count, rows, n = frames.shape
    z = plane.origin[2]
    upper = int(z)
    lines = frames[:, upper] + (z - upper) * (frames[:, min(upper + 1, rows - 1)].astype(float) - frames[:, upper])
    lag = np.arange(-n + 1, n)
    ramp = np.where(lag % 2, -1 / (np.pi * np.where(lag, lag, 1)) ** 2, 0.25 * (lag == 0))
    x, y, _ = where(plane, n)
    total = np.zeros(plane.shape)
    used = np.full(count, np.pi / count) if weights is None else weights
    for line, angle, weight in zip(lines, angles, used, strict=True):
        row = np.pad(np.convolve(line, ramp)[n - 1 : 2 * n - 1], 2, "edge")
        t = center + x * np.cos(angle) + y * np.sin(angle)
        i = np.clip(t.astype(int), 0, n - 2)
        f = t - i
        a, b, c, d = (row[i + k] for k in (1, 2, 3, 4))
        value = b + f / 2 * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))
        total += np.where((t >= 0) & (t <= n - 1), weight * value, 0)
    return total


class PlaneSuite:
    """Needs the fixtures ``backend`` and ``numba_backend``.

    ``level_error`` is how far horizontal planes may be from their definition, as a share of the largest value: the CPU
    takes the nearest of eight shifts of a row.
    """

    level_error = 3e-6

    @pytest.mark.parametrize("wider", [0, 1])
    @pytest.mark.parametrize("way", ["all", "window", "exact", "wide sample"])
    def test_lines_are_those_of_the_cpu(self, backend: Backend, numba_backend: Backend, wider: int, way: str) -> None:
        """Noise in 16-bit counts with dead pixels, every kind of plane: the numbers differ by rounding in float32.

        A place in a row is rounded to 1e-5 columns there, and noise changes by its own size from column to column.
        """
        rng = np.random.default_rng(4)
        rows, n, count = 18 + wider, 50 + wider, 60
        raw, angles = raw_frames(rng, count, rows, n, "<u2"), 0.3 + np.arange(count) * (2.5 if way == "exact" else 0.1)
        flat = np.where(rng.uniform(size=(rows, n)) < 0.03, 0.0, 45_000.0)
        planes = [plane for plane in all_kinds(rows, n) if not plane.horizontal]
        stored = np.stack([FlatFieldCorrection(None, flat).attenuation(frame) for frame in raw])
        made = []
        for chosen in (backend, numba_backend):
            live = LivePlanes(
                chosen, planes, rows, n, 23.7, window_rad=np.pi if way == "window" else None,
                stored=stored.__getitem__ if way == "exact" else None, extend=way == "wide sample",
            )  # fmt: skip
            correction = FlatFieldCorrection(None, flat)
            for first in range(0, count, 7):
                some = slice(first, first + 7)
                live.add_raw(raw[some], correction, angles[some])
                live.work()
            made.append((live.images(), live.weights, live.count))
        (mine, weights, seen), (expected, same, number) = made
        assert seen == number
        np.testing.assert_array_equal(weights, same)
        for plane in planes:
            picture = expected[plane.name]
            error = np.abs(mine[plane.name] - picture).max()
            assert error < 3e-5 * np.abs(picture).max(), plane.name

    @pytest.mark.parametrize("wider", [0, 1])
    def test_horizontal_planes_by_definition(self, backend: Backend, wider: int) -> None:
        """Between detector rows, turned, magnified, at any axis."""
        n, rows, angles = N + wider, 9, half_turn(61) + 0.2
        center = (n - 1) / 2 - 3.6
        frames = projections(blobs(n, rows), rows, n, angles, center)
        shown = [plane for plane in all_kinds(rows, n) if plane.horizontal]
        planes = [Plane("between", (0.0, 0.0, 4.3), (1.0, 0, 0), (0.0, 1, 0), (n, n)), *shown[:1], *shown[2:]]
        live = LivePlanes(backend, planes, rows, n, center)
        for first in range(0, 61, 5):
            live.add(frames[first : first + 5], angles[first : first + 5])
        images = live.images()
        for plane in planes:
            expected, mask = level_truth(frames, angles, center, plane), inside(plane, rows, n)
            error = (images[plane.name] - expected)[mask]
            assert np.abs(error).max() < self.level_error * np.abs(expected).max(), plane.name

    def test_horizontal_planes_with_exact_weights(self, backend: Backend) -> None:
        """Uneven angles; most frames are added again with a difference of weights."""
        n, rows = N, 2
        angles = np.random.default_rng(2).permutation(half_turn(60)[np.r_[:20, 20:60:3]])
        frames = projections(blobs(n, rows), rows, n, angles, 47.0)
        plane = orthogonal_planes(rows, n)[0]
        live = LivePlanes(backend, [plane], rows, n, 47.0, stored=frames.__getitem__)
        live.add(frames, angles)
        expected = level_truth(frames, angles, 47.0, plane, angular_weights(angles))
        error = (live.images()["xy"] - expected)[inside(plane, rows, n)]
        assert np.abs(error).max() < (self.level_error + 1e-4) * np.abs(expected).max()

    def test_other_flats_from_now_on(self, backend: Backend, numba_backend: Backend) -> None:
        raw = raw_frames(np.random.default_rng(6), 4, 5, 24, "<u2")
        live = LivePlanes(backend, orthogonal_planes(5, 24), 5, 24, 11.5)
        for frame, angle, level in zip(raw, half_turn(4), (50_000.0, 60_000.0, 60_000.0, 50_000.0), strict=True):
            flat, seen = np.full((5, 24), level), np.empty(frame.shape, np.float32)
            flat[2, 8] = 0.0 if level > 55_000 else level
            live.add_raw(frame, FlatFieldCorrection(None, flat), angle, seen)
            np.testing.assert_allclose(seen, FlatFieldCorrection(None, flat).attenuation(frame), atol=4e-6)

    def test_a_window_is_what_its_frames_alone_give(self, backend: Backend) -> None:
        n, rows, count = 32, 3, 300
        angles = np.arange(count) * np.pi / 96  # whole frames per sector
        frames = projections(blobs(n, rows), rows, n, angles, 15.5)
        long, short = (LivePlanes(backend, orthogonal_planes(rows, n), rows, n, 15.5, np.pi) for _ in range(2))
        for first in range(0, count, 7):
            long.add(frames[first : first + 7], angles[first : first + 7])
        assert 96 <= long.count <= 96 + 12
        kept = slice(count - long.count, count)
        short.add(frames[kept], angles[kept])
        np.testing.assert_allclose(short.weights, long.weights)
        for name, picture in short.images().items():
            np.testing.assert_allclose(long.images()[name], picture, atol=1e-5 * picture.max())

    @pytest.mark.parametrize("n", [N, N + 1])
    @pytest.mark.parametrize("shift", [0.0, -4.3])
    def test_all_orientations_are_right(self, backend: Backend, n: int, shift: float) -> None:
        """Smooth object, 1 at the peak: within 0.3 % of it for every plane, wherever the axis is."""
        rows, center, angles = ROWS - 3, (n - 1) / 2 + shift, half_turn(150)
        parts = blobs(n, rows)
        planes = all_kinds(rows, n)
        fast = LivePlanes(backend, planes, rows, n, center)
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

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_raw_frames_are_prepared_as_by_the_correction(
        self, backend: Backend, numba_backend: Backend, dtype: str
    ) -> None:
        """Counts of every type, dead pixels, holes, infinities: attenuation, moments, planes as from the correction."""
        rng = np.random.default_rng(5)
        rows, n = 37, 51
        raw = raw_frames(rng, 6, rows, n, dtype)
        raw[0, 3, 4:9] = 0
        if dtype == "<f4":
            raw[1, 5, 6:9] = (np.nan, np.inf, -np.inf)
        top = float(raw[3:].max())
        dark, flat = rng.uniform(0, 0.02, (rows, n)) * top, rng.uniform(0.9, 1.1, (rows, n)) * top
        flat[2, 0], flat[7, 10:13], flat[9], flat[20, n - 1] = 0.0, np.nan, 0.0, 0.0
        correction = FlatFieldCorrection(dark, flat)
        expected = np.stack([correction.attenuation(frame) for frame in raw])
        planes = [plane for plane in all_kinds(rows, n) if plane.name in ("xy", "between", "xz", "tilted")]
        angles = np.arange(6) * 0.5
        fast, plain = (LivePlanes(backend, planes, rows, n, 24.0) for _ in range(2))
        seen, moments = np.empty_like(expected), np.empty((6, rows, 4))
        fast.add_raw(raw, correction, angles, seen, moments)
        np.testing.assert_allclose(seen, expected, rtol=0, atol=4e-6)
        plain.add(seen, angles)
        for name, picture in fast.images().items():
            np.testing.assert_array_equal(picture, plain.images()[name])
        sums = row_moments_of(seen)
        np.testing.assert_allclose(moments, sums, rtol=1e-5, atol=1e-5 * np.abs(sums).max())

    def test_without_flats_the_first_frame_sets_the_level(self, backend: Backend, numba_backend: Backend) -> None:
        raw = raw_frames(np.random.default_rng(0), 1, 8, 20, "<u2")
        seen = np.empty(raw.shape, np.float32)
        live = LivePlanes(backend, orthogonal_planes(8, 20), 8, 20, 9.5)
        live.add_raw(raw, FlatFieldCorrection(None, None), 0.0, seen)
        np.testing.assert_allclose(seen[0], FlatFieldCorrection(None, None).attenuation(raw[0]), atol=2e-6)

    def test_a_sample_wider_than_the_detector(self, backend: Backend) -> None:
        """With ``extend`` the same extrapolation as the ramp filter's, so the same image."""
        n = 80
        angles = half_turn(120)
        parts = [Ellipse(1.0, 60, 50, 5.0, 0.0), Ellipse(0.5, 8, 8, -10.0, 12.0)]
        frames = np.repeat(sinogram(parts, n, angles)[:, None], 4, axis=1)
        planes = list(orthogonal_planes(4, n))
        fast = LivePlanes(backend, planes, 4, n, (n - 1) / 2, extend=True)
        fast.add(frames, angles)
        slow = filtered_planes(planes, frames, angles, (n - 1) / 2, extend=True)
        for plane in planes:
            mask = inside(plane, 4, n)
            assert rms((fast.images()[plane.name] - slow[plane.name])[mask]) < 0.02, plane.name

    def test_planes_outside_of_the_tomogram_are_empty(self, backend: Backend) -> None:
        far = [
            Plane("above", (0.0, 0.0, 50.0), (1.0, 0, 0), (0.0, 1, 0), (16, 16)),
            Plane("away", (0.0, 500.0, 0.0), (1.0, 0, 0), (0.0, 0, 1), (4, 16)),
            Plane("beside", (500.0, 8.0, 0.0), (1.0, 0, 0), (0.0, 0, 1), (4, 16)),
            Plane("below", (0.0, 0.0, -90.0), (1.0, 0, 0), (0.0, 0.5, 0.5), (16, 16)),
        ]
        live = LivePlanes(backend, far, 4, 16, 7.5)
        live.add(projections(blobs(16, 4), 4, 16, half_turn(20), 7.5), half_turn(20))
        for name, picture in live.images().items():
            assert np.abs(picture).max() < 0.05, name

    def test_no_planes_and_no_frames(self, backend: Backend) -> None:
        live = LivePlanes(backend, [], 4, 16, 7.5)
        live.add(np.ones((2, 4, 16), np.float32), [0.0, 1.0])
        live.add(np.ones((0, 4, 16), np.float32), [])
        assert (live.count, live.images()) == (2, {})

    def test_bad_input_is_refused(self, backend: Backend) -> None:
        planes = orthogonal_planes(4, 8)
        live = LivePlanes(backend, planes, 4, 8, 3.5)
        frame, correction = np.zeros((4, 8), np.uint16), FlatFieldCorrection(None, None)
        with pytest.raises(BadInput, match="planes expect"):
            live.add_raw(frame.T, correction, 0.0)
        with pytest.raises(BadInput, match="finite angle"):
            live.add_raw(frame, correction, float("nan"))
        with pytest.raises(BadInput, match="finite angle"):
            live.add(np.zeros((2, 4, 8), np.float32), [0.0])
        with pytest.raises(BadInput, match="dtype"):
            live.add_raw(frame.astype(np.int64), correction, 0.0)
        with pytest.raises(BadInput):
            live.add_raw(frame, FlatFieldCorrection(None, np.ones((3, 8))), 0.0)
        with pytest.raises(BadInput, match="finite column"):
            LivePlanes(backend, planes, 4, 8, float("inf"))
        with pytest.raises(BadInput, match="exact weights"):
            LivePlanes(backend, planes, 4, 8, 3.5, np.pi, stored=lambda number: frame)
        with pytest.raises(BadInput, match="window"):
            LivePlanes(backend, planes, 4, 8, 3.5, window_rad=0.0)
        with pytest.raises(BadInput, match="same name"):
            LivePlanes(backend, planes[:1] * 2, 4, 8, 3.5)

    def test_a_jump_of_the_angle_begins_a_sector(self, backend: Backend) -> None:
        live = LivePlanes(backend, orthogonal_planes(1, 16)[:1], 1, 16, 7.5, window_rad=0.2 * SECTORS)
        angles = [0.0, 0.1, 3.0, 3.05, *(1.0 + 2.0 * (k % 2) for k in range(SECTORS - 1))]
        live.add(np.ones((len(angles), 1, 16), np.float32), angles)
        assert live.count == len(angles)
        live.add(np.ones((1, 16), np.float32), 2.0)
        np.testing.assert_allclose(live.angles, [*angles[2:], 2.0])
