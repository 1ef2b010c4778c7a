"""``python -m benchmarks.verdict.recorded DATA``: the verdict on two recorded scans, as they are and damaged.

A tooth (X-rays, half a turn, two rows) and rods (neutrons, a full turn, one row). The right verdict on damage is RETAKE
or UNKNOWN; where the slice hardly differs from that of the undamaged scan (correlation of 0.99), ENOUGH is right, too.
DATA is the folder with tooth.h5 and neutron_sinogram_360.tif. Results go to benchmarks/results/verdict_recorded.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import shift

from benchmarks.record import record
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.masks import circle_mask
from streamer.frames import Decision, FrameKind, FrameMeta, ScanSpec, Verdict
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

Array = NDArray[Any]

ALIKE = 0.99
"""Correlation with the undamaged slice from which on damage is harmless."""

LOOKS = 16
"""How often in a scan the verdict is looked at."""


@dataclass(frozen=True)
class Recorded:
    """One scan: raw frames (n, rows, columns), recorded angles (n,) in degrees, and which of the frames arrived."""

    darks: Array
    flats: Array
    frames: Array
    angles: Array
    arrived: Array

    @property
    def time(self) -> Array:
        return np.linspace(0.0, 1.0, len(self.frames))


def tooth(data: Path) -> Recorded:
    with h5py.File(data / "tooth.h5") as file:
        scan = file["exchange"]
        frames, angles = scan["data"][()], scan["theta"][()].astype(float)
        return Recorded(scan["data_dark"][()], scan["data_white"][()], frames, angles, np.ones(len(frames), bool))


def rods(data: Path) -> Recorded:
    counts = np.asarray(Image.open(data / "neutron_sinogram_360.tif"))[:, None].astype("<u2")
    flats = np.full((2, *counts.shape[1:]), 46_900, "<u2")
    angles = np.arange(len(counts)) * 360.0 / (len(counts) - 1)
    return Recorded(np.zeros_like(flats[:1]), flats, counts, angles, np.ones(len(counts), bool))


def damages(scan: Recorded) -> Iterator[tuple[str, Recorded]]:
    """Every kind of damage in several sizes."""
    n, time, rng = len(scan.frames), scan.time, np.random.default_rng(4)

    def moved(by: Array) -> Recorded:
        steps = [shift(f.astype(float), (0, b), order=1, mode="nearest") for f, b in zip(scan.frames, by, strict=True)]
        return raw(np.stack(steps))

    def raw(frames: Array) -> Recorded:
        dtype = scan.frames.dtype
        return replace(scan, frames=(np.rint(frames) if dtype.kind == "u" else frames).astype(dtype))

    def lit(light: Array) -> Recorded:
        dark = scan.darks.mean(axis=0)
        return raw((scan.frames - dark) * light[:, None, None] + dark)

    def part(share: float, first: float = 0.4) -> slice:
        return slice(int(first * n), int(first * n) + max(1, round(share * n)))

    for px in (0.5, 1, 2, 4, 8):
        yield f"half of it shifted by {px:g} px", moved(px * (time > 0.5))
    for px in (1, 2, 4, 8):
        yield f"drift of {px:g} px", moved(px * (time - 0.5))
    for px in (0.5, 1, 2, 4):
        yield f"vibration of {px:g} px rms", moved(px * rng.standard_normal(n))
    for px in (1, 2, 4):
        yield f"sway of {px:g} px", moved(px * np.sin(2 * np.pi * 5 * time))
    for share in (0.02, 0.06, 0.15):
        light = np.ones(n)
        light[part(share)] = 0.0
        yield f"no beam in {100 * share:g} %", lit(light)
    for share in (0.05, 0.15, 0.3):
        yield f"beam decays by {100 * share:g} %", lit(np.exp(np.log(1 - share) * time))
    for share in (0.02, 0.05, 0.1, 0.2):
        frames = scan.frames.copy()
        frames[part(share)] = frames[part(share).start]
        yield f"frozen for {100 * share:g} %", replace(scan, frames=frames)
    step = float(np.median(np.diff(scan.angles)))
    for deg in (2, 5, 10):
        behind = n - round(deg / step)
        index = np.minimum(np.arange(n) + np.where(time > 0.5, n - behind, 0), n - 1)
        kept = np.arange(n) < behind
        yield f"skip of {deg:g}°", Recorded(scan.darks, scan.flats, scan.frames[index], scan.angles, kept)
    for factor in (0.98, 0.95, 0.9):
        yield f"angles times {factor:g}", replace(scan, angles=scan.angles * factor)
    for when in (0.3, 0.6, 0.8):
        frames = scan.frames.astype(float)
        frames[time > when] = scan.flats.mean(axis=0)
        yield f"the sample is gone after {100 * when:g} %", raw(frames)
    for share in (0.1, 0.2):
        yield f"{100 * share:g} % lost", replace(scan, arrived=rng.uniform(size=n) > share)
    yield "the last tenth lost", replace(scan, arrived=time < 0.9)
    for level in (0.1, 0.5):
        yield (
            f"light in the darks: {100 * level:g} %",
            replace(scan, darks=scan.darks + level * scan.flats.mean(axis=0)),
        )
    yield "sample in the flats", replace(scan, flats=np.repeat(scan.frames[:1], 3, axis=0))
    for noise in (0.2, 0.4):
        spread = noise * scan.flats.mean(axis=0) * rng.standard_normal(scan.frames.shape)
        yield f"noise of {100 * noise:g} %", raw(np.clip(scan.frames + spread, 1, 65_535))


def judged(scan: Recorded, backend: Backend) -> tuple[Verdict, list[Verdict], Array]:
    """The final verdict, those while it ran, and the middle slice."""
    rows, columns = scan.frames.shape[1:]
    span = float(np.ptp(scan.angles))
    count = len(scan.angles)
    spec = ScanSpec(
        "scan", "sample", rows, columns, len(scan.frames), flats=len(scan.flats), darks=len(scan.darks),
        start_deg=float(scan.angles[0]), range_deg=span * count / (count - 1),
    )  # fmt: skip
    pipeline = ScanPipeline(spec, backend, Settings(), planes=())
    first = 0
    for kind, frames in ((FrameKind.DARK, scan.darks), (FrameKind.FLAT, scan.flats)):
        for k, frame in enumerate(frames):
            pipeline.push(FrameMeta("scan", first + k, kind, 0.0), frame.astype(scan.frames.dtype))
        first += len(frames)
    looks: list[Verdict] = []
    here = np.flatnonzero(scan.arrived)
    for some in np.array_split(here, LOOKS):
        metas = [FrameMeta("scan", first + int(k), FrameKind.PROJECTION, float(scan.angles[k])) for k in some]
        pipeline.push_batch(metas, scan.frames[some])
        look = pipeline.look(0, 0)()
        pipeline.follow(look)
        looks.append(look.verdict)
    pipeline.refine_center()
    verdict = pipeline.judge(len(scan.frames) - len(here), 0)[1]
    blocks = [block.copy() for _, block in pipeline.tomogram(lambda *_: iter(()))]
    return verdict, looks, np.concatenate(blocks)[rows // 2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict.recorded", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results")
    options = parser.parse_args()
    backend = select_backend("numba", 1)[0]
    result: dict[str, Any] = {}
    scans: dict[str, Callable[[Path], Recorded]] = {"tooth": tooth, "rods": rods}
    for name, read in scans.items():
        scan = read(options.data)
        verdict, looks, truth = judged(scan, backend)
        alarms = sorted({look.decision.value for look in looks} - {"CONTINUE", "ENOUGH"})
        print(f"{name}: {verdict.decision}, while it came: {alarms or 'no alarm'}")
        right, wrong = 0, []
        for what, damaged in damages(scan):
            found, _, slice_ = judged(damaged, backend)
            mask = circle_mask(min(len(slice_), len(truth)), 0.9)
            alike = len(slice_) == len(truth) and np.corrcoef(slice_[mask], truth[mask])[0, 1] >= ALIKE
            good = found.decision in {Decision.RETAKE, Decision.UNKNOWN} or (
                alike and found.decision is Decision.ENOUGH
            )
            right += int(good)
            print(f"  {'right' if good else 'WRONG':6s} {what:36s} {found.decision:8s} {found.codes[0].value}")
            if not good:
                wrong.append(f"{what}: {found.decision.value}")
        result[name] = {
            "undamaged": verdict.decision.value,
            "alarms_while_it_came": alarms,
            "right": [right, right + len(wrong)],
            "wrong": wrong,
        }
    print(result)
    if options.keep:
        record("verdict_recorded", result)


if __name__ == "__main__":
    main()
