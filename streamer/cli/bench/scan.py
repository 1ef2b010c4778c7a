"""``streamer bench end-to-end``: one scan of the virtual beamline through the daemon, each a process of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streamer.cli.bench.figures import Figure, Step, Task, limits_figures
from streamer.cli.processes import Child
from streamer.core.backend.selection import Backend
from streamer.frames import FrameKind, StreamerError
from streamer.io.control import request
from streamer.io.sockets import Context, until_done

ANYWHERE = "tcp://127.0.0.1:*"
START_S = 300.0  # the first start of an installation compiles the kernels
ANSWER_S = 60.0
PATIENCE_S = 600.0
POLL_S = 0.002
WRITTEN_BYTES = 2**28
RATE_HZ = 100_000.0
"""Asked of the camera; what comes is what the chain sustains, as a full ring holds the detector back."""

MOST_DEG_S = 1e5  # of the rotation stage

DARKS, FLATS = 10, 10
PROJECTIONS_PER_COLUMN = 4
"""More than a tomogram needs, so that the scan lasts long enough to be measured."""

FINAL = ("complete", "incomplete", "aborted", "failed")


def end_to_end(_backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Scans of 4·N projections of N×N pixels for each size, with raw file, planes, verdict and tomogram.

    The first of a daemon finds memory and compiled code cold and does not count, as it takes hundreds of samples. The
    second one comes as fast as the ring takes it, the third as fast as the whole chain sustains.
    """
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    for size in task.sizes:
        with TemporaryDirectory(prefix="streamer-bench-") as folder:
            figures += _scan(Path(folder), size, task, step)
    return figures


def _scan(folder: Path, size: int, task: Task, step: Step) -> list[Figure]:
    with until_done() as context, ExitStack() as stack:
        step(f"{size}²: starting")
        plain = _written_per_s(folder, size)
        beamline = _beamline(folder, size)
        stack.callback(beamline.stop, timeout_s=30.0)
        places = beamline.wait_ready(START_S)
        daemon = _daemon(folder, places["frames"], task.threads)
        stack.callback(daemon.stop, timeout_s=30.0)
        bench = _Bench(context, places["control"], daemon.wait_ready(START_S)["control"], (beamline, daemon))
        step(f"{size}²: first scan")
        bench.scan("first", size, RATE_HZ)
        step(f"{size}²: as fast as it goes")
        measured = bench.scan("fastest", size, RATE_HZ)
        whole = measured.projections / measured.whole_s
        step(f"{size}²: {whole:.0f} frames/s")
        paced = bench.scan("paced", size, whole)
    name, after = f"{size}×{size}", "last frame → tomogram on disk"
    latency = paced.report["latency_ms"]
    lost = [scan.report["frames"]["missing"] + scan.report["frames"]["corrupt"] for scan in (measured, paced)]
    return [
        Figure(
            f"{name}, {measured.projections} projections, received",
            measured.received_per_s,
            "frames/s",
            "write them to a plain file",
            plain,
        ),
        Figure(f"{name}, {measured.projections} projections, first → tomogram on disk", whole, "frames/s"),
        Figure(f"{name}, bytes from first to tomogram", whole * 2e-9 * size * size, "GB/s"),
        Figure(f"{name}, {after}", float(measured.report["last_frame_to_tomogram_s"] or 0.0), "s"),
        Figure(f"{name} at {whole:.0f} frames/s, frame received → planes, p50", float(latency["p50"] or 0.0), "ms"),
        Figure(f"{name} at {whole:.0f} frames/s, frame received → planes, p99", float(latency["p99"] or 0.0), "ms"),
        Figure(f"{name} at {whole:.0f} frames/s, {after}", float(paced.report["last_frame_to_tomogram_s"] or 0.0), "s"),
        Figure(f"{name}, frames lost", float(sum(lost)), "frames"),
    ]


