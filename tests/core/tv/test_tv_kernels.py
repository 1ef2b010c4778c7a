from __future__ import annotations

import numpy as np
import pytest

from streamer.core.tv import kernels
from streamer.core.tv.projector import _footprints


@pytest.mark.parametrize("shape", [(5, 7, 1), (6, 3, 4), (1, 1, 1), (4, 1, 5)])
def test_the_steps_of_the_prior_are_those_of_the_textbook(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype(np.float32)
    dual = np.zeros((3, *shape), np.float32)
    ahead = dual.copy()
    kernels.tv_dual(image, 0.7, 0.4, 2, ahead, dual)
    gradient = np.zeros((3, *shape))
    for axis in range(3):
        inside = [slice(None)] * 3
        inside[axis] = slice(0, -1)
        gradient[(axis, *inside)] = np.diff(image.astype(float), axis=axis)
    wanted = 0.7 * gradient / np.maximum(1, 0.7 * np.sqrt((gradient**2).sum(axis=0)))
    np.testing.assert_allclose(dual, wanted, atol=1e-6)
    np.testing.assert_allclose(ahead, 1.4 * wanted, atol=1e-6)
    out = np.empty_like(image)
    kernels.tv_primal(image, dual, 0.3, -0.5, 2, out)
    divergence = sum(np.diff(wanted[axis], axis=axis, prepend=0.0) for axis in range(3))
    np.testing.assert_allclose(out, np.maximum(image + 0.3 * divergence, -0.5), atol=1e-6)


def test_many_threads_do_what_one_does_in_the_prior() -> None:
    rng = np.random.default_rng(1)
    shape = (67, 40, 50)
    assert np.prod(shape) >= kernels.SMALL_VOLUME
    image, start = rng.normal(size=shape).astype(np.float32), rng.normal(size=(3, *shape)).astype(np.float32)
    found = []
    for parts in (1, 3):
        ahead, dual, out = start.copy(), 0.5 * start, np.empty_like(image)
        kernels.tv_dual(image, 0.7, 0.4, parts, ahead, dual)
        kernels.tv_primal(image, dual, 0.3, 0.0, parts, out)
        found.append((ahead, dual, out))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(5, 7, 1), (6, 3, 4), (2, 2, 2)])
def test_divergence_is_minus_the_transpose_of_the_gradient(shape: tuple[int, int, int]) -> None:
    """Both as the kernels compute them: the gradient by a short step of the dual, the divergence by the primal."""
    rng = np.random.default_rng(2)
    image, field = rng.normal(size=shape).astype(np.float32), rng.normal(size=(3, *shape)).astype(np.float32)
    for axis in range(3):
        last = [slice(None)] * 3
        last[axis] = slice(-1, None)
        field[(axis, *last)] = 0  # a difference across the last pixel does not exist
    gradient, unused = np.zeros_like(field), np.zeros_like(field)
    kernels.tv_dual(image, 1e-3, 0.0, 1, gradient, unused)
    divergence = np.empty_like(image)
    kernels.tv_primal(np.zeros_like(image), field, 1.0, -np.inf, 1, divergence)
    left, right = np.vdot(1e3 * gradient.astype(float), field), np.vdot(image.astype(float), divergence)
    assert left == pytest.approx(-right, rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (9, 4, 16), (40, 33, 2)])
def test_sums_of_a_move_do_not_depend_on_the_threads(shape: tuple[int, int, int]) -> None:
    ahead, now, before = (np.random.default_rng(k).normal(size=shape).astype(np.float32) for k in range(3))
    wide = [array.astype(np.float64) for array in (ahead, now, before)]
    step = wide[1] - wide[2]
    wanted = [np.sum((wide[0] - wide[1]) * step), np.sum(step**2), np.sum(wide[1] ** 2)]
    found = [kernels.sums_of_move(ahead, now, before, threads) for threads in (1, 2, 5)]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-12, atol=1e-12)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("threads", [1, 3])
def test_looking_ahead(threads: int) -> None:
    now, before = (np.random.default_rng(k).normal(size=(7, 5, 3)).astype(np.float32) for k in range(2))
    kernels.look_ahead(now, before, 0.75, threads, ahead := np.empty_like(now))
    np.testing.assert_allclose(ahead, now + 0.75 * (now - before), atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_projection_and_backprojection_are_the_same_for_any_number_of_threads(threads: int) -> None:
    rng = np.random.default_rng(3)
    volume, theta = rng.normal(size=(21, 19, 3)).astype(np.float32), rng.uniform(-4, 4, 8)
    cos, sin, table = np.cos(theta), np.sin(theta), _footprints(theta)
    found = []
    for count in (1, threads):
        lines = np.empty((8, 25 + 2 * kernels.EDGE_PAD, 3), np.float32)
        kernels.project(volume, cos, sin, table, 11.3, count, lines)
        back = np.zeros_like(volume)
        kernels.backproject(lines, cos, sin, table, 11.3, count, 0.5, back)
        found.append((lines, back))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
