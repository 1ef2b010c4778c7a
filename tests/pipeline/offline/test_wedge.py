"""A scan over less than half a turn: the density is that of the sample, not the share of the angles that came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer
from streamer.core.masks import circle_mask
from streamer.phantoms import exposures, half_turn, image, random_body, shepp_logan, sinogram

N, HALF_TURN = 96, 180
HEAD, BODY = shepp_logan(N), random_body(np.random.default_rng(4), 0.8 * N)


def reconstructed(sample: Any, kept: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Middle of the slice from the first ``kept`` of 180 angles, and the truth there."""
    angles = half_turn(HALF_TURN)[:kept]
    lines = sinogram(sample, N, angles)
    scale = 1.0 / lines.max()
    result = streamer.reconstruct(
        exposures(scale * lines[:, None]),
        np.rad2deg(angles),
        flats=exposures(np.zeros((10, 1, N))),
        darks=np.full((10, 1, N), 100, np.uint16),
        center=(N - 1) / 2,
    )
    inside = circle_mask(N, 0.95)
    return result.volume[0][inside], scale * image(sample, N)[inside]


@pytest.mark.parametrize("kept", [100, 150, 170])
@pytest.mark.parametrize("sample", [HEAD, BODY], ids=["head", "body"])
def test_a_wedge_takes_no_mass(sample: Any, kept: int) -> None:
    found, truth = reconstructed(sample, kept)
    assert found.mean() == pytest.approx(truth.mean(), rel=0.003)


def test_the_error_of_150_degrees_is_smaller_than_without_the_scale() -> None:
    found, truth = reconstructed(HEAD, 150)

    def error(image: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean((image - truth) ** 2)))

    assert error(found) < 0.96 * error(found * 150 / HALF_TURN)
