"""The camera: transmissions to noisy 12-bit counts in one pass.

One absorbed X-ray gives g electrons on average and N X-rays give a Poissonian N, so the noise of a pixel is

    var(e) = N·g·(1 + g) + σr²

and not that of Poissonian electrons. Normal deviates are read from one table of 2²⁰ numbers, by each row from another
random place: fast, and the same for the same (seed, scan, frame).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.sim.hardware.noise import mix
from streamer.sim.jit import compiled

Counts = NDArray[np.uint16]
Floats32 = NDArray[np.float32]

NOISE_TABLE_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Camera:
    """Constants of a camera and its scintillator. Levels in electrons, ``gain`` in DN per electron."""

    gain: float = 0.1
    electrons_per_xray: float = 1.9
    flat_level_e: float = 24_000.0
    dark_e: float = 530.0
    read_noise_e: float = 23.0
    bits: int = 12
    dead_share: float = 1e-4
    hot_share: float = 1e-4
    nonlinear_share: float = 0.005
    zingers_per_px: float = 0.0

    @property
    def saturation(self) -> int:
        """Largest count of the camera."""
        return (1 << self.bits) - 1


@compiled
def _mix(state: np.uint64) -> np.uint64:
    """splitmix64: one well-mixed 64-bit number from another."""
    z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _expose(
    out: Counts,
    seen: Counts,
    fixed: Floats32,
    row_light: Floats32,
    curvature: Floats32,
    table: Floats32,
    state: np.uint64,
    noise_factor: np.float32,
    read_var: np.float32,
    dark: np.float32,
    gain: np.float32,
    top: np.float32,
) -> None:
    """Signal, noise, gain, clipping. ``row_light`` is electrons per unit of ``seen``·``fixed``."""
    rows, columns = out.shape
    room = np.uint64(len(table) - columns)
    half = np.float32(0.5)
    for row in range(rows):
        state = _mix(state)
        start = np.int64(state % room)
        deviates = table[start : start + columns]
        light = row_light[row]
        for column in range(columns):
            electrons = np.float32(seen[row, column]) * fixed[row, column] * light
            electrons += electrons * electrons * curvature[column]
            sigma = np.sqrt(max(np.float32(0.0), electrons) * noise_factor + read_var)
            value = (electrons + dark + sigma * deviates[column]) * gain + half
            out[row, column] = np.uint16(np.int32(min(max(value, half), top)))


@compiled
def _zing(out: Counts, state: np.uint64, count: int, top: int) -> None:
    """Add ``count`` bright hits at random pixels."""
    rows, columns = out.shape
    for _ in range(count):
        state = _mix(state)
        row = np.int64((state >> np.uint64(32)) % np.uint64(rows))
        column = np.int64((state & np.uint64(0xFFFFFFFF)) % np.uint64(columns))
        state = _mix(state)
        hit = np.int64(out[row, column]) + top // 4 + np.int64(state % np.uint64(top))
        out[row, column] = np.uint16(hit if hit < top else top)


class Sensor:
    """One camera with its blemishes; they depend on the seed and the size alone."""

    def __init__(self, camera: Camera, rows: int, columns: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x5E])
        self.camera = camera
        self.shape = (rows, columns)
        self._seed = seed
        self._table = rng.standard_normal(max(NOISE_TABLE_SIZE, 2 * columns), dtype=np.float32)
        self._curvature = np.zeros(columns, np.float32)
        bent = rng.choice(columns, round(camera.nonlinear_share * columns), replace=False)
        bend = rng.uniform(0.01, 0.03, len(bent)) * rng.choice([-1.0, 1.0], len(bent))
        self._curvature[bent] = bend / camera.flat_level_e
        pixels = rng.permutation(rows * columns)
        dead, hot = round(camera.dead_share * rows * columns), round(camera.hot_share * rows * columns)
        self.dead_pixels = np.sort(pixels[:dead])
        self.hot_pixels = np.sort(pixels[dead : dead + hot])
        self._hot_values = rng.uniform(0.5, 1.0, hot) * camera.saturation

    def expose(
        self,
        seen: NDArray[np.uint16],
        fixed: NDArray[np.float32],
        row_light: NDArray[np.float32],
        key: tuple[int, int],
    ) -> NDArray[np.uint16]:
        """One frame (rows, columns) in DN.

        ``seen`` transmission (65535 = 1), ``fixed`` (rows, columns) and ``row_light`` (rows,) the beam relative to the
        flat level, ``key`` (scan serial, frame index): equal keys give equal noise.
        """
        camera = self.camera
        out = np.empty(self.shape, np.uint16)
        state = np.uint64(mix(self._seed, *key))
        light = (row_light * np.float32(camera.flat_level_e / 65535.0)).astype(np.float32)
        _expose(
            out,
            seen,
            fixed,
            light,
            self._curvature,
            self._table,
            state,
            np.float32(1.0 + camera.electrons_per_xray),
            np.float32(camera.read_noise_e**2),
            np.float32(camera.dark_e),
            np.float32(camera.gain),
            np.float32(camera.saturation),
        )
        self._blemish(out, state)
        return out

    def _blemish(self, out: NDArray[np.uint16], state: np.uint64) -> None:
        flat = out.reshape(-1)
        if len(self.dead_pixels):
            flat[self.dead_pixels] = 0
        if len(self.hot_pixels):
            flat[self.hot_pixels] = self._hot_values
        if self.camera.zingers_per_px > 0:
            rng = np.random.default_rng([int(state), 0x21])
            count = int(rng.poisson(self.camera.zingers_per_px * out.size))
            _zing(out, np.uint64(rng.integers(1 << 63)), count, self.camera.saturation)
