"""What a frame's header costs: ``python -m benchmarks.streams.headers``. One thread, no sockets; µs, best of 7 runs.

The rival is the msgpack library, which reads the same map but checks nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from timeit import repeat

import msgpack
import numpy as np

from benchmarks.record import record
from streamer.flow import wire
from streamer.frames import FrameKind, FrameMeta

CALLS, RUNS = 20_000, 7
META = FrameMeta(
    scan_id="2026-03-14T15.09.26-beetle",
    index=1234,
    kind=FrameKind.PROJECTION,
    angle_deg=123.456,
    seq=1250,
    timestamp_ns=1_773_500_966_000_000_000,
    exposure_s=0.009,
    monitor=0.987,
)


def microseconds(call: Callable[[], object]) -> float:
    return round(1e6 * min(repeat(call, number=CALLS, repeat=RUNS)) / CALLS, 2)


def main() -> None:
    pixels = np.zeros((8, 8), "<u2")
    header, payload = wire.encode_frame(META, pixels, "camera")
    message = wire.decode(header)
    assert isinstance(message, wire.FrameHeader)
    record(
        "headers",
        {
            "header_bytes": len(header),
            "decode_and_check_us": microseconds(lambda: wire.decode(header)),
            "meta_us": microseconds(lambda: message.meta),
            "encode_us": microseconds(lambda: wire.encode_frame(META, pixels, "camera")),
            "checksum_of_64_pixels_us": microseconds(lambda: wire.checksum(payload)),
            "msgpack_unpack_unchecked_us": microseconds(lambda: msgpack.unpackb(header)),
        },
    )


if __name__ == "__main__":
    main()
