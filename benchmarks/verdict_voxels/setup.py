"""A scan before it is taken: specimen, geometry, beam and camera; and its exposure into counts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.verdict_voxels.bodies import Volume
from benchmarks.verdict_voxels.projector import Floats, Pose, Projector

CEILING = 65_535
DARK_LEVEL = 100.0
FLATS, DARKS = 20, 20


@dataclass
class Recording:
    """What a file or a stream holds: counts (n, rows, columns), angles as they were reported, flats and darks."""

    projections: NDArray[Any]
    angles_deg: Floats
    flats: NDArray[Any] | None
    darks: NDArray[Any] | None

    def keep(self, which: NDArray[Any]) -> None:
        """Drop all projections but these."""
        self.projections, self.angles_deg = self.projections[which], self.angles_deg[which]


Edit = Callable[[Recording, np.random.Generator], None]


@dataclass
class Setup:
    """How a scan is taken. Faults change it, or add an ``edit`` of what the camera delivered.

    ``light`` (n,) is the beam in each projection and ``beam_z`` (n,) its height in rows; ``screens`` are transmissions
    in front of the camera, by frame. ``photons`` is the mean number in a pixel without sample. The body reaches
    ``radius`` pixels from the axis. ``flat_light``, ``dark_light`` (frames,) are shares of the beam; ``flat_holds``
    (frames,) is how much of the sample the flats show.
    """

    seed: int
    family: str
    order: str
    body: Volume
    rows: int
    columns: int
    pose: Pose
    reported_deg: Floats
    axis: float
    photons: float
    read_noise: float
    blur: float
    radius: float
    sharpness: float = field(init=False)
    """The blur (pixels, rms) that a good scan of the specimen has."""
    light: Floats = field(init=False)
    beam_z: Floats = field(init=False)
    screens: dict[int, Floats] = field(default_factory=dict)
    flat_light: Floats = field(default_factory=lambda: np.ones(FLATS))
    flat_holds: Floats = field(default_factory=lambda: np.zeros(FLATS))
    flat_z: float = 0.0
    dark_light: Floats = field(default_factory=lambda: np.zeros(DARKS))
    ceiling: float = CEILING
    edits: list[Edit] = field(default_factory=list)
    known: tuple[Floats, Floats] | None = None
    """Pose and line integrals of the twin, which are used again."""

    def __post_init__(self) -> None:
        self.sharpness = self.blur
        self.light = np.ones(self.count)
        self.beam_z = np.zeros(self.count)

    @property
    def count(self) -> int:
        return len(self.reported_deg)

    def twin(self) -> Setup:
        """A copy that may be changed; the body and known lines are shared."""
        other = copy.copy(self)
        for name in ("pose", "reported_deg", "light", "beam_z", "screens", "flat_light", "flat_holds", "dark_light"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        other.edits = list(self.edits)
        return other

    def thin_out(self, which: NDArray[np.intp]) -> None:
        """Take only these projections."""
        angles = self.pose.angle[which]
        self.pose, self.reported_deg = Pose(angles), self.reported_deg[which]
        self.light, self.beam_z = self.light[which], self.beam_z[which]
        if self.known is not None:
            self.known = (self.known[0][which], self.known[1][which])

    def lines(self) -> Floats:
        """Line integrals (n, rows, columns)."""
        return Projector(self.body, self.rows, self.columns).lines(self.pose, self.axis, self.known)


def beam(setup: Setup, height: float) -> Floats:
    """The open beam (rows, columns), mean 1, in photons: a wide hump, bands of the monochromator, spots of the
    scintillator and pixels of unequal gain. ``height`` moves hump and bands, not spots and gain.
    """
    rng = np.random.default_rng([setup.seed, 7])
    rows, columns = setup.rows, setup.columns
    bands = ndimage.gaussian_filter1d(rng.standard_normal((rows + 40, columns)), 1.3, axis=0)
    bands = ndimage.gaussian_filter1d(bands, columns / 5, axis=1)
    bands *= 0.05 / bands.std()
    z, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    hump = np.exp(-0.5 * ((z - (rows - 1) / 2 - height) / (2.2 * rows)) ** 2 - 0.3 * ((x / columns - 0.52) / 0.8) ** 2)
    moved = ndimage.shift(bands, (height, 0), order=1, mode="nearest")[20 : 20 + rows]
    gain = 1 + 0.015 * rng.standard_normal((rows, columns))
    for _ in range(3):
        distance = np.hypot(z - rng.uniform(0, rows), x - rng.uniform(0, columns))
        gain *= 1 - rng.uniform(0.05, 0.25) * np.exp(-0.5 * (distance / rng.uniform(0.8, 2)) ** 2)
    return np.asarray(hump / hump.mean() * (1 + moved) * gain)


def expose(setup: Setup) -> tuple[Recording, Floats]:
    """The scan as it is recorded, and its line integrals before the optics blurred them.

    Each frame has quanta of its own: a frame that a fault does not touch is the same as in the twin, to the last bit.
    """
    lines = setup.lines()
    offset = DARK_LEVEL + 4 * np.random.default_rng([setup.seed, 8]).standard_normal((setup.rows, setup.columns))
    jitter = 1 + 0.002 * np.random.default_rng([setup.seed, 9]).standard_normal(setup.count)
    fields = {height: beam(setup, height) for height in {*setup.beam_z.tolist(), setup.flat_z}}

    def counts(share: Floats | float, number: int) -> Floats:
        rng = np.random.default_rng([setup.seed, 10, number])
        quanta = rng.poisson(setup.photons * np.broadcast_to(share, offset.shape))
        noisy = quanta + offset + setup.read_noise * rng.standard_normal(offset.shape)
        return np.asarray(np.clip(np.round(noisy), 0, setup.ceiling))

    images = np.empty(lines.shape, np.uint16)
    for i, (line, light, height) in enumerate(zip(lines, setup.light * jitter, setup.beam_z.tolist(), strict=True)):
        seen = ndimage.gaussian_filter(np.exp(-line), (setup.blur, setup.blur), mode="nearest")
        images[i] = counts(fields[height] * light * seen * setup.screens.get(i, 1.0), i)
    open_beam = fields[setup.flat_z]
    sample = np.exp(-lines[0])
    flats = [
        counts(open_beam * light * (1 - holds + holds * sample), 1_000_000 + k)
        for k, (light, holds) in enumerate(zip(setup.flat_light, setup.flat_holds, strict=True))
    ]
    darks = [counts(open_beam * light, 2_000_000 + k) for k, light in enumerate(setup.dark_light)]
    recording = Recording(images, setup.reported_deg.copy(), np.array(flats, np.uint16), np.array(darks, np.uint16))
    for k, edit in enumerate(setup.edits):
        edit(recording, np.random.default_rng([setup.seed, 11, k]))
    return recording, lines
