"""Planes that are watched while the scan runs: each frame is folded in once, when it arrives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.jit import as_input
from streamer.frames import NAME, BadInput

MAX_SIDE = 4096
MAX_PLANES = 16

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """A flat grid of pixels anywhere in the tomogram. Raises BadInput, naming the plane, when it makes no sense.

    ``origin`` is (x, y, z) of pixel (0, 0) in voxels, ``u`` the step from column to column, ``v`` from row to row;
    ``shape`` is (rows, columns) of the image. z counts detector rows.
    """

    name: str
    origin: Vector
    u: Vector
    v: Vector
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise BadInput(f"plane name {self.name!r}: use letters, digits, '.', '_' and '-'")
        for field in ("origin", "u", "v"):
            value = getattr(self, field)
            if len(value) != 3 or not all(np.isfinite(value)) or max(map(abs, value)) > 1e6:
                raise BadInput(f"plane {self.name}: {field} is {value}, it must be three finite numbers (x, y, z)")
        # A cross product of nearly 0 means a zero step or two parallel ones: the plane would be a line.
        if float(np.linalg.norm(np.cross(self.u, self.v))) < 1e-6:
            raise BadInput(f"plane {self.name}: u {self.u} and v {self.v} do not span a plane")
        if len(self.shape) != 2 or not all(1 <= side <= MAX_SIDE for side in self.shape):
            raise BadInput(f"plane {self.name}: shape {self.shape} must be (rows, columns) from 1 to {MAX_SIDE}")

    @property
    def horizontal(self) -> bool:
        """True when the plane is perpendicular to the rotation axis."""
        return self.u[2] == 0.0 and self.v[2] == 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "origin": list(self.origin),
            "u": list(self.u),
            "v": list(self.v),
            "shape": list(self.shape),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plane:
        """Inverse of to_dict. Raises BadInput on missing or unknown keys and on wrong types."""
        keys = {"name", "origin", "u", "v", "shape"}
        if not isinstance(data, Mapping) or set(data) != keys:
            raise BadInput(f"a plane needs exactly the keys {', '.join(sorted(keys))}")
        try:
            if any(float(side) != int(side) for side in data["shape"]):
                raise ValueError("shape must be whole numbers")
            rows, columns = (int(side) for side in data["shape"])
            origin, u, v = (_vector(data[key]) for key in ("origin", "u", "v"))
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"plane {data['name']!r} cannot be read: {error}") from error
        return cls(data["name"], origin, u, v, (rows, columns))


def orthogonal_planes(rows: int, columns: int) -> tuple[Plane, Plane, Plane]:
    """The cuts through the middle of the tomogram: "xy" (one detector row), "xz" and "yz" (parallel to the axis)."""
    z, middle = float(rows // 2), float(columns // 2)
    return (
        Plane("xy", (0.0, 0.0, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (columns, columns)),
        Plane("xz", (0.0, middle, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
        Plane("yz", (middle, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
    )


def check_planes(planes: Sequence[Plane]) -> None:
    """Raises BadInput when these are too many to watch, or two have the same name."""
    if len(planes) > MAX_PLANES:
        raise BadInput(f"{len(planes)} planes asked for, at most {MAX_PLANES} can be watched")
    names = [plane.name for plane in planes]
    if len(set(names)) != len(names):
        raise BadInput(f"two planes have the same name; the names are {', '.join(names)}")


class PlaneSums:
    """Weighted sums of filtered projections, backprojected into a few planes of a tomogram (rows, columns, columns).

    The first horizontal plane is kept as two halves, of even and of odd frames. Their sum is the image, and their
    likeness its resolution (Fourier ring correlation), at no extra work.
    """

    def __init__(self, backend: Backend, planes: Sequence[Plane], rows: int, columns: int) -> None:
        check_planes(planes)
        self._backend = backend
        self.planes = tuple(planes)
        self.rows, self.columns = rows, columns
        self._halved = next((plane.name for plane in planes if plane.horizontal), None)
        self.clear()

    def clear(self) -> None:
        self._sums = {p.name: np.zeros((2 if p.name == self._halved else 1, *p.shape), np.float32) for p in self.planes}

    def __getitem__(self, name: str) -> Image:
        """Sums (sets, height, width) of a plane; two sets where it is kept in halves."""
        return self._sums[name]

    def add(self, filtered: Image, angle_rad: float, center: float, weight: float, number: int) -> None:
        """Add ``weight`` times a filtered projection (rows, columns), the ``number``-th, seen around ``center``."""
        source = as_input(filtered, np.float32)
        cos, sin = float(np.cos(angle_rad)), float(np.sin(angle_rad))
        middle = (self.columns - 1) / 2
        for plane in self.planes:
            (x, y, z), u, v = plane.origin, plane.u, plane.v
            column = (
                center + (x - middle) * cos + (y - middle) * sin,
                u[0] * cos + u[1] * sin,
                v[0] * cos + v[1] * sin,
            )
            sums = self._sums[plane.name]
            self._backend.kernels.backproject_plane(
                source,
                as_input(np.array(column)),
                as_input(np.array((z, u[2], v[2]), np.float64)),
                weight,
                self._backend.threads,
                sums[number % len(sums)],
            )

    def images(self, scale: float, names: Collection[str] | None = None) -> dict[str, Image]:
        """All planes, or those named, times ``scale``."""
        chosen = {name: sums for name, sums in self._sums.items() if names is None or name in names}
        return {name: sums.sum(axis=0) * np.float32(scale) for name, sums in chosen.items()}

    def halves(self, scale: tuple[float, float]) -> tuple[Image, Image] | None:
        """The first horizontal plane from even and from odd frames, each times its scale; None without such a plane."""
        if self._halved is None:
            return None
        even, odd = self._sums[self._halved]
        return even * np.float32(scale[0]), odd * np.float32(scale[1])


class LivePlanes:
    """Backprojections of the frames so far into a few planes; right for any prefix of the scan and any order of angles.

    The tomogram's grid is (rows, columns, columns). Attenuation per pixel, once ``images`` has scaled it.
    """

    def __init__(self, backend: Backend, planes: Sequence[Plane], rows: int, columns: int, center: float) -> None:
        self._sums = PlaneSums(backend, planes, rows, columns)
        self.planes = self._sums.planes
        self.rows, self.columns = rows, columns
        self.reset(center)

    def reset(self, center: float | None = None) -> None:
        """Forget all frames; with ``center`` (columns), use that axis from now on. Raises BadInput if not finite."""
        if center is not None:
            self.center = finite_center(center)
        self.count = 0
        self._angles: list[float] = []
        self._weight = [0.0, 0.0]
        self._sums.clear()

    def add(self, filtered: NDArray[np.float32], angle_rad: float, weight: float = 1.0) -> None:
        """Fold in one filtered projection (rows, columns) float32, seen at ``angle_rad``.

        Raises BadInput on another shape or an angle that is not finite.
        """
        check_projection(filtered, (self.rows, self.columns), angle_rad)
        self._sums.add(filtered, angle_rad, self.center, weight, self.count)
        self._angles.append(float(angle_rad))
        self._weight[self.count % 2] += weight
        self.count += 1

    def images(self) -> dict[str, Image]:
        """Every plane as the reconstruction from the frames so far: mean of the frames times the angle they cover."""
        return self._sums.images(self._scale(self._angles, sum(self._weight)))

    def half_images(self) -> tuple[Image, Image] | None:
        """The first horizontal plane from the even and from the odd frames alone; None without plane or frames."""
        if self.count < 2:
            return None
        even, odd = (self._scale(self._angles[half::2], self._weight[half]) for half in (0, 1))
        return self._sums.halves((even, odd))

    @staticmethod
    def _scale(angles: list[float], weight: float) -> float:
        return float(angular_weights(np.array(angles)).sum()) / weight if weight else 0.0


def finite_center(center: float) -> float:
    """The centre of rotation as a number. Raises BadInput when it is not finite."""
    if not np.isfinite(center):
        raise BadInput(f"the centre of rotation must be a finite column, not {center}")
    return float(center)


def check_projection(pixels: NDArray[Any], shape: tuple[int, int], angle_rad: float) -> None:
    """Raises BadInput unless one projection has this shape (rows, columns) and its angle is finite."""
    if pixels.shape != shape:
        raise BadInput(f"a projection is {pixels.shape}, the planes expect {shape}")
    if not np.isfinite(angle_rad):
        raise BadInput(f"the angle of a projection is {angle_rad}")


def _vector(value: Sequence[float]) -> Vector:
    x, y, z = (float(part) for part in value)
    return x, y, z
