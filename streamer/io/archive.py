"""What was judged of a scan, kept in its raw file and in its tomogram: verdict, numbers, settings and versions.

``/entry/verdict`` is an NXprocess whose texts have fixed lengths. They are filled in place, byte by byte where they
lie: the structure of a finished file does not change, so that whoever dies while writing leaves its frames alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from streamer import __version__
from streamer.frames import BadInput, Quality, Verdict
from streamer.io.raw.unclosed import open_raw

if TYPE_CHECKING:  # the raw writer need not load what options need: it is to be there quickly
    from streamer.options import Options

GROUP = "entry/verdict"
TEXTS = {"account/data": 2**17, "reasons": 8000, "date": 40, "decision": 16}
"""Bytes of each text below ``GROUP``, in the order in which they are filled: a decision is there when all is."""

LIBRARIES = ("numpy", "scipy", "numba", "h5py", "hdf5plugin", "msgspec", "pyzmq")
TOO_LONG = "too long for this file"


@cache
def versions() -> dict[str, str]:
    """Versions of Streamer, Python, HDF5 and the libraries that the numbers depend on."""
    found = {"streamer": __version__, "python": sys.version.split()[0], "hdf5": h5py.version.hdf5_version}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def sections(settings: Options, names: Sequence[str] = ("limits", "preparation", "reconstruction")) -> dict[str, Any]:
    """The options that numbers and verdict depend on, by section."""
    return {name: getattr(settings, name).model_dump(mode="json") for name in names}


@dataclass(frozen=True)
class Archive:
    """``unusable`` frames by cause, as "70-72, 80". ``frames`` are the counts of the ledger, empty where there is none.

    ``notes`` say what of a file was not used.
    """

    scan_id: str
    sample: str
    verdict: Verdict
    quality: Quality
    unusable: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "scan_id": self.scan_id,
            "sample": self.sample,
            **self.verdict.to_dict(),
            "quality": self.quality.to_dict(),
            "frames": dict(self.frames),
            "unusable": dict(self.unusable),
            "settings": dict(self.settings),
            "versions": versions(),
            "notes": list(self.notes),
        }

    def _texts(self) -> dict[str, bytes]:
        content = self.to_dict()
        for name in ("notes", "unusable", "settings"):
            if len(json.dumps(content).encode()) <= TEXTS["account/data"]:
                break
            content[name] = TOO_LONG
        return {
            "account/data": json.dumps(content).encode(),
            "reasons": "\n".join(map(str, self.verdict.reasons)).encode(),
            "date": datetime.now(UTC).isoformat(timespec="seconds").encode(),
            "decision": self.verdict.decision.encode(),
        }


def lay_out_archive(entry: h5py.Group) -> None:
    """Make room for an archive in the entry of a new file."""
    process = entry.create_group(GROUP.rpartition("/")[2])
    process.attrs["NX_class"] = "NXprocess"
    process["program"], process["version"] = "Streamer", __version__
    account = process.create_group("account")
    account.attrs["NX_class"] = "NXnote"
    account["type"] = "application/json"
    for name, length in TEXTS.items():
        process.create_dataset(name, (), h5py.string_dtype("utf-8", length), data=b"")


def write_archive(path: Path, archive: Archive) -> None:
    """Fill the room in a file that nobody writes any more. Raises BadInput when it has none, OSError when it fails."""
    with open_raw(path) as file:
        places = {}
        for name, length in TEXTS.items():
            found = file.get(f"{GROUP}/{name}")
            if found is None or found.dtype.itemsize != length or found.id.get_offset() is None:
                raise BadInput(f"{path}: has no room for a verdict")
            places[name] = found.id.get_offset()
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name, text in archive._texts().items():
            length = TEXTS[name]
            os.pwrite(descriptor, text[:length].decode(errors="ignore").encode().ljust(length, b"\0"), places[name])
    finally:
        os.close(descriptor)


def copy_archive(path: Path, file: h5py.File) -> None:
    """Take the archive of the file at ``path``, if it has one that can be read, into a new file."""
    with suppress(BadInput, OSError, RuntimeError, ValueError, KeyError), open_raw(path) as old:
        for name in TEXTS:
            if f"{GROUP}/{name}" in old:
                file[f"{GROUP}/{name}"][()] = old[f"{GROUP}/{name}"][()]


def read_archive(path: Path) -> dict[str, Any]:
    """What a raw file or a tomogram says of its scan: ``Archive.to_dict``, if it was judged, and how the scan ended.

    The keys "status", "note" and the lists of frames "missing", "corrupt", "lost" are those of raw files. Raises
    BadInput, one line, for another file.
    """
    with open_raw(path) as file:
        if "entry/streamer/status" not in file and "entry/reconstruction/status" not in file:
            raise BadInput(f"{path}: neither a raw file nor a tomogram of Streamer")
        written = _text(file, f"{GROUP}/account/data")
        content: dict[str, Any] = json.loads(written) if written else {}
        content["date"] = _text(file, f"{GROUP}/date")
        raw = "entry/streamer/status" in file
        where = "entry/streamer" if raw else "entry/reconstruction"
        content["file"] = "raw" if raw else "tomogram"
        content["status"], content["note"] = _text(file, f"{where}/status"), _text(file, f"{where}/note")
        for name in ("missing", "corrupt", "lost") if raw else ():
            found = file.get(f"{where}/{name}_frames")
            content[name] = [] if found is None else np.asarray(found[()]).tolist()
    return content


def _text(file: h5py.File, name: str) -> str:
    found = file.get(name)
    return "" if found is None else str(found.asstr()[()])
