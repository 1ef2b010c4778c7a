"""The files that other programs are given, each as a scan leaves it, and what is in them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from benchmarks.readers.checks import VOXEL
from streamer.cli import main as streamer
from streamer.frames import Frame, FrameKind, FrameMeta, ScanSpec
from streamer.io.direct import aligned_bytes
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.pixel_mask import as_mask
from streamer.io.raw.segments import next_segment
from streamer.io.tomogram import TomogramFile

RAW, COMPRESSED, INCOMPLETE = "raw", "raw, compressed", "raw, frames missing"
RECOVERED, SEGMENTS = "raw, killed and recovered", "raw, in two segments"
CLOSED = (RAW, COMPRESSED, INCOMPLETE, RECOVERED, SEGMENTS)
KILLED, GROWING = "raw, killed", "raw, being written"
OPEN = (KILLED, GROWING)
"""Files that no writer has closed: for programs that open them in HDF5's SWMR mode."""
RAW_FILES = (*CLOSED, *OPEN)
TOMOGRAM = "tomogram"
EXPORTS = {
    "OME-Zarr": ("ome-zarr",),
    "TIFF float32": ("tiff",),
    "TIFF uint16": ("tiff", "--dtype", "uint16"),
    "BigTIFF": ("bigtiff",),
}
FILES = (*RAW_FILES, TOMOGRAM, *EXPORTS)

# A frame is of whole pages, so that it is written past the page cache.
SPEC = ScanSpec(
    "scan-1", "tooth", rows=64, columns=96, projections=60, flats=5, darks=4, exposure_s=0.01, pixel_size_m=6.5e-6,
    energy_kev=25.0, distance_m=0.5, saturation=4095.0,
)  # fmt: skip
STARTED, ENDED = "2026-03-14T15:09:26+00:00", "2026-03-14T15:10:26+00:00"
MISSING = (20, 21, 45, SPEC.frames - 1)
SAFE = 40
"""Frames that a writer has flushed when it is killed, or looked at."""

Truth = dict[str, Any]


@contextmanager
def made_files(folder: Path) -> Iterator[tuple[dict[str, Path], dict[str, Truth]]]:
    """One file of each kind, and what is in each; while the context lasts one of them is being written."""
    frames = scan_frames()
    files = {name: _folder(folder, name) / "scan-1.nx" for name in RAW_FILES}
    held = dict.fromkeys(files, frames)
    held |= dict.fromkeys((RECOVERED, *OPEN), frames[:SAFE])
    held[INCOMPLETE] = [frame for frame in frames if frame.meta.index not in MISSING]
    lacking = {INCOMPLETE: len(MISSING), RECOVERED: SPEC.frames - SAFE}
    truths = {name: _truth(held[name]) | {"missing": lacking.get(name, 0)} for name in files}

    for name in (RAW, COMPRESSED):
        _written(files[name], frames, name == COMPRESSED).close("complete", ended=ENDED)
    _written(files[INCOMPLETE], held[INCOMPLETE]).close("incomplete", frames={"missing": MISSING}, ended=ENDED)
    killed = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(files[KILLED],))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    for name in (RECOVERED, SEGMENTS):
        shutil.copyfile(files[KILLED], files[name])
    # The next writer is given some frames again, since it is not known which are safe.
    _written(next_segment(files[SEGMENTS]), frames[SAFE - 2 :]).close("complete", ended=ENDED)
    for name in (RECOVERED, SEGMENTS):
        assert streamer(["recover", str(files[name])]) == 0

    values = np.random.default_rng(1).normal(1, 0.2, (SPEC.rows, SPEC.columns, SPEC.columns)).astype(np.float32)
    files[TOMOGRAM] = folder / "scan-1.tomogram.h5"
    with TomogramFile.create(files[TOMOGRAM], values.shape, SPEC, unit="1/cm", raw_file=files[RAW]) as volume:
        volume.write_rows(0, values)
    for name, options in EXPORTS.items():
        files[name] = folder / name.replace(" ", "-")
        assert streamer(["export", str(files[TOMOGRAM]), str(files[name]), "--to", *options]) == 0
    truths |= dict.fromkeys((TOMOGRAM, *EXPORTS), _truth_of_volume(values))
    growing = _written(files[GROWING], frames[:SAFE])
    yield files, truths
    growing.close("incomplete")


def scan_frames() -> list[Frame]:
    """Darks, flats and projections of a scan without a sample, also as a detector would compress them."""
    rng, frames = np.random.default_rng(0), list[Frame]()
    levels = {FrameKind.DARK: (SPEC.darks, 100), FrameKind.FLAT: (SPEC.flats, 2000)}
    for kind, (count, level) in (levels | {FrameKind.PROJECTION: (SPEC.projections, 1200)}).items():
        for number in range(count):
            angle = 180.0 * number / SPEC.projections if kind is FrameKind.PROJECTION else 0.0
            meta = FrameMeta(SPEC.scan_id, len(frames), kind, angle, timestamp_ns=len(frames) + 1)
            pixels = aligned_bytes(SPEC.frame_nbytes).view("<u2").reshape(SPEC.rows, SPEC.columns)
            pixels[:] = rng.poisson(level, pixels.shape)
            frames.append(Frame(meta, pixels, as_detector_sends(pixels)))
    return frames


def as_detector_sends(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes that HDF5's bitshuffle filter makes of an image."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("image", data=pixels, chunks=pixels.shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        return np.frombuffer(data.id.read_direct_chunk((0, 0))[1], np.uint8)


def _folder(folder: Path, name: str) -> Path:
    made = folder / name.replace(", ", "-").replace(" ", "-")
    made.mkdir()
    return made


def _written(path: Path, frames: Sequence[Frame], keep_compressed: bool = False) -> NXtomoFile:
    """A file with these frames flushed, not closed."""
    file = NXtomoFile.create(path, SPEC, STARTED, keep_compressed)
    file.extend(frames)
    defects = np.zeros((SPEC.rows, SPEC.columns), bool)
    defects[30, 40:44] = True
    file.mark(as_mask(defects))
    file.flush()
    return file


def _write_and_die(path: Path) -> None:
    frames = scan_frames()
    file = _written(path, frames[:SAFE])
    file.append(frames[SAFE].meta, frames[SAFE].pixels)  # not flushed: it is not in the file
    os.kill(os.getpid(), signal.SIGKILL)


def _truth(frames: Sequence[Frame]) -> Truth:
    kinds = [frame.meta.kind for frame in frames]
    projections = [frame.pixels for frame in frames if frame.meta.kind is FrameKind.PROJECTION]
    return {
        "errors": 0,
        "valid": True,
        "config": True,
        "frames": len(frames),
        "projections": len(projections),
        "flats": kinds.count(FrameKind.FLAT),
        "darks": kinds.count(FrameKind.DARK),
        "distance_m": SPEC.distance_m,
        "pixel_size_m": SPEC.pixel_size_m,
        "energy_kev": SPEC.energy_kev,
        "last_angle_deg": frames[-1].meta.angle_deg,
        "projections_mean": float(np.mean(projections)),
        "mean": float(np.mean([frame.pixels for frame in frames])),
        "voxel": float(frames[VOXEL[0]].pixels[VOXEL[1:]]),
    }


def _truth_of_volume(values: NDArray[np.float32]) -> Truth:
    return {
        "errors": 0,
        "valid": True,
        "pixel_size_m": SPEC.pixel_size_m,
        "mean": float(values.mean(dtype=np.float64)),
        "voxel": float(values[VOXEL]),
        "levels": 2,
        "unit": "micrometer",
        "kind": "image",
        "slices": SPEC.rows,
    }
