from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.tv.fista import PRIOR_MOMENTA, PRIOR_STEPS, HostFistaSolver, StepNorms, TotalVariation, next_pace
from streamer.core.tv.projector import Projector
from streamer.phantoms import half_turn


def settled(noisy: np.ndarray, weight: float, low: float = -np.inf, moves: int = 200) -> np.ndarray:
    """What the prior makes of a volume (rows, ny, nx) in many moves from which the data term is left out."""
    solver = HostFistaSolver(noisy.astype(np.float32), TotalVariation(weight, low), 2)
    still = Projector(Backend("numba", 1), np.zeros(1), noisy.shape[2], 0.0, noisy.shape[1:])
    measured = solver.measured(still.padded(np.zeros((1, len(noisy), noisy.shape[2]))))
    solver.descend(still, measured, 0.0)
    for _ in range(moves):
        solver.settle()
    return solver.result()


def test_the_pace_is_nesterovs_and_grows_by_half_a_step() -> None:
    pace = 1.0
    for _ in range(1000):
        following = next_pace(pace)
        assert following * (following - 1) == pytest.approx(pace**2)
        pace = following
    assert pace == pytest.approx(500, rel=0.02)


def test_the_momenta_of_the_prior_begin_at_rest() -> None:
    assert len(PRIOR_MOMENTA) == PRIOR_STEPS
    assert PRIOR_MOMENTA[0] == 0
    assert list(PRIOR_MOMENTA) == sorted(PRIOR_MOMENTA)
    assert PRIOR_MOMENTA[-1] < 1


@pytest.mark.parametrize(("rows", "most"), [(1, 8.0), (2, 12.0), (50, 12.0)])
def test_a_step_in_the_dual_is_one_over_the_largest_eigenvalue(rows: int, most: float) -> None:
    assert TotalVariation(0.25, 0.0).step(rows) == pytest.approx(1 / (0.25 * most))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("weight", [0.05, 0.3])
def test_an_edge_between_two_plains_keeps_its_place_and_loses_height(axis: int, weight: float) -> None:
    """Of a signal of two levels, total variation raises the lower by λ / its length, and lowers the higher likewise."""
    row = np.r_[np.zeros(6), np.ones(10)]
    wanted = np.r_[np.full(6, weight / 6), np.full(10, 1 - weight / 10)]
    shape = (1, 1, 16) if axis == 2 else (1, 16, 1)
    np.testing.assert_allclose(settled(row.reshape(shape), weight).ravel(), wanted, atol=1e-3)


def test_an_edge_between_rows_is_treated_alike() -> None:
    volume = np.repeat([0.0, 0.0, 1.0, 1.0], 1).reshape(4, 1, 1)
    np.testing.assert_allclose(settled(volume, 0.2).ravel(), [0.1, 0.1, 0.9, 0.9], atol=1e-3)


def test_a_strong_prior_leaves_the_mean() -> None:
    noisy = np.random.default_rng(0).normal(0.5, 0.2, (2, 5, 6))
    np.testing.assert_allclose(settled(noisy, 20.0, moves=2000), noisy.mean(), atol=5e-3)


def test_values_below_the_bound_are_raised_to_it() -> None:
    noisy = np.array([[[-1.0, -1.0, 2.0, 2.0]]])
    np.testing.assert_allclose(settled(noisy, 0.2, low=0.0), [[[0.1, 0.1, 1.9, 1.9]]], atol=1e-3)
    np.testing.assert_array_equal(settled(noisy, 0.0, low=0.0, moves=1), np.maximum(noisy, 0))


def test_the_prior_minimises_what_it_says_it_does() -> None:
    """No step away from what it finds makes distance and variation together smaller."""

    def objective(volume: np.ndarray) -> float:
        slopes = [np.diff(volume, axis=axis, append=volume.take([-1], axis)) for axis in range(3)]
        return float(0.5 * np.sum((volume - noisy) ** 2) + 0.3 * np.sum(np.sqrt(sum(s**2 for s in slopes))))

    rng = np.random.default_rng(1)
    noisy = rng.normal(size=(3, 6, 7))
    found = settled(noisy, 0.3, moves=2000).astype(np.float64)
    for _ in range(50):
        away = rng.normal(size=noisy.shape)
        for length in (1e-2, 0.1):
            assert objective(found + length * away / np.linalg.norm(away)) > objective(found) - 1e-6


def test_moves_are_those_of_the_formulas(numba_backend: Backend) -> None:
    """Without a prior: a step along the gradient, its norms, and a look ahead by momentum."""
    rng = np.random.default_rng(2)
    start = rng.normal(size=(2, 8, 8)).astype(np.float32)
    projector = Projector(numba_backend, half_turn(6), 8, 3.5, (8, 8))
    solver = HostFistaSolver(start, TotalVariation(0.0, -np.inf), 2)
    measured = solver.measured(projector.padded(rng.normal(size=(6, 2, 8))))
    first = start.transpose(1, 2, 0).astype(np.float64)

    def gradient(volume: np.ndarray) -> np.ndarray:
        residual = projector.forward(volume.astype(np.float32), measured=measured)
        return np.asarray(projector.backward(residual, 1.0, np.zeros(volume.shape, np.float32)), np.float64)

    solver.descend(projector, measured, -0.02)
    norms = solver.settle()
    second = first - 0.02 * gradient(first)
    assert norms.change == pytest.approx(np.sum((second - first) ** 2), rel=1e-4)
    assert norms.size == pytest.approx(np.sum(second**2), rel=1e-4)
    assert norms.uphill == pytest.approx(-norms.change, rel=1e-4)  # the volume ahead was the one before
    solver.look_ahead(0.5)
    solver.descend(projector, measured, -0.02)
    assert isinstance(solver.settle(), StepNorms)
    ahead = second + 0.5 * (second - first)
    np.testing.assert_allclose(solver.result().transpose(1, 2, 0), ahead - 0.02 * gradient(ahead), atol=1e-4)
