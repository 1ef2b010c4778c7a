"""Layouts against wide detectors, straight axes and the truth; what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import gaussians, half_turn, image, random_body, shepp_logan, sinogram
from streamer.pipeline.layout.choice import choose_layout
from streamer.pipeline.layout.evidence import sinogram_evidence
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.options import LayoutOptions

FULL = np.arange(721) * 2 * np.pi / 721
UNKNOWN = CenterEstimate.unknown("none")


def scan(columns: int, rows: int = 1, angles: np.ndarray = FULL, range_deg: float = 360.0, **more) -> ScanSpec:
    return ScanSpec("s", "s", rows, columns, len(angles), range_deg=range_deg, **more)


def rmse(found: np.ndarray, truth: np.ndarray, share: float = 0.95) -> float:
    grid = np.arange(len(truth)) - (len(truth) - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < share * len(truth) / 2
    return float(np.sqrt(np.mean((found - truth)[disc] ** 2)))


def rebuilt(numba_backend: Backend, layout: Layout, lines: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The slice of one sinogram (angles, columns) of the detector."""
    placed = layout.place(np.ascontiguousarray(lines[:, None]))
    return reconstruct_rows_fourier(
        numba_backend, placed, angles, layout.weights(angles), layout.center(), extend=layout.extend
    )[0]


def test_plain_changes_nothing() -> None:
    layout = Layout(8, 100, 47.3)
    rows = np.random.default_rng(0).normal(size=(3, 8, 100)).astype(np.float32)
    assert layout.place(rows) is rows
    assert not layout.changes
    assert not layout.needs_all_rows
    assert (layout.width, layout.center(), layout.center(50.0)) == (100, 47.3, 50.0)
    assert layout.source_rows(2, 5) == (2, 5)
    out = np.empty_like(rows)
    assert layout.place(rows, out) is out
    assert np.array_equal(out, rows)
    angles = half_turn(40)
    np.testing.assert_allclose(layout.weights(angles), angular_weights(angles))


@pytest.mark.parametrize("columns", [200, 201])
@pytest.mark.parametrize("center", [165.37, 40.0, 31.5])
@pytest.mark.parametrize("kind", ["all", "lost", "golden"])
def test_half_acquisition_is_as_good_as_a_wide_detector(
    numba_backend: Backend, columns: int, center: float, kind: str
) -> None:
    angles = {
        "all": FULL,
        "lost": np.delete(FULL, np.random.default_rng(1).choice(721, 36, replace=False)),
        "golden": np.mod(np.arange(721) * np.pi * (np.sqrt(5) - 1), 2 * np.pi),
    }[kind]
    layout = Layout(1, columns, center, half=True)
    assert layout.period == 2 * np.pi
    assert abs(layout.center() - (layout.width - 1) / 2) <= 0.25
    assert layout.weights(angles).sum() == pytest.approx(2 * np.pi)
    parts, truth = gaussians(layout.width), image(gaussians(layout.width), layout.width)
    found = rebuilt(numba_backend, layout, sinogram(parts, columns, angles, center), angles)
    whole = sinogram(parts, layout.width, angles)
    wide = reconstruct_rows_fourier(
        numba_backend, whole[:, None], angles, angular_weights(angles), (layout.width - 1) / 2
    )[0]
    assert rmse(found, truth) < max(1.1 * rmse(wide, truth), 3e-4 if kind == "all" else 1.5e-3)


@pytest.mark.parametrize("center", [170.2, 44.6])
def test_half_acquisition_of_a_sample_that_is_wider_still(numba_backend: Backend, center: float) -> None:
    """Nobody sees its rim: the far edges are carried on, as good as on a detector of the whole width."""
    columns = 216
    layout = Layout(1, columns, center, half=True)
    width = layout.width
    size = int(1.6 * width) + (int(1.6 * width) - width) % 2
    parts, spare = random_body(np.random.default_rng(1), int(1.7 * size)), (size - width) // 2
    truth = image(parts, size)[spare : spare + width, spare : spare + width]
    lines = sinogram(parts, columns, FULL, center)
    spec = scan(columns)
    chosen = choose_layout(spec, sinogram_evidence(spec, FULL, lines[:, None], UNKNOWN))
    assert chosen.half
    assert chosen.extend
    assert "carried on" in chosen.reason
    assert chosen.detector_center == pytest.approx(center, abs=0.1)
    whole = sinogram(parts, width, FULL)[:, None]
    wide = reconstruct_rows_fourier(numba_backend, whole, FULL, angular_weights(FULL), (width - 1) / 2, extend=True)[0]
    extended = rmse(rebuilt(numba_backend, chosen.at(center), lines, FULL), truth, 0.9)
    assert extended < 1.02 * rmse(wide, truth, 0.9)
    assert extended < 0.6 * rmse(rebuilt(numba_backend, layout, lines, FULL), truth, 0.9)


