"""Scans that are joined to one: their projections as transmissions, and a file that all readers of NXtomo take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from streamer.core.arrays import Image, Values
from streamer.frames import BadInput, ScanSpec
from streamer.io.nexus import group, value
from streamer.io.place import place
from streamer.io.source_file import ScanFile

FAINTEST = 1e-4
"""Transmission that counts as no light."""

ANGLE_STEPS = 0.25
"""Of a step: so far the angles of one projection may differ between scans that are joined."""


class Attenuation:
    """Projections of a scan as attenuation, by the means of its darks and flats. Raises BadInput without flats."""

    def __init__(self, scan: ScanFile) -> None:
        self._scan = scan
        darks, flats = (list(frames) for frames in (scan.darks(), scan.flats()))
        if not flats:
            raise BadInput(f"{scan.path}: has no flats, so it cannot be joined to others")
        self._dark = np.concatenate(darks).mean(axis=0, dtype=np.float64) if darks else 0.0
        self._net = np.maximum(np.concatenate(flats).mean(axis=0, dtype=np.float64) - self._dark, 1.0)

    def some(self, first: int, last: int) -> Image:
        """(last - first, rows, columns) of the projections first … last-1, in the order of the file."""
        places = np.arange(first, last)
        raw = self._scan.rows(0, self._scan.info.rows, places=places)
        share = np.maximum((raw - self._dark) / self._net, FAINTEST)
        return np.asarray(-np.log(share), np.float32)


def same_angles(scans: list[ScanFile]) -> Values:
    """The angles (n,) in degrees that all scans have. Raises BadInput, naming the scan that has others."""
    first = scans[0]
    step = abs(first.spec().range_deg) / max(1, first.spec().projections)
    for scan in scans[1:]:
        if len(scan.angles_deg) != len(first.angles_deg):
            raise BadInput(
                f"{scan.path}: {len(scan.angles_deg)} projections, {first.path.name} has {len(first.angles_deg)}"
            )
        if np.abs(scan.angles_deg - first.angles_deg).max() > ANGLE_STEPS * step:
            raise BadInput(f"{scan.path}: other angles than {first.path.name}")
    return first.angles_deg


def write_joined(
    path: Path, spec: ScanSpec, blocks: Iterable[Image], angles_deg: Values, shape: tuple[int, int, int], note: str
) -> None:
    """Write attenuation, in blocks (some, rows, columns) of ``shape``, as an NXtomo file of transmissions.

    A dark of zeros and a flat of ones come first. ``spec`` gives sample, lengths and energy. Raises BadInput when the
    file exists.
    """
    count, rows, columns = shape
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with h5py.File(partial, "x") as file:
            file.attrs.update(NX_class="NXroot", default="entry")
            entry = group(file, "entry", "NXentry")
            entry["definition"], entry["title"] = "NXtomo", note
            detector = group(group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
            data = detector.create_dataset("data", (count + 2, rows, columns), "<f4", chunks=(1, rows, columns))
            data[0], data[1] = 0.0, 1.0
            done = 2
            for block in blocks:
                data[done : done + len(block)] = np.exp(-block)
                done += len(block)
            detector["image_key"] = np.array([2, 1] + [0] * count, np.uint8)
            for name in ("x_pixel_size", "y_pixel_size"):
                value(detector, name, spec.pixel_size_m, "m")
            value(detector, "distance", spec.distance_m, "m")
            sample = group(entry, "sample", "NXsample")
            sample["name"] = spec.sample
            value(sample, "rotation_angle", np.concatenate([[0.0, 0.0], angles_deg]), "deg")
            value(group(entry["instrument"], "beam", "NXbeam"), "incident_energy", spec.energy_kev, "keV")
        place(partial, path)
    except FileExistsError as error:
        raise BadInput(f"{path}: exists already; choose another name") from error
    finally:
        partial.unlink(missing_ok=True)
