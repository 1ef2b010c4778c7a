"""The phantoms are judged by numerical integration, as everything else is judged by them."""

import doctest

import numpy as np
import pytest

from streamer import phantoms
from streamer.phantoms import (
    Ellipse,
    Gaussian,
    Part,
    body_projections,
    exposures,
    gaussians,
    half_turn,
    image,
    random_body,
    shepp_logan,
    sinogram,
)


@pytest.mark.parametrize("part", [Ellipse(0.7, 9.0, 4.0, 3.0, -5.0, 0.6), Gaussian(0.7, 3.0, -4.0, 6.0)])
@pytest.mark.parametrize("theta", [0.0, 0.4, np.pi / 2, 2.9])
def test_a_line_integral_is_the_integral_along_the_line(part: Part, theta: float) -> None:
    s, depth = np.linspace(-25, 25, 41)[:, None], np.linspace(-40, 40, 16_001)[None, :]
    x, y = s * np.cos(theta) - depth * np.sin(theta), s * np.sin(theta) + depth * np.cos(theta)
    integral = part.at(x, y).sum(axis=1) * 80 / 16_000
    np.testing.assert_allclose(part.line(s[:, 0], theta), integral, atol=0.01)


@pytest.mark.parametrize("parts", [shepp_logan(128), gaussians(128)])
def test_every_projection_holds_the_mass_of_the_image(parts: list[Part]) -> None:
    lines = sinogram(parts, 128, half_turn(7), oversample=8)
    np.testing.assert_allclose(lines.sum(axis=1), image(parts, 128, oversample=8).sum(), rtol=2e-3)


def test_the_axis_is_the_centre_of_what_lies_on_it() -> None:
    line = sinogram([Gaussian(1.0, 4.0, 0.0, 0.0)], 101, half_turn(3), center=42.25)
    np.testing.assert_allclose(line @ np.arange(101) / line.sum(axis=1), 42.25, atol=1e-4)


def test_a_body_fits_its_detector_and_narrows_towards_its_ends() -> None:
    body = random_body(np.random.default_rng(1), 96)
    frames = body_projections(body, 9, 96, half_turn(5), 47.5)
    assert frames.shape == (5, 9, 96)
    assert not frames[:, :, [0, -1]].any()
    seen = (frames > 0).sum(axis=(0, 2))
    assert seen[0] < seen[2] < seen[4] > seen[6] > seen[8]


def test_exposures_are_counts_behind_the_sample() -> None:
    attenuation = np.array([[0.0, 1.0, 30.0]], np.float32)
    assert exposures(attenuation).tolist() == [[40_100, round(40_000 / np.e) + 100, 100]]
    assert exposures(attenuation, beam=1e6).max() == 65_535
    noisy = exposures(np.zeros((100, 100), np.float32), 400.0, 0.0, np.random.default_rng(0)).astype(float)
    assert noisy.mean() == pytest.approx(400, rel=0.01)
    assert noisy.std() == pytest.approx(20, rel=0.05)


def test_the_lines_in_the_docstring_run() -> None:
    assert doctest.testmod(phantoms).failed == 0
    assert doctest.testmod(phantoms).attempted == 4
