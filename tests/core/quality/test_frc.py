from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.quality.frc import fourier_ring_correlation, frc_resolution
from streamer.core.quality.halves import clear_frequency
from streamer.frames import BadInput
from streamer.phantoms import half_turn, random_body, sinogram


@pytest.mark.parametrize("period", [4.0, 6.0, 10.0])
def test_resolution_of_band_limited_images(period: float) -> None:
    rng = np.random.default_rng(0)
    n = 256
    k = np.fft.fftfreq(n)
    passed = np.hypot(k[:, None], k[None, :]) <= 1 / period
    common = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * passed).real
    # Four times as much signal as noise in each Fourier coefficient that was passed.
    noise = 0.5 * common.std() / np.sqrt(passed.mean())
    halves = [common + rng.normal(0, noise, (n, n)) for _ in range(2)]
    assert frc_resolution(*halves) == pytest.approx(period, rel=0.06)


@pytest.mark.parametrize(("blur", "noise"), [(1.0, 0.05), (1.5, 0.02), (1.0, 0.3)])
def test_correlation_and_resolution_of_a_blurred_field_are_those_of_theory(blur: float, noise: float) -> None:
    """White field blurred by a Gaussian, white noise: each ring correlates as S / (S + N), S = exp(-(2π k σ)²)."""
    rng = np.random.default_rng(0)
    n = 512
    k = np.fft.fftfreq(n)
    gain = np.exp(-2 * (np.pi * blur) ** 2 * (k[:, None] ** 2 + k[None, :] ** 2))
    common = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * gain).real
    halves = [common + rng.normal(0, noise, (n, n)) for _ in range(2)]
    curve = fourier_ring_correlation(*halves)
    power = np.exp(-((2 * np.pi * curve.frequency * blur) ** 2))
    expected = power / (power + noise**2)
    spread = (1 - expected**2) / np.sqrt(curve.samples)
    assert np.percentile(np.abs(curve.correlation - expected)[5:] / spread[5:], 95) < 3
    ring = 2 * np.pi * curve.frequency * n / 2  # coefficients of a ring that are independent, as the images are real
    root = np.sqrt(ring * fourier_window_share(n))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    crossing = curve.frequency[np.flatnonzero((expected < half_bit)[20:])[0] + 20]
    assert frc_resolution(*halves) == pytest.approx(1 / crossing, rel=0.05)


def fourier_window_share(n: int) -> float:
    """Mean square over the image of a window that falls as cos² from half the radius of the inscribed circle on."""
    r = np.hypot(*np.meshgrid(*2 * [np.linspace(-1, 1, n)]))
    fall = np.cos(np.pi / 2 * np.clip(2 * r - 1, 0, 1)) ** 2
    return float(np.mean(fall**2))


def test_unrelated_and_equal_images_are_the_ends_of_the_scale() -> None:
    noise = np.random.default_rng(1).normal(size=(3, 128, 128))
    assert frc_resolution(noise[0], noise[1]) is None
    assert frc_resolution(noise[2], noise[2]) == 2.0
    curve = fourier_ring_correlation(noise[0], noise[1])
    assert np.mean(curve.correlation < curve.threshold) > 0.95
    with pytest.raises(BadInput):
        fourier_ring_correlation(noise[0], noise[1][:, :100])


def test_slices_make_one_curve_with_the_threshold_of_one() -> None:
    rng = np.random.default_rng(2)
    common = np.cumsum(rng.normal(size=(6, 64, 64)), axis=-1)
    halves = [common + rng.normal(size=common.shape) for _ in range(2)]
    together = fourier_ring_correlation(*halves)
    single = [fourier_ring_correlation(*pair) for pair in zip(*halves, strict=True)]
    np.testing.assert_array_equal(together.threshold, single[0].threshold)
    spread = np.std([curve.correlation for curve in single], axis=0)
    assert np.all(np.abs(together.correlation - np.mean([c.correlation for c in single], axis=0)) < spread + 0.02)
    same = fourier_ring_correlation(*(np.stack(3 * [half[0]]) for half in halves))
    np.testing.assert_allclose(same.correlation, single[0].correlation, rtol=1e-9)


def test_more_noise_means_less_resolution(numba_backend: Backend) -> None:
    n = 128
    angles = half_turn(180)
    lines = sinogram(random_body(np.random.default_rng(0), n), n, angles)
    found = []
    for sigma in (0.002, 0.05, 0.4):
        noisy = lines + np.random.default_rng(1).normal(0, sigma, lines.shape).astype(np.float32)
        halves = []
        for k in range(2):
            live = LivePlanes(numba_backend, orthogonal_planes(1, n)[:1], 1, n, (n - 1) / 2)
            live.add(noisy[k::2, None].astype(np.float32), angles[k::2])
            halves.append(live.images()["xy"])
        found.append(frc_resolution(*halves) or float(n))
    assert 2.0 <= found[0] < found[1] < found[2]


