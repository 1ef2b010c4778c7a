"""Reconstruct NumPy arrays: raw frames, flats and darks.

python examples/reconstruct_arrays.py

The frames come from a phantom, so that the answer is known. Replace them by your own: (projections, rows, columns), or
(projections, columns) for one detector row, of any integer or real type.
"""

import numpy as np

import streamer
from streamer import phantoms

ROWS, COLUMNS, PROJECTIONS = 4, 256, 360

# What a detector counts: the beam is not even, the axis is 7.3 pixels off the middle, some pixels are not numbers.
rng = np.random.default_rng(1)
angles = phantoms.half_turn(PROJECTIONS)
body = phantoms.shepp_logan(230)  # it leaves a margin on both sides
lines = 0.01 * phantoms.sinogram(body, COLUMNS, angles, center=(COLUMNS - 1) / 2 + 7.3)
beam = 30_000 * (1 + 0.2 * np.cos(np.linspace(-1, 1, COLUMNS)))
projections = phantoms.exposures(lines[:, None].repeat(ROWS, axis=1), beam, rng=rng).astype(np.float32)
projections[rng.random(projections.shape) < 1e-4] = np.nan
flats = phantoms.exposures(np.zeros((20, ROWS, COLUMNS)), beam, rng=rng)
darks = phantoms.exposures(np.zeros((10, ROWS, COLUMNS)), 0.0, rng=rng)

result = streamer.reconstruct(projections, np.rad2deg(angles), flats=flats, darks=darks, stripes="full")

truth = 0.01 * phantoms.image(body, COLUMNS)
inside = np.hypot(*np.mgrid[-1 : 1 : COLUMNS * 1j, -1 : 1 : COLUMNS * 1j]) < 0.95
error = float(np.sqrt(np.mean((result.volume[:, inside] - truth[inside]) ** 2)))
print(f"volume (row, y, x) {result.volume.shape} in {result.unit}")
print(f"centre of rotation {result.center:.2f}, confidence {result.quality.center_confidence:.2f}")
print(f"{result.parameters['nonfinite_pixels']} pixels mended")
print(f"RMSE against the phantom {error:.5f} {result.unit}")
print(result.verdict)
