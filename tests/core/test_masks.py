from __future__ import annotations

import numpy as np
import pytest

from streamer.core.masks import circle_mask


def test_circle_mask() -> None:
    for n in (1, 2, 9, 64, 65):
        mask = circle_mask(n)
        assert np.array_equal(mask, mask[::-1])
        assert np.array_equal(mask, mask.T)
    assert circle_mask(200).mean() == pytest.approx(np.pi / 4, abs=0.01)
