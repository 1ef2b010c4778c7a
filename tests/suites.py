"""Conformance suites: what every implementation of an interface must pass. Subclass one and give it its fixture."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend import Backend
from streamer.core.center import MomentTrack, center_from_sharpness
from streamer.core.filters import RampFilter, angular_weights
from streamer.core.jit import as_input
from streamer.core.planes import LivePlanes, Plane, circle_mask, orthogonal_planes
from streamer.core.prep import Correction
from streamer.core.volume import backproject_rows, reconstruct_block, to_z_contiguous
from streamer.core.warm import warm
from tests.core.phantom import body_projections, gaussians, half_turn, image, random_body, shepp_logan, sinogram


class BackendSuite:
    """Numbers that a backend must reproduce. Needs the fixture ``backend``; GPU tolerances are the same."""

    def test_warm_compiles_without_complaint(self, backend: Backend) -> None:
        warm(backend)

    @pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4"])
    def test_attenuation_is_the_logarithm(self, backend: Backend, dtype: str) -> None:
        rng = np.random.default_rng(0)
        top = {"u1": 255, "<u2": 65_000, "<u4": 4_000_000_000, "<f4": 4e6}[dtype]
        raw = rng.uniform(0.02 * top, top, (33, 47)).astype(dtype)
        dark = rng.uniform(0, 0.01 * top, raw.shape).astype(np.float32)
        flat = rng.uniform(0.8 * top, top, raw.shape).astype(np.float32)
        truth = -np.log((raw.astype(np.float64) - dark) / (flat.astype(np.float64) - dark))
        np.testing.assert_allclose(Correction(backend, dark, flat).attenuation(raw), truth, atol=4e-6)

    def test_a_32_bit_counter_keeps_its_last_count(self, backend: Backend) -> None:
        raw = np.array([[2**31, 2**31 + 1]] * 2, np.uint32)
        dark = np.full((2, 2), 2.0**31 - 128, np.float32)
        flat = np.full((2, 2), 2.0**31 + 1024, np.float32)
        truth = -np.log(np.array([128, 129]) / 1152)
        np.testing.assert_allclose(Correction(backend, dark, flat).attenuation(raw)[0], truth, atol=1e-6)

    @pytest.mark.parametrize("n", [256, 257])
    @pytest.mark.parametrize("offset", [0.0, 0.5, -7.3])
    def test_gaussians_are_quantitative(self, backend: Backend, n: int, offset: float) -> None:
        center = (n - 1) / 2 + offset
        angles = half_turn(n)
        blobs = [type(g)(g.value, 1.2 * g.sigma, 0.6 * g.x, 0.6 * g.y) for g in gaussians(n)]
        lines = sinogram(blobs, n, angles, center)
        result = reconstruct_block(backend, lines[:, None], angles, center)[0]
        # With the axis off the middle, a smaller circle is seen from all sides.
        error = (result - image(blobs, n))[circle_mask(n, 0.95 - 2 * abs(offset) / n)]
        assert np.sqrt(np.mean(error**2)) < 5e-4
        assert abs(error.mean()) < 5e-5

    def test_shepp_logan(self, backend: Backend) -> None:
        n = 256
        angles = half_turn(n)
        result = reconstruct_block(backend, sinogram(shepp_logan(n), n, angles)[:, None], angles, (n - 1) / 2)[0]
        truth, mask = image(shepp_logan(n), n), circle_mask(n, 0.95)
        assert np.sqrt(np.mean((result - truth)[mask] ** 2)) < 0.0235
        assert abs((result - truth)[mask].mean()) < 2e-4

    @pytest.mark.parametrize("depth", [1, 2, 17, 64, 65])
    def test_rows_do_not_depend_on_their_block(self, backend: Backend, depth: int) -> None:
        rng = np.random.default_rng(1)
        p = rng.normal(size=(7, 31, depth)).astype(np.float32)
        theta, weights = rng.uniform(0, np.pi, 7), rng.uniform(0.1, 1, 7)
        whole = backproject_rows(backend, p, theta, weights, 14.2, np.empty((depth, 30, 33), np.float32))
        x, y = np.arange(33) - 16.0, (np.arange(30) - 14.5)[:, None]
        expected = np.zeros((30, 33))
        for a in range(7):
            t = 14.2 + x * np.cos(theta[a]) + y * np.sin(theta[a])
            line = np.interp(t, np.arange(31), p[a, :, depth - 1].astype(np.float64), left=0, right=0)
            expected += weights[a] * line
        np.testing.assert_allclose(whole[-1], expected, atol=2e-4)
        one = backproject_rows(
            backend, np.ascontiguousarray(p[:, :, :1]), theta, weights, 14.2, np.empty((1, 30, 33), np.float32)
        )
        np.testing.assert_allclose(one[0], whole[0], atol=1e-5)

    def test_planes_are_cuts_of_the_volume(self, backend: Backend) -> None:
        rows, n = 20, 48
        theta = half_turn(40)
        body = random_body(np.random.default_rng(2), n)
        attenuation = body_projections(body, rows, n, theta, 22.6)
        ramp = RampFilter(n)
        volume = reconstruct_block(backend, attenuation, theta, 22.6)
        tilted = Plane("tilted", (5.0, 8.0, 2.0), (0.8, 0.1, 0.05), (-0.1, 0.6, 0.35), (30, 36))
        leaning = Plane("leaning", (6.0, 4.0, 1.25), (0.9, 0.3, 0.0), (0.0, 0.2, 0.5), (33, 35))
        live = LivePlanes(backend, [*orthogonal_planes(rows, n), tilted, leaning], rows, n, 22.6)
        for angle, frame in zip(theta, attenuation, strict=True):
            live.add(ramp.apply(frame), float(angle))
        cut = live.images()
        np.testing.assert_allclose(cut["xy"], volume[rows // 2], atol=1e-4)
        np.testing.assert_allclose(cut["xz"], volume[:, n // 2, :], atol=1e-4)
        np.testing.assert_allclose(cut["yz"], volume[:, :, n // 2], atol=1e-4)
        for plane in (tilted, leaning):
            exact = self._cut(attenuation, theta, 22.6, plane)
            np.testing.assert_allclose(cut[plane.name], exact, atol=1e-4)

    @staticmethod
    def _cut(attenuation: np.ndarray, theta: np.ndarray, center: float, plane: Plane) -> np.ndarray:
        """The definition in float64: the sum over the angles of the filtered projection at the plane's points."""
        _, rows, n = attenuation.shape
        i, j = np.mgrid[: plane.shape[0], : plane.shape[1]]
        x, y, z = (plane.origin[k] + j * plane.u[k] + i * plane.v[k] for k in range(3))
        total = np.zeros(plane.shape)
        for angle, frame in zip(theta, attenuation, strict=True):
            q = RampFilter(n).apply(frame).astype(np.float64)
            t = center + (x - (n - 1) / 2) * np.cos(angle) + (y - (n - 1) / 2) * np.sin(angle)
            c, r = np.clip(t.astype(int), 0, n - 2), np.clip(z.astype(int), 0, rows - 2)
            ft, fz = t - c, z - r
            value = (1 - fz) * ((1 - ft) * q[r, c] + ft * q[r, c + 1])
            value += fz * ((1 - ft) * q[r + 1, c] + ft * q[r + 1, c + 1])
            total += np.where((t >= 0) & (t <= n - 1) & (z >= 0) & (z <= rows - 1), value, 0)
        return total * np.pi / len(theta)

    def test_repeats_bit_for_bit(self, backend: Backend) -> None:
        rng = np.random.default_rng(3)
        p = rng.normal(size=(50, 64, 20)).astype(np.float32)
        theta, weights = rng.uniform(0, np.pi, 50), rng.uniform(0, 1, 50)

        def volume() -> bytes:
            return backproject_rows(backend, p, theta, weights, 31.7, np.empty((20, 64, 64), np.float32)).tobytes()

        def planes() -> bytes:
            live = LivePlanes(backend, orthogonal_planes(50, 64), 50, 64, 31.7)
            for k in range(20):
                live.add(np.ascontiguousarray(p[:, :, k]), float(theta[k]))
            return b"".join(plane.tobytes() for plane in live.images().values())

        for result in (volume, planes):
            assert len({result() for _ in range(4)}) == 1

    def test_z_contiguous_is_the_transpose(self, backend: Backend) -> None:
        source = np.random.default_rng(4).normal(size=(37, 51)).astype(np.float32)
        out, wide = np.empty((51, 37), np.float32), np.zeros((51, 40), np.float32)
        to_z_contiguous(backend, source, out)
        to_z_contiguous(backend, source, wide[:, 1:38])
        assert np.array_equal(out, source.T)
        assert np.array_equal(wide[:, 1:38], source.T)

    @pytest.mark.parametrize("columns", [7, 8, 9, 10, 64])
    def test_moments_are_the_sums(self, backend: Backend, columns: int) -> None:
        source = np.random.default_rng(5).normal(1, 1, (12, columns)).astype(np.float32)
        out = np.empty((12, 4))
        backend.kernels.row_moments(as_input(source), 2, backend.threads, out)
        wide = source.astype(np.float64)
        x = np.arange(columns) - (columns - 1) / 2
        expected = [wide.sum(1), wide @ x, wide[:, :2].sum(1), wide[:, -2:].sum(1)]
        np.testing.assert_allclose(out, np.stack(expected, 1), atol=1e-9)

    def test_center_of_a_noisy_body(self, backend: Backend) -> None:
        rng = np.random.default_rng(6)
        theta = np.linspace(0, np.pi, 121)
        frames = body_projections(random_body(rng, 160), 16, 160, theta, 84.3)
        frames = (frames + rng.normal(0, 0.03, frames.shape)).astype(np.float32)
        track = MomentTrack(backend)
        for angle, frame in zip(theta, frames, strict=True):
            track.add(float(angle), frame)
        for estimate in (track.estimate(), center_from_sharpness(backend, frames, theta)):
            assert estimate.center == pytest.approx(84.3, abs=0.2)

    def test_weighted_sum_is_the_volume(self, backend: Backend) -> None:
        """Quadrature weights given to ``add`` give what the volume gives, for uneven angles."""
        rng = np.random.default_rng(7)
        theta = np.sort(rng.uniform(0, np.pi, 60))
        lines = sinogram(gaussians(64), 64, theta)[:, None]
        live = LivePlanes(backend, orthogonal_planes(1, 64)[:1], 1, 64, 31.5)
        for angle, weight, frame in zip(theta, angular_weights(theta), lines, strict=True):
            live.add(RampFilter(64).apply(frame), float(angle), float(weight))
        np.testing.assert_allclose(live.images()["xy"], reconstruct_block(backend, lines, theta, 31.5)[0], atol=1e-5)
