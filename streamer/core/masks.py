"""Masks of pixels."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Mask


def circle_mask(n: int, share: float = 1.0) -> Mask:
    """(n, n) mask of the pixels within ``share`` of the inscribed circle, where every angle contributes."""
    offset = np.arange(n) - (n - 1) / 2
    return np.asarray(offset[:, None] ** 2 + offset**2 <= (share * n / 2) ** 2)
