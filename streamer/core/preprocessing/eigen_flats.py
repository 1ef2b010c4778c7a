"""Eigen-flats: patterns in which the beam moves, and how much of each lies on a projection."""

from __future__ import annotations

import numpy as np
from numba import prange
from scipy.ndimage import gaussian_filter

from streamer.core.arrays import Array, Image, Values
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

MOST_FLATS = 50  # flats from which components are computed; more add time, not knowledge
MOST_COMPONENTS = 3
SMOOTH_PX = 1.0  # width of the Gaussian that takes the photon noise off the components
LEAST_EIGENVALUE_RATIO = 3.0  # to the median eigenvalue, above which a component is more than noise
FIT_ROUNDS = 6  # of re-weighted least squares
BLOCK_PIXELS = 8  # least side of the blocks that are averaged before weights are fitted
BLOCKS_PER_SIDE = 96  # at most about; larger detectors have larger blocks


class EigenFlats:
    """Patterns in which the beam moves, from the scatter of the flats, and their share in each projection.

    After Van Nieuwenhove et al., Opt. Express 23, 27975 (2015), with two changes that make it live: components of the
    logarithm of the flats, which add to the attenuation, and weights from re-weighted least squares on the gradient of
    the binned projection, which tends to the minimum of its total variation and needs no search.
    """

    def __init__(self, flats: Array, threads: int = 1) -> None:
        """``flats`` net single flats (n ≥ 3, rows, columns). ``components`` (≤ MOST_COMPONENTS, rows, columns) float32,
        each with an rms of one; ``strength`` their rms in the flats. Components no stronger than noise are left out.
        Raises BadInput for fewer flats.
        """
        self._threads = threads
        if flats.ndim != 3 or len(flats) < 3:
            raise BadInput(f"eigen-flats need three single flats or more, not {flats.shape}")
        chosen = flats[np.unique(np.linspace(0, len(flats) - 1, min(len(flats), MOST_FLATS)).astype(int))]
        net = np.asarray(chosen, np.float32)
        alive = np.isfinite(net).all(axis=0) & (net > 0).all(axis=0)
        logs = np.log(np.where(alive, net, np.float32(1.0)))
        logs -= logs.mean(axis=0)
        table = logs.reshape(len(logs), -1)
        values, vectors = np.linalg.eigh((table @ table.T).astype(np.float64))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        # One of the eigenvalues is 0, as the mean was subtracted. Noise alone gives a band of nearly equal ones.
        noise = max(float(np.median(values[:-1])), 1e-12 * float(values[0]))
        count = min(
            int(np.count_nonzero(values > LEAST_EIGENVALUE_RATIO * noise)), MOST_COMPONENTS, max(1, len(logs) // 2 - 1)
        )
        shape = flats.shape[1:]
        found = [gaussian_filter(np.tensordot(vectors[:, k], logs, 1), SMOOTH_PX) for k in range(count)]
        rms = [max(float(np.sqrt(np.mean(image.astype(np.float64) ** 2))), 1e-12) for image in found]
        self.components: Image = as_input(
            np.stack([image / size for image, size in zip(found, rms, strict=True)])
            if found
            else np.zeros((0, *shape)),
            np.float32,
        )
        self.strength = np.array([size / np.sqrt(len(logs)) for size in rms])
        self._small = np.stack([_binned(image, threads) for image in self.components]) if found else np.zeros((0, 1, 1))
        self._slopes = np.stack([_slopes(image) for image in self._small], axis=1) if found else np.zeros((1, 0))

    def weights(self, attenuation: Image) -> Values:
        """Weights (components,) by which adding the components makes attenuation (rows, columns) smoothest.

        Raises BadInput for another shape.
        """
        if attenuation.shape != self.components.shape[1:]:
            raise BadInput(f"a projection is {attenuation.shape}, the eigen-flats {self.components.shape[1:]}")
        weight: Array = np.zeros(len(self.components))
        if not weight.size:
            return weight
        target = _slopes(_binned(attenuation, self._threads))
        trusted = np.ones(target.size)
        for _ in range(FIT_ROUNDS):
            model = self._slopes * trusted[:, None]
            weight = np.asarray(np.linalg.lstsq(model.T @ self._slopes, -(model.T @ target), rcond=None)[0])
            rest = np.abs(target + self._slopes @ weight)
            # |gradient| as a weighted square; the few edges of the sample hardly count.
            trusted = 1.0 / np.maximum(rest, 0.1 * float(np.median(rest)) + 1e-12)
        return np.asarray(weight, np.float64)

    def apply(self, attenuation: Image, weights: Values | None = None) -> Values:
        """Correct attenuation (rows, columns) float32 in place; returns the weights that were used."""
        weights = self.weights(attenuation) if weights is None else weights
        add_weighted(attenuation, self.components, as_input(np.asarray(weights), np.float32), self._threads)
        return weights


def _binned(image: Image, threads: int) -> Image:
    """Means over blocks, without the remainder at the ends."""
    down, across = (max(1, min(max(BLOCK_PIXELS, side // BLOCKS_PER_SIDE), side // 16)) for side in image.shape)
    out = np.empty((image.shape[0] // down, image.shape[1] // across), np.float32)
    mean_blocks(as_input(image, np.float32), down, across, threads, out)
    return out


def _slopes(image: Array) -> Values:
    """Differences to the next pixel along both axes, in one row."""
    values = np.asarray(image, np.float64)
    return np.concatenate([np.diff(values, axis=0).ravel(), np.diff(values, axis=1).ravel()])


@kernel(parallel=True)
def mean_blocks(image: Array, down: int, across: int, threads: int, out: Array) -> None:
    """out[i, j] = mean of the block of down × across pixels of image that begins at (i·down, j·across); float32."""
    rows, cols = out.shape
    share = np.float32(1.0 / (down * across))
    for thread in prange(threads):
        line = np.empty(cols * across, np.float32)
        for i in range(rows * thread // threads, rows * (thread + 1) // threads):
            line[:] = np.float32(0.0)
            for r in range(i * down, (i + 1) * down):
                for c in range(cols * across):
                    line[c] += image[r, c]
            for j in range(cols):
                total = np.float32(0.0)
                for c in range(j * across, (j + 1) * across):
                    total += line[c]
                out[i, j] = total * share


@kernel(parallel=True)
def add_weighted(image: Array, stack: Array, weights: Array, threads: int) -> None:
    """image += Σ weights[k]·stack[k]; image (rows, cols), stack (n, rows, cols), weights (n,), float32."""
    rows, cols = image.shape
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for k in range(weights.size):
                weight = weights[k]
                for c in range(cols):
                    image[r, c] += weight * stack[k, r, c]
