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
