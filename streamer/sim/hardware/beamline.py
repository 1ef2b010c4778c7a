"""The beam: flat field, drifts, ring current. All are functions of the seed and the time.

Beam time is nominal (frame index / frame rate), so that a scan gives the same frames on a slow machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BeamTraits:
    """Shares of the mean light, pixels and seconds."""

    stripes: float = 0.03  # rms of the monochromator's horizontal stripes
    profile: float = 0.2  # light missing at the edges
    dust: int = 12  # specks on the scintillator
    drift_px: float = 0.2  # rms of the vertical drift of the stripes
    drift_s: float = 20.0
    current_saw: float = 0.003  # loss of ring current between two top-ups
    top_up_s: float = 30.0


class Beam:
    """The flat field of one beamline and its changes with time."""

    def __init__(self, traits: BeamTraits, rows: int, columns: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0xBE])
        self._traits = traits
        self._rows = np.arange(rows, dtype=np.float64)
        self._stripes = _stripes(rng, rows, traits.stripes)
        self._phases = rng.uniform(0, 2 * np.pi, 4)
        self.fixed: Image = _fixed(rng, traits, rows, columns)

    def current(self, time_s: float) -> float:
        """Ring current relative to its top, 0…1: what the beam monitor reads."""
        traits = self._traits
        return 1.0 - traits.current_saw * (time_s % traits.top_up_s) / traits.top_up_s

    def drift_px(self, time_s: float) -> float:
        """Vertical displacement of the stripes: four incommensurate waves instead of a random walk."""
        periods = self._traits.drift_s * np.array([1.0, 1.73, 0.37, 0.61])
        waves = np.sin(2 * np.pi * time_s / periods + self._phases)
        return float(self._traits.drift_px * waves.mean() * np.sqrt(8.0))

    def rows(self, time_s: float) -> Image:
        """Light of every row (rows,), mean about 1, without the ring current."""
        table = self._stripes
        at = self._rows + self.drift_px(time_s) + (len(table) - len(self._rows)) / 2
        return np.interp(at, np.arange(len(table)), table).astype(np.float32)


def _stripes(rng: np.random.Generator, rows: int, rms: float) -> NDArray[np.float64]:
    """1 + band-limited noise along the rows, with room for the drift on both sides."""
    noise = rng.standard_normal(rows + 64)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
    smooth = np.convolve(noise, kernel / np.sqrt(np.sum(kernel**2)), mode="same")
    return np.asarray(1.0 + rms * np.clip(smooth, -3, 3))


def _fixed(rng: np.random.Generator, traits: BeamTraits, rows: int, columns: int) -> Image:
    """Beam profile times dust, (rows, columns), mean 1."""
    y = np.linspace(-1, 1, rows)[:, None]
    x = np.linspace(-1, 1, columns)[None, :]
    light = np.exp(-traits.profile * (0.6 * x**2 + y**2))
    for _ in range(traits.dust):
        cy, cx = rng.uniform(0, rows), rng.uniform(0, columns)
        radius, depth = rng.uniform(0.6, 3.0), rng.uniform(0.05, 0.25)
        distance = (np.arange(rows)[:, None] - cy) ** 2 + (np.arange(columns)[None, :] - cx) ** 2
        light = light * (1.0 - depth * np.exp(-0.5 * distance / radius**2))
    return np.asarray(light / light.mean(), np.float32)
