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

from benchmarks.environments import environment
from benchmarks.readers.files import CLOSED, COMPRESSED, FILES, OPEN, RAW_FILES, TOMOGRAM, made_files
from benchmarks.record import record

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


READERS = (
    *(
        Reader(name, file, check, "nexus", package)
        for file in (*CLOSED, TOMOGRAM)
        for name, check, package in (
            ("nxvalidate", "nxvalidate", "nexusformat"),
            ("nxcheck", "nxcheck", "nexusformat"),
            ("punx", "punx", "punx"),
            ("silx, default plot", "silx", "silx"),
            ("nexusformat, plottable data", "nexusformat", "nexusformat"),
        )
    ),
    *(
        Reader(name, file, check, environment, package)
        for file in CLOSED
        for name, check, environment, package in (
            ("h5py", "h5py_plain", "nexus", "h5py"),
            ("nxtomo", "nxtomo", "nexus", "nxtomo"),
            ("tomoscan, with its validator", "tomoscan", "nexus", "tomoscan"),
            ("nabu: config, validator, dataset", "nabu", "nexus", "nabu"),
            ("httomo, loader with paths “auto”", "httomo", "httomo", "httomo"),
        )
    ),
    *(
        Reader(name, file, check, "nexus", package)
        for file in OPEN
        for name, check, package in (
            ("h5py", "h5py_swmr", "h5py"),
            ("silx, default plot", "silx", "silx"),
            ("nxtomo", "nxtomo", "nxtomo"),
            ("tomoscan, with its validator", "tomoscan", "tomoscan"),
            ("nabu: config, validator, dataset", "nabu", "nabu"),
        )
    ),
    Reader("tomoscan, HDF5Volume", TOMOGRAM, "tomoscan_volume", "nexus", "tomoscan"),
    Reader("ome-zarr", "OME-Zarr", "ome_zarr", "ome", "ome-zarr"),
    Reader("ome-zarr-models (0.5)", "OME-Zarr", "ome_zarr_models", "ome", "ome-zarr-models"),
    Reader("napari-ome-zarr, without napari's window", "OME-Zarr", "napari_ome_zarr", "ome", "napari-ome-zarr"),
    Reader("rules of ImageJ and Fiji", "TIFF float32", "imagej_rules", "ome", "tifffile"),
    Reader("rules of ImageJ and Fiji", "TIFF uint16", "imagej_rules", "ome", "tifffile"),
    Reader("tifffile, OME", "BigTIFF", "tifffile_ome", "ome", "tifffile"),
)


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
    wrong = {name: value for name, value in told.items() if not _same(value, truth[name])}
    return {**row, "opens": not wrong, "found": told, **({"wrong": wrong} if wrong else {})}


def _same(value: Any, expected: Any) -> bool:
    return math.isclose(value, expected, rel_tol=1e-4) if isinstance(expected, float) else bool(value == expected)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For ``docs/files.md``: a column for each kind of raw file, a line for each other file, then what failed."""
    programs = dict.fromkeys(row["reader"] for row in rows if row["file"] in RAW_FILES)
    cells = {(row["reader"], row["file"]): row for row in rows}
    lines = [f"| program | version | {' | '.join(RAW_FILES)} |", "|---|---|" + "---|" * len(RAW_FILES)]
    for program in programs:
        found = [cells.get((program, file)) for file in RAW_FILES]
        version = next(_version(row) for row in found if row)
        lines.append(f"| {program} | {version} | {' | '.join(_answer(row) for row in found)} |")
    lines += ["", "| file | program | version | opens it |", "|---|---|---|---|"]
    others = [row for row in rows if row["file"] not in RAW_FILES]
    for row in sorted(others, key=lambda each: FILES.index(each["file"])):
        lines.append(f"| {row['file']} | {row['reader']} | {_version(row)} | {_answer(row)} |")
    failed = [row for row in rows if not row["opens"]]
    return [*lines, "", *(f"- {row['file']}, {row['reader']}: {row.get('problem') or row['wrong']}" for row in failed)]


def _answer(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else "yes" if row["opens"] else "no"


def _version(row: Mapping[str, Any]) -> str:
    package, _, number = row["version"].partition(" ")
    return str(number if row["reader"].startswith(package) else row["version"])


def main(folder: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as made, made_files(Path(made)) as (files, truths):
        for reader in READERS:
            name = reader.environment
            python = environment(folder / name, ENVIRONMENTS[name], WITHOUT_DEPENDENCIES.get(name, ()))
            rows.append(look(python, reader, files[reader.file], truths[reader.file]))
            print(f"{'yes' if rows[-1]['opens'] else 'NO '}  {reader.file:12}  {reader.name}: {rows[-1]}", flush=True)
    print("\n".join(table(rows)))
    record("readers", {"rows": rows, "open": sum(row["opens"] for row in rows), "of": len(rows)})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/readers").absolute())
