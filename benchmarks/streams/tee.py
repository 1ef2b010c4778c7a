"""``streamer tee`` with a receiver that is stopped (SIGSTOP), against the same tee without that receiver.

``python -m benchmarks.streams.tee [--rounds 5]`` writes results/tee.json: frames/s of the two other receivers, the
lossless one and a lossy one, once at a detector's rate and once as fast as the lossless one takes them. Beside it a
third receiver that takes everything, and the same tee without a third one once more, whose ratio shows the noise. The
ways take turns. The processor time that the tee needs for a message says more than its rate where other processes
share the cores.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zmq

from benchmarks.record import record
from streamer.flow import wire
from streamer.frames import FrameKind, FrameMeta

SIDE = 724  # 1 MiB of <u2
PACED_HZ = 100.0
FRAMES = {"paced": 300, "full speed": 3000}
THIRD = ("none", "stopped", "takes everything", "none again")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LIMIT_MS = 60_000


def receive(endpoint: str, report: Connection) -> None:
    """Count frames until a message of one byte; report them and the seconds from the first to the last one."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set_hwm(8)
        socket.setsockopt(zmq.RCVTIMEO, LIMIT_MS)
        socket.connect(endpoint)
        times = []
        while len(parts := socket.recv_multipart(copy=False)) > 1 or len(parts[0].buffer) > 1:
            if len(parts) == 1:
                report.send("connected")
            else:
                times.append(time.perf_counter())
    report.send((len(times), times[-1] - times[0]))


def processor_s(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def run(speed: str, third: str) -> dict[str, Any]:
    """Frames and frames/s of the lossless and of a lossy receiver, beside a third one or none."""
    count, stopped = (2 if third.startswith("none") else 3), third == "stopped"
    words = ["tee", "tcp://127.0.0.1:*", "--bind", *["--to", "tcp://127.0.0.1:*"] * count]
    tee = subprocess.Popen([sys.executable, "-m", "streamer", *words], stdout=subprocess.PIPE, text=True)
    assert tee.stdout is not None
    _, source, _, *ends = tee.stdout.readline().replace(",", "").split()
    spawn = get_context("spawn")
    pipes = [spawn.Pipe(duplex=False) for _ in ends]
    children = [spawn.Process(target=receive, args=(end, pipe[1])) for end, pipe in zip(ends, pipes, strict=True)]
    for child in children:
        child.start()
    began_s = processor_s(tee.pid)
    try:
        send(source, speed, [pipe[0] for pipe in pipes], children[2].pid if stopped else None)
        results = [pipe[0].recv() for pipe in pipes[:2]]
        used_s = processor_s(tee.pid) - began_s
    finally:
        for child in children[2:]:
            child.kill()
        for child in children:
            child.join()
        tee.send_signal(signal.SIGINT)
        said = tee.stdout.read()
        tee.wait()
        tee.stdout.close()
    frames, rates = [number for number, _ in results], [(number - 1) / seconds for number, seconds in results]
    milliseconds = 1000 * used_s / FRAMES[speed]
    return {"frames": frames, "rates": rates, "ms": milliseconds, "tee": said.splitlines()}


def send(source: str, speed: str, reports: list[Any], to_stop: int | None) -> None:
    """Send all frames once every receiver is connected, and the one to stop is stopped."""
    pixels = np.random.default_rng(1).integers(0, 4000, (SIDE, SIDE)).astype("<u2")
    with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
        detector.set_hwm(8)
        detector.setsockopt(zmq.SNDTIMEO, LIMIT_MS)
        detector.connect(source)
        detector.send(b"hello")
        for report in reports:
            assert report.recv() == "connected"
        if to_stop is not None:
            os.kill(to_stop, signal.SIGSTOP)
        began = time.perf_counter()
        for index in range(FRAMES[speed]):
            if speed == "paced":
                time.sleep(max(0.0, began + index / PACED_HZ - time.perf_counter()))
            detector.send_multipart(wire.encode_frame(FrameMeta("s", index, FrameKind.PROJECTION, 0.0), pixels))
        detector.send(b"!")


def measure(rounds: int) -> dict[str, Any]:
    result: dict[str, Any] = {"frame_bytes": 2 * SIDE * SIDE, "rounds": rounds}
    for speed in FRAMES:
        runs: dict[str, list[dict[str, Any]]] = {third: [] for third in THIRD}
        for number in range(rounds):
            for third in THIRD if number % 2 else THIRD[::-1]:
                runs[third].append(run(speed, third))
        for at, name in enumerate(("lossless", "lossy")):
            result[f"{speed}, {name}"] = {
                f"third {third}": {
                    "frames_per_s": round(median(one["rates"][at] for one in made), 1),
                    "ratio_to_none": round(
                        median(a["rates"][at] / b["rates"][at] for a, b in zip(made, runs["none"], strict=True)), 4
                    ),
                    "least_frames_of": [min(one["frames"][at] for one in made), FRAMES[speed]],
                }
                for third, made in runs.items()
            }
        result[f"{speed}, processor ms of the tee per message"] = {
            f"third {third}": round(median(one["ms"] for one in made), 3) for third, made in runs.items()
        }
        result[f"{speed}, tee said"] = runs["stopped"][-1]["tee"]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    record("tee", measure(parser.parse_args().rounds))
