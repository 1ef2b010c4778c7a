from __future__ import annotations

import itertools

import numpy as np
import pytest
from algotom.rec.reconstruction import fbp_reconstruction
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import backproject_rows, plan_row_blocks, reconstruct_block, row_nbytes
from streamer.core.masks import circle_mask
from streamer.frames import BadInput
from streamer.phantoms import gaussians, half_turn, sinogram


@given(st.integers(1, 3000), st.integers(1, 2000), st.integers(2, 600), st.floats(1, 500))
def test_blocks_tile_the_rows_and_fit_the_memory(rows: int, angles: int, columns: int, share: float) -> None:
    memory = int(row_nbytes(angles, columns) * share)
    blocks = plan_row_blocks(rows, angles, columns, memory)
    assert blocks[0][0] == 0
    assert blocks[-1][1] == rows
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
    assert all(r1 - r0 > 0 and (r1 - r0) * row_nbytes(angles, columns) <= memory for r0, r1 in blocks)


def test_a_row_that_does_not_fit_is_an_error_with_the_number() -> None:
    with pytest.raises(BadInput, match="MiB"):
        plan_row_blocks(10, 1000, 1000, 1000)


def test_against_an_independent_reconstruction(numba_backend: Backend) -> None:
    """Filtered backprojection of algotom, whose y axis points up and whose step is pi / (n - 1).

    Its threads race on the sums and lose some additions, more on some machines, so its gain is known to 2 % only.
    """
    n = 192
    angles = half_turn(n)
    lines = sinogram(gaussians(n), n, angles, 99.2)
    ours = reconstruct_block(numba_backend, lines[:, None], angles, 99.2)[0]
    theirs = fbp_reconstruction(lines, 99.2, angles=angles, apply_log=False, filter_name=None, ratio=None, gpu=False)[
        ::-1
    ]
    mask = circle_mask(n, 0.8)
    assert np.corrcoef(ours[mask], theirs[mask])[0, 1] > 0.999
    assert np.vdot(ours[mask], theirs[mask]) / np.vdot(ours[mask], ours[mask]) == pytest.approx(n / (n - 1), abs=2e-2)


def test_orientation_is_that_of_the_convention(numba_backend: Backend) -> None:
    """At 0 the column is x, at a quarter turn it is y."""
    frames = np.zeros((1, 9, 1), np.float32)
    frames[0, 6] = 1
    for theta, axis in ((0.0, 0), (np.pi / 2, 1)):
        out = np.empty((1, 9, 9), np.float32)
        backproject_rows(numba_backend, frames, np.array([theta]), np.ones(1), 4.0, out)
        profile = out[0].sum(axis=axis)
        assert profile.argmax() == 6
        assert profile[6] == pytest.approx(9, abs=1e-4)


def test_nothing_measured_gives_nothing(numba_backend: Backend) -> None:
    out = np.ones((2, 5, 5), np.float32)
    backproject_rows(numba_backend, np.zeros((0, 5, 2), np.float32), np.zeros(0), np.zeros(0), 2.0, out)
    assert not out.any()


def test_shapes_and_numbers_that_do_not_fit_are_refused(numba_backend: Backend) -> None:
    p, out = np.zeros((4, 5, 2), np.float32), np.zeros((2, 5, 5), np.float32)
    theta = np.zeros(4)
    for bad in (
        (p, theta[:3], theta, 2.0, out),
        (p, theta, theta[:3], 2.0, out),
        (p, theta, theta, 2.0, out[:1]),
        (p, theta, theta, float("nan"), out),
        (p, theta + np.inf, theta, 2.0, out),
    ):
        with pytest.raises(BadInput):
            backproject_rows(numba_backend, *bad)
    with pytest.raises(BadInput):
        reconstruct_block(numba_backend, np.zeros((4, 5), np.float32), theta, 2.0)
