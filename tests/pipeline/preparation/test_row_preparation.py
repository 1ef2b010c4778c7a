from __future__ import annotations

import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.pipeline.preparation.options import PreparationOptions
from tests.pipeline.preparation.scan import (
    NUMBERS,
    OFF,
    OPTICAL,
    ROWS,
    beam,
    noisy,
    only,
    prepared,
)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (OFF, 0.0),
        (only(zingers=8.0, flat_drift="margins"), 0.0),
        (PreparationOptions(zingers=8.0, flat_drift="monitor", stripes="full"), 0.0),
        (only(zingers=8.0, delta_beta=200.0), 2e-5),
    ],
)
def test_raw_rows_read_again_give_the_same_numbers(
    truth: np.ndarray, options: PreparationOptions, tolerance: float
) -> None:
    raw = noisy(truth[:8])[0]
    raw[np.random.default_rng(5).random(raw.shape) < 1e-3] += 30_000
    monitors = 1 + 0.1 * np.sin(np.arange(9))
    preparation, stored = prepared(raw, options, before=beam(), spec=OPTICAL, monitors=monitors)
    for first, last in ((0, ROWS), (0, 5), (20, 23), (ROWS - 1, ROWS)):
        rows = preparation.rows(first, last)
        assert rows.read.start == max(0, first - preparation.halo_rows)
        again = rows.projections(raw[:, rows.read], NUMBERS[:8])
        assert np.abs(again - stored[:, first:last]).max() <= tolerance
    with pytest.raises(BadInput, match="48"):
        preparation.rows(40, 49)
    with pytest.raises(BadInput, match="wanted"):
        preparation.rows(0, 4).projections(raw[:, :1], NUMBERS[:8])
