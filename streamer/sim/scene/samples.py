"""The magazine of the demo: invented samples, drawn in millimetres for a field of view of 1.8688 mm.

Slot 0 is good. The axis of slot 1 is off the middle by 12 % of the columns. Slot 2 slips during its first scan and then
rests. Slot 3 is an empty holder. Further slots are variants of good samples. A magazine may
be ``arranged`` with samples of other kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamer.frames import BadInput
from streamer.sim.scene.motion import Knot, Motion, slip
from streamer.sim.scene.phantom import Body

Rng = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """One sample of the magazine. ``scale`` multiplies all lengths; ``motion`` is that of the first scan."""

    name: str
    bodies: tuple[Body, ...] = ()
    axis_offset_px: float = 0.0
    motion: Motion = field(default_factory=Motion)
    scale: float = 1.0
    loose: bool = False  # moves in every scan
    grips_lost: int = 0  # how often the gripper loses it before it holds it

    def to_dict(self) -> dict[str, Any]:
        bodies = [body.to_dict() for body in self.bodies]
        return {"name": self.name, "scale": self.scale, "axis_offset_px": self.axis_offset_px, "bodies": bodies}


KINDS = ("good", "empty", "off_axis", "slips", "loose", "wide", "slippery", "stirrer")
"""What may be in a slot. "slips" moves in its first scan, "loose" in each; "wide" is wider than the detector. The
gripper loses a "slippery" one at the first try. In a "stirrer" a bead goes round among rods at rest, in each scan.
"""

WIDE = 1.8


def arranged(kinds: Sequence[str], columns: int, pixel_mm: float, scale: float, seed: int) -> tuple[Sample, ...]:
    """A magazine with a sample of the given kind in each slot. Raises BadInput for a kind that is none of KINDS."""
    return tuple(_of_kind(kind, slot, columns, pixel_mm, scale, seed) for slot, kind in enumerate(kinds))


def _of_kind(kind: str, slot: int, columns: int, pixel_mm: float, scale: float, seed: int) -> Sample:
    if kind not in KINDS:
        raise BadInput(f"magazine: slot {slot} holds {kind!r}, expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, 0x5A, slot])
    offset = 0.12 * columns if kind == "off_axis" else round(float(rng.uniform(-2.0, 2.0)), 2)
    if kind == "empty":
        return Sample(f"empty-{slot}", (), offset, scale=scale)
    if kind == "stirrer":
        return Sample(f"stirrer-{slot}", stirrer(), offset, stirring(scale), scale, loose=True)
    moves = kind in ("slips", "loose")
    way = (4.0 * pixel_mm, 0.0, 3.0 * pixel_mm)
    return Sample(
        f"{kind}-{slot}",
        (weevil, implant, fibre)[slot % 3](rng),
        offset,
        slip(round(float(rng.uniform(0.3, 0.7)), 3), way) if moves else Motion(),
        WIDE * scale if kind == "wide" else scale,
        kind == "loose",
        int(kind == "slippery"),
    )


def magazine(slots: int, columns: int, pixel_mm: float, scale: float, seed: int) -> tuple[Sample, ...]:
    """The samples of ``slots`` slots for a detector of ``columns`` pixels of ``pixel_mm``."""
    rng = np.random.default_rng([seed, 0x5A])
    slipping = slip(0.55, (4.0 * pixel_mm, 0.0, 3.0 * pixel_mm))
    first = [
        Sample("weevil", weevil(rng), 2.3, scale=scale),
        Sample("implant", implant(rng), 0.12 * columns + 0.4, scale=scale),
        Sample("fibre", fibre(rng), -1.7, slipping, scale),
        Sample("empty", (), 2.3, scale=scale),
    ]
    draw: tuple[Callable[[Rng], tuple[Body, ...]], ...] = (weevil, implant, fibre)
    for slot in range(4, slots):
        maker = draw[slot % 3]
        offset = round(float(rng.uniform(1.7, 3.4)), 2)
        first.append(Sample(f"{maker.__name__}-{slot}", maker(rng), offset, scale=scale))
    return tuple(first[:slots])


def weevil(rng: Rng) -> tuple[Body, ...]:
    """A mineralised beetle in amber: shell, gut, eggs, head with snout and eyes, six legs, bubbles."""
    bodies = [
        Body("cylinder", (0.0, 0.0, 0.0), (0.66, 0.66, 0.84), "amber"),
        Body("ellipsoid", (0.0, 0.03, 0.17), (0.37, 0.31, 0.46), "hydroxyapatite", 1.0, host="amber"),
        Body("ellipsoid", (0.0, 0.03, 0.17), (0.31, 0.25, 0.40), "aluminium", 1.0, "hydroxyapatite", 1.0),
        Body("ellipsoid", (0.0, 0.0, -0.38), (0.20, 0.18, 0.15), "hydroxyapatite", 1.0, host="amber"),
        Body("ellipsoid", (0.0, 0.0, -0.38), (0.15, 0.13, 0.10), "water", 1.0, "hydroxyapatite", 1.0),
        Body(
            "cylinder", (0.0, -0.235, -0.63), (0.04, 0.04, 0.14), "hydroxyapatite", axis=(0.0, -0.5, -0.8), host="amber"
        ),
        Body("ellipsoid", (0.20, -0.14, -0.46), (0.05, 0.05, 0.05), "aluminium", host="amber"),
        Body("ellipsoid", (-0.20, -0.14, -0.46), (0.05, 0.05, 0.05), "aluminium", host="amber"),
        Body(
            "ellipsoid",
            (0.06, 0.10, 0.12),
            (0.07, 0.06, 0.24),
            "hydroxyapatite",
            0.9,
            "aluminium",
            0.8,
            (0.1, 0.15, 1.0),
        ),
        Body("ellipsoid", (-0.13, -0.02, 0.05), (0.08, 0.09, 0.10), "water", 1.0, "aluminium", 1.0),
    ]
    bodies += [_egg(rng, k) for k in range(6)]
    bodies += [_puncture(k) for k in range(12)]
    for side in (-1.0, 1.0):
        for k in range(3):
            bodies += _leg(side, -0.10 + 0.21 * k)
    bodies += [_bubble(rng, k) for k in range(5)]
    return tuple(bodies)


def _egg(rng: Rng, k: int) -> Body:
    turn = 2 * np.pi * k / 6
    center = (-0.10 + 0.06 * np.cos(turn), 0.06 + 0.06 * np.sin(turn), 0.33 + 0.02 * (k % 3))
    radius = float(rng.uniform(0.022, 0.030))
    return Body("ellipsoid", center, (radius, radius, 1.3 * radius), "hydroxyapatite", 0.9, "aluminium", 1.0)


def _puncture(k: int) -> Body:
    """A pore in the wall of the shell."""
    turn, z = 2 * np.pi * (k + 0.3) / 12, 0.17 + 0.05 * (k % 4 - 1.5)
    shrink = np.sqrt(1.0 - ((z - 0.17) / 0.43) ** 2)
    center = (0.34 * shrink * np.cos(turn), 0.03 + 0.28 * shrink * np.sin(turn), z)
    return Body("ellipsoid", center, (0.016, 0.016, 0.03), "water", 1.0, "hydroxyapatite", 1.0)


def _leg(side: float, z: float) -> list[Body]:
    """Thigh and shin; the thigh begins at the surface of the shell."""
    knee = np.array([side * 0.50, -0.22, z - 0.05])
    hip = np.array([side * 0.37 * np.sqrt(1.0 - (0.16 / 0.31) ** 2 - ((z - 0.17) / 0.47) ** 2) + side * 0.02, -0.13, z])
    thigh, shin = knee - hip, np.array([side * 0.03, -0.16, 0.20])
    parts = []
    for start, way, radius in ((knee - thigh, thigh, 0.035), (knee, shin, 0.022)):
        middle, half = start + way / 2, float(np.linalg.norm(way)) / 2
        axis = (float(way[0]), float(way[1]), float(way[2]))
        center = (float(middle[0]), float(middle[1]), float(middle[2]))
        parts.append(Body("cylinder", center, (radius, radius, half), "hydroxyapatite", 0.6, "amber", axis=axis))
    return parts


def _bubble(rng: Rng, k: int) -> Body:
    turn = 1.0 + 0.25 * k
    radius = float(rng.uniform(0.02, 0.045))
    center = (0.52 * np.cos(turn), 0.52 * np.sin(turn), float(rng.uniform(-0.6, 0.6)))
    return Body("ellipsoid", center, (radius, radius, radius), "air", 1.0, "amber")


def implant(rng: Rng) -> tuple[Body, ...]:
    """A screw in porous bone."""
    bodies = [
        Body("cylinder", (0.0, 0.0, 0.0), (0.62, 0.62, 0.82), "hydroxyapatite", 0.40),
        Body("cylinder", (0.0, 0.0, 0.0), (0.50, 0.50, 0.78), "hydroxyapatite", 0.28, "hydroxyapatite", 0.40),
    ]
    axis = np.array([0.08, 0.05, 1.0]) / np.linalg.norm([0.08, 0.05, 1.0])
    for k in range(18):
        x, y, z = (float(v) for v in (-0.68 + 0.08 * k) * axis)
        radius = (0.15, 0.22)[k % 2]
        direction = (float(axis[0]), float(axis[1]), float(axis[2]))
        bodies.append(
            Body("cylinder", (x, y, z), (radius, radius, 0.04), "aluminium", 1.2, "hydroxyapatite", 0.28, direction)
        )
    bodies += _pores(rng, 20)
    return tuple(bodies)


def _pores(rng: Rng, count: int) -> list[Body]:
    """Water-filled ellipsoids between screw and shell that do not touch one another."""
    found: list[tuple[float, float, float]] = []
    bodies: list[Body] = []
    while len(bodies) < count:
        radius, turn = rng.uniform(0.35, 0.41), rng.uniform(0, 2 * np.pi)
        center = (float(radius * np.cos(turn)), float(radius * np.sin(turn)), float(rng.uniform(-0.68, 0.68)))
        if any(np.linalg.norm(np.subtract(center, other)) < 0.17 for other in found):
            continue
        found.append(center)
        small = float(rng.uniform(0.04, 0.075))
        size = (small, float(rng.uniform(0.04, 0.075)), 0.08)
        roll = float(np.rad2deg(turn))
        bodies.append(Body("ellipsoid", center, size, "water", 1.0, "hydroxyapatite", 0.28, roll_deg=roll))
    return bodies


STIR_MM, STIR_TURNS, STIR_KNOTS = 0.28, 2, 96
SALT = 6.0  # attenuation of the salt water over that of water


def stirrer() -> tuple[Body, ...]:
    """A tube of aluminium, in salt water three rods, and a bead, the last body, that moves."""
    bodies = [
        Body("cylinder", (0.0, 0.0, 0.0), (0.64, 0.64, 0.84), "aluminium"),
        Body("cylinder", (0.0, 0.0, 0.0), (0.56, 0.56, 0.84), "water", SALT, "aluminium"),
    ]
    for k in range(3):
        turn = 0.7 + 2 * np.pi * k / 3
        center = (0.48 * float(np.cos(turn)), 0.48 * float(np.sin(turn)), 0.0)
        bodies.append(Body("cylinder", center, (0.05, 0.05, 0.8), "aluminium", 1.5, "water", SALT))
    bodies.append(Body("ellipsoid", (0.0, 0.0, 0.0), (0.12, 0.12, 0.12), "hydroxyapatite", 1.5, "water", SALT))
    return tuple(bodies)


def stirring(scale: float) -> Motion:
    """The bead goes round twice in a scan, and rises and falls."""
    knots = []
    for progress in np.linspace(0.0, 1.0, STIR_KNOTS + 1):
        turn = 2 * np.pi * STIR_TURNS * progress
        x, y, z = STIR_MM * np.cos(turn), STIR_MM * np.sin(turn), 0.1 * np.sin(2 * np.pi * progress)
        knots.append(Knot(float(progress), (float(scale * x), float(scale * y), float(scale * z))))
    return Motion(tuple(knots), last=1)


def fibre(rng: Rng) -> tuple[Body, ...]:
    """A bundle of glass fibres in resin, some of them metal, and a few voids."""
    bodies = [Body("cylinder", (0.0, 0.0, 0.0), (0.62, 0.62, 0.84), "pmma")]
    spacing = 0.145
    for row in range(-3, 4):
        for column in range(-3, 4):
            x, y = spacing * (column + 0.5 * (row % 2)), spacing * 0.866 * row
            if np.hypot(x, y) > 0.46:
                continue
            material = ("aluminium", "silica", "aluminium", "aluminium", "aluminium", "hydroxyapatite")[
                (3 * row + column) % 6
            ]
            lean = rng.normal(0.0, 0.015, 2)
            radius = float(rng.uniform(0.052, 0.066))
            axis = (float(lean[0]), float(lean[1]), 1.0)
            bodies.append(Body("cylinder", (x, y, 0.0), (radius, radius, 0.8), material, 1.0, "pmma", axis=axis))
    for k in range(4):
        turn = 0.4 + 1.5 * k
        center = (0.56 * np.cos(turn), 0.56 * np.sin(turn), -0.45 + 0.3 * k)
        bodies.append(Body("ellipsoid", center, (0.03, 0.03, 0.05), "air", 1.0, "pmma"))
    return tuple(bodies)
