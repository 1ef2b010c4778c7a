from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.opposite_views import PairMatch
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.planes.plane import LivePlanes, orthogonal_planes
from streamer.core.quality.frc import fourier_ring_correlation, frc_resolution
from streamer.core.quality.verdict import Limits, judge, motion_px, sample_signal, saturated_share
from streamer.frames import BadInput, Decision, Quality
from streamer.phantoms import half_turn, random_body, sinogram

GOOD = Quality(
    projections=1000,
    expected=1000,
    coverage=1.0,
    snr=20.0,
    peak_attenuation=1.4,
    center_px=511.6,
    center_confidence=0.95,
    center_offset_px=0.1,
    motion_px=0.1,
    saturation=0.0,
    flat_drift=0.01,
    truncation=0.0,
    resolution_px=2.4,
    flats=20,
    darks=20,
)

TABLE = [
    ({}, True, Decision.ENOUGH, "1000 of 1000"),
    ({}, False, Decision.ENOUGH, "resolution 2.4 px"),
    ({"resolution_px": None}, False, Decision.CONTINUE, "nothing wrong"),
    ({"resolution_px": 5.1}, False, Decision.CONTINUE, "nothing wrong"),
    ({"projections": 0, "coverage": 0.0}, False, Decision.CONTINUE, ""),
    ({"projections": 0, "coverage": 0.0}, True, Decision.UNKNOWN, "no projection"),
    ({"flats": 0}, True, Decision.UNKNOWN, "no flats"),
    ({"unlit": 0.5, "snr": 0.0}, True, Decision.UNKNOWN, "no beam in 50 % of the pixels: was the shutter closed?"),
    ({"unlit": 0.3}, True, Decision.ENOUGH, "1000 of 1000"),
    ({"snr": 0.1}, True, Decision.UNKNOWN, "no sample in the beam"),
    ({"peak_attenuation": 0.001}, False, Decision.UNKNOWN, "no sample in the beam"),
    ({"snr": 0.0, "motion_px": 9.0, "coverage": 0.2}, True, Decision.UNKNOWN, "no sample in the beam"),
    ({"motion_px": 3.21}, True, Decision.RETAKE, "3.2 px"),
    ({"motion_px": 3.21, "coverage": 0.6}, False, Decision.RETAKE, "3.2 px"),
    ({"motion_px": 3.21, "coverage": 0.3}, False, Decision.CONTINUE, ""),
    ({"motion_px": 3.21, "center_offset_px": 99.0}, True, Decision.RETAKE, "moved"),
    ({"center_offset_px": 80.0}, True, Decision.REALIGN, "80.0 px to the right"),
    ({"center_offset_px": -80.0}, False, Decision.REALIGN, "80.0 px to the left"),
    ({"center_offset_px": 80.0, "center_confidence": 0.6}, False, Decision.CONTINUE, ""),
    ({"center_offset_px": 80.0, "center_confidence": 0.3}, True, Decision.ENOUGH, ""),
    ({"center_offset_px": 40.0}, True, Decision.ENOUGH, ""),
    ({"missing": 60, "corrupt": 20}, True, Decision.RETAKE, "80 of 1000"),
    ({"missing": 80}, False, Decision.CONTINUE, ""),
    ({"coverage": 0.9}, True, Decision.RETAKE, "90.0 %"),
    ({"coverage": 0.4}, False, Decision.CONTINUE, "40 %"),
    ({"saturation": 0.2}, False, Decision.RETAKE, "20.0 % of the pixels are saturated"),
    ({"resolution_px": 9.0}, True, Decision.RETAKE, "9.0 px"),
    ({"center_px": None, "center_offset_px": None, "center_confidence": 0.0}, True, Decision.UNKNOWN, "not found"),
    ({"flat_drift": 0.3}, True, Decision.ENOUGH, "30 %"),
    ({"truncation": 0.7}, True, Decision.ENOUGH, "70 %"),
    (
        {
            "snr": None,
            "peak_attenuation": None,
            "motion_px": None,
            "saturation": None,
            "flat_drift": None,
            "truncation": None,
            "resolution_px": None,
        },
        True,
        Decision.ENOUGH,
        "",
    ),
]


@pytest.mark.parametrize(("change", "final", "decision", "words"), TABLE)
def test_judgement(change: dict[str, object], final: bool, decision: Decision, words: str) -> None:
    verdict = judge(replace(GOOD, **change), Limits(max_resolution_px=5.0), final, columns=1024)
    assert verdict.decision is decision
    assert verdict.final is final
    assert words in " | ".join(verdict.reasons)
    assert verdict.reasons


def test_all_faults_are_told_the_deciding_one_first() -> None:
    bad = replace(GOOD, motion_px=4.0, center_offset_px=100.0, coverage=0.5)
    verdict = judge(bad, Limits(), True, columns=1024)
    assert [word in reason for word, reason in zip(("moved", "axis", "covered"), verdict.reasons, strict=True)] == [
        True
    ] * 3


def test_without_the_width_of_the_detector_the_axis_is_not_judged() -> None:
    assert judge(replace(GOOD, center_offset_px=300.0), Limits(), True).decision is Decision.ENOUGH


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


def test_more_noise_means_less_resolution(numba_backend: Backend) -> None:
    n = 128
    angles = half_turn(180)
    lines = sinogram(random_body(np.random.default_rng(0), n), n, angles)
    found = []
    for sigma in (0.002, 0.05, 0.4):
        noisy = lines + np.random.default_rng(1).normal(0, sigma, lines.shape).astype(np.float32)
        live = LivePlanes(numba_backend, orthogonal_planes(1, n)[:1], 1, n, (n - 1) / 2)
        for angle, line in zip(angles, noisy, strict=True):
            live.add(RampFilter(n).apply(line[None].astype(np.float32)), float(angle))
        halves = live.half_images()
        assert halves is not None
        found.append(frc_resolution(*halves) or float(n))
    assert 2.0 <= found[0] < found[1] < found[2]


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


def test_motion_takes_the_drop_of_a_pair_into_account(numba_backend: Backend) -> None:
    track = MomentTrack(numba_backend)
    assert motion_px(track) is None
    assert motion_px(track, PairMatch(10.0, 2.5, 0.05)) == 2.5
    assert motion_px(track, PairMatch(10.0, 0.1, 0.05)) == 0.0
    assert motion_px(track, PairMatch(10.0, 2.5, 0.4)) is None
    assert motion_px(track, PairMatch(None, 2.5, 0.6)) is None
