"""The camera's noise, blemishes and reproducibility, and the light that falls on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamer.sim.hardware.beamline import Beam, BeamTraits
from streamer.sim.hardware.detector import Camera, Sensor

IDEAL = Camera(dead_share=0.0, hot_share=0.0, nonlinear_share=0.0)
SHAPE = (64, 128)
EVEN = np.ones(SHAPE, np.float32)
LIGHT = np.ones(SHAPE[0], np.float32)
OPEN = np.full(SHAPE, 65535, np.uint16)


def frames(camera: Camera, transmission: float, count: int, light: float = 1.0) -> np.ndarray:
    sensor = Sensor(camera, *SHAPE, seed=5)
    seen = np.full(SHAPE, round(65535 * transmission), np.uint16)
    return np.array([sensor.expose(seen, EVEN, LIGHT * np.float32(light), (1, k)) for k in range(count)], float)


def test_photon_transfer_has_the_slope_of_the_quantum_sink() -> None:
    """var(DN) = gain·(1 + g)·(mean − dark) + read noise + rounding."""
    levels = [frames(IDEAL, t, 60) for t in (0.02, 0.1, 0.3, 0.6, 1.0)]
    means = [level.mean() for level in levels]
    variances = [level.var(axis=0, ddof=1).mean() for level in levels]
    slope, offset = np.polyfit(means, variances, 1)
    assert slope == pytest.approx(IDEAL.gain * (1 + IDEAL.electrons_per_xray), rel=0.02)
    dark = IDEAL.dark_e * IDEAL.gain
    assert offset + slope * dark == pytest.approx((IDEAL.gain * IDEAL.read_noise_e) ** 2 + 1 / 12, abs=3.0)


def test_dark_frames_have_read_noise_alone() -> None:
    dark = frames(IDEAL, 1.0, 30, light=0.0)
    assert dark.mean() == pytest.approx(IDEAL.dark_e * IDEAL.gain, abs=0.02)
    assert dark.var() == pytest.approx((IDEAL.gain * IDEAL.read_noise_e) ** 2 + 1 / 12, rel=0.02)


def test_flat_corrected_mean_is_the_transmission() -> None:
    dark, flat = frames(IDEAL, 1.0, 40, light=0.0).mean(), frames(IDEAL, 1.0, 40).mean()
    for transmission in (0.05, 0.3, 0.8):
        corrected = (frames(IDEAL, transmission, 40).mean() - dark) / (flat - dark)
        assert corrected == pytest.approx(transmission, abs=3e-4)


def test_too_much_light_saturates_and_never_wraps() -> None:
    bright = frames(IDEAL, 1.0, 2, light=3.0)
    assert (bright == 4095).all()


def test_noise_of_neighbours_and_of_frames_is_independent() -> None:
    noise = frames(IDEAL, 1.0, 50)
    noise -= noise.mean()
    power = (noise**2).mean()
    assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean() / power) < 0.01
    assert abs((noise[:, 1:] * noise[:, :-1]).mean() / power) < 0.01
    assert abs((noise[1:] * noise[:-1]).mean() / power) < 0.01


def test_equal_keys_give_equal_frames_and_others_do_not() -> None:
    one, two, other = (
        Sensor(Camera(), *SHAPE, seed=1),
        Sensor(Camera(), *SHAPE, seed=1),
        Sensor(Camera(), *SHAPE, seed=2),
    )
    same = [sensor.expose(OPEN, EVEN, LIGHT, (3, 7)) for sensor in (one, two)]
    np.testing.assert_array_equal(*same)
    for different in (
        one.expose(OPEN, EVEN, LIGHT, (3, 8)),
        one.expose(OPEN, EVEN, LIGHT, (4, 7)),
        other.expose(OPEN, EVEN, LIGHT, (3, 7)),
    ):
        assert (different != same[0]).mean() > 0.9


def test_dead_and_hot_pixels_stay_where_they_are() -> None:
    camera = dataclasses.replace(IDEAL, dead_share=2e-3, hot_share=2e-3)
    sensor = Sensor(camera, *SHAPE, seed=1)
    frame = sensor.expose(OPEN, EVEN, LIGHT * 0, (1, 0)).reshape(-1)
    assert len(sensor.dead_pixels) == len(sensor.hot_pixels) == round(2e-3 * frame.size)
    assert (frame[sensor.dead_pixels] == 0).all()
    assert (frame[sensor.hot_pixels] > 2000).all()


def test_bent_columns_do_not_divide_out() -> None:
    camera = dataclasses.replace(IDEAL, nonlinear_share=0.05)
    sensor = Sensor(camera, *SHAPE, seed=1)
    half = np.full(SHAPE, 32768, np.uint16)
    mean = [
        np.mean([sensor.expose(seen, EVEN, LIGHT, (1, k)) for k in range(100)], axis=(0, 1)) - 53
        for seen in (half, OPEN)
    ]
    ratio = mean[0] / mean[1]
    odd = np.abs(ratio - np.median(ratio)) > 0.003
    assert 3 <= odd.sum() <= 6  # 5 % of 128 columns are bent, by 1 to 3 %


def test_zingers_are_bright_and_of_the_right_number() -> None:
    camera = dataclasses.replace(IDEAL, zingers_per_px=1e-3)
    plain, hit = frames(IDEAL, 1.0, 40, light=0.1), frames(camera, 1.0, 40, light=0.1)
    changed = hit != plain
    assert changed.sum() == pytest.approx(1e-3 * plain.size, rel=0.25)
    assert (hit - plain)[changed].min() > 1000


def test_beam_is_a_pure_function_of_seed_and_time() -> None:
    one, two = (Beam(BeamTraits(), 64, 80, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.fixed, two.fixed)
    np.testing.assert_array_equal(one.rows(12.5), two.rows(12.5))
    assert one.fixed.shape == (64, 80)
    assert one.fixed.mean() == pytest.approx(1.0, abs=1e-4)
    assert (one.fixed > 0.3).all()


def test_beam_drifts_and_the_ring_is_topped_up() -> None:
    traits = BeamTraits(drift_px=0.5, current_saw=0.01, top_up_s=30.0)
    beam = Beam(traits, 64, 64, seed=1)
    times = np.linspace(0, 400, 2000)
    assert np.std([beam.drift_px(t) for t in times]) == pytest.approx(0.5, rel=0.3)
    assert beam.current(0.0) == 1.0
    assert beam.current(29.9) == pytest.approx(0.99, abs=1e-4)
    assert beam.current(30.1) > 0.9999
    assert np.abs(beam.rows(0.0) - beam.rows(7.0)).max() > 1e-4
