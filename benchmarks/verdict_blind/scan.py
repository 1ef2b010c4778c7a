"""What a scan is going to be, before it is exposed: body, motion, angles, beam and detector. Faults edit it.

A draft is drawn from a seed alone; the twin of a spoiled scan is the draft of the same seed, left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict_blind.phantoms import Phantom, make

Array = NDArray[Any]

DARK, FLAT, PROJECTION = 2, 1, 0
"""Image keys of NXtomo."""

GOLDEN = (np.sqrt(5) - 1) / 2
ORDERS = ("half", "half with end", "full", "backwards", "golden", "interlaced")


@dataclass
class Motion:
    """Pose of the body at each of n projections; all zeros is at rest. Pixels and degrees.

    ``sample`` (n, 3) moves it in the rotating frame, ``lab`` (n, 2) along the detector's columns and along the axis,
    ``slip`` turns it about the axis and ``tip`` about x of its holder. ``scale`` shrinks it at constant mass;
    ``present`` is 0 where it is gone.
    """

    sample: Array
    lab: Array
    slip: Array
    tip: Array
    scale: Array
    present: Array

    @classmethod
    def rest(cls, n: int) -> Motion:
        return cls(np.zeros((n, 3)), np.zeros((n, 2)), np.zeros(n), np.zeros(n), np.ones(n), np.ones(n))

    def poses(self, angles_rad: Array) -> tuple[Array, Array, Array]:
        """Inverse matrices (n, 3, 3), shifts (n, 3) in the rotating frame, weights (n,) of the density."""
        zero, one = np.zeros_like(self.slip), np.ones_like(self.slip)
        c, s = np.cos(np.deg2rad(self.slip)), np.sin(np.deg2rad(self.slip))
        about_axis = np.array([[c, -s, zero], [s, c, zero], [zero, zero, one]]).transpose(2, 0, 1)
        c, s = np.cos(np.deg2rad(self.tip)), np.sin(np.deg2rad(self.tip))
        about_x = np.array([[one, zero, zero], [zero, c, -s], [zero, s, c]]).transpose(2, 0, 1)
        inverse = (about_axis @ about_x).transpose(0, 2, 1) / self.scale[:, None, None]
        shift = self.sample.copy()
        shift[:, 0] += self.lab[:, 0] * np.cos(angles_rad)
        shift[:, 1] += self.lab[:, 0] * np.sin(angles_rad)
        shift[:, 2] += self.lab[:, 1]
        return np.ascontiguousarray(inverse), shift, self.present / self.scale**3


@dataclass
class Draft:
    """A scan to be exposed. Frames are numbered in the order darks, flats, projections, flats after.

    ``true_deg`` and ``told_deg`` (n,) are where the stage is and what it says. ``light`` (frames,) is the beam's
    intensity, ``beam_shift`` (frames, 2) where it lies, (row, column) in pixels. ``touch`` are called with the counts
    (frames, rows, columns) float32 of the detector before its range cuts them; ``hand_over`` (frames,) lists the frame
    numbers in the order in which they are sent, whose pixels are those of ``pixels_of``.
    """

    phantom: Phantom
    rows: int
    columns: int
    center: float
    order: str
    start_deg: float
    range_deg: float
    true_deg: Array
    darks: int
    flats: int
    flats_after: int
    quanta: float
    seed: int
    gain: float = 1.0
    offset: float = 100.0
    read_noise: float = 2.0
    blur: float = 0.0
    told_deg: Array = field(init=False)
    motion: Motion = field(init=False)
    light: Array = field(init=False)
    dark_light: float = 0.0
    beam_shift: Array = field(init=False)
    sample_in_flat: Array = field(init=False)
    mask: Array = field(init=False)
    mask_flats: bool = False
    response: Array = field(init=False)
    touch: list[Callable[[Array], None]] = field(default_factory=list)
    ceiling: int = 65535
    announced_ceiling: float | None = None
    hand_over: Array = field(init=False)
    pixels_of: Array = field(init=False)
    swapped: bool = False
    as_float: bool = False
    announced: int = 0
    hardships: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.told_deg = self.true_deg.copy()
        self.motion = Motion.rest(self.n)
        self.light = np.ones(self.frames)
        self.beam_shift = np.zeros((self.frames, 2))
        self.sample_in_flat = np.zeros(self.frames, bool)
        self.mask = np.ones((self.rows, self.columns))
        self.response = np.ones((self.rows, self.columns))
        self.hand_over = np.arange(self.frames)
        self.pixels_of = np.arange(self.frames)
        self.announced = self.n

    @property
    def n(self) -> int:
        """Projections exposed."""
        return len(self.true_deg)

    @property
    def frames(self) -> int:
        return self.darks + self.flats + self.n + self.flats_after

    @property
    def first(self) -> int:
        """Number of the first projection among the frames."""
        return self.darks + self.flats

    @property
    def projections(self) -> slice:
        return slice(self.first, self.first + self.n)

    @property
    def is_flat(self) -> Array:
        number = np.arange(self.frames)
        return ((number >= self.darks) & (number < self.first)) | (number >= self.first + self.n)


def angles(order: str, n: int, start_deg: float) -> tuple[Array, float, float]:
    """True angles (n,), and the start and range to be announced, in degrees."""
    if order == "half with end":
        return start_deg + np.arange(n) * 180.0 / (n - 1), start_deg, 180.0
    if order == "full":
        return start_deg + np.arange(n) * 360.0 / n, start_deg, 360.0
    if order == "backwards":
        return start_deg + 180.0 - np.arange(n) * 180.0 / n, start_deg + 180.0, -180.0
    if order == "golden":
        return start_deg + 180.0 * np.mod(np.arange(n) * GOLDEN, 1.0), start_deg, 180.0
    even = start_deg + np.arange(n) * 180.0 / n
    if order == "interlaced":
        turns = (0, 4, 2, 6, 1, 5, 3, 7)
        even = np.concatenate([even[turn::8] for turn in turns])
    return even, start_deg, 180.0


def draw(
    seed: int,
    family: str,
    order: str | None = None,
    projections: float = 1.0,
    dose: float = 1.0,
    off_axis: float = 0.0,
    with_flats: bool = True,
) -> Draft:
    """The good scan of a seed. The rest changes what was planned, and nothing else of what the seed draws.

    ``projections`` and ``dose`` multiply their numbers, ``off_axis`` (share of the columns) is added to the axis.
    """
    rng = np.random.default_rng([seed, 1])
    columns = int(rng.choice([96, 112, 128, 144, 160, 192, 256], p=[0.32, 0.24, 0.2, 0.1, 0.07, 0.05, 0.02]))
    rows = int(rng.choice([8, 10, 12, 16, 20, 24], p=[0.25, 0.2, 0.2, 0.2, 0.1, 0.05]))
    drawn = str(rng.choice(ORDERS))
    order = order or drawn
    n = int(columns * rng.uniform(0.8, 1.3) * (1.4 if order == "full" else 1.0) * projections)
    n = max(4, n + n % 2)
    true, start, span = angles(order, n, float(rng.uniform(-90, 90)) if rng.random() < 0.5 else 0.0)
    center = (columns - 1) / 2 + float(rng.normal(0, 0.008)) * columns
    room = min(center, columns - 1 - center) - 1.0
    radius = room * float(rng.uniform(0.55, 0.93))
    phantom = make(family, rng, radius, rows)
    quanta = float(np.exp(rng.uniform(np.log(4e3), np.log(4e4))))
    draft = Draft(
        phantom,
        rows,
        columns,
        center + off_axis * columns,
        order,
        start,
        span,
        true,
        darks=int(rng.integers(3, 11)),
        flats=int(rng.integers(6, 16)) * with_flats,
        flats_after=(int(rng.integers(5, 11)) if rng.random() < 0.4 else 0) * with_flats,
        quanta=quanta * dose,
        seed=seed,
    )
    draft.gain = min(float(rng.uniform(0.4, 1.2)), 0.4 * 65535 / quanta)
    draft.offset, draft.read_noise = float(rng.uniform(50, 200)), float(rng.uniform(1, 4))
    draft.blur = float(rng.choice([0.0, 0.5, 0.7]))
    return draft


def strain(draft: Draft) -> None:
    """Make a good scan a hard one: two or three small imperfections that any beamline has on a usual day."""
    rng = np.random.default_rng([draft.seed, 2])
    time = np.linspace(0, 1, draft.frames)
    names = rng.choice(list(HARDSHIPS), rng.integers(2, 4), replace=False)
    draft.hardships = [str(name) for name in names]
    for name in draft.hardships:
        HARDSHIPS[name](draft, rng, time)


def _decay(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.light *= 1 - rng.uniform(0.01, 0.05) * time


def _low_dose(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.quanta = float(rng.uniform(1000, 2500))


def _touched(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    room = min(draft.center, draft.columns - 1 - draft.center)
    draft.phantom = draft.phantom.scaled((room + rng.uniform(-0.5, 1.0)) / draft.phantom.radius)


def _off_axis(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.center = (draft.columns - 1) / 2 + rng.choice([-1, 1]) * rng.uniform(0.02, 0.035) * draft.columns
    room = min(draft.center, draft.columns - 1 - draft.center) - 1
    draft.phantom = draft.phantom.scaled(min(1.0, room / draft.phantom.radius))


def _slow_beam(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.beam_shift += time[:, None] * rng.normal(0, 0.15, 2)
    draft.light *= 1 + rng.normal(0, 0.004) * np.sin(2 * np.pi * (time + rng.random()))


def _unrest(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.motion.lab += rng.normal(0, rng.uniform(0.03, 0.12), draft.motion.lab.shape)


def _some_lost(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    lost = draft.first + rng.choice(draft.n, max(1, draft.n // 100), replace=False)
    draft.hand_over = draft.hand_over[~np.isin(draft.hand_over, lost)]


def _flicker(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    draft.light *= rng.normal(1, 0.003, draft.frames)


def _dust(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    where = rng.integers(0, draft.rows, 3), rng.integers(0, draft.columns, 3)
    draft.response[where] *= rng.uniform(0.85, 1.1, 3)


def _zingers(draft: Draft, rng: np.random.Generator, time: Array) -> None:
    def touch(counts: Array) -> None:
        hits = rng.random(counts.shape) < 2e-5
        counts[hits] += rng.uniform(0.1, 1, int(hits.sum())) * draft.quanta * draft.gain

    draft.touch.append(touch)


HARDSHIPS: dict[str, Callable[[Draft, np.random.Generator, Array], None]] = {
    "beam decays by up to 5 %": _decay,
    "1000 to 2500 quanta": _low_dose,
    "edges touched": _touched,
    "axis 2 to 3.5 % off": _off_axis,
    "beam wanders a little": _slow_beam,
    "stage unrest of 0.1 px": _unrest,
    "1 % of the frames lost": _some_lost,
    "light flickers by 0.3 %": _flicker,
    "dust on three pixels": _dust,
    "rare zingers": _zingers,
}
