"""What opens what: ``python -m benchmarks.readers [FOLDER]``, or ``make readers``.

It makes one file of each kind, and has every program look at it in an environment of its own below FOLDER (default
build/readers), which uv makes when it is not there: that takes the package index and some 2 GB. A row says what the
program found and whether that is so. Results go to ``benchmarks/results/readers.json``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import environment
from benchmarks.readers.checks import VOXEL
from benchmarks.record import record
from streamer.cli import main as streamer
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.pixel_mask import as_mask
from streamer.io.tomogram import TomogramFile

CHECKS = Path(__file__).with_name("checks.py")
ENVIRONMENTS = {
    "nexus": ["nexusformat", "punx", "nxtomo", "tomoscan", "silx", "nabu"],
    "ome": ["ome-zarr", "ome-zarr-models", "napari-ome-zarr", "tifffile"],
    "httomo": ["mpi4py", "mpich", "h5py", "numpy", "pyyaml", "scipy", "scikit-image", "tqdm", "click", "loguru",
               "graypy", "pydantic", "aiofiles", "hdf5plugin"],
}  # fmt: skip
WITHOUT_DEPENDENCIES = {"httomo": ["httomo", "httomo-backends", "httomolib"]}
"""They ask for CuPy, which the loader does not need."""


@dataclass(frozen=True)
class Reader:
    """``check`` is a function of ``checks``, ``package`` the distribution whose version is reported."""

    name: str
    file: str
    check: str
    environment: str
    package: str


RAW, COMPRESSED = "raw", "raw, compressed"
READERS = (
    *(
        Reader(name, file, check, "nexus", package)
        for file in (RAW, COMPRESSED, "tomogram")
        for name, check, package in (
            ("nxvalidate", "nxvalidate", "nexusformat"),
            ("nxcheck", "nxcheck", "nexusformat"),
            ("punx", "punx", "punx"),
            ("silx, default plot", "silx", "silx"),
            ("nexusformat, plottable data", "nexusformat", "nexusformat"),
        )
    ),
    *(
        Reader(name, file, check, environment, check)
        for file in (RAW, COMPRESSED)
        for name, check, environment in (
            ("nxtomo", "nxtomo", "nexus"),
            ("tomoscan, with its validator", "tomoscan", "nexus"),
            ("nabu: config, validator, dataset", "nabu", "nexus"),
            ("httomo, loader with paths “auto”", "httomo", "httomo"),
        )
    ),
    Reader("tomoscan, HDF5Volume", "tomogram", "tomoscan_volume", "nexus", "tomoscan"),
    Reader("ome-zarr", "OME-Zarr", "ome_zarr", "ome", "ome-zarr"),
    Reader("ome-zarr-models (0.5)", "OME-Zarr", "ome_zarr_models", "ome", "ome-zarr-models"),
    Reader("napari-ome-zarr, without napari's window", "OME-Zarr", "napari_ome_zarr", "ome", "napari-ome-zarr"),
    Reader("rules of ImageJ and Fiji", "TIFF float32", "imagej_rules", "ome", "tifffile"),
    Reader("rules of ImageJ and Fiji", "TIFF uint16", "imagej_rules", "ome", "tifffile"),
    Reader("tifffile, OME", "BigTIFF", "tifffile_ome", "ome", "tifffile"),
)
FILES = (RAW, COMPRESSED, "tomogram", "OME-Zarr", "TIFF float32", "TIFF uint16", "BigTIFF")
SPEC = ScanSpec(
    "scan-1", "tooth", rows=70, columns=96, projections=60, flats=5, darks=4, exposure_s=0.01, pixel_size_m=6.5e-6,
    energy_kev=25.0, distance_m=0.5, saturation=4095.0,
)  # fmt: skip


def make_files(folder: Path) -> tuple[dict[str, Path], dict[str, Any]]:
    """One file of each kind, and what is in them."""
    rng, raw = np.random.default_rng(0), folder / "scan-1.nx"
    files = {RAW: raw, COMPRESSED: folder / "compressed.nx"}
    started, ended = "2026-03-14T15:09:26+00:00", "2026-03-14T15:10:26+00:00"
    writers = [NXtomoFile.create(path, SPEC, started, name == COMPRESSED) for name, path in files.items()]
    frames: list[tuple[FrameKind, Any]] = []
    for kind, count, level in ((FrameKind.DARK, 4, 100), (FrameKind.FLAT, 5, 2000), (FrameKind.PROJECTION, 60, 1200)):
        for number in range(count):
            angle = 3.0 * number if kind is FrameKind.PROJECTION else 0.0
            pixels = rng.poisson(level, (SPEC.rows, SPEC.columns)).astype("<u2")
            meta = FrameMeta("scan-1", len(frames), kind, angle, timestamp_ns=len(frames) + 1)
            for writer in writers:
                writer.append(meta, pixels, as_detector_sends(pixels))
            frames.append((kind, pixels))
    defects = np.zeros((SPEC.rows, SPEC.columns), bool)
    defects[30, 40:44] = True
    for writer in writers:
        writer.mark(as_mask(defects))
        writer.close("complete", ended=ended)
    values = rng.normal(1, 0.2, (SPEC.rows, SPEC.columns, SPEC.columns)).astype(np.float32)
    tomogram = folder / "scan-1.tomogram.h5"
    with TomogramFile.create(tomogram, values.shape, SPEC, unit="1/cm", raw_file=raw) as volume:
        volume.write_rows(0, values)
    files["tomogram"] = tomogram
    for name, *options in (
        ("OME-Zarr", "ome-zarr"),
        ("TIFF float32", "tiff"),
        ("TIFF uint16", "tiff", "--dtype", "uint16"),
        ("BigTIFF", "bigtiff"),
    ):
        files[name] = folder / name.replace(" ", "-")
        assert streamer(["export", str(tomogram), str(files[name]), "--to", *options]) == 0
    truth = {
        "errors": 0,
        "valid": True,
        "config": True,
        "frames": len(frames),
        "projections": SPEC.projections,
        "flats": SPEC.flats,
        "darks": SPEC.darks,
        "distance_m": SPEC.distance_m,
        "pixel_size_m": SPEC.pixel_size_m,
        "energy_kev": SPEC.energy_kev,
        "last_angle_deg": 177.0,
        "projections_mean": float(np.mean([pixels for kind, pixels in frames if kind is FrameKind.PROJECTION])),
        "raw": {"mean": float(np.mean([p for _, p in frames])), "voxel": float(frames[VOXEL[0]][1][VOXEL[1:]])},
        "mean": float(values.mean(dtype=np.float64)),
        "voxel": float(values[VOXEL]),
        "levels": 2,
        "unit": "micrometer",
        "kind": "image",
        "slices": SPEC.rows,
    }
    return files, truth


def as_detector_sends(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes that HDF5's bitshuffle filter makes of an image."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("image", data=pixels, chunks=pixels.shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        return np.frombuffer(data.id.read_direct_chunk((0, 0))[1], np.uint8)


def look(python: Path, reader: Reader, path: Path, truth: dict[str, Any]) -> dict[str, Any]:
    """What the program found in a file, and what of it is wrong."""
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | {"QT_QPA_PLATFORM": "offscreen"}
    if reader.file == COMPRESSED:
        asked = "import hdf5plugin; print(hdf5plugin.PLUGIN_PATH)"
        found = subprocess.run([python, "-c", asked], capture_output=True, text=True, env=clean, check=True)
        clean["HDF5_PLUGIN_PATH"] = found.stdout.strip()
    asked = f"from importlib.metadata import version; print(version({reader.package!r}))"
    version = subprocess.run(
        [python, "-c", asked], capture_output=True, text=True, env=clean, check=True
    ).stdout.strip()
    command = [python, CHECKS, reader.check, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean, check=False)
    row: dict[str, Any] = {"reader": reader.name, "version": f"{reader.package} {version}", "file": reader.file}
    if done.returncode:
        return {**row, "opens": False, "problem": (done.stderr.strip().splitlines() or ["no word"])[-1][:300]}
    told = json.loads(done.stdout.splitlines()[-1])
    expected = {**truth, **truth["raw"]} if reader.file in (RAW, COMPRESSED) else truth
    wrong = {name: value for name, value in told.items() if not _same(value, expected[name])}
    return {**row, "opens": not wrong, "found": told, **({"wrong": wrong} if wrong else {})}


def _same(value: Any, expected: Any) -> bool:
    return math.isclose(value, expected, rel_tol=1e-4) if isinstance(expected, float) else bool(value == expected)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows for ``docs/files.md``, by file."""
    lines = ["| file | program | version | opens it |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda each: FILES.index(each["file"])):
        version = (
            row["version"].partition(" ")[2] if row["reader"].startswith(row["version"].split()[0]) else row["version"]
        )
        answer = "yes" if row["opens"] else f"no: {row.get('problem') or row['wrong']}"
        lines.append(f"| {row['file']} | {row['reader']} | {version} | {answer} |")
    return lines


def main(folder: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as made:
        files, truth = make_files(Path(made))
        for reader in READERS:
            name = reader.environment
            python = environment(folder / name, ENVIRONMENTS[name], WITHOUT_DEPENDENCIES.get(name, ()))
            rows.append(look(python, reader, files[reader.file], truth))
            print(f"{'yes' if rows[-1]['opens'] else 'NO '}  {reader.file:12}  {reader.name}: {rows[-1]}", flush=True)
    print("\n".join(table(rows)))
    record("readers", {"rows": rows, "open": sum(row["opens"] for row in rows), "of": len(rows)})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/readers").absolute())
