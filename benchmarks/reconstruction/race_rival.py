"""One live slice by ewokstomo's ``OnlineReconstructSlice``, for ``benchmarks.reconstruction.race``.

    python race_rival.py FRAMES BATCH

Runs in an environment of its own, with ewokstomo, nabu, pyopencl and pyvkfft and nothing of this project. The task is
as it is installed; in place of a running scan of BLISS it reads the mock streams of ewokstomo's own tests, which hold
every frame already, so that neither Redis nor its poll once a second counts. FRAMES is a file of NumPy: frames (angles,
rows, columns) uint16, angles_deg, flat (a number), truth (columns, columns). Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from ewokstomo.tasks.online import reconstruct_slice
from ewokstomo.tests.online.mock import FakeScanWithMotor

PACKAGES = ("ewokstomo", "nabu", "pyopencl", "pyvkfft", "numpy")


def timed(task: Any, name: str) -> list[tuple[float, float]]:
    """Have each call of a method noted: when it began, and when it ended."""
    calls: list[tuple[float, float]] = []
    method: Callable[..., Any] = getattr(task, name)

    def call(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = method(*arguments, **named)
        calls.append((began, time.perf_counter()))
        return result

    setattr(task, name, call)
    return calls


def run(data: Any, batch: int, folder: Path) -> dict[str, Any]:
    frames, angles, flat = data["frames"], data["angles_deg"].astype(np.float32), float(data["flat"])
    count, size = len(frames), frames.shape[2]
    scan = FakeScanWithMotor(list(frames), angles, "race")
    scan.info["technique"]["proj"]["proj_n"] = count
    scan.update = lambda block=False: None
    levels = {"darks": 0.0, "flats": flat}
    reconstruct_slice.wait_for_scan_state = lambda *_: None
    reconstruct_slice.load_reduced_frames = lambda _, kind: {0: np.full(frames.shape[1:], levels[kind], np.float32)}
    settings = {
        "dataset": {"location": str(folder)},
        "preproc": {"flatfield": "1"},
        "phase": {"method": "none"},
        "reconstruction": {
            "rotation_axis_position": str((size - 1) / 2), "clip_outer_circle": "0", "fbp_filter_type": "ramlak",
            "padding_type": "edges",
        },
        "output": {"file_format": "hdf5", "overwrite_results": "1"},
        "pipeline": {},
    }  # fmt: skip
    inputs = {
        "scan_key": "race", "output_path": str(folder), "rotation_motor": "rot", "batch_size": batch,
        "reduced_dark_path": "darks", "reduced_flat_path": "flats", "pixel_size_m": 1e-6, "distance_m": 0.0,
        "energy_keV": 20.0, "config_dict": settings, "refine_cor": False,
    }  # fmt: skip
    task = reconstruct_slice.OnlineReconstructSlice(inputs=inputs)
    task._connect_to_beacon = lambda _: scan
    reads, made = timed(task, "_read_batch"), timed(task, "_reconstruct_batch")
    task.execute()
    read_s, made_s = (float(np.median([end - begin for begin, end in calls[1:]])) for calls in (reads, made))
    return {
        "frames_per_s": round(batch / (read_s + made_s), 1),  # the first batch, which also warms up, is left out
        "frames_to_slice_ms": round(1e3 * (read_s + made_s), 2),
        "rmse_after_scale_and_flip": error(last_slice(folder, size), data["truth"]),
        "versions": {package: version(package) for package in PACKAGES},
    }


def last_slice(folder: Path, size: int) -> Any:
    """The newest slice that the task wrote."""
    found: list[Any] = []

    def take(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape[-2:] == (size, size):
            found.append(np.squeeze(item[()]))

    for path in sorted(folder.rglob("*.h*5"), key=lambda path: path.stat().st_mtime):
        with h5py.File(path) as file:
            file.visititems(take)
    return found[-1]


def error(image: Any, truth: Any) -> float:
    """Root mean square error within 0.9 of the radius, after the scale and the flip that suit the slice best."""
    away = np.indices(truth.shape) - (len(truth) - 1) / 2
    mask = np.hypot(*away) < 0.45 * len(truth)
    errors = []
    for turned in (image, image[::-1], image[:, ::-1], image[::-1, ::-1]):
        scale = (turned[mask] * truth[mask]).sum() / np.square(turned[mask]).sum()
        errors.append(float(np.sqrt(np.mean(np.square(scale * turned[mask] - truth[mask])))))
    return min(errors)


if __name__ == "__main__":
    with TemporaryDirectory() as place, np.load(sys.argv[1]) as given:
        print(json.dumps(run(given, int(sys.argv[2]), Path(place))))
