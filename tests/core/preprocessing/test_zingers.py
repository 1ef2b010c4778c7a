from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import median_filter

from streamer.core.preprocessing.zingers import LEAST_EXCESS, beam_noise, remove_zingers
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


def by_definition(frame: np.ndarray, limit: float) -> tuple[np.ndarray, int]:
    """The frame without zingers and their number, from the median filter of scipy."""
    median = median_filter(frame, 3, mode="mirror")
    excess = np.expm1(median.astype(np.float64) - frame)
    hit = (frame < median) & (excess > limit * np.exp(0.5 * np.maximum(median, 0)))
    return np.where(hit, median, frame), int(hit.sum())


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (7, 130), (40, 65), (200, 64)])
@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_zingers_are_those_of_the_definition(shape: tuple[int, int], noise: float) -> None:
    rng = np.random.default_rng(sum(shape))
    frame = (rng.uniform(0, 3) + rng.normal(0, noise, shape)).astype(np.float32)
    hit = rng.random(shape) < 0.01
    frame[hit] -= rng.uniform(0, 1, np.count_nonzero(hit)).astype(np.float32)
    wanted, count = by_definition(frame, max(8 * noise, LEAST_EXCESS))
    for threads in (1, 2, 5):
        out = frame.copy()
        assert remove_zingers(out, 8, noise, threads, most=1.0) == count
        np.testing.assert_array_equal(out, wanted)


def test_four_pixels_that_touch_are_found_and_five_are_not() -> None:
    frame = np.ones((9, 9), np.float32)
    frame[3:5, 3:5] = 0.0
    assert remove_zingers(frame, noise=0.01, most=1.0) == 4
    assert (frame == 1).all()
    frame[3:5, 3:5] = frame[2, 3] = 0.0
    # In the middle of the left column five of the nine pixels are bright: their median is as bright as the pixel.
    assert remove_zingers(frame, noise=0.01, most=1.0) < 5


@pytest.mark.parametrize("level", [0.0, 1.0, 3.0])
def test_the_limit_grows_with_the_photon_noise_behind_the_sample(level: float) -> None:
    noise, sigmas = 0.02, 8.0
    least = np.log1p(noise * sigmas * np.exp(level / 2))
    for factor, count in ((0.98, 0), (1.02, 1)):
        frame = np.full((9, 9), level, np.float32)
        frame[4, 4] -= np.float32(factor * least)
        assert remove_zingers(frame, sigmas, noise) == count


def test_dark_spots_stay() -> None:
    frame = np.zeros((20, 20), np.float32)
    frame[5, 5] = 4.0
    before = frame.copy()
    assert remove_zingers(frame, noise=0.01) == 0
    np.testing.assert_array_equal(frame, before)


def test_a_view_is_corrected_in_place() -> None:
    _, bad, _ = projection(1, 200)
    wide = np.zeros((200, 400), np.float32)
    wide[:, ::2] = bad
    count = remove_zingers(bad)
    assert count > 0
    assert remove_zingers(wide[:, ::2]) == count
    np.testing.assert_array_equal(wide[:, ::2], bad)
    assert not wide[:, 1::2].any()


def test_a_slope_and_a_frame_of_two_columns_have_no_noise() -> None:
    slope = np.tile(np.arange(50, dtype=np.float32), (10, 1))
    assert beam_noise(slope) == 0
    assert beam_noise(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)) == 0


def test_noise_behind_a_sample_is_counted_as_that_of_the_beam() -> None:
    rng = np.random.default_rng(4)
    behind = (2 + rng.normal(0, 0.01 * np.e, (300, 300))).astype(np.float32)
    assert beam_noise(behind) == pytest.approx(0.01, rel=0.03)


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(BadInput):
        remove_zingers(np.zeros((9, 9), np.float32), sigmas=0)
    with pytest.raises(BadInput):
        remove_zingers(np.zeros(9, np.float32))
