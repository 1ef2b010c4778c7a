"""Watch a daemon's Prometheus metrics without Prometheus: one line a second while frames come.

python examples/watch_metrics.py [URL] [SECONDS]

URL is by default http://127.0.0.1:9108/metrics; ``streamer status`` prints that of a running daemon. SECONDS is how
long to watch (default 10).
"""

import sys
import time
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def read(url: str) -> dict[str, float]:
    """The sum over all labels of each sample, by name."""
    sums: dict[str, float] = {}
    with urlopen(url, timeout=5) as reply:
        for family in text_string_to_metric_families(reply.read().decode()):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def main(url: str, seconds: float) -> None:
    before, began = read(url), time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        now = read(url)
        print(
            f"{now['streamer_frames_received_total'] - before['streamer_frames_received_total']:6.0f} frames/s   "
            f"{now['streamer_writer_frames_total']:8.0f} written   "
            f"{now['streamer_frames_missing_total']:4.0f} missing   "
            f"ring {now['streamer_ring_occupied_frames']:.0f} of {now['streamer_ring_capacity_frames']:.0f}",
            flush=True,
        )
        before = now


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9108/metrics",
        float(sys.argv[2]) if len(sys.argv) > 2 else 10.0,
    )
