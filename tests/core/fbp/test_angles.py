"""Which angles a scan needs: slices against the truth."""

from __future__ import annotations

import numpy as np

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram


def error(result: np.ndarray, parts: list, share: float = 0.95) -> float:
    side = len(result)
    grid = np.arange(side) - (side - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < share * side / 2
    return float(np.sqrt(np.mean((result - image(parts, side))[disc] ** 2)))


def test_scans_of_every_kind_against_the_truth(numba_backend: Backend) -> None:
    """Odd and even full turns, over-scan, golden ratio, lost frames: near a complete half turn. A wedge: worse."""
    n = 192
    rng = np.random.default_rng(10)
    cases = {
        "half": half_turn(300),
        "full odd": np.arange(601) * 2 * np.pi / 601,
        "full even": np.arange(600) * 2 * np.pi / 600,
        "over": np.deg2rad(np.arange(0, 400, 0.6)),
        "golden": np.arange(300) * np.pi * (np.sqrt(5) - 1) / 2,
        "lost": np.delete(half_turn(300), rng.choice(300, 15, replace=False)),
        "wedge": half_turn(300)[:250],
    }
    errors = {
        name: [
            error(reconstruct_block(numba_backend, sinogram(parts, n, angles)[:, None], angles, (n - 1) / 2)[0], parts)
            for parts in (shepp_logan(n), gaussians(n))
        ]
        for name, angles in cases.items()
    }
    half = errors.pop("half")
    wedge = errors.pop("wedge")
    for name, (edges, smooth) in errors.items():
        assert edges < 1.1 * half[0], name
        assert smooth < (2e-3 if name in ("golden", "lost") else 1e-3), name
    assert half[1] < 6e-4
    assert 2 * half[0] < wedge[0] < 0.12


def test_region_of_interest_against_the_truth(numba_backend: Backend) -> None:
    n, seen = 256, 128
    angles = half_turn(256)
    parts = shepp_logan(n)
    rows = sinogram(parts, n, angles)[:, (n - seen) // 2 : (n + seen) // 2]
    truth = image(parts, n)[64:192, 64:192]
    grid = np.arange(seen) - (seen - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < 0.9 * seen / 2
    results = [
        reconstruct_block(numba_backend, rows[:, None].copy(), angles, (seen - 1) / 2, extend=extend)[0] - truth
        for extend in (False, True)
    ]
    plain, extended = (float(np.sqrt(np.mean(r[disc] ** 2))) for r in results)
    assert extended < 0.05
    assert extended < 0.4 * plain
