from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.binning import bin_frame, binned, binned_spec, unbinned
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


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_binned_scan(numba_backend: Backend, factor: int) -> None:
    """Frames, axis, pixel size and shape of the binned scan belong together."""
    rng = np.random.default_rng(11)
    rows, center, angles = 12, 81.3, np.linspace(0, np.pi, 91)
    counts = np.round(40000 * np.exp(-body_projections(random_body(rng, 120), rows, 160, angles, center)))
    spec = ScanSpec("s", "s", rows, 160, 91, dtype="<u2", pixel_size_m=1e-6, center_px=center)
    small = binned_spec(spec, factor)
    frames = np.stack([bin_frame(frame, factor, factor) for frame in counts.astype(np.uint16)])
    assert frames.shape[1:] == (small.rows, small.columns)
    assert small.dtype == ("<u2" if factor == 1 else "<f4")
    assert small.pixel_size_m == pytest.approx(factor * 1e-6)
    assert small.center_px is not None
    assert unbinned(small.center_px, factor) == pytest.approx(center)
    found = find_center(numba_backend, -np.log(frames / 40000), angles)
    assert found.center == pytest.approx(small.center_px, abs=0.05)


def test_what_is_not_known_stays_unknown() -> None:
    small = binned_spec(ScanSpec("s", "s", 8, 20, 3), 4)
    assert (small.rows, small.columns, small.pixel_size_m, small.center_px) == (2, 5, None, None)


def test_a_detector_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(BadInput, match="rows"):
        binned_spec(ScanSpec("s", "s", 3, 20, 3), 4)
    for rows, columns in ((8, 1), (1, 12), (0, 1)):
        with pytest.raises(BadInput, match="cannot be binned"):
            bin_frame(np.zeros((7, 11)), rows, columns)
