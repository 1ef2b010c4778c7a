"""What the raw file and the tomogram say of a scan in the same words: source, beam and detector of a NeXus entry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import h5py

from streamer.frames import ScanSpec

FACILITY = "facility"
"""Key of a scan's metadata: the name of the synchrotron and the beamline."""


def now() -> str:
    """Current UTC time in ISO 8601, as files have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    """A new group of a NeXus class."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    made.attrs.update(attributes)
    return made


def value(parent: h5py.Group, name: str, content: Any, units: str = "") -> None:
    """A new dataset; nothing at all when ``content`` is None, for "not known"."""
    if content is None:
        return
    parent[name] = content
    if units:
        parent[name].attrs["units"] = units


def lay_out_instrument(entry: h5py.Group, spec: ScanSpec) -> h5py.Group:
    """Add the instrument to an entry; gives the group of its detector. What is not known is left out."""
    instrument = group(entry, "instrument", "NXinstrument")
    source = group(instrument, "source", "NXsource")
    source["type"], source["probe"] = "Synchrotron X-ray Source", "x-ray"
    source["name"] = spec.metadata.get(FACILITY, "unknown")
    beam = group(instrument, "beam", "NXbeam")
    value(beam, "incident_energy", spec.energy_kev, "keV")
    detector = group(instrument, "detector", "NXdetector")
    value(detector, "distance", spec.distance_m, "m")
    value(detector, "saturation_value", spec.saturation, "counts")
    return detector