@pytest.mark.parametrize("shared", [1.0, 0.4, 0.0, -0.7])
def test_what_the_halves_alias_is_no_resolution(shared: float) -> None:
    """Sharp edges seen by pixels: power f^-5, and that of 1 - f cycles per pixel on top, which correlates by ``shared``
    between the halves; white noise. The mean of the halves correlates with the sample as known from these powers."""
    rng, n = np.random.default_rng(3), 512
    k = np.fft.fftfreq(n)
    f = np.minimum(np.maximum(np.hypot(k[:, None], k[None, :]), 1 / n), 0.5)

    def field(power: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * np.sqrt(power)).real

    noise = 3.0 * 0.43**-5.0  # power in each half, so that half a bit is reached near 0.45 cycles per pixel
    sample, common = field(f**-5.0), field(abs(shared) * (1 - f) ** -5.0)
    halves = [
        sample + sign * common + field((1 - abs(shared)) * (1 - f) ** -5.0) + field(noise * np.ones_like(f))
        for sign in (1.0, np.sign(shared))
    ]
    radius = np.linspace(0.1, 0.499, 4000)
    mean = radius**-5.0 + (1 + shared) / 2 * (1 - radius) ** -5.0 + noise / 2
    half_bit = 0.2071 / 1.2071
    agrees = radius**-5.0 / mean > 2 * half_bit / (1 + half_bit)
    expected = 2.0 if agrees.all() else 1 / radius[np.argmin(agrees)]
    assert frc_resolution(*halves, shared) == pytest.approx(expected, rel=0.035)
    if shared > 0.5:
        assert frc_resolution(*halves) < 0.97 * expected


@pytest.mark.parametrize(("count", "noise"), [(90, 0.3), (110, 0.6), (110, 1.0), (150, 0.6)])
def test_few_angles_in_each_half_are_no_noise_of_the_whole(numba_backend: Backend, count: int, noise: float) -> None:
    """Against slices of many angles without noise, which the whole agrees with further than its halves do."""
    n, bodies, radius = 128, 4, 48.0
    rng = np.random.default_rng(7)
    dots = rng.uniform(-1, 1, (bodies, 60, 2)) * radius / np.sqrt(2)

    def views(angles: np.ndarray) -> np.ndarray:
        place = np.einsum("bkd,da->abk", dots, np.stack([np.cos(angles), np.sin(angles)])) + (n - 1) / 2
        away = np.arange(n)[:, None] - place[:, :, None, :]
        return np.exp(-0.5 * (away / 0.6) ** 2).sum(axis=3).astype(np.float32)

    def slices(rows: np.ndarray, angles: np.ndarray) -> np.ndarray:
        return reconstruct_rows_fourier(numba_backend, rows, angles, angular_weights(angles), (n - 1) / 2, "ramp")

    angles, many = half_turn(count), half_turn(1000)
    seen = views(angles) + rng.normal(0, noise, (count, bodies, n)).astype(np.float32)
    even = np.arange(count) % 2 == 0
    halves = [slices(seen[half], angles[half]) for half in (even, ~even)]
    agrees = fourier_ring_correlation(slices(seen, angles), slices(views(many), many))
    limit = np.sqrt(2 * 0.2071 / (1.2071 + 0.2071))
    differs = np.flatnonzero(agrees.correlation[5:] < limit)
    true = 1 / agrees.frequency[5:][differs[0]]
    clear = clear_frequency(angles, even, radius, n)
    assert 0.1 < clear < 0.3
    assert frc_resolution(*halves, 0.0, clear) == pytest.approx(true, rel=0.1)
    assert frc_resolution(*halves) > 1.15 * true  # by themselves they agree less


def test_pixels_that_are_no_numbers_count_as_nothing() -> None:
    rng = np.random.default_rng(4)
    common = np.cumsum(rng.normal(size=(2, 64, 64)), axis=-1)
    halves = [common + rng.normal(size=common.shape) for _ in range(2)]
    halves[0][:, 20, 30] = 0.0
    expected = fourier_ring_correlation(*halves).correlation
    halves[0][0, 20, 30], halves[0][1, 20, 30] = np.nan, np.inf
    np.testing.assert_allclose(fourier_ring_correlation(*halves).correlation, expected, atol=1e-5)
