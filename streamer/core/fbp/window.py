"""Apodisation windows of the ramp filter."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.frames import BadInput

Window = Literal["ramp", "linear", "shepp-logan", "cosine", "hamming", "hann"]

WINDOWS: tuple[Window, ...] = get_args(Window)


def window_gain(window: str, frequency: NDArray[np.floating[Any]]) -> Values:
    """Gain of an apodisation window at ``frequency`` (cycles per pixel, 0 … 0.5). BadInput for an unknown name.

    "ramp" is no window at all. "linear" is what linear interpolation in other programs' backprojection does to their
    ramp; as gridding does not interpolate, it gives images as sharp, and as noisy, as theirs.
    """
    if window == "ramp":
        return np.ones(frequency.shape)
    if window == "linear":
        return np.asarray(np.sinc(frequency) ** 2)
    if window == "shepp-logan":
        return np.asarray(np.sinc(frequency))
    if window == "cosine":
        return np.asarray(np.cos(np.pi * frequency))
    if window == "hamming":
        return np.asarray(0.54 + 0.46 * np.cos(2 * np.pi * frequency))
    if window == "hann":
        return np.asarray(0.5 + 0.5 * np.cos(2 * np.pi * frequency))
    raise BadInput(f"filter window {window!r} is not known; choose one of {', '.join(WINDOWS)}")
