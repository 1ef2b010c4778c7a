from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.pipeline.preparation.scan import ANGLES, COLUMNS, ROWS, X, Y


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    """Attenuation (projection, row, column) of a rod off the axis that becomes thicker with the rows."""
    middle = (COLUMNS - 1) / 2 + 8 * np.cos(ANGLES)[:, None, None]
    radius = 9 + 4 * Y / ROWS
    rod = 0.08 * np.sqrt(np.maximum(0, radius**2 - (X - middle) ** 2))
    return gaussian_filter(rod, (0, 1, 1), truncate=3.0)
