from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.binning import Reduction, bin_frame, binned, crop, unbinned
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import body_projections, random_body
from tests.core.alignment.recorded import find_center


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_binning_maps_the_centre(numba_backend: Backend, factor: int) -> None:
    rng = np.random.default_rng(8)
    columns, center = 3 * 4 * 40, 247.3
    angles = np.linspace(0, np.pi, 121)
    frames = body_projections(random_body(rng, columns), 16, columns, angles, center)
    small = np.stack([bin_frame(frame, 1, factor, 2) for frame in frames])
    found = find_center(numba_backend, small, angles)
    assert found.center == pytest.approx(binned(center, factor), abs=0.03)
    assert unbinned(found.center, factor) == pytest.approx(center, abs=0.1)


def test_bins_are_means_of_any_type() -> None:
    frame = np.random.default_rng(9).integers(0, 65535, (7, 11), dtype=np.uint16)
    wanted = frame[:6, :9].reshape(3, 2, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(bin_frame(frame, 2, 3, 2), wanted, rtol=1e-6)
    assert binned(0.5, 2) == 0
    assert unbinned(binned(17.3, 4), 4) == pytest.approx(17.3)
    assert np.array_equal(crop(frame, (1, 3), (2, 9)), frame[1:3, 2:9])
    assert crop(frame).shape == frame.shape
    for bad in ((3, 3), (-1, 2), (0, 8)):
        with pytest.raises(BadInput, match="rows"):
            crop(frame, bad)
    with pytest.raises(BadInput):
        bin_frame(frame, 8, 1)


@pytest.mark.parametrize("columns", [None, (12, 145)])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_reduced_scan(numba_backend: Backend, columns: tuple[int, int] | None, factor: int) -> None:
    """Frames, axis, pixel size and shape of the reduced scan belong together."""
    rng = np.random.default_rng(11)
    rows, center, angles = 12, 81.3, np.linspace(0, np.pi, 91)
    body = random_body(rng, 120)
    counts = np.round(40000 * np.exp(-body_projections(body, rows, 160, angles, center))).astype(np.uint16)
    reduction = Reduction((2, 11), columns, factor)
    spec = ScanSpec("s", "s", rows, 160, 91, dtype="<u2", pixel_size_m=1e-6, center_px=center)
    small = reduction.scan(spec)
    frames = np.stack([reduction.apply(frame) for frame in counts])
    assert frames.shape[1:] == (small.rows, small.columns)
    assert frames.dtype == np.dtype(small.dtype)
    assert small.pixel_size_m == pytest.approx(factor * 1e-6)
    assert reduction.detector(small.center_px) == pytest.approx(center)
    found = find_center(numba_backend, -np.log(frames.astype(np.float32) / 40000), angles)
    assert found.center == pytest.approx(small.center_px, abs=0.05)
    first = 0 if columns is None else columns[0]
    wanted = counts[5, 2 : 2 + factor, first : first + factor].mean()
    assert frames[5, 0, 0] == pytest.approx(wanted)
    if factor == 1:
        assert np.shares_memory(reduction.apply(counts[0]), counts[0])
    else:
        out = np.empty(frames.shape[1:], np.float32)
        assert reduction.apply(counts[5], 2, out) is out
        assert np.array_equal(out, frames[5])


def test_reductions_that_leave_nothing() -> None:
    spec = ScanSpec("s", "s", 8, 20, 3)
    with pytest.raises(BadInput, match="binned"):
        Reduction(bin=0)
    for wrong in (Reduction(rows=(3, 9)), Reduction(columns=(5, 5)), Reduction(rows=(-1, 4))):
        with pytest.raises(BadInput, match="do not lie within"):
            wrong.scan(spec)
        with pytest.raises(BadInput, match="do not lie within"):
            wrong.apply(np.zeros((8, 20)))
    with pytest.raises(BadInput, match="rows"):
        Reduction(rows=(0, 3), bin=4).scan(spec)
    with pytest.raises(BadInput, match="cannot be binned"):
        Reduction(rows=(0, 3), bin=4).apply(np.zeros((8, 20)))
