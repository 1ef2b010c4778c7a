from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.beam_drift import drift_from_margins, drift_from_monitor, open_margins, remove_drift
from streamer.frames import BadInput

ROWS, COLUMNS = 120, 200
Y, X = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
SAMPLE = 1.5 * np.sqrt(np.maximum(0, 1 - (X / 0.6) ** 2)) * (1 + 0.2 * np.sin(9 * Y))


def test_drift_of_the_beam_from_its_margins_and_from_a_monitor() -> None:
    rng = np.random.default_rng(1)
    drifted = SAMPLE + rng.normal(0, 0.02, SAMPLE.shape) + 0.03 + 2e-4 * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
    frame = drifted.astype(np.float32)
    left, right = open_margins(frame)
    assert 8 <= left <= 16
    assert 8 <= right <= 16
    drift = drift_from_margins(frame, left, right)
    assert drift.offset == pytest.approx(0.03, abs=4 * drift.sigma)
    assert drift.slope == pytest.approx(2e-4, abs=2e-5)
    assert drift.sigma < 1e-3
    remove_drift(frame, drift)
    assert abs(float(np.mean(frame - SAMPLE))) < 1e-3
    one = drift_from_margins(frame, left, 0)
    assert one.slope == 0
    assert abs(one.offset) < 3e-3
    assert drift_from_monitor(90, 100).offset == pytest.approx(np.log(100 / 90))
    with pytest.raises(BadInput, match="no column free"):
        drift_from_margins(frame, 0, 0)
    with pytest.raises(BadInput, match="positive"):
        drift_from_monitor(0, 1)


def test_margins_end_where_the_sample_begins() -> None:
    free = int(np.argmax(SAMPLE.max(axis=0) > 0.01))
    left, right = open_margins(SAMPLE.astype(np.float32), 60)
    assert abs(left - free) <= 1
    assert abs(right - free) <= 1


def test_a_sample_that_reaches_the_edge_leaves_no_margin() -> None:
    wide = np.full((ROWS, COLUMNS), 1.2, np.float32)
    assert open_margins(wide) == (0, 0)
    wide[:, :20] = 0.01
    assert open_margins(wide) == (16, 0)
    assert open_margins(wide[:, :5]) == (1, 1)
    assert open_margins(wide[:, :3]) == (0, 0)


def test_a_beam_that_is_very_dim_is_known_by_both_margins() -> None:
    rng = np.random.default_rng(7)
    dim = (SAMPLE + 1.1 + rng.normal(0, 0.02, SAMPLE.shape)).astype(np.float32)
    assert open_margins(dim) == (0, 0)  # a sample that covers both edges looks like this
    left, right = open_margins(dim, known=True) or (0, 0)
    assert min(left, right) >= 8
    assert drift_from_margins(dim, left, right).offset == pytest.approx(1.1, abs=2e-3)
    assert open_margins(dim + np.float32(0.5), known=True) is None
    dim[:, : COLUMNS // 2] += 0.2
    assert open_margins(dim, known=True) == (0, 0)


def test_two_margins_on_a_line_give_the_line() -> None:
    x = np.arange(50) - 24.5
    frame = np.tile(0.1 - 0.003 * x, (7, 1)).astype(np.float32)
    drift = drift_from_margins(frame, 6, 10)
    assert drift.offset == pytest.approx(0.1, abs=1e-6)
    assert drift.slope == pytest.approx(-0.003, abs=1e-7)
    remove_drift(frame, drift)
    np.testing.assert_allclose(frame, 0, atol=1e-6)


@pytest.mark.parametrize(("left", "right", "count"), [(10, 0, 1), (0, 10, 1), (10, 10, 2)])
def test_the_error_of_the_offset_is_what_repeated_measurements_scatter_by(left: int, right: int, count: int) -> None:
    rng = np.random.default_rng(2)
    drifts = [drift_from_margins(rng.normal(0, 0.05, (40, 60)).astype(np.float32), left, right) for _ in range(200)]
    expected = 0.05 / np.sqrt(40 * 10 * count)
    assert np.mean([drift.sigma for drift in drifts]) == pytest.approx(expected, rel=0.02)
    # The median over the rows scatters by up to a factor of sqrt(π/2) more than a mean.
    assert expected < np.std([drift.offset for drift in drifts]) < 1.5 * expected


def test_a_few_rows_with_sample_in_the_margin_do_no_harm() -> None:
    frame = np.full((40, 60), 0.02, np.float32)
    frame[:10, :20] = 3.0
    assert drift_from_margins(frame, 10, 10).offset == pytest.approx(0.02, abs=1e-6)


def test_a_monitor_knows_no_slope() -> None:
    drift = drift_from_monitor(80, 100)
    assert (drift.offset, drift.slope, drift.sigma) == (pytest.approx(-np.log(0.8)), 0, 0)
    frame = np.full((3, 4), drift.offset, np.float32)
    remove_drift(frame, drift)
    assert not frame.any()
    for reading, reference in ((-1, 1), (1, 0), (float("nan"), 1)):
        with pytest.raises(BadInput, match="positive"):
            drift_from_monitor(reading, reference)
