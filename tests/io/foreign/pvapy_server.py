"""A PVA server of pvaPy, a program of its own: serves the images of a .npy file as areaDetector does, once it is told.

``python pvapy_server.py CHANNEL IMAGES.npy PERIOD_S``; a line on the standard input begins.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pvaccess as pva
from pvapy.utility.adImageUtility import AdImageUtility


def main(channel: str, path: str, period_s: float) -> None:
    images = np.load(path)
    first = AdImageUtility.generateNtNdArray2D(0, images[0])
    server = pva.PvaServer(channel, first)
    print("ready", flush=True)
    sys.stdin.readline()
    for number, image in enumerate(images, start=1):
        angle = [pva.NtAttribute("Angle", pva.PvDouble(0.5 * number))]
        server.update(tagged(number, image, angle))
        time.sleep(period_s)
    print("sent", flush=True)
    sys.stdin.readline()


def tagged(number: int, image: np.ndarray, attributes: list[pva.NtAttribute]) -> pva.NtNdArray:
    array = AdImageUtility.generateNtNdArray2D(number, image)
    array["attribute"] = attributes
    return array


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
