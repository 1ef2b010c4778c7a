"""The types of arrays that the numerics exchange. Shapes, which types cannot express, are stated in docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Array of any type."""

Image = NDArray[np.float32]
"""An image or a stack of images: frames, attenuation, sinograms, slices, volumes."""

Values = NDArray[np.float64]
"""Numbers in double precision: angles, weights, curves, sums."""

Mask = NDArray[np.bool_]
"""True for the pixels that something holds for."""
