"""``streamer tee`` with a receiver that is stopped (SIGSTOP), against the same tee without that receiver.

``python -m benchmarks.streams.tee [--rounds 5]`` writes results/tee.json: frames/s of the two other receivers, the
lossless one and a lossy one, in rounds that alternate, once at a detector's rate and once as fast as the lossless one
takes them.
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
from statistics import median
from typing import Any

import numpy as np
import zmq

from benchmarks.record import record
from streamer.flow import wire
from streamer.frames import FrameKind, FrameMeta

SIDE = 724  # 1 MiB of <u2
PACED_HZ = 100.0
FRAMES = {"paced": 300, "full speed": 1000}
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


def run(speed: str, stopped: bool) -> dict[str, Any]:
    """Frames and frames/s of the lossless and of a lossy receiver; ``stopped``: there is a third, which is stopped."""
    count = 3 if stopped else 2
    words = ["tee", "tcp://127.0.0.1:*", "--bind", *["--to", "tcp://127.0.0.1:*"] * count]
    tee = subprocess.Popen([sys.executable, "-m", "streamer", *words], stdout=subprocess.PIPE, text=True)
    assert tee.stdout is not None
    _, source, _, *ends = tee.stdout.readline().replace(",", "").split()
    spawn = get_context("spawn")
    pipes = [spawn.Pipe(duplex=False) for _ in ends]
    children = [spawn.Process(target=receive, args=(end, pipe[1])) for end, pipe in zip(ends, pipes, strict=True)]
    for child in children:
        child.start()
    try:
        send(source, speed, [pipe[0] for pipe in pipes], children[2].pid if stopped else None)
        results = [pipe[0].recv() for pipe in pipes[:2]]
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
    return {"frames": frames, "rates": rates, "tee": said.splitlines()}


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
        runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for number in range(rounds):
            for stopped in (False, True) if number % 2 else (True, False):
                runs[stopped].append(run(speed, stopped))
        pairs = list(zip(runs[True], runs[False], strict=True))
        for at, name in enumerate(("lossless", "lossy")):
            result[f"{speed}, {name}"] = {
                "ratio": round(median(a["rates"][at] / b["rates"][at] for a, b in pairs), 4),
                "frames_per_s_with_the_stopped_one": round(median(a["rates"][at] for a, _ in pairs), 1),
                "frames_per_s_without": round(median(b["rates"][at] for _, b in pairs), 1),
                "least_frames_of": [min(a["frames"][at] for a, _ in pairs), FRAMES[speed]],
            }
        result[f"{speed}, tee said"] = runs[True][-1]["tee"]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    record("tee", measure(parser.parse_args().rounds))
