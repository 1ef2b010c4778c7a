"""Analytic phantoms: ellipsoids and finite cylinders whose line integrals are known in closed form.

World coordinates are millimetres in the frame of the sample: x and y span a slice, z runs along the rotation axis,
the origin lies on the axis at the middle detector row. At the angle θ the detector sees

    column = axis_column + (x·cosθ + y·sinθ)/pixel,   row = middle_row + z/pixel

and the beam runs along (−sinθ, cosθ, 0). A tilted axis turns these three directions together (``view_basis``).

Every body is {p : (p−c)ᵀA(p−c) ≤ 1}, cut by the slab |n·(p−c)| ≤ h where h is finite. Along a ray the quadric is a
parabola in the depth s, so the chord is 2·√((1 − qᵀMq)/A_dd) with M the Schur complement of A_dd: exact at any
rotation angle and axis tilt, and still exact when an affine motion deforms the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.sim.scene.materials import attenuation_per_cm

Vector = tuple[float, float, float]
Floats = NDArray[np.float64]

PARALLEL_SHARE = 1e-9
"""Below this share of the largest curvature a quadric counts as flat along the ray (a cylinder seen end-on)."""


@dataclass(frozen=True, slots=True)
class Body:
    """One convex piece of matter. ``fill`` scales its density.

    ``host`` names what it displaces: the body adds fill·µ(material) − host_fill·µ(host), so inclusions subtract the
    body around them. ``kind`` "ellipsoid": semi-axes ``size_mm`` along the columns of a frame whose z axis is ``axis``
    turned by ``roll_deg`` about it. ``kind`` "cylinder": ``size_mm`` = (radius, radius, half length), along ``axis``.
    """

    kind: str
    center_mm: Vector
    size_mm: Vector
    material: str
    fill: float = 1.0
    host: str = "air"
    host_fill: float = 1.0
    axis: Vector = (0.0, 0.0, 1.0)
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("ellipsoid", "cylinder"):
            raise BadInput(f"body kind {self.kind!r} is neither ellipsoid nor cylinder")
        numbers = (*self.center_mm, *self.size_mm, *self.axis, self.fill, self.host_fill, self.roll_deg)
        if not np.all(np.isfinite(numbers)) or min(self.size_mm) <= 0 or not any(self.axis):
            raise BadInput(f"{self.kind}: sizes must be positive, all numbers finite, the axis not zero: {numbers}")

    def attenuation_per_cm(self, energy_kev: float) -> float:
        """What the body adds to µ inside itself, in 1/cm; negative for a pore."""
        return self.fill * attenuation_per_cm(self.material, energy_kev) - self.host_fill * attenuation_per_cm(
            self.host, energy_kev
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Body:
        vectors = {name: tuple(data[name]) for name in ("center_mm", "size_mm", "axis")}
        return cls(**{**data, **vectors})


def _frame(axis: Vector, roll_deg: float) -> Floats:
    """Right-handed frame (columns e1, e2, e3) with e3 along ``axis``."""
    e3 = np.asarray(axis, float) / np.linalg.norm(axis)
    helper = np.array([1.0, 0.0, 0.0]) if abs(e3[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    e1 = helper - (helper @ e3) * e3
    e1 /= np.linalg.norm(e1)
    e2 = np.cross(e3, e1)
    c, s = np.cos(np.deg2rad(roll_deg)), np.sin(np.deg2rad(roll_deg))
    return np.stack([c * e1 + s * e2, -s * e1 + c * e2, e3], axis=1)


@dataclass(frozen=True, slots=True)
class Quadrics:
    """Bodies as arrays: centres (n, 3) mm, forms (n, 3, 3) mm⁻², normals (n, 3), halves (n,) mm, mu (n, energies) cm⁻¹.

    ``normals`` and ``halves`` are those of the slabs; a half length of inf means "no slab".
    ``reach`` follows from them (see ``_reach``).
    """

    centers: Floats
    forms: Floats
    normals: Floats
    halves: Floats
    mu: Floats
    reach: tuple[Floats, Floats]

    def moved(self, shift_mm: Floats, strain: Floats | None = None, last: int = 0) -> Quadrics:
        """The bodies after p → (1 + strain)·p + shift, shift (3,) mm, strain (3, 3); of the ``last`` ones if given."""
        if last:
            first = len(self.centers) - last
            return self.part(slice(first)).joined(self.part(slice(first, None)).moved(shift_mm, strain))
        if strain is None or not np.any(strain):
            if not np.any(shift_mm):
                return self
            return replace(self, centers=self.centers + shift_mm)
        affine = np.eye(3) + strain
        inverse = np.linalg.inv(affine)
        forms = inverse.T @ self.forms @ inverse
        normals = self.normals @ inverse
        reach = _reach(forms, normals, self.halves)
        return Quadrics(self.centers @ affine.T + shift_mm, forms, normals, self.halves, self.mu, reach)

    def part(self, bodies: slice) -> Quadrics:
        """Some of the bodies."""
        spans, along = self.reach
        return Quadrics(
            self.centers[bodies], self.forms[bodies], self.normals[bodies], self.halves[bodies], self.mu[bodies],
            (spans[bodies], along[bodies]),
        )  # fmt: skip

    def joined(self, other: Quadrics) -> Quadrics:
        """These bodies, and then those of ``other``."""

        def both(one: Floats, more: Floats) -> Floats:
            return np.concatenate([one, more])

        return Quadrics(
            both(self.centers, other.centers), both(self.forms, other.forms), both(self.normals, other.normals),
            both(self.halves, other.halves), both(self.mu, other.mu),
            (both(self.reach[0], other.reach[0]), both(self.reach[1], other.reach[1])),
        )  # fmt: skip

    @property
    def attenuation_sum(self) -> Floats:
        """Σ over the bodies of µ·volume, (energies,) in mm³/cm; the zeroth moment of every projection."""
        radii = 1.0 / np.sqrt(np.prod(np.maximum(np.linalg.eigvalsh(self.forms), 1e-300), axis=1))
        volumes = 4.0 / 3.0 * np.pi * radii
        for k in np.flatnonzero(np.isfinite(self.halves)):
            values = np.sort(np.linalg.eigvalsh(self.forms[k]))[1:]
            lengths = 2.0 * self.halves[k] / np.linalg.norm(self.normals[k])
            volumes[k] = np.pi / np.sqrt(np.prod(values)) * lengths
        return np.asarray(volumes @ self.mu)


def compile_bodies(bodies: Sequence[Body], energies_kev: Sequence[float], scale: float = 1.0) -> Quadrics:
    """Bodies to arrays. ``scale`` multiplies every length, about the origin."""
    n = len(bodies)
    centers, forms, normals = np.zeros((n, 3)), np.zeros((n, 3, 3)), np.zeros((n, 3))
    halves, mu = np.full(n, np.inf), np.zeros((n, len(energies_kev)))
    for k, body in enumerate(bodies):
        frame = _frame(body.axis, body.roll_deg)
        curvature = 1.0 / (np.asarray(body.size_mm) * scale) ** 2
        if body.kind == "cylinder":
            curvature[2] = 0.0
            normals[k], halves[k] = frame[:, 2], body.size_mm[2] * scale
        centers[k] = np.asarray(body.center_mm) * scale
        forms[k] = (frame * curvature) @ frame.T
        mu[k] = [body.attenuation_per_cm(energy) for energy in energies_kev]
    return Quadrics(centers, forms, normals, halves, mu, _reach(forms, normals, halves))


def view_basis(angle_deg: float, roll_deg: float = 0.0, pitch_deg: float = 0.0) -> Floats:
    """Rows: the directions of detector columns, detector rows and the beam, in the frame of the sample (3, 3).

    ``roll_deg`` tilts the axis in the plane of the detector (positive: its column grows with the row); ``pitch_deg``
    tilts it along the beam.
    """
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    u, d, z = np.array([c, s, 0.0]), np.array([-s, c, 0.0]), np.array([0.0, 0.0, 1.0])
    cp, sp = np.cos(np.deg2rad(pitch_deg)), np.sin(np.deg2rad(pitch_deg))
    z, d = cp * z - sp * d, cp * d + sp * z
    cr, sr = np.cos(np.deg2rad(roll_deg)), np.sin(np.deg2rad(roll_deg))
    return np.stack([cr * u + sr * z, -sr * u + cr * z, d])


def shadows(quadrics: Quadrics, basis: Floats) -> Floats:
    """What the kernels need of each body at one view, (n, 15) float64, lengths in mm:

    0,1 centre (column, row) · 2–4 M_uu, M_uv, M_vv · 5 A_dd (0 when flat along the ray) · 6,7 slope of the chord's
    middle · 8–10 slab normal (u, v, d) · 11 half length · 12,13 half width and height of the shadow's box · 14 unused
    """
    forms = basis @ quadrics.forms @ basis.T
    normals = quadrics.normals @ basis.T
    out = np.zeros((len(forms), 15))
    out[:, 0:2] = quadrics.centers @ basis[:2].T
    depth = forms[:, 2, 2]
    flat = depth < PARALLEL_SHARE * np.trace(forms, axis1=1, axis2=2)
    safe = np.where(flat, 1.0, depth)
    cross = np.where(flat[:, None], 0.0, forms[:, :2, 2])
    schur = forms[:, :2, :2] - cross[:, :, None] * cross[:, None, :] / safe[:, None, None]
    out[:, 2], out[:, 3], out[:, 4] = schur[:, 0, 0], schur[:, 0, 1], schur[:, 1, 1]
    out[:, 5] = np.where(flat, 0.0, depth)
    out[:, 6:8] = -cross / safe[:, None]
    out[:, 8:11] = normals
    out[:, 11] = quadrics.halves
    spans, along = quadrics.reach
    out[:, 12:14] = np.sqrt(((basis[:2] @ spans) ** 2).sum(axis=2)) + np.abs(along @ basis[:2].T)
    return out


def _reach(forms: Floats, normals: Floats, halves: Floats) -> tuple[Floats, Floats]:
    """What spans every body: half axes (n, 3, 3) as columns, and the half length of a cylinder along its axis (n, 3).

    The half axes of a cylinder are those of its end face: the cross-section, slid along the axis into the slab's plane.
    """
    values, vectors = np.linalg.eigh(forms)
    slab = np.isfinite(halves)
    axes = vectors[:, :, 0]
    slope = np.where(slab, np.einsum("ni,ni->n", normals, axes), 1.0)
    values[slab, 0] = 1.0
    spans = vectors / np.sqrt(values)[:, None, :]
    slide = np.einsum("ni,nij->nj", normals, spans) / slope[:, None]
    sheared = spans - axes[:, :, None] * slide[:, None, :]
    sheared[:, :, 0] = 0.0
    along = axes * np.where(slab, halves / slope, 0.0)[:, None]
    return np.where(slab[:, None, None], sheared, spans), along