@pytest.mark.parametrize(("factor", "extend"), [(1.0, False), (1.1, False), (1.5, True), (2.0, True)])
def test_a_cut_sample_is_carried_on_where_that_is_better(numba_backend: Backend, factor: float, extend: bool) -> None:
    columns, angles = 200, half_turn(300)
    size = 2 * round(100 * factor)
    spare = (size - columns) // 2
    parts = random_body(np.random.default_rng(1), int(1.6 * size))
    lines = sinogram(parts, columns, angles)
    truth = image(parts, size)[spare : spare + columns, spare : spare + columns]
    spec = scan(columns, 1, angles, 180.0)
    estimate = CenterEstimate(99.5, 0.9, 0.1, "pairs")
    chosen = choose_layout(spec, sinogram_evidence(spec, angles, lines[:, None], estimate))
    assert chosen.extend == extend
    other = Layout(1, columns, 99.5, extend=not extend)
    here, there = (rmse(rebuilt(numba_backend, layout, lines, angles), truth, 0.9) for layout in (chosen, other))
    assert here < 1.01 * there
    assert here < 0.045 * truth.max()


@pytest.mark.parametrize(
    ("name", "edges", "of_uniform"),
    [
        ("half", 0.0150, 1.01),
        ("half, both ends", 0.0150, 0.98),
        ("over", 0.0150, 0.25),
        ("full, odd", 0.0150, 1.01),
        ("full, even", 0.0190, 1.01),
        ("golden", 0.0165, 0.83),
        ("interlaced", 0.0150, 1.01),
        ("lost", 0.0157, 0.85),
        ("random", 0.0345, 0.55),
    ],
)
def test_angles_of_every_kind_against_the_truth(
    numba_backend: Backend, name: str, edges: float, of_uniform: float
) -> None:
    """Shepp-Logan of 512 columns, where 0.0149 is what a complete half turn leaves; smooth Gaussians to 1.5e-4."""
    n = 512
    angles = {
        "half": half_turn(n),
        "half, both ends": np.linspace(0, np.pi, n + 1),
        "over": np.deg2rad(np.arange(0, 199, 180 / n)),
        "full, odd": np.arange(n + 1) * 2 * np.pi / (n + 1),
        "full, even": np.arange(n) * 2 * np.pi / n,
        "golden": np.arange(400) * np.pi * (np.sqrt(5) - 1) / 2,
        "interlaced": np.concatenate([half_turn(n)[first::4] for first in (0, 2, 1, 3)]),
        "lost": np.delete(half_turn(n), np.random.default_rng(0).choice(n, 26, replace=False)),
        "random": np.random.default_rng(2).uniform(0, np.pi, 400),
    }[name]
    layout = Layout(1, n, (n - 1) / 2)
    uniform = np.full(len(angles), np.pi / len(angles))
    truth, lines = image(shepp_logan(n), n), sinogram(shepp_logan(n), n, angles)
    found = rmse(rebuilt(numba_backend, layout, lines, angles), truth)
    plain = reconstruct_rows_fourier(numba_backend, lines[:, None], angles, uniform, (n - 1) / 2)[0]
    assert found < edges
    assert found < of_uniform * rmse(plain, truth)
    smooth = rebuilt(numba_backend, layout, sinogram(gaussians(n), n, angles), angles)
    assert rmse(smooth, image(gaussians(n), n)) < (1e-3 if name == "random" else 1.5e-4)


def test_a_missing_wedge_is_neither_filled_nor_overweighted() -> None:
    angles = half_turn(360)[:280]
    for order in (slice(None), np.random.default_rng(0).permutation(280)):
        weights = Layout(1, 64, 31.5).weights(angles[order])
        np.testing.assert_allclose(weights, np.pi / 360, rtol=1e-6)
    quarter = FULL[:540]
    np.testing.assert_allclose(Layout(1, 64, 50.0, half=True).weights(quarter), 2 * np.pi / 721, rtol=1e-6)


def balls(rng: np.random.Generator, rows: int, reach: float) -> list[tuple[float, ...]]:
    """(value, sigma, x, y, z) of round Gaussians up to ``reach`` from the axis."""
    angle, radius = rng.uniform(0, 2 * np.pi, 40), reach * np.sqrt(rng.uniform(0, 1, 40))
    z, sigma = rng.uniform(-0.5, 0.5, 40) * rows, rng.uniform(3, 8, 40)
    return [(0.1, s, r * np.cos(a), r * np.sin(a), h) for s, r, a, h in zip(sigma, radius, angle, z, strict=True)]


