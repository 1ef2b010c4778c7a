"""Batches of projections: what belongs together is accepted, anything else is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.frames import BadInput

FRAMES = np.arange(5 * 3 * 4, dtype=np.float32).reshape(5, 3, 4)
ANGLES, WEIGHTS = np.linspace(0, 1, 5), np.linspace(1, 2, 5)


def test_a_part_has_the_same_projections_angles_and_weights_everywhere() -> None:
    batch = ProjectionBatch(FRAMES, ANGLES, WEIGHTS, FRAMES + 100).part(1, 4)
    assert len(batch) == 3
    np.testing.assert_array_equal(batch.attenuation, FRAMES[1:4])
    np.testing.assert_array_equal(batch.angle_rad, ANGLES[1:4])
    np.testing.assert_array_equal(batch.weight, WEIGHTS[1:4])
    np.testing.assert_array_equal(batch.on_device, FRAMES[1:4] + 100)
    assert ProjectionBatch(FRAMES, ANGLES, WEIGHTS).part(0, 2).on_device is None
    assert len(ProjectionBatch(FRAMES, ANGLES, WEIGHTS).part(2, 2)) == 0


@pytest.mark.parametrize(
    ("angles", "weights", "device", "match"),
    [
        (ANGLES[:4], WEIGHTS, None, "5 projections with 4 angles and 5 weights"),
        (ANGLES, WEIGHTS[:, None], None, "5 projections with 5 angles and 5 weights"),
        (np.where(ANGLES > 0.5, np.nan, 0), WEIGHTS, None, "not a finite number"),
        (ANGLES, np.where(ANGLES > 0.5, np.inf, 0), None, "not a finite number"),
        (ANGLES, WEIGHTS, FRAMES[:4], "on the device"),
        (ANGLES, WEIGHTS, FRAMES.astype(np.float64), "on the device float64"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    angles: np.ndarray, weights: np.ndarray, device: np.ndarray | None, match: str
) -> None:
    with pytest.raises(BadInput, match=match):
        ProjectionBatch(FRAMES, angles, weights, device)


@pytest.mark.parametrize(
    ("rows", "columns", "first_row", "match"),
    [
        (3, 5, 0, "for 5 columns"),
        (4, 4, 0, "3 rows for a volume of 4"),
        (2, 4, 2, "from row 2"),
        (3, 4, -1, "from row -1"),
    ],
)
def test_volumes_of_other_sizes_are_refused(rows: int, columns: int, first_row: int, match: str) -> None:
    batch = ProjectionBatch(FRAMES, ANGLES, WEIGHTS)
    batch.check_fit(3, 4, 0)
    batch.check_fit(2, 4, 1)
    with pytest.raises(BadInput, match=match):
        batch.check_fit(rows, columns, first_row)


def test_a_single_image_is_no_batch() -> None:
    with pytest.raises(BadInput, match=r"\(angle, row, column\) \(3, 4\)"):
        ProjectionBatch(FRAMES[0], ANGLES[:3], WEIGHTS[:3]).check_fit(3, 4, 0)
