"""What is wrong with a slice or a sinogram, in numbers: noise, stripes and rings, truncation, cupping.

None needs to know the sample. Stripes and rings are what stands out of a running median, which is here as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from streamer.core.arrays import Array
from streamer.core.running_median import median_rows
from streamer.frames import BadInput

RING_WINDOW = 11  # pixels of radius, or columns, over which a ring or stripe stands out
RIM = 0.05  # share of the radius that counts as the rim of the field of view
SHELLS = 8
ENOUGH = 512  # pixels on a side to which larger slices are binned where single pixels do not matter
SMALLEST = 32  # pixels on a side of a slice whose artefacts can be told
MIN_SHELL = 20  # pixels of a shell from which its median means something


@dataclass(frozen=True)
class Artefacts:
    """Artefacts of one slice. ``noise`` in its unit; the others as a share of the contrast of the slice.

    ``ring_index`` rms of rings; ``truncation`` how much brighter the rim of the field of view is than what lies beside
    it; ``cupping`` how much less the depth of the sample shows than its skin (None: no sample thick enough was found).
    """

    noise: float
    contrast: float
    ring_index: float
    truncation: float
    cupping: float | None


def measure(image: Array, center: tuple[float, float] | None = None) -> Artefacts:
    """Artefacts of a slice (rows, columns) whose axis is at ``center`` (y, x), by default its middle.

    Raises BadInput for a slice of fewer than 32 pixels on a side, or one that is not finite.
    """
    slice_ = np.asarray(image, np.float64)
    if slice_.ndim != 2 or min(slice_.shape) < SMALLEST or not np.isfinite(slice_).all():
        raise BadInput(f"a finite slice of at least {SMALLEST} × {SMALLEST} pixels is wanted, not {slice_.shape}")
    middle = ((slice_.shape[0] - 1) / 2, (slice_.shape[1] - 1) / 2) if center is None else center
    # Contrast, truncation and cupping do not live in single pixels.
    factor = max(1, min(slice_.shape) // ENOUGH)
    rows, columns = (side // factor * factor for side in slice_.shape)
    coarse = slice_[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
    place = ((middle[0] - (factor - 1) / 2) / factor, (middle[1] - (factor - 1) / 2) / factor)
    span = contrast(coarse)
    return Artefacts(
        noise_level(slice_), span, ring_index(slice_, middle, span), truncation_index(coarse, place, span),
        cupping_index(coarse),
    )  # fmt: skip


def slice_figures(image: Array, sinogram: NDArray[Any] | None = None) -> dict[str, float]:
    """The artefacts of a slice (rows, columns) about its middle by name, rounded for a report; see ``Artefacts``.

    With the ``sinogram`` (angles, columns) that it was made from, ``stripe_index`` as well. What cannot be told is left
    out: all of it for a slice too small, not finite, or without contrast.
    """
    values = np.asarray(image)
    if values.ndim != 2 or min(values.shape) < SMALLEST or not np.isfinite(values).all() or not np.ptp(values) > 0:
        return {}
    found = asdict(measure(values))
    if sinogram is not None and sinogram.size and np.isfinite(sinogram).all():
        found["stripe_index"] = stripe_index(sinogram)
    return {name: float(f"{value:.4g}") for name, value in found.items() if value is not None}


def stripe_index(sinogram: NDArray[Any], window: int = RING_WINDOW) -> float:
    """How strong stripes are: rms of what stands out of the mean over the angles, as a share of the attenuation.

    ``sinogram`` (angles, columns) or (angles, rows, columns). The mean row is compared with its running median over
    ``window`` columns; the share is of the span between the first and the last percentile of the sinogram. Noise alone
    gives about noise / (span · √angles). Stripes fainter than the slope of the mean row are not seen.
    """
    values = np.asarray(sinogram, np.float32)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    low, high = np.percentile(values, [1, 99])
    excess = np.atleast_2d(mean) - median_rows(np.atleast_2d(mean), window)
    return float(np.sqrt(np.mean(excess.astype(np.float64) ** 2)) / max(float(high - low), 1e-12))


def noise_level(image: Array) -> float:
    """Standard deviation of the noise of an image, in its unit.

    From the mask (1 -2 1)ᵀ(1 -2 1), which flat areas and slopes do not answer (Immerkær, Comput. Vis. Image Underst.
    64, 300, 1996), with the median in place of the mean, so that edges do not count. The noise of a reconstruction is
    more at high frequencies than white noise: the figure is to be compared between slices made alike.
    """
    values = np.asarray(image, np.float64)
    bend = values[:-2] - 2 * values[1:-1] + values[2:]
    bend = bend[:, :-2] - 2 * bend[:, 1:-1] + bend[:, 2:]
    return 1.4826 * float(np.median(np.abs(bend))) / 6.0


def contrast(image: Array) -> float:
    """Span between the first and the 99th percentile in the inscribed circle, of the image smoothed against noise."""
    smooth = gaussian_filter(np.asarray(image, np.float64), 1.0)
    low, high = np.percentile(smooth[_disc(smooth.shape, 0.95)], [1, 99])
    return max(float(high - low), 1e-12)


def ring_index(image: Array, center: tuple[float, float], span: float | None = None) -> float:
    """Strength of rings about ``center`` (y, x), as a share of the contrast (``span``, where it is known).

    In polar coordinates a ring is a line at one radius: the median over the angle, less its running median over 11
    radii; rms, weighted with the radius, as large as the rings are on the image. The median over quarters of a turn
    takes partial rings, and edges of the sample do not count unless they are circles about the axis. What noise alone
    would give is taken off.
    """
    values = np.asarray(image, np.float64)
    reach = min(center[0], center[1], values.shape[0] - 1 - center[0], values.shape[1] - 1 - center[1])
    radius = np.arange(2.0, max(3.0, reach))
    angle = np.arange(0, 360, 0.75) * np.pi / 180
    y = center[0] + radius[None, :] * np.sin(angle)[:, None]
    x = center[1] + radius[None, :] * np.cos(angle)[:, None]
    polar = map_coordinates(values, [y, x], order=1)
    polar -= median_rows(polar.astype(np.float32), RING_WINDOW)
    quarters = np.median(polar.reshape(4, -1, radius.size), axis=1)
    # Independent samples on a quarter of the circle: no more than pixels. The median has π/2 the variance of the mean.
    samples = np.minimum(angle.size / 4, np.pi / 2 * radius)
    spread = 1.4826 * np.median(np.abs(polar), axis=0)
    chance = np.pi / 2 * spread**2 / samples
    # At either end the running median has nothing to look past.
    inner = slice(RING_WINDOW // 2, max(RING_WINDOW // 2 + 1, radius.size - RING_WINDOW // 2))
    power = float(np.average((np.mean(quarters**2, axis=0) - chance)[inner], weights=radius[inner]))
    return float(np.sqrt(max(0.0, power))) / (contrast(values) if span is None else span)


def truncation_index(image: Array, center: tuple[float, float], span: float | None = None) -> float:
    """By how much the rim of the field of view stands above what lies 5 to 15 % further in, as a share of the contrast.

    A sample wider than the detector piles up there when its projections are taken to end at the edge. A slice without
    truncation has a value around 0; with the edges extended (``RampFilter(extend=True)``) most of it is gone.
    """
    values = np.asarray(image, np.float64)
    y, x = np.ogrid[: values.shape[0], : values.shape[1]]
    reach = min(center[0], center[1], values.shape[0] - 1 - center[0], values.shape[1] - 1 - center[1])
    r = np.hypot(y - center[0], x - center[1]) / max(reach, 1.0)
    rim, inner = values[(r > 1 - RIM) & (r <= 1)], values[(r > 1 - 4 * RIM) & (r <= 1 - 2 * RIM)]
    if not rim.size or not inner.size:
        return 0.0
    return float(np.median(rim) - np.median(inner)) / (contrast(values) if span is None else span)


def cupping_index(image: Array) -> float | None:
    """(skin - core) / skin of the sample: 0 for a flat one, above it for cupping (beam hardening, scatter).

    The sample is what lies above the threshold of Otsu; depth is the distance from its surface. Medians over eight
    shells of depth, leaving out the outermost two pixels, are fitted by a line: one dense inclusion does not count, but
    a sample that is denser outside for its own reasons does. None when the sample is thinner than 16 pixels.
    """
    smooth = gaussian_filter(np.asarray(image, np.float64), 1.0)
    solid = smooth > otsu(smooth[_disc(smooth.shape, 0.98)])
    depth = np.asarray(distance_transform_edt(np.pad(solid, 1)))[1:-1, 1:-1]
    deepest = float(np.percentile(depth[solid], 99)) if solid.any() else 0.0
    if deepest < 8.0:
        return None
    values = np.asarray(image, np.float64)
    edges = np.linspace(2.0, deepest, SHELLS + 1)
    shells = [values[(depth > low) & (depth <= high)] for low, high in pairwise(edges)]
    medians = [float(np.median(shell)) if shell.size >= MIN_SHELL else np.nan for shell in shells]
    known = np.isfinite(medians)
    if np.count_nonzero(known) < 3:
        return None
    place = (np.arange(SHELLS)[known] + 0.5) / SHELLS
    # The median of all slopes between shells: one shell of another material does not tip the line.
    level = np.array(medians)[known]
    i, j = np.triu_indices(level.size, 1)
    slope = float(np.median((level[j] - level[i]) / (place[j] - place[i])))
    skin = float(np.median(level - slope * place))
    return -slope / skin if skin > 0 else None


def otsu(values: Array, bins: int = 256) -> float:
    """Threshold that splits values into two classes of least variance (Otsu, IEEE Trans. SMC 9, 62, 1979)."""
    count, edges = np.histogram(values, bins)
    middle = 0.5 * (edges[:-1] + edges[1:])
    below = np.cumsum(count).astype(np.float64)
    above = below[-1] - below
    total = np.cumsum(count * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middle[int(np.argmax(np.where((below > 0) & (above > 0), between, -1.0)))])


def _disc(shape: tuple[int, ...], share: float) -> NDArray[np.bool_]:
    y, x = (np.arange(side) - (side - 1) / 2 for side in shape)
    return np.asarray(np.hypot(*np.meshgrid(y, x, indexing="ij")) <= share * min(shape) / 2)
