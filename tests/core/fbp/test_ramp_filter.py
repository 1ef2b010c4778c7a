from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import RampFilter, angular_weights, edge_taper, ramp_gain, ramp_kernel
from streamer.core.fbp.window import WINDOWS, window_gain
from streamer.core.masks import circle_mask
from streamer.frames import BadInput
from streamer.phantoms import Ellipse, gaussians, half_turn, image, shepp_logan, sinogram

GOLDEN = np.pi * (np.sqrt(5) - 1) / 2


@pytest.mark.parametrize("columns", [2, 7, 64, 101])
def test_ramp_is_the_linear_convolution_with_the_spatial_kernel(columns: int) -> None:
    rows = np.random.default_rng(0).normal(size=(3, columns)).astype(np.float32)
    lag = np.arange(-columns + 1, columns)
    with np.errstate(divide="ignore"):
        kernel = np.where(lag == 0, 0.25, np.where(lag % 2, -1 / (np.pi * lag) ** 2, 0))
    expected = [np.convolve(row, kernel)[columns - 1 : 2 * columns - 1] for row in rows]
    np.testing.assert_allclose(RampFilter(columns).apply(rows), expected, atol=2e-6)


def test_padding_is_at_least_one_and_a_half_widths() -> None:
    for columns in (2, 100, 2047, 4096):
        assert RampFilter(columns).length >= 1.5 * columns
        assert RampFilter(columns, extend=True).length >= 3 * columns


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_keep_low_frequencies(window: str) -> None:
    ramp, plain = RampFilter(128, window), RampFilter(128)
    np.testing.assert_allclose(ramp.gain[:4], plain.gain[:4], rtol=2e-2)
    assert np.all(ramp.gain <= plain.gain + 1e-7)


def test_filter_writes_where_it_is_told_and_refuses_other_widths() -> None:
    rows, out = np.ones((2, 3, 16), np.float32), np.empty((2, 3, 16), np.float32)
    assert RampFilter(16).apply(rows, out=out) is out
    with pytest.raises(BadInput, match="17"):
        RampFilter(16).apply(np.ones((2, 17), np.float32))
    with pytest.raises(BadInput, match="hanning"):
        RampFilter(16, "hanning")


def test_extension_takes_the_cupping_out_of_a_truncated_scan(numba_backend: Backend) -> None:
    n, seen = 256, 128
    angles = half_turn(n)
    lines = sinogram(shepp_logan(n), seen, angles)[:, None]
    truth = image(shepp_logan(n), n)[64:192, 64:192]
    mask = circle_mask(seen, 0.95)

    def error(extend: bool) -> float:
        result = reconstruct_block(numba_backend, lines, angles, (seen - 1) / 2, extend=extend)[0]
        return float(np.sqrt(np.mean((result - truth)[mask] ** 2)))

    assert error(True) < 0.014 < 0.15 < error(False)


