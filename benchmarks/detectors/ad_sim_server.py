"""Scans of pvaPy's simulator of areaDetector: ``python -m benchmarks.detectors.ad_sim_server``.

``pvapy-ad-sim-server`` reads the images of a file and serves them as NTNDArrays over PVAccess, in C++ that shares
nothing with p4p, by which the daemon listens. One daemon takes a scan of each file: pixels of several types as they
are, and compressed chunks of HDF5 just as they lie in the file. The server is a new process each time, so the daemon
connects anew. ``streamer check`` looks at the first one beside the daemon.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from benchmarks.detectors.taken import beside, refused, wait_refused
from benchmarks.record import record
from streamer.cli import main as streamer
from streamer.cli.rig.processes import start_daemon
from streamer.client import Link, final_report
from streamer.flow.wire.daemon import Arm
from streamer.frames import ScanSpec
from tests.io.helpers import local_pv_access

SERVER = Path(sys.executable).with_name("pvapy-ad-sim-server")
PV = "13SIM1:Pva1:Image"
ROWS, COLUMNS = 128, 256
DARKS, FLATS, PROJECTIONS, RATE_HZ = 10, 20, 270, 100.0
KINDS = [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS
SHAPE = (len(KINDS), ROWS, COLUMNS)
DELAY_S = 8.0
"""Between the PV and its first image: the daemon finds the PV and is armed."""

SCANS = ("uint8", "uint16", "uint32", "float32", "uint16 as chunks of HDF5's bslz4", "uint16 as chunks of HDF5's lz4")


def images_of(dtype: str) -> NDArray[Any]:
    """Noise of few bits beyond a ramp: each image is its own, and there is something to compress."""
    ramp = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) // 8
    noise = np.random.default_rng(len(dtype)).integers(0, 100, SHAPE)
    return (ramp + noise).astype(np.dtype(dtype).newbyteorder("<"))


def store(name: str, folder: Path) -> tuple[NDArray[Any], list[str]]:
    """The images of a scan, and the options by which the server reads them from the file that is written here."""
    dtype, _, codec = name.partition(" as chunks of HDF5's ")
    images = images_of(dtype)
    if not codec:
        np.save(folder / f"{dtype}.npy", images)
        return images, ["-if", str(folder / f"{dtype}.npy")]
    packer: Any = {"bslz4": hdf5plugin.Bitshuffle(cname="lz4"), "lz4": hdf5plugin.LZ4()}[codec]
    path = folder / f"{codec}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=images, chunks=(1, ROWS, COLUMNS), compression=packer)
    return images, ["-if", str(path), "-hds", "data", "-hcm"]


@contextmanager
def serving(options: list[str], log: Path) -> Iterator[None]:
    """The server, which serves each image once and goes on with the first."""
    words = ["-cn", PV, "-fps", RATE_HZ, "-std", DELAY_S, "-rt", 60, "-shd", 0, "-rp", 0, "-dc", *options]
    with log.open("wb") as sink:
        process = subprocess.Popen([str(SERVER), *map(str, words)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def looked() -> list[str]:
    """What ``streamer check`` says of the PV."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        streamer(["check", f"pva://{PV}", "--seconds", "20"])
    return told.getvalue().splitlines()


def spec_of(scan_id: str, dtype: str) -> ScanSpec:
    counts = {"projections": PROJECTIONS, "flats": FLATS, "darks": DARKS}
    return ScanSpec(scan_id, "ramp", ROWS, COLUMNS, dtype=dtype, **counts)


def main() -> None:
    os.environ.update(local_pv_access())
    result: dict[str, Any] = {"pvapy": version("pvapy"), "p4p": version("p4p"), "size": [ROWS, COLUMNS]}
    result |= {"rate_hz": RATE_HZ, "scans": {}}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        daemon = start_daemon(
            folder / "daemon",
            source={"dialect": "pva", "endpoint": f"pva://{PV}", "high_water_mark": 100},
            writer={"directory": folder / "daemon", "reserve_mb": 0},
        )
        try:
            ends = daemon.wait_ready()
            with Link(ends["control"], "the daemon") as link:
                for number, name in enumerate(SCANS):
                    images, options = store(name, folder)
                    before = refused(ends["metrics"])
                    with serving(options, folder / "server.log"):
                        # What the PV held when the daemon connected is refused: so it is known to be connected.
                        wait_refused(ends["metrics"], "stale_scan", before.get("stale_scan", 0) + 1)
                        scan_id = f"scan-{number}"
                        link.ask(Arm(spec_of(scan_id, images.dtype.str)))
                        report = final_report(link, scan_id)
                        if number == 0:
                            result["check"] = looked()
                    result["scans"][name] = beside(report, images, KINDS)
            result["refused"] = refused(ends["metrics"])
        finally:
            daemon.stop()
    record("ad_sim_server", result)


if __name__ == "__main__":
    main()