def _written_per_s(folder: Path, size: int) -> float:
    """Frames of this size per second that reach the disk when nothing else is done."""
    frame, count = bytes(2 * size * size), max(1, WRITTEN_BYTES // (2 * size * size))
    began = time.perf_counter()
    with (folder / "plain").open("wb") as file:
        for _ in range(count):
            file.write(frame)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    (folder / "plain").unlink()
    return count / seconds


@dataclass(frozen=True)
class _Measured:
    """``report`` of the daemon; ``whole_s`` from the first projection until the scan was over, tomogram and all."""

    report: dict[str, Any]
    projections: int
    received_per_s: float
    whole_s: float


def _beamline(folder: Path, size: int) -> Child:
    ready = folder / "beamline.json"
    # Rendered ahead, the frames cost the beamline nothing during the scan.
    cache_mb = 256 + PROJECTIONS_PER_COLUMN * 2 * size**3 // 2**20
    command = ["streamer.sim", "--size", str(size), "--samples", "1", "--mount-s", "0", "--rate-limit", str(RATE_HZ)]
    command += ["--cache-mb", str(cache_mb), "--ready-file", str(ready)]
    return Child("virtual beamline", command, folder / "beamline.log", ready)


def _daemon(folder: Path, frames: str, threads: int) -> Child:
    config, ready = folder / "daemon.toml", folder / "daemon.json"
    config.write_text(
        f'source.endpoint = "{frames}"\n'
        f'control = {{ endpoint = "{ANYWHERE}", events = "{ANYWHERE}" }}\n'
        f'preview.endpoint = "{ANYWHERE}"\n'
        "metrics.port = 0\n"
        f"reconstruction.threads = {threads}\n"
        f"writer = {{ directory = {json.dumps(str(folder / 'data'))}, reserve_mb = 64 }}\n",
        encoding="utf-8",
    )
    command = ["streamer", "run", str(config), "--ready-file", str(ready), "--with-parent"]
    return Child("daemon", command, folder / "daemon.log", ready)


class _Bench:
    """Commands the beamline as a plan would."""

    def __init__(self, context: Context, beamline: str, daemon: str, children: tuple[Child, ...]) -> None:
        self._context, self._beamline, self._daemon, self._children = context, beamline, daemon, children

    def scan(self, name: str, size: int, rate_hz: float) -> _Measured:
        """One scan, from mounting to the tomogram."""
        self._name = name
        projections = PROJECTIONS_PER_COLUMN * size
        step_deg = 180.0 / projections
        spec = {
            "scan_id": name, "sample": "bench", "rows": size, "columns": size, "projections": projections,
            "flats": FLATS, "darks": DARKS, "pixel_size_m": self._status()["detector"]["pixel_size_m"],
        }  # fmt: skip
        self._do("mount", slot=0)
        self._do("rotation", target_deg=-2.0 * step_deg)
        self._ask_daemon("arm", spec=spec)
        self._do("prepare", spec=spec, rate_hz=rate_hz)
        self._do("shutter", open=False)
        self._do("acquire", frames=DARKS, kind=int(FrameKind.DARK), trigger="internal")
        self._do("shutter", open=True)
        self._do("x", target_mm=self._status()["x"]["out_mm"])
        self._do("acquire", frames=FLATS, kind=int(FrameKind.FLAT), trigger="internal")
        self._do("x", target_mm=0.0)
        self._send("acquire", frames=projections, kind=0, trigger="position", start_deg=0.0, step_deg=step_deg)
        # Where the stage turns faster than frames can follow, triggers that it passed are served one after the other.
        self._send("rotation", target_deg=180.0 + 2.0 * step_deg, velocity_deg_s=min(rate_hz * step_deg, MOST_DEG_S))
        began = time.perf_counter()
        rate = self._projections_per_s(projections)
        self._until(self._at_rest, "the end of the exposures")
        self._send("finish", status="ok")
        report: dict[str, Any] = self._until(self._final, "the end of the scan")
        return _Measured(report, projections, rate, time.perf_counter() - began)

    def _projections_per_s(self, wanted: int) -> float:
        """Projections per second that the daemon received, from the first tenth of them to the last one."""
        moments: list[tuple[float, int]] = []

        def all_came() -> bool:
            # Not those that are folded in, which wait for the end of the scan when the ring has overtaken them.
            got = self._ask_daemon("status", scan_id=self._name)["scan"]["frames"]["received"] - DARKS - FLATS
            if got >= wanted // 10 and (not moments or got > moments[-1][1]):
                moments.append((time.perf_counter(), got))
            return bool(got >= wanted)

        self._until(all_came, "all projections")
        (began, first), (ended, last) = moments[0], moments[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def _final(self) -> dict[str, Any] | None:
        report: dict[str, Any] = self._ask_daemon("status", scan_id=self._name)["scan"]
        return report if report["state"] in FINAL else None

    def _at_rest(self) -> bool:
        now = self._status()
        moving = now["rotation"]["moving"] or now["x"]["moving"] or now["changer"]["busy"]
        return not moving and not now["detector"]["acquiring"]

    def _status(self) -> dict[str, Any]:
        return self._send("status")

    def _send(self, verb: str, **args: Any) -> dict[str, Any]:
        return request(self._context, self._beamline, verb, args, ANSWER_S)

    def _do(self, verb: str, **args: Any) -> None:
        """A command to the beamline, and wait until nothing moves."""
        self._send(verb, **args)
        self._until(self._at_rest, verb)

    def _ask_daemon(self, verb: str, **args: Any) -> dict[str, Any]:
        return request(self._context, self._daemon, verb, args, ANSWER_S)

    def _until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value. Raises StreamerError when a process has ended, or when it takes too long."""
        deadline = time.perf_counter() + PATIENCE_S
        while not (value := condition()):
            for child in self._children:
                if child.poll() is not None:
                    raise StreamerError(f"the {child.name} ended: {child.last_line()}")
            if time.perf_counter() > deadline:
                raise StreamerError(f"{what}: not within {PATIENCE_S:g} s")
            time.sleep(POLL_S)
        return value
