"""Our DECTRIS stream v1 and that of libertem-dectris, each read by the other: ``… libertem [FOLDER]``.

libertem-dectris (Rust) has a simulator and a receiver of the SIMPLON stream. It is no dependency of Streamer: uv
installs it below FOLDER (default build/libertem), where it runs as a program of its own. A daemon takes scans that its
simulator sends; its receiver takes series that our encoder sends. The simulator's own images lack the size of their
pixels, which a detector sends: it is filled in. The simulator sends the two parts of the start as two messages, where a
detector sends one: both are refused, the first as ``parts``, the second as ``unknown_kind``. Its receiver takes neither
pixels without compression nor the user's part of an image, so ``streamer replay`` is not for it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.detectors.taken import beside, refused
from benchmarks.environments import begin, environment, waiting
from benchmarks.record import record
from streamer.cli.rig.processes import start_daemon
from streamer.client import Link, final_report
from streamer.flow.codecs import compress
from streamer.flow.dialects import dectris_v1
from streamer.flow.dialects.message import Codec, Image, SeriesEnd, SeriesStart
from streamer.flow.wire.daemon import Arm
from streamer.frames import ScanSpec

SESSION = Path(__file__).with_name("libertem_session.py")
ENDPOINT = "tcp://127.0.0.1:19996"
ROWS, COLUMNS = 128, 192
DARKS, FLATS, PROJECTIONS = 10, 20, 270
KINDS = [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS
MOCKED_SIDE = 512
CONNECTED_S = 1.0

ENCODINGS = {"bs8-lz4<": "|u1", "bs16-lz4<": "<u2", "bs32-lz4<": "<u4", "lz4<": "<u2"}


def images_of(dtype: str) -> NDArray[Any]:
    """Noise of few bits beyond a ramp: each image is its own, and there is something to compress."""
    ramp = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) // 8
    return (ramp + np.random.default_rng(6).integers(0, 100, (len(KINDS), ROWS, COLUMNS))).astype(dtype)


def taken(python: Path, ends: dict[str, Any], recording: Path, images: NDArray[Any], scan_id: str) -> dict[str, Any]:
    """A scan of the daemon, whose detector is the simulator."""
    counts = {"projections": PROJECTIONS, "flats": FLATS, "darks": DARKS}
    spec = ScanSpec(scan_id, "ramp", *images.shape[1:], dtype=images.dtype.str, **counts)
    before = refused(ends["metrics"])
    with waiting(python, SESSION, "send", recording, ENDPOINT) as process, Link(ends["control"], "the daemon") as link:
        link.ask(Arm(spec))
        begin(process)
        report = final_report(link, scan_id)
    after = refused(ends["metrics"])
    counted = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {**beside(report, images, KINDS), "refused": {reason: n for reason, n in counted.items() if n}}


def send(images: NDArray[Any], codec: Codec) -> None:
    """A series of our encoder to whoever pulls."""
    rows, columns = images.shape[1:]
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.bind(ENDPOINT)
        dtype = images.dtype.str
        socket.send_multipart(dectris_v1.encode_start(SeriesStart("7", len(images), (rows, columns), dtype, 0.0, 0.5)))
        for number, frame in enumerate(images):
            packed = memoryview(compress(codec, memoryview(frame).cast("B"), frame.itemsize))
            socket.send_multipart(dectris_v1.encode_image(Image((rows, columns), dtype, packed, codec, "7", number)))
        socket.send_multipart(dectris_v1.encode_end(SeriesEnd("7", len(images))))


def received(python: Path, images: NDArray[Any], codec: Codec, folder: Path) -> dict[str, Any]:
    """What the receiver makes of a series of ours."""
    path = folder / "received.npy"
    with waiting(python, SESSION, "receive", ENDPOINT, path) as process:
        send(images, codec)
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
    found = np.load(path)
    return {"frames": len(found), "identical": found.dtype == images.dtype and np.array_equal(found, images)}


def session(python: Path, *words: object) -> None:
    subprocess.run([str(python), str(SESSION), *map(str, words)], check=True)


def recordings(python: Path, folder: Path) -> list[tuple[str, Path, NDArray[Any]]]:
    """Names, recordings and their images."""
    made = []
    for number, (encoding, dtype) in enumerate(ENCODINGS.items()):
        images, path = images_of(dtype), folder / f"{number}.recording"
        np.save(folder / "images.npy", images)
        session(python, "record", folder / "images.npy", encoding, path)
        made.append((f"{images.dtype.name}, {encoding}", path, images))
    path = folder / "mocked.recording"
    session(python, "mocked", len(KINDS), path)
    numbers = np.arange(len(KINDS), dtype="<u2")[:, None, None]
    own = np.broadcast_to(numbers, (len(KINDS), MOCKED_SIDE, MOCKED_SIDE))
    return [*made, ("its own images", path, own)]


def versions(python: Path) -> Sequence[str]:
    asked = "from importlib.metadata import version; print(version('libertem-dectris'))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.split()


def main(folder: Path) -> None:
    python = environment(folder, ["libertem-dectris", "h5py", "hdf5plugin", "lz4", "pyzmq"])
    (version,) = versions(python)
    result: dict[str, Any] = {"libertem-dectris": version, "size": [ROWS, COLUMNS]}
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        daemon = start_daemon(
            place / "daemon",
            source={"dialect": "dectris-v1", "endpoint": ENDPOINT},
            writer={"directory": place / "daemon", "reserve_mb": 0},
        )
        try:
            ends = daemon.wait_ready()
            result["its simulator, our daemon"] = {
                name: taken(python, ends, path, images, f"scan-{number}")
                for number, (name, path, images) in enumerate(recordings(python, place))
            }
        finally:
            daemon.stop()
        result["our encoder, its receiver"] = {
            f"{np.dtype(dtype).name}, {encoding}": received(
                python, images_of(dtype), "lz4" if encoding == "lz4<" else "bslz4-h5", place
            )
            for encoding, dtype in ENCODINGS.items()
        }
    record("libertem", result)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/libertem").absolute())