def views(parts: list, rows: int, columns: int, angles: np.ndarray, center: float, tilt: float) -> np.ndarray:
    y, x = np.meshgrid(np.arange(rows) - (rows - 1) / 2, np.arange(columns) - center, indexing="ij")
    s, z = np.cos(tilt) * x - np.sin(tilt) * y, np.sin(tilt) * x + np.cos(tilt) * y
    out = np.zeros((len(angles), rows, columns), np.float32)
    for value, sigma, bx, by, bz in parts:
        height = value * sigma * np.sqrt(2 * np.pi) * np.exp(-0.5 * ((z - bz) / sigma) ** 2)
        for frame, theta in zip(out, angles, strict=True):
            frame += height * np.exp(-0.5 * ((s - bx * np.cos(theta) - by * np.sin(theta)) / sigma) ** 2)
    return out


def test_tilted_half_acquisition_by_blocks_of_rows(numba_backend: Backend) -> None:
    rng = np.random.default_rng(3)
    rows, columns, center, tilt = 96, 120, 92.3, np.deg2rad(0.3)
    angles = np.arange(241) * 2 * np.pi / 241
    parts = balls(rng, rows, 84)
    frames = views(parts, rows, columns, angles, center, tilt)
    heights = np.linspace(6, 89, 8)
    bands = frames[:, heights.astype(int)]
    spec = scan(columns, rows, angles)
    seen = replace(sinogram_evidence(spec, angles, bands, UNKNOWN), band_rows=heights.astype(int).tolist())
    chosen = choose_layout(spec, seen)
    assert chosen.half
    assert np.rad2deg(chosen.tilt_rad) == pytest.approx(0.3, abs=0.03)
    assert chosen.detector_center == pytest.approx(center, abs=0.1)
    assert chosen.needs_all_rows
    assert not choose_layout(spec, seen, LayoutOptions(tilt="off")).tilt_rad
    layout = Layout(rows, columns, center, True, False, tilt)
    first, last = 80, 86
    a, b = layout.source_rows(first, last)
    assert 0 < a < first < last < b < rows
    part = layout.place(frames[:, a:b], first_row=a)[:, first - a : last - a]
    np.testing.assert_allclose(part, layout.place(frames)[:, first:last], atol=1e-5)
    np.testing.assert_allclose(layout.place(frames[7], threads=2)[first:last], part[7], atol=1e-5)
    grid = np.arange(layout.width) - (layout.width - 1) / 2
    z = 83 - (rows - 1) / 2
    truth = sum(
        value * np.exp(-0.5 * ((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2 + (z - bz) ** 2) / sigma**2)
        for value, sigma, x, y, bz in parts
    )
    results = {
        name: reconstruct_rows_fourier(
            numba_backend,
            np.ascontiguousarray(plan.place(frames)[:, 83:84]),
            angles,
            plan.weights(angles),
            plan.center(),
        )[0]
        for name, plan in (("found", chosen), ("leaning", Layout(rows, columns, center, True)))
    }
    assert rmse(results["found"], truth) < 0.25 * rmse(results["leaning"], truth)


def test_late_choice_is_early_choice() -> None:
    rng = np.random.default_rng(4)
    frames = rng.normal(size=(5, 24, 60)).astype(np.float32)
    first = Layout(24, 60, 44.0, True, False, 0.01)
    late = first.at(45.5)
    whole = late.place(frames)
    one_by_one = np.full((5, 24, late.width), np.nan, np.float32)
    for frame, out in zip(frames, one_by_one, strict=True):
        assert late.place(frame, out) is out
    assert np.array_equal(whole, one_by_one)
    assert late == Layout(24, 60, 45.5, True, False, 0.01, "told later")
    assert late.width != first.width
    assert late.center(45.0) == late.center() - 0.5


def test_refusals() -> None:
    with pytest.raises(BadInput, match="axis on the detector"):
        Layout(4, 100, 130.0, half=True)
    with pytest.raises(BadInput, match="number"):
        Layout(4, 100, np.nan)
    with pytest.raises(BadInput, match="detector's"):
        Layout(4, 100, 50.0, tilt_rad=0.3)
    layout = Layout(4, 100, 80.0, half=True)
    rows = np.zeros((2, 4, 100), np.float32)
    for frames, out, first in (
        (rows[..., :90], None, 0),
        (rows, None, 1),
        (rows, np.zeros((2, 4, 100), np.float32), 0),
        (rows[0, 0], None, 0),
    ):
        with pytest.raises(BadInput):
            layout.place(frames, out, first)
