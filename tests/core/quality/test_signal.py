from __future__ import annotations

import numpy as np
import pytest

from streamer.core.fbp.ramp_filter import ramp_kernel
from streamer.core.quality.signal import (
    dim_noise,
    flicker,
    flicker_error,
    sample_signal,
    saturated_share,
    voxel_snr,
)
from streamer.frames import BadInput


@pytest.mark.parametrize("shape", [(64, 100), (2, 300), (512, 600)])
def test_signal_of_sample_and_of_nothing(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, shape)
    empty = sample_signal(noise)
    assert empty.snr < 0.1
    body = np.zeros(shape)
    body[:, shape[1] // 4 : shape[1] // 2] = 0.6
    full = sample_signal(noise + body + 0.1)
    assert full.snr == pytest.approx(30, rel=0.15)
    assert full.peak == pytest.approx(0.6, abs=0.1)


def test_saturation_is_the_share_at_the_top() -> None:
    raw = np.zeros((10, 10), np.uint16)
    raw[0, :5] = 65_535
    assert saturated_share(raw) == 0.05
    assert saturated_share(raw, 0) == 1.0
    with pytest.raises(BadInput):
        saturated_share(raw.astype(np.float32))


def test_dim_projections_add_the_noise_of_their_quanta() -> None:
    level = np.zeros(100)
    assert dim_noise(level + 0.3) == 0.0
    level[::10] = np.log(5.0)  # a fifth of the light, in a tenth of them
    assert dim_noise(level) == pytest.approx(np.sqrt(0.9 + 0.1 * 5) - 1)
    assert dim_noise(np.linspace(0, 0.05, 100)) < 0.001  # a beam that decays by 5 %
    level[::10] = 20.0
    assert dim_noise(level) < 4.0  # no light at all is told elsewhere


def test_the_noise_of_a_voxel_is_that_of_a_reconstruction() -> None:
    """A disc of radius 20 px and attenuation 0.05 a pixel."""
    rng, columns = np.random.default_rng(3), np.arange(64) - 31.5
    line = 0.05 * 2 * np.sqrt(np.maximum(20**2 - columns**2, 0.0))
    lines = line + rng.normal(0, 0.02 / 4, (200, 64))  # means of 16 rows
    found = voxel_snr(lines, 0.02, 0.02 / 4)
    assert found == pytest.approx(0.05 / (0.02 * np.pi / np.sqrt(12 * 200)), rel=0.05)
    assert voxel_snr(np.zeros((5, 8)), 0.0, 0.0) is None
    assert voxel_snr(-np.ones((5, 8)), 0.1, 0.1) is None


NUMBERS = np.arange(400)
GOLDEN = np.pi * np.mod(NUMBERS * (np.sqrt(5) - 1) / 2, 1.0)
TURN = NUMBERS * np.pi / 400


@pytest.mark.parametrize("angles", [TURN, GOLDEN], ids=["in turn", "golden"])
def test_flicker_is_what_both_edges_share_from_one_projection_to_the_next(angles: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.02, (2, 400))
    fades = -np.log(np.linspace(1.0, 0.9, 400))
    sample = 0.1 * np.sin(3 * angles)
    # Noise of 2 % at both edges agrees by chance to 2 % / √√400.
    for steady in (noise + fades, noise + sample):
        assert flicker(angles, NUMBERS, *steady) == pytest.approx(0.0, abs=0.007)
    light = -np.log(1 + 0.05 * rng.standard_normal(400))
    assert flicker(angles, NUMBERS, *(steady + light)) == pytest.approx(0.05, rel=0.1)
    some = rng.permutation(400)  # the order of arrival does not count
    order = angles[some], NUMBERS[some], *(steady + light)[:, some]
    assert flicker(*order) == pytest.approx(flicker(angles, NUMBERS, *(steady + light)), rel=1e-9)


def test_a_sample_at_one_edge_does_not_flicker_nor_does_one_at_both_for_a_moment() -> None:
    rng = np.random.default_rng(5)
    left, right = rng.normal(0, 0.003, (2, 400))
    texture = np.abs(rng.normal(0, 0.2, 400))
    assert flicker(TURN, NUMBERS, left + texture, right) == pytest.approx(0.0, abs=0.01)
    slab = np.where(np.abs(NUMBERS - 200) < 3, 1.0, 0.0)
    assert flicker(TURN, NUMBERS, left + slab, right + slab) < 0.01
    assert flicker(TURN[:15], NUMBERS[:15], left[:15], right[:15]) is None


@pytest.mark.parametrize("center", [39.5, 43.0])
def test_the_error_of_flicker_is_that_of_filtered_backprojection(center: float) -> None:
    rng = np.random.default_rng(6)
    columns, n, noise = 80, 120, 0.01
    box = np.convolve(np.ones(columns), ramp_kernel(np.arange(-160, 161)))[160 - 40 : 160 + columns + 40]
    r, phi = 0.9 * columns / 2 * np.sqrt(rng.uniform(size=3000)), rng.uniform(0, 2 * np.pi, 3000)
    theta = np.arange(n) * np.pi / n
    at = center + r * np.cos(theta[:, None] - phi) + 40
    added = np.interp(at, np.arange(box.size), box) * np.pi / n
    light = 0.05 * rng.standard_normal((300, n))
    rms = float(np.sqrt(np.mean((light @ added) ** 2)))
    found = flicker_error(0.05, columns, center, noise)
    assert found == pytest.approx(rms / (noise * np.pi / np.sqrt(12 * n)), rel=0.05)
    assert flicker_error(0.05, columns, center, 0.0) is None
