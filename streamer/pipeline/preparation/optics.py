"""What phase retrieval needs to know of a scan."""

from __future__ import annotations

from streamer.core.preprocessing.paganin import Paganin
from streamer.frames import BadInput, ScanSpec


def scan_optics(spec: ScanSpec, delta_beta: float | None) -> Paganin | None:
    """Optics of a scan for phase retrieval; None when none is wanted. Raises BadInput when the scan lacks a number."""
    if delta_beta is None:
        return None
    missing = [name for name in ("energy_kev", "distance_m", "pixel_size_m") if getattr(spec, name) is None]
    if missing:
        raise BadInput(f"scan {spec.scan_id}: phase retrieval (delta_beta) needs {', '.join(missing)} of the scan")
    assert spec.energy_kev is not None
    assert spec.distance_m is not None
    assert spec.pixel_size_m is not None
    return Paganin(delta_beta, 1e3 * spec.energy_kev, spec.distance_m, spec.pixel_size_m)
