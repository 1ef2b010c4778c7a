"""Follow the raw file of a scan while it is written: python examples/read_growing.py SCAN.nx"""

import sys
import time

import h5py

with h5py.File(sys.argv[1], "r", swmr=True) as file:
    detector = file["entry/instrument/detector"]
    angles, status = file["entry/sample/rotation_angle"], file["entry/streamer/status"]
    seen, running = -1, True
    while running:
        status.refresh()  # before the frames: what it says is then true of all of them
        running = status[()] == b"running"
        for dataset in (angles, detector["image_key"], detector["data"]):
            dataset.refresh()
        frames = min(len(angles), len(detector["data"]))
        if frames > max(seen, 0):
            newest = detector["data"][frames - 1]
            print(f"{frames} frames, the newest at {angles[frames - 1]:.2f}°, mean {newest.mean():.1f}")
        seen = frames
        time.sleep(0.5 if running else 0.0)
    print(f"{seen} frames, {status[()].decode()}")
