from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.zingers import beam_noise, remove_zingers
from streamer.frames import BadInput

COUNTS = 4000


def projection(seed: int, side: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attenuation without and with zingers, and where they are; photon noise behind up to 2.5 of attenuation."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, side)
    truth = 2.5 * np.sqrt(np.maximum(0, 1 - (x[:, None] / 0.7) ** 2 - (x[None] / 0.6) ** 2))
    counts = rng.poisson(COUNTS * np.exp(-truth)).astype(float)
    hit = rng.random(counts.shape) < 2e-4
    hit[100:102, 50:52] = True
    hit[0, 0] = hit[-1, 7] = True
    raised = counts + hit * rng.uniform(3000, 40_000, counts.shape)
    clean, bad = (np.log(COUNTS / np.maximum(c, 0.5)).astype(np.float32) for c in (counts, raised))
    return clean, bad, hit


@pytest.mark.parametrize("seed", range(3))
def test_every_zinger_goes_and_nothing_else(seed: int) -> None:
    clean, bad, hit = projection(seed)
    one, two = bad.copy(), bad.copy()
    assert remove_zingers(one, threads=1) == remove_zingers(two, threads=2)
    assert np.array_equal(one, two)
    assert np.array_equal(one[~hit], bad[~hit])
    noise = 1 / np.sqrt(COUNTS) * np.exp(clean / 2)
    assert (np.abs(one - clean)[hit] < 8 * noise[hit]).all()
    assert (np.abs(bad - clean)[hit] > 8 * noise[hit]).sum() > 0.9 * hit.sum()
    assert remove_zingers(clean) == 0


def test_noise_is_that_of_the_open_beam_in_spite_of_zingers() -> None:
    _, bad, _ = projection(0)
    assert beam_noise(bad) == pytest.approx(1 / np.sqrt(COUNTS), rel=0.05)


def test_a_frame_of_nothing_but_outliers_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    frame = np.where(rng.random((100, 100)) < 0.2, -2.0, 0.0).astype(np.float32)
    before = frame.copy()
    assert remove_zingers(frame, noise=0.01) == -1
    assert np.array_equal(frame, before)
    assert remove_zingers(np.zeros((2, 50), np.float32)) == 0
    with pytest.raises(BadInput, match="float32"):
        remove_zingers(np.zeros((9, 9)))


def test_edges_and_thin_wires_without_noise_are_no_zingers() -> None:
    frame = np.zeros((60, 60), np.float32)
    frame[20:40, 20:40] = 2.0
    frame[:, 50] = 1.0
    before = frame.copy()
    assert remove_zingers(frame) == 0
    assert np.array_equal(frame, before)