TRAPS = {
    "half turn": (half_turn(192), 5e-4),
    "0 to 180 inclusive": (np.linspace(0, np.pi, 193), 5e-4),
    "0 to 199 degrees": (np.arange(200) * np.pi / 180, 1.2e-3),
    "full turn": (np.arange(192) * 2 * np.pi / 192, 5e-4),
    "full turn, odd": (np.arange(193) * 2 * np.pi / 193, 5e-4),
    "two turns": (np.arange(400) * 4 * np.pi / 400, 5e-4),
    "golden": (np.arange(300) * GOLDEN, 1.0e-3),
    "negative direction": (-half_turn(192) + 2.0, 5e-4),
    "random": (np.random.default_rng(0).uniform(0, np.pi, 300), 6e-3),
    "five frames lost": (np.delete(half_turn(192), [3, 4, 90, 91, 92]), 8e-3),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_weights_make_every_scan_quantitative(numba_backend: Backend, trap: str) -> None:
    angles, limit = TRAPS[trap]
    n = 128
    assert angular_weights(angles).sum() == pytest.approx(np.pi)
    blobs = [type(g)(g.value, 1.6 * g.sigma, g.x, g.y) for g in gaussians(n)]
    result = reconstruct_block(numba_backend, sinogram(blobs, n, angles)[:, None], angles, (n - 1) / 2)[0]
    error = (result - image(blobs, n))[circle_mask(n, 0.95)]
    assert np.sqrt(np.mean(error**2)) < limit
    assert abs(error.mean()) < 1e-4


@given(
    st.integers(1, 300),
    st.floats(-10, 10),
    st.sampled_from(["even", "golden", "random"]),
    st.randoms(use_true_random=False),
)
def test_weights_are_positive_cover_the_half_turn_and_do_not_mind_order(
    count: int, start: float, kind: str, random: object
) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    steps = {"even": np.pi / count, "golden": GOLDEN}
    angles = rng.uniform(0, np.pi, count) if kind == "random" else start + np.arange(count) * steps[kind]
    weights = angular_weights(angles)
    assert weights.min() >= 0
    assert weights.sum() <= np.pi * (1 + 1e-12)
    if kind != "random":
        assert weights.sum() == pytest.approx(np.pi)
    order = rng.permutation(count)
    np.testing.assert_allclose(angular_weights(angles[order]), weights[order], atol=1e-9)


def test_views_that_coincide_share_their_weight() -> None:
    weights = angular_weights(np.concatenate([half_turn(50), half_turn(50) + np.pi, half_turn(50) - np.pi]))
    np.testing.assert_allclose(weights, np.pi / 150, rtol=1e-9)
    inclusive = angular_weights(np.linspace(0, np.pi, 181))
    np.testing.assert_allclose(inclusive[[0, -1]], np.pi / 360, rtol=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_a_prefix_covers_its_own_part_only(share: float) -> None:
    angles = half_turn(1000)[: int(1000 * share)]
    weights = angular_weights(angles)
    np.testing.assert_allclose(weights, np.pi / 1000, rtol=1e-6)


def test_a_missing_wedge_is_not_filled() -> None:
    angles = np.deg2rad(np.r_[0:60, 100:180].astype(float))
    assert angular_weights(angles).sum() == pytest.approx(np.deg2rad(140), rel=0.01)


def test_an_angle_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput):
        angular_weights(np.array([0.0, np.nan]))
    assert angular_weights(np.zeros(0)).size == 0


def test_uniform_disc_has_its_value(numba_backend: Backend) -> None:
    angles = half_turn(128)
    lines = sinogram([Ellipse(0.02, 40, 40, 3.0, -5.0)], 128, angles)[:, None]
    result = reconstruct_block(numba_backend, lines, angles, 63.5)[0]
    assert result[58 - 10 : 58 + 10, 66 - 10 : 66 + 10].mean() == pytest.approx(0.02, rel=2e-3)
    assert abs(result[5:15, 55:75].mean()) < 1e-4


def test_the_kernel_is_that_of_kak_and_slaney() -> None:
    found = ramp_kernel(np.arange(-5, 6))
    odd = -1 / np.pi**2
    np.testing.assert_allclose(found, [odd / 25, 0, odd / 9, 0, odd, 0.25, odd, 0, odd / 9, 0, odd / 25])
    # A constant is filtered to nothing: 1/4 = 2/π² · (1 + 1/9 + 1/25 + …).
    assert ramp_kernel(np.arange(-100_001, 100_002)).sum() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("length", [64, 100, 101])
def test_the_gain_is_the_frequency_but_at_zero(length: int) -> None:
    frequency = np.fft.rfftfreq(length)
    gain = ramp_gain(length, "ramp")
    assert gain.shape == frequency.shape
    np.testing.assert_allclose(gain[1:], frequency[1:], atol=0.21 / length)
    assert 0 < gain[0] < 0.5 / length  # a sampled frequency would be 0 there
    np.testing.assert_allclose(ramp_gain(length, "hann"), gain * window_gain("hann", frequency))


def test_the_taper_falls_as_a_cosine() -> None:
    assert edge_taper(100, False).size == 0
    taper = edge_taper(7, True)
    np.testing.assert_allclose(taper, np.cos(np.pi * np.arange(1, 5) / 10) ** 2, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "half", "full"),
    [
        ("ramp", 1, 1),
        ("linear", (np.sin(np.pi / 4) / (np.pi / 4)) ** 2, (2 / np.pi) ** 2),
        ("shepp-logan", np.sin(np.pi / 4) / (np.pi / 4), 2 / np.pi),
        ("cosine", np.sqrt(0.5), 0),
        ("hamming", 0.54, 0.08),
        ("hann", 0.5, 0),
    ],
)
def test_windows_at_half_and_at_the_whole_limit(window: str, half: float, full: float) -> None:
    np.testing.assert_allclose(window_gain(window, np.array([0.0, 0.25, 0.5])), [1, half, full], atol=1e-12)


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(BadInput, match="choose one of ramp, linear"):
        RampFilter(16, "boxcar")
