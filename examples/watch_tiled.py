"""Watch a scan in Tiled while it runs, as `streamer serve` offers it.

python examples/watch_tiled.py [URL]

URL is the server (default http://127.0.0.1:8000). It needs `pip install 'tiled[client]'` and nothing of Streamer. It
ends with the scan, when its verdict is there.
"""

import sys
import time

from tiled.client import from_uri


def main(url: str) -> None:
    server = from_uri(url)
    while not len(server):
        time.sleep(0.5)
    scan_id, seen = server.keys().last(), ""
    while True:
        scan = server[scan_id]  # entries say what there is now
        frames = scan["raw"].shape[0] if "raw" in scan else 0
        planes = scan.get("planes", {})
        angles = max((plane.metadata["angles"] for plane in planes.values()), default=0)
        if (line := f"{scan_id}: {frames} frames, planes from {angles} angles") != seen:
            print(line, flush=True)
            seen = line
        if "verdict" in scan.metadata:
            break
        time.sleep(0.5)
    for name, plane in planes.items():
        print(f"  {name}: {plane.shape}, mean {plane.read().mean():.4g} {plane.metadata['unit']}")
    print(f"  last frame: mean {scan['raw'][-1].mean():.4g} counts")
    if "tomogram" in scan:
        tomogram = scan["tomogram"]
        print(f"  tomogram {tomogram.shape}, middle slice {tomogram[tomogram.shape[0] // 2].mean():.4g}")
    print(f"  {scan.metadata['status']}: {scan.metadata['verdict']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
