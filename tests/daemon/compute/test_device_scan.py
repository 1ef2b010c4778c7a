"""A whole scan through the daemon's parts, its projections on a device: the same results as on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from streamer.core.backend.selection import Backend
from streamer.io.tomogram import read_tomogram
from streamer.pipeline.device_store import DeviceStore
from tests.core.shim import ShimEngine, shim_backend
from tests.daemon.rig import CENTER, PROJECTIONS, Rig, TinyScan, Transport


def test_a_scan_on_a_device(transport: Transport, engine: ShimEngine, numba_backend: Backend, tmp_path: Path) -> None:
    """Looks, the judgement and the pictures are made by threads of their own."""
    volumes, reports = [], []
    for backend in (shim_backend(engine), numba_backend):
        scan = TinyScan(f"scan-{backend.name}")
        rig = Rig(transport, backend, tmp_path, threads=lambda name: ThreadPoolExecutor(1, name))
        try:
            rig.run(scan)
            pipeline = rig.session(scan).pipeline
            assert pipeline is not None
            assert isinstance(pipeline.store, DeviceStore) == (backend is not numba_backend)
            reports.append(rig.finish(scan))
            assert not any(backend.fallbacks.events.values())
            made = reports[-1].tomogram_file
            assert made is not None
            volumes.append(read_tomogram(Path(made)).data)
        finally:
            rig.close()
    found, expected = reports
    assert (found.state, found.frames.missing, found.error) == ("complete", 0, expected.error)
    assert (found.verdict, found.quality.projections) == (expected.verdict, PROJECTIONS)
    assert found.center_px is not None
    assert abs(found.center_px - CENTER) < 0.1
    assert np.abs(volumes[0] - volumes[1]).max() < 2e-3 * np.abs(volumes[1]).max()
