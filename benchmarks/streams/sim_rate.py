"""How fast the virtual beamline makes frames: ``python -m benchmarks.streams.sim_rate [--json FILE]``.

Measures the parts of the chain in this process, then a whole server in another process whose frames are drained here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np
import zmq

from streamer import __version__
from streamer.client import Link
from streamer.flow.wire import End, FrameHeader, decode, encode_frame
from streamer.flow.wire.beamline import Acquire, Finish, MoveRotation, Prepare, SetShutter
from streamer.flow.wire.changer import Mount
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.sim.hardware.beamline import Beam
from streamer.sim.hardware.detector import Sensor
from streamer.sim.prerender import Renderer, Shot
from streamer.sim.presets import PRESETS
from streamer.sim.scene.phantom import compile_bodies
from streamer.sim.scene.render import Scene, View
from streamer.sim.scene.samples import magazine

RESULT = Path(__file__).parents[1] / "results" / "sim_rate.json"


def median_ms(function: Callable[[int], object], repeats: int) -> float:
    """Median time of one call in ms; the first call is not counted."""
    function(0)
    times = []
    for k in range(repeats):
        start = time.perf_counter()
        function(k)
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 4)


def parts(size: int) -> dict[str, Any]:
    """One thread: transmission of each sample, camera, header with checksum, in ms per frame of size²."""
    preset = PRESETS["demo"]
    pixel = preset.pixel_mm(size)
    view = View(size, size, pixel, (size - 1) / 2, blur_px=preset.blur_px)
    sensor, beam = Sensor(preset.camera, size, size, 1), Beam(preset.beam, size, size, 1)
    render: dict[str, float] = {}
    for sample in magazine(3, size, pixel, 1.0, 1):
        quadrics = compile_bodies(sample.bodies, preset.energies_kev)
        render[sample.name] = median_ms(lambda k, q=quadrics: view.transmission(q, 7.0 * k), 30)  # type: ignore[misc]
    seen = view.transmission(quadrics, 10.0)
    pixels = sensor.expose(seen, beam.fixed, beam.rows(0.0), (1, 0))
    meta = FrameMeta("bench", 0, FrameKind.PROJECTION, 0.0)
    return {
        "transmission_ms": render,
        "camera_ms": median_ms(lambda k: sensor.expose(seen, beam.fixed, beam.rows(0.1 * k), (1, k)), 300),
        "header_and_checksum_ms": median_ms(lambda k: encode_frame(meta, pixels), 300),
    }


def prerender_s(size: int, projections: int) -> float:
    """Time to render all projections of a scan ahead, on the threads of the server."""
    preset = PRESETS["demo"]
    pixel = preset.pixel_mm(size)
    sample = magazine(1, size, pixel, 1.0, 1)[0]
    view = View(size, size, pixel, (size - 1) / 2, blur_px=preset.blur_px)
    scene = Scene("bench", compile_bodies(sample.bodies, preset.energies_kev), sample.motion, view)
    renderer = Renderer(1 << 30)
    start = time.perf_counter()
    batch = renderer.plan(scene, [Shot(180.0 * k / projections, 0.0) for k in range(projections)])
    while not batch.done:
        time.sleep(0.002)
    taken = time.perf_counter() - start
    renderer.close()
    return round(taken, 3)


def end_to_end(size: int, projections: int, cache_mb: int) -> dict[str, Any]:
    """A server in its own process, position compare as fast as it goes; received here, bytes and order checked."""
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        ready = Path(folder) / "ready.json"
        options = ["--size", str(size), "--rate-limit", "100000", "--mount-s", "0", "--cache-mb", str(cache_mb)]
        command = [sys.executable, "-m", "streamer.sim", "--ready-file", str(ready), *options]
        server = subprocess.Popen(command)
        try:
            while not ready.exists():
                time.sleep(0.01)
            ends = json.loads(ready.read_text())
            with context.socket(zmq.PULL) as pull:
                control = Link(ends["control"], "the virtual beamline", 60.0)
                pull.set_hwm(8)
                pull.connect(ends["frames"])
                try:
                    return scan(control, pull, size, projections)
                finally:
                    control.close()
        finally:
            server.terminate()
            server.wait()


def scan(control: Link, pull: zmq.Socket[bytes], size: int, projections: int) -> dict[str, Any]:
    """Prepare, acquire, drain; the rate between the first and the last projection."""
    prepare = Prepare(ScanSpec("bench", "bench", size, size, projections), 1000.0)
    control.ask(Mount(0))
    control.ask(SetShutter(True))
    start = time.perf_counter()
    control.ask(prepare)
    prepared = answer = time.perf_counter() - start
    while answer > 2.9:  # it answered for lack of patience: ask again until all is rendered
        start = time.perf_counter()
        control.ask(prepare)
        answer = time.perf_counter() - start
    control.ask(Acquire("bench", projections, FrameKind.PROJECTION, "position", 0.0, 180.0 / projections))
    control.ask(MoveRotation(181.0, 1e5))
    times: list[float] = []
    indices: list[int] = []
    while len(times) < projections:
        header, *payload = pull.recv_multipart(copy=False)
        message = decode(header.buffer)
        if isinstance(message, FrameHeader):
            times.append(time.perf_counter())
            indices.append(message.meta.index)
            if len(payload[0].buffer) != message.size:
                raise RuntimeError("short payload")
    control.ask(Finish("bench"))
    if not isinstance(decode(pull.recv_multipart()[0]), End) or indices != list(range(projections)):
        raise RuntimeError("frames are missing or out of order")
    rate = (projections - 1) / (times[-1] - times[0])
    return {
        "size": size,
        "projections": projections,
        "prepare_reply_s": round(prepared, 3),
        "frames_per_s": round(rate, 1),
        "megabytes_per_s": round(rate * size * size * 2 / 1e6, 1),
        "slowest_100_frames_per_s": round(100 / max(np.array(times[100:]) - np.array(times[:-100])), 1),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--json", type=Path, default=RESULT, help="where to write the result")
    args = parse.parse_args()
    result = {
        "command": "python -m benchmarks.streams.sim_rate",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "streamer": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "pyzmq": zmq.__version__,
        },
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "load_before": os.getloadavg()[0]},
        "one_thread": {f"{size}": parts(size) for size in (256, 512)},
        "prerender_s": {"256, 360 projections": prerender_s(256, 360), "512, 720 projections": prerender_s(512, 720)},
        "end_to_end": {
            "256, rendered ahead": end_to_end(256, 1500, 512),
            "512, rendered ahead": end_to_end(512, 1500, 1024),
            "512, live": end_to_end(512, 500, 0),
        },
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
