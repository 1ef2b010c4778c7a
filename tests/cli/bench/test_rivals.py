"""What ``streamer bench`` compares with: the plain way makes the right planes, and figures are printed as measured."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.cli.bench import figures, print_table, result
from streamer.cli.bench.figures import COPY_BYTES, FFT_ROWS, Figure, limits_figures
from streamer.cli.bench.plain import PlainPlanes, backproject_lines
from streamer.core.backend.selection import Backend
from streamer.core.jit import as_input
from streamer.core.masks import circle_mask
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import Gaussian, exposures, half_turn, image, sinogram

ROWS, COLUMNS, ANGLES = 6, 65, 120
BODY = [Gaussian(1.0, 5.0, 4.0, -3.0), Gaussian(0.6, 4.0, -12.0, 10.0)]


@pytest.mark.parametrize(("start", "down", "step"), [(3.0, 0.25, 0.9), (25.0, -0.5, -0.8), (-4.0, 1.0, 1.3)])
def test_lines_are_interpolated_between_columns_and_nothing_is_outside(start: float, down: float, step: float) -> None:
    rng = np.random.default_rng(1)
    filtered, height = rng.random((4, 31)).astype(np.float32), np.array([2, 0, 3, 3, 1])
    before = rng.random((5, 40)).astype(np.float32)
    found = before.copy()
    backproject_lines(as_input(filtered), as_input(height), start, down, step, found)
    at = start + down * np.arange(5)[:, None] + step * np.arange(40)
    lines = [np.interp(at[i], np.arange(31), filtered[row], left=0, right=0) for i, row in enumerate(height)]
    np.testing.assert_allclose(found - before, lines, atol=2e-5)


def test_the_plain_way_makes_the_planes_of_the_sample(numba_backend: Backend) -> None:
    angles, strength = half_turn(ANGLES), np.linspace(0.5, 1.5, ROWS)
    attenuation = 0.05 * sinogram(BODY, COLUMNS, angles)[:, None] * strength[:, None]
    correction = FlatFieldCorrection(np.full((ROWS, COLUMNS), 100.0), np.full((ROWS, COLUMNS), 40_100.0))
    plain = PlainPlanes(numba_backend, orthogonal_planes(ROWS, COLUMNS), ROWS, COLUMNS)
    for raw, angle in zip(exposures(attenuation), angles, strict=True):
        plain.add_raw(raw, correction, float(angle))
    found = {name: sums * np.pi / ANGLES for name, sums in plain.sums.items()}
    truth, middle = 0.05 * image(BODY, COLUMNS), COLUMNS // 2
    inside = circle_mask(COLUMNS, 0.9)
    limit = 0.02 * truth.max()
    assert np.abs(found["xy"] - strength[ROWS // 2] * truth)[inside].max() < limit
    within = slice(4, -4)
    assert np.abs(found["xz"] - strength[:, None] * truth[middle])[:, within].max() < 1.5 * limit
    assert np.abs(found["yz"] - strength[:, None] * truth[:, middle])[:, within].max() < 1.5 * limit


def test_limits_are_in_bytes_and_rows_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"copy": [0.5, 9.0, 0.25], "fft": [0.02, 0.01, 0.04]}
    monkeypatch.setattr(figures, "alternate", lambda ways, _seconds: {name: took[name] for name in ways})
    copied, transformed = limits_figures(1.0, 1)
    assert (copied.unit, transformed.unit) == ("GB/s", "rows/s")
    assert [copied.value, transformed.value] == pytest.approx([COPY_BYTES / 0.5 / 1e9, FFT_ROWS / 0.02])


def test_a_ratio_tells_how_many_times_the_plain_way_is_slower(
    numba_backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = [
        Figure("frames", 1234.5, "frames/s", "plain", 411.5),
        Figure("delay", 0.512, "ms", "plain", 0.128),
        Figure("alone", 0.0, "s", "plain", 2.0),
        Figure("error", 0.25, ""),
    ]
    print_table("planes", measured)
    rows = [line.rstrip().split() for line in capsys.readouterr().out.splitlines()]
    cells = [[cell for cell in row if cell not in "│┃"] for row in rows]
    assert ["frames", "1234", "frames/s", "plain", "412", "3"] in cells
    assert ["delay", "0.512", "ms", "plain", "0.128", "0.25"] in cells  # we are slower
    assert ["alone", "0", "s", "plain", "2"] in cells  # nothing can be divided by it
    assert ["error", "0.25"] in cells
    told = result("planes", numba_backend, measured, 0.5)
    assert [figure["ratio"] for figure in told["figures"]] == [pytest.approx(3.0), pytest.approx(0.25), None, None]
    assert (told["backend"], told["threads"], told["machine"]["load"]) == ("numba", 2, 0.5)
