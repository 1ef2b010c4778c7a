"""Be a detector that loses nothing: send one scan over the acknowledged transport.

python examples/send_acknowledged.py [ENDPOINT]

The daemon needs ``source.transport = "acknowledged"`` and ``source.bind = true``. Kill it with ``kill -9`` while this
runs and start it again: the scan ends complete all the same. Replace ``frames`` by the camera.
"""

import sys

from send_frames import SCAN, frames

from streamer.producer import Producer


def main(endpoint: str) -> None:
    with Producer(endpoint, SCAN, spool_mb=64) as producer:
        for index, (kind, angle_deg, pixels) in enumerate(frames()):
            producer.send(index, kind, angle_deg, pixels)
        producer.finish()
    print(f"{SCAN.frames} frames of {SCAN.scan_id} are safe")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5580")
