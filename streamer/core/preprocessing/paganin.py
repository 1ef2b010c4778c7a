"""Phase retrieval from one distance, for a sample of one material (Paganin et al., J. Microsc. 206, 33, 2002).

In the near field the intensity is I = (1 - α ∇²) exp(-μ t), with thickness t, μ = 4πβ/λ and α = z δ/μ (m²). Inverting
it divides the spectrum by 1 + α k². With differences instead of derivatives, k² → (2 - 2 cos k w)/w² on pixels of width
w, the filter keeps its strength near the limit of the detector (Paganin et al., arXiv:1911.06814, 2020), and along the
rows it becomes a tridiagonal system: two sweeps over the rows instead of a second Fourier transform. Along the columns
a cosine transform is used; it mirrors the frame at its edges implicitly, without padding (``PhaseSolver``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numba import prange

from streamer.core.arrays import Array, Image, Values
from streamer.core.jit import as_input, kernel
from streamer.core.preprocessing.kernels import subtract_logarithm
from streamer.frames import BadInput

HC_M_EV = 1.239841984e-6  # Planck's constant times the speed of light, eV·m
FAINTEST_TRANSMISSION = float(np.exp(-12.0))  # lower ones are raised to it: their logarithm would be noise
SETTLING_LENGTHS = 6.0  # decay lengths of the filter after which the elimination has settled
SWEPT_NUMBERS = 256  # numbers of a row that one thread sweeps at a time


@dataclass(frozen=True)
class Paganin:
    """Optics of a scan in SI units: ``delta_beta`` δ/β of the sample's material, ``energy_eV``, ``distance_m`` from the
    sample to the detector, ``pixel_m`` size of a pixel at the sample. For a cone, the distance is z1·z2/(z1 + z2).
    """

    delta_beta: float
    energy_eV: float  # noqa: N815 - the unit's name
    distance_m: float
    pixel_m: float

    def __post_init__(self) -> None:
        for name in ("delta_beta", "energy_eV", "distance_m", "pixel_m"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0 or (value == 0 and name in ("energy_eV", "pixel_m")):
                raise BadInput(f"phase retrieval: {name} is {value}; it must be a positive number")

    @property
    def alpha_px2(self) -> float:
        """α = z δ/μ = z λ (δ/β) / 4π, in pixels²; its root is the length over which the filter smooths."""
        wavelength = HC_M_EV / self.energy_eV
        return self.distance_m * wavelength * self.delta_beta / (4 * np.pi) / self.pixel_m**2


def transfer(frequency: Array, alpha_px2: float) -> Values:
    """α k² of one direction at ``frequency`` (cycles per pixel): the filter is 1/(1 + sum of both directions)."""
    return np.asarray(alpha_px2 * (2.0 - 2.0 * np.cos(2 * np.pi * np.asarray(frequency, np.float64))))


class PhaseSolver:
    """The exact method with differences, on the transmission, before the logarithm.

    (1 - α∇²) T' = T for the transmission, mirrored at the edges: cosine transform along the rows, for each frequency a
    tridiagonal system over the rows, and back. Keeps a scratch frame: one thread of control at a time.
    """

    def __init__(self, rows: int, columns: int, optics: Paganin, threads: int = 1) -> None:
        """``threads`` for all steps. The ratios of the elimination are computed here."""
        self.shape, self._threads, self._alpha = (rows, columns), threads, optics.alpha_px2
        diagonal = 1.0 + transfer(np.arange(columns) / (2 * columns), self._alpha)
        self._ratios = as_input(_elimination(diagonal, self._alpha, rows), np.float32)
        self._scratch = np.empty(self.shape, np.float32)

    def apply(self, image: Image) -> Image:
        """(1 - α∇²)⁻¹ of an image (rows, columns), float32, which may become overwritten: the filter itself.

        Raises BadInput on another shape.
        """
        if image.shape != self.shape:
            raise BadInput(f"a frame of {image.shape} given to a phase filter for {self.shape}")
        if self._alpha == 0:
            return image
        spectrum = scipy.fft.dct(image, axis=1, workers=self._threads, overwrite_x=True)
        solve_rows(spectrum, self._ratios, 1.0 / self._alpha, self._threads)
        return np.asarray(scipy.fft.idct(spectrum, axis=1, workers=self._threads, overwrite_x=True), np.float32)

    def attenuation(self, attenuation: Image, out: Image | None = None) -> Image:
        """Attenuation in, attenuation without propagation out: -ln(filter(exp(-a))). ``out`` may be the input."""
        if attenuation.shape != self.shape:
            raise BadInput(f"a frame of {attenuation.shape} given to a phase filter for {self.shape}")
        out = np.empty(self.shape, np.float32) if out is None else out
        exponential(as_input(attenuation, np.float32), self._threads, self._scratch)
        negative_log(as_input(self.apply(self._scratch)), FAINTEST_TRANSMISSION, self._threads, out)
        return out


def _elimination(diagonal: Values, alpha: float, rows: int) -> Values:
    """Ratios of the Thomas algorithm (n, frequencies) as ``solve_rows`` takes them; ``diagonal`` (frequencies,)."""
    ratios = [alpha / (diagonal + (alpha if rows > 1 else 0.0))]
    while len(ratios) < min(rows - 1, 3 + int(2 * SETTLING_LENGTHS * np.sqrt(alpha))):
        ratios.append(alpha / (diagonal + alpha * (2.0 - ratios[-1])))
    # The last row has one neighbour only; rows beyond those computed have the ratio of the one before.
    if rows > 1:
        ratios.append(alpha / (diagonal + alpha * (1.0 - ratios[-1])))
    return np.array(ratios)


@kernel(parallel=True)
def solve_rows(spectrum: Array, ratios: Array, inverse: float, threads: int) -> None:
    """Solve (diagonal[f] - α ∂²/∂row²) u = spectrum for each frequency, in place, mirrored at the first and last row.

    ``spectrum`` (rows, numbers) float32, complex ones as real and imaginary parts; ``ratios`` (n, numbers) float32
    those of the elimination in the first n-1 rows (the last of them serves all rows that follow) and in the last row;
    ``inverse`` 1/α. The Thomas algorithm: elimination downwards, substitution upwards; stable, as the diagonal
    outweighs the rest.
    """
    rows, width = spectrum.shape
    known = ratios.shape[0] - 2
    scale = np.float32(inverse)
    for thread in prange(threads):
        first, last = width * thread // threads, width * (thread + 1) // threads
        for i0 in range(first, last, SWEPT_NUMBERS):
            i1 = min(i0 + SWEPT_NUMBERS, last)
            for r in range(rows):
                k = ratios.shape[0] - 1 if r == rows - 1 else min(r, known)
                if r == 0:
                    for i in range(i0, i1):
                        spectrum[r, i] = ratios[k, i] * scale * spectrum[r, i]
                else:
                    for i in range(i0, i1):
                        spectrum[r, i] = ratios[k, i] * (scale * spectrum[r, i] + spectrum[r - 1, i])
            for r in range(rows - 2, -1, -1):
                k = min(r, known)
                for i in range(i0, i1):
                    spectrum[r, i] += ratios[k, i] * spectrum[r + 1, i]


@kernel(parallel=True)
def exponential(attenuation: Array, threads: int, out: Array) -> None:
    """out = exp(-attenuation), both (rows, cols) float32, relative error below 3e-7; cut at exp(±80).

    2ⁿ·exp(r) with |r| ≤ ln 2 / 2, by the series of exp to the seventh order: the loop turns into vector instructions.
    """
    rows, cols = attenuation.shape
    log2e, high, low = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
    for thread in prange(threads):
        bits = np.empty(cols, np.int32)
        power = bits.view(np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                x = -attenuation[r, c]
                x = x if x < np.float32(80.0) else np.float32(80.0)
                x = x if x > np.float32(-80.0) else np.float32(-80.0)
                n = np.int32(x * log2e + np.float32(128.5)) - np.int32(128)
                y = x - np.float32(n) * high
                y = y - np.float32(n) * low
                series = np.float32(1 / 120) + y * (np.float32(1 / 720) + y * np.float32(1 / 5040))
                series = np.float32(0.5) + y * (np.float32(1 / 6) + y * (np.float32(1 / 24) + y * series))
                out[r, c] = np.float32(1.0) + y * (np.float32(1.0) + y * series)
                bits[c] = np.int32(n + np.int32(127)) << np.int32(23)
            for c in range(cols):
                out[r, c] *= power[c]


@kernel(parallel=True)
def negative_log(transmission: Array, low: float, threads: int, out: Array) -> None:
    """out = -ln(max(transmission, low)), both (rows, cols) float32."""
    rows, cols = transmission.shape
    least = np.float32(low)
    for thread in prange(threads):
        value, zero = np.empty(cols, np.float32), np.zeros(cols, np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                x = transmission[r, c]
                value[c] = x if x > least else least
            subtract_logarithm(zero, value, out[r])
