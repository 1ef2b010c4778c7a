from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.signal import dim_noise, sample_signal, saturated_share, voxel_snr
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
