"""Conformance suites: what every implementation of an interface must pass. Subclass one and give it its fixture."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import backproject_rows, reconstruct_block, to_z_contiguous
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.factory import fourier_volume, reconstruct_rows
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import MAX_MOVE_PX, FourierVolume
from streamer.core.masks import circle_mask
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.warmup import warm
from streamer.frames import BadInput
from streamer.phantoms import (
    Gaussian,
    body_projections,
    gaussians,
    half_turn,
    image,
    random_body,
    shepp_logan,
    sinogram,
)


class BackendSuite:
    """Numbers that a backend must reproduce. Needs the fixture ``backend``; GPU tolerances are the same."""

    def test_warm_compiles_without_complaint(self, backend: Backend) -> None:
        warm(backend)

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

    def test_center_of_a_noisy_body(self, backend: Backend) -> None:
        rng = np.random.default_rng(6)
        theta = np.linspace(0, np.pi, 121)
        frames = body_projections(random_body(rng, 160), 16, 160, theta, 84.3)
        frames = (frames + rng.normal(0, 0.03, frames.shape)).astype(np.float32)
        assert center_from_sharpness(backend, frames, theta).center == pytest.approx(84.3, abs=0.2)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


class VolumeSuite:
    """A Fourier volume and the tomogram of a backend. Needs the fixtures ``backend`` and ``numba_backend``.

    ``n`` is the width of the detector; ``smooth`` the error of smooth objects of height 1 that it allows, ``sharp``
    that of edges, in errors of direct backprojection.
    """

    n = 128
    smooth = 2e-4
    sharp = 1.02

    def blobs(self, n: int) -> list[Gaussian]:
        """Smooth enough for a detector of few columns, and well within it."""
        places = ((1.0, 0.08, 0.0, 0.0), (0.7, 0.07, 0.2, 0.1), (0.5, 0.09, -0.12, 0.15), (0.9, 0.06, -0.05, -0.2))
        return [Gaussian(value, *(n * number for number in numbers)) for value, *numbers in places]

    def scan(self, rows: int, center: float, angles: np.ndarray, n: int = 0) -> np.ndarray:
        """Attenuation (angles, rows, n) of ``blobs``; rows differ by a factor of 1 + row / 10."""
        line = sinogram(self.blobs(n or self.n), n or self.n, angles, center)
        return (line[:, None] * (1 + 0.1 * np.arange(rows))[None, :, None]).astype(np.float32)

    def noise(self, *shape: int) -> np.ndarray:
        return np.random.default_rng(8).standard_normal(shape).astype(np.float32)

    @pytest.mark.parametrize(
        ("wider", "rows", "offset", "start"), [(0, 16, 0.0, 0.0), (1, 1, 0.3, -0.4), (0, 8, 5.7, 2.0), (-1, 19, 0, -3)]
    )
    def test_smooth_objects_are_right(
        self, backend: Backend, wider: int, rows: int, offset: float, start: float
    ) -> None:
        n = self.n + wider
        center, angles = (n - 1) / 2 + offset, start + half_turn(2 * n)
        found = reconstruct_rows(backend, self.scan(rows, center, angles, n), angles, angular_weights(angles), center)
        mask, truth = circle_mask(n, 0.85 - 2 * abs(offset) / n), image(self.blobs(n), n)
        for row, slice_ in enumerate(found):
            error = (slice_ / (1 + 0.1 * row) - truth)[mask]
            assert rms(error) < self.smooth
            assert abs(error.mean()) < self.smooth / 2

    def test_edges_are_as_sharp_as_those_of_backprojection(self, backend: Backend, numba_backend: Backend) -> None:
        n = self.n
        angles, mask, truth = half_turn(2 * n), circle_mask(n, 0.9), image(shepp_logan(n), n)
        lines = sinogram(shepp_logan(n), n, angles)[:, None]
        gridded = reconstruct_rows(backend, lines, angles, angular_weights(angles), (n - 1) / 2)[0]
        direct = reconstruct_block(numba_backend, lines, angles, (n - 1) / 2)[0]
        assert rms((gridded - truth)[mask]) <= self.sharp * rms((direct - truth)[mask])

    @pytest.mark.parametrize(
        ("rows", "wider", "offset", "window", "extend"),
        [(21, 0, 0.0, "ramp", False), (16, 1, -3.4, "linear", True), (3, 2, 11.0, "hann", False)],
    )
    def test_numbers_are_those_of_the_cpu(
        self, backend: Backend, numba_backend: Backend, rows: int, wider: int, offset: float, window: str, extend: bool
    ) -> None:
        """White noise, at angles of which some lie on the axes of the grid, over more than one turn."""
        n = self.n + wider
        angles = np.concatenate((np.random.default_rng(9).uniform(-4, 4, 50), np.arange(4) * np.pi / 2))
        frames, weights = self.noise(54, rows, n), np.linspace(-0.5, 2, 54)
        center = (n - 1) / 2 + offset
        volume = fourier_volume(backend, rows, n, center, window, extend)
        reference = FourierVolume(numba_backend, rows, n, center, window, extend)
        for each in (volume, reference):
            each.add(ProjectionBatch(frames, angles, weights))
        assert (volume.rows, volume.columns, volume.center) == (rows, n, center)
        assert (volume.blocks, volume.within_half_turn) == (reference.blocks, False)
        expected = reference.rows_of(0, reference.blocks)
        found = volume.rows_of(0, volume.blocks)
        assert rms(found - expected) < 1e-4 * rms(expected)
        made = reconstruct_rows(backend, frames, angles, weights, center, window, extend, np.empty_like(expected))
        assert rms(made - expected) < 1e-4 * rms(expected)

    def test_any_order_and_late_weights_are_the_same_sum(self, backend: Backend) -> None:
        n, rows, angles = self.n, 17, half_turn(self.n)
        center = (n - 1) / 2
        frames, weights = self.scan(rows, center, angles), angular_weights(angles)
        volume, at_once = (fourier_volume(backend, rows, n, center) for _ in range(2))
        at_once.add(ProjectionBatch(frames, angles, weights))
        expected = at_once.rows_of(0, 2)
        used = weights * np.linspace(0.9, 1.1, n)
        for part in np.array_split(np.random.default_rng(1).permutation(n), 5):
            volume.add(ProjectionBatch(frames[part], angles[part], used[part]))
        volume.add(ProjectionBatch(frames, angles, weights - used))
        late = volume.rows_of(0, volume.blocks)
        assert np.abs(late - expected).max() < 2e-5 * np.abs(expected).max()

    def test_blocks_come_one_after_the_other_and_runs_repeat_bit_for_bit(self, backend: Backend) -> None:
        n, angles = self.n, half_turn(30)
        frames, weights = self.noise(30, 45, n), angular_weights(angles)
        results = []
        for _ in range(2):
            whole = fourier_volume(backend, 37, n)
            assert not whole.rows_of(0, 3).any()
            whole.add(ProjectionBatch(frames[:13], angles[:13], weights[:13]), first_row=5)
            whole.rows_of(1, 2)
            whole.add(ProjectionBatch(frames[13:], angles[13:], weights[13:]), first_row=5)
            results.append(whole.rows_of(0, 3))
        result = results[0]
        assert np.array_equal(results[1], result)
        split = fourier_volume(backend, 37, n)
        for blocks in ((1, 3), (0, 1)):
            split.add(ProjectionBatch(frames[:13], angles[:13], weights[:13]), 5, blocks)
        split.add(ProjectionBatch(frames[13:], angles[13:], weights[13:]), 5, (0, 2))
        split.add(ProjectionBatch(frames[13:], angles[13:], weights[13:]), 5, (2, 3))
        assert np.array_equal(split.rows_of(0, 3), result)
        out = np.empty((5, n, n), np.float32)
        assert split.rows_of(2, 3, out) is out
        assert np.array_equal(out, result[32:])
        assert split.blocks == 3

    def test_rows_do_not_touch_each_other(self, backend: Backend) -> None:
        n, angles = self.n, half_turn(self.n)
        frames = self.noise(n, 20, n)
        frames[:, 11] = 0
        together = reconstruct_rows(backend, frames, angles, angular_weights(angles), (n - 1) / 2)
        assert np.abs(together[11]).max() < 1e-5 * np.abs(together).max()
        for row in (0, 10, 19):
            alone = reconstruct_rows(backend, frames[:, row : row + 1], angles, angular_weights(angles), (n - 1) / 2)
            assert np.abs(alone[0] - together[row]).max() < 1e-4 * np.abs(together).max()

    @pytest.mark.parametrize(("start", "move"), [(0.0, 0.1), (0.7, -0.3), (-2.0, 0.3)])
    def test_the_centre_can_be_moved_afterwards(self, backend: Backend, start: float, move: float) -> None:
        n, rows, angles = self.n, 3, start + half_turn(2 * self.n)
        center, mask = (n - 1) / 2 + 1.2, circle_mask(n, 0.85)
        frames, weights = self.scan(rows, center, angles), angular_weights(angles)
        exact = reconstruct_rows(backend, frames, angles, weights, center)
        volume = fourier_volume(backend, rows, n, center - move)
        volume.add(ProjectionBatch(frames, angles, weights))
        moved, unmoved = volume.rows_of(0, 1, center=center), volume.rows_of(0, 1)
        assert rms((moved - exact)[:, mask]) < 0.3 * rms((unmoved - exact)[:, mask])
        assert np.array_equal(volume.rows_of(0, 1, center=center - move), unmoved)

    def test_moving_the_centre_is_refused_where_it_cannot_work(self, backend: Backend) -> None:
        volume = fourier_volume(backend, 2, 32)
        frame = np.zeros((1, 2, 32), np.float32)
        volume.add(ProjectionBatch(frame, np.array([-0.1]), np.ones(1)))
        volume.add(ProjectionBatch(frame, np.array([-0.1 + np.pi]), np.ones(1)))
        volume.rows_of(0, 1, center=15.5 + MAX_MOVE_PX)
        with pytest.raises(BadInput, match="is not within"):
            volume.rows_of(0, 1, center=15.4 - MAX_MOVE_PX)
        assert volume.within_half_turn
        volume.add(ProjectionBatch(frame, np.array([-0.2]), np.ones(1)))
        assert not volume.within_half_turn
        volume.rows_of(0, 1, center=15.5)
        with pytest.raises(BadInput, match=r"span 185\.7°"):
            volume.rows_of(0, 1, center=15.6)

    def test_bad_input_is_named(self, backend: Backend) -> None:
        volume = fourier_volume(backend, 20, 32)
        good, three = np.zeros((3, 20, 32), np.float32), np.ones(3)
        for frames, angles, weights, first, match in (
            (good[0], three[:1], three[:1], 0, r"projections \(angle, row, column\) \(20, 32\) for 32 columns"),
            (good[:, :, :31], three, three, 0, "for 32 columns"),
            (good[:, :19], three, three, 0, "19 rows for a volume of 20"),
            (good, three, three, 1, "from row 1"),
            (good, three[:2], three, 0, "3 projections with 2 angles and 3 weights"),
            (good, np.array([0.0, np.nan, 0.0]), three, 0, "not a finite number"),
            (good, three, np.array([0.0, np.inf, 0.0]), 0, "not a finite number"),
        ):
            with pytest.raises(BadInput, match=match):
                volume.add(ProjectionBatch(frames, angles, weights), first)
        for blocks in ((0, 3), (1, 1), (-1, 1)):
            with pytest.raises(BadInput, match="blocks"):
                volume.add(ProjectionBatch(good, three, three), blocks=blocks)
            with pytest.raises(BadInput, match="blocks"):
                volume.rows_of(*blocks)
        with pytest.raises(BadInput, match=r"not contiguous float32 \(16, 32, 32\)"):
            volume.rows_of(0, 1, np.empty((20, 32, 32), np.float32))
        for rows, columns, center, window, match in (
            (1, 32, 90.0, "ramp", "nothing that 32 columns see"),
            (1, 32, np.nan, "ramp", "centre nan"),
            (0, 32, None, "ramp", "at least 1 row"),
            (1, 1, None, "ramp", "2 columns"),
            (1, 32, None, "box", "window 'box'"),
        ):
            with pytest.raises(BadInput, match=match):
                fourier_volume(backend, rows, columns, center, window)
        with pytest.raises(BadInput, match="must be"):
            reconstruct_rows(backend, good[0], three, three, 15.5)
        with pytest.raises(BadInput, match="3 projections with 2 angles"):
            reconstruct_rows(backend, good, three[:2], three, 15.5)

    def test_no_projections_give_empty_slices(self, backend: Backend) -> None:
        none = np.zeros(0)
        assert not reconstruct_rows(backend, np.zeros((0, 3, 40), np.float32), none, none, 19.5).any()
