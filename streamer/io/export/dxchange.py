"""A raw scan as DXchange, which tomopy, tomocupy and the programs of the APS read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from streamer.io.export.unfinished import Tell, unfinished
from streamer.io.nexus import value
from streamer.io.source_file import ScanFile

INSTRUMENT = "measurement/instrument"


def write_dxchange(scan: ScanFile, path: Path, tell: Tell) -> None:
    """Write projections, flats, darks and angles, frame by frame. Raises BadInput when ``path`` exists or cannot be
    written. Frames that are set aside or lost are not there; every projection has its angle.
    """
    info = scan.info
    size, total = (info.rows, info.columns), info.projections + info.flats + info.darks
    parts = {
        "data": (info.projections, (block for _, block in scan.projections())),
        "data_white": (info.flats, scan.flats()),
        "data_dark": (info.darks, scan.darks()),
    }
    done = 0
    with (
        unfinished(path, total * scan.spec().frame_nbytes) as partial,
        h5py.File(partial, "x", libver=("v110", "v110")) as file,
    ):
        file["implements"] = "exchange:measurement"
        exchange = file.create_group("exchange")
        for name, (count, blocks) in parts.items():
            if not count:
                continue
            stack = exchange.create_dataset(name, (count, *size), info.dtype, chunks=(1, *size))
            stack.attrs.update(units="counts", axes="theta:y:x" if name == "data" else "frame:y:x")
            first = 0
            for block in blocks:
                stack[first : first + len(block)] = block
                first += len(block)
                done += len(block)
                tell(done, total)
        value(exchange, "theta", np.asarray(scan.angles_deg), "deg")
        value(file, "measurement/sample/name", info.sample)
        for side in "xy":
            value(file, f"{INSTRUMENT}/detector/pixel_size_{side}", info.pixel_size_m, "m")
        value(file, f"{INSTRUMENT}/detector/distance", info.distance_m, "m")
        value(file, f"{INSTRUMENT}/monochromator/energy", info.energy_kev, "keV")
