"""Be a detector: send one scan to a daemon, frame by frame.

python examples/send_frames.py [ENDPOINT]

A daemon whose source.endpoint is ENDPOINT (default tcp://127.0.0.1:5580) connects to it once the scan is armed. This
source announces its scan itself, so the daemon needs source.attach = "always". It writes the raw file, reconstructs,
and judges. Replace ``frames`` by the camera; everything else stays. The format is in docs/protocol.md.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
import zmq

from streamer import phantoms
from streamer.flow import wire
from streamer.frames import FrameKind, FrameMeta, ScanSpec

ROWS, COLUMNS, PROJECTIONS, FLATS, DARKS = 32, 128, 180, 10, 5
SCAN = ScanSpec(
    scan_id=f"example-{time.time_ns()}",  # a daemon takes each id once
    sample="ellipses",
    rows=ROWS,
    columns=COLUMNS,
    projections=PROJECTIONS,
    flats=FLATS,
    darks=DARKS,
    dtype="<u2",
    pixel_size_m=6.5e-6,
)


def frames() -> Iterator[tuple[FrameKind, float, np.ndarray]]:
    """Kind, true angle in degrees, and pixels (rows, columns) of every frame, in the order in which they are taken."""
    rng = np.random.default_rng(1)
    angles = phantoms.half_turn(PROJECTIONS)
    body = phantoms.random_body(rng, COLUMNS)
    attenuation = phantoms.body_projections(body, ROWS, COLUMNS, angles, center=(COLUMNS - 1) / 2 + 1.5)
    for _ in range(DARKS):
        yield FrameKind.DARK, 0.0, np.full((ROWS, COLUMNS), 100, np.uint16)
    for _ in range(FLATS):
        yield FrameKind.FLAT, 0.0, phantoms.exposures(np.zeros((ROWS, COLUMNS)), rng=rng)
    for angle, frame in zip(angles, attenuation, strict=True):
        yield FrameKind.PROJECTION, float(np.rad2deg(angle)), phantoms.exposures(frame, rng=rng)


def main(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.set_hwm(8)  # few frames wait here: when the daemon is slow, send blocks instead of losing any
        socket.bind(endpoint)
        socket.send_multipart(wire.encode(wire.Start(SCAN, src="example")))
        for index, (kind, angle_deg, pixels) in enumerate(frames()):
            meta = FrameMeta(SCAN.scan_id, index, kind, angle_deg, seq=index + 1, timestamp_ns=time.time_ns())
            socket.send_multipart(wire.encode_frame(meta, pixels, src="example"))
        socket.send_multipart(wire.encode(wire.End(SCAN.scan_id, SCAN.frames, seq=SCAN.frames + 1, src="example")))
    print(f"{SCAN.frames} frames of {SCAN.scan_id} sent")  # closing waits until the last one was taken


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5580")
