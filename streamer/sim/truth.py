"""The truth about a scan: the sample in the beam, the rotation axis, and the deliberate faults."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.sim.scene.motion import Motion
from streamer.sim.scene.phantom import Body, Quadrics, compile_bodies
from streamer.sim.scene.volume import attenuation_volume

Truth = Mapping[str, Any]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file atomically: a reader sees the old or the new content, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value, indent=1, allow_nan=False))
    scratch.replace(path)


def read_truth(truth: Truth | str | Path) -> Truth:
    """The map of a truth file; a map is returned as it is. Raises BadInput."""
    if isinstance(truth, Mapping):
        return truth
    try:
        data = json.loads(Path(truth).read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"truth file {truth}: {error}") from error
    if not isinstance(data, dict) or "geometry" not in data:
        raise BadInput(f"{truth} is not a truth file of the virtual beamline")
    return data


def truth_bodies(truth: Truth | str | Path, progress: float = 0.0) -> Quadrics:
    """The bodies of a scan as they were at a progress (0…1) of it."""
    data = read_truth(truth)
    sample, spectrum = data["sample_model"], data["spectrum"]
    bodies = [Body.from_dict(body) for body in sample["bodies"]]
    quadrics = compile_bodies(bodies, spectrum["energies_kev"], sample["scale"])
    motion = Motion.from_dict(data["motion"])
    placed_mm = np.asarray(data["geometry"].get("placed_mm", (0.0, 0.0, 0.0)))
    return quadrics.moved(*motion.state(progress), motion.last).moved(placed_mm)


def truth_volume(
    truth: Truth | str | Path, rows: Sequence[int] | slice | None = None, progress: float = 0.0
) -> NDArray[np.float32]:
    """True µ in 1/cm, (rows, N, N) float32 (row, y, x), in the frame of a reconstruction with the true centre.

    ``rows`` are detector rows (None: all), N is the number of detector columns. Where the axis was tilted, the slices
    are those perpendicular to the axis.
    """
    data = read_truth(truth)
    geometry = data["geometry"]
    every = np.arange(geometry["rows"])
    chosen = every if rows is None else every[rows] if isinstance(rows, slice) else np.asarray(rows)
    pixel_mm = geometry["pixel_size_m"] * 1e3
    z_mm = (chosen - (geometry["rows"] - 1) / 2) * pixel_mm
    weights = tuple(data["spectrum"]["weights"])
    return attenuation_volume(truth_bodies(data, progress), z_mm, geometry["columns"], pixel_mm, weights)
