"""What a daemon made of a detector that others wrote: its raw file beside the images, and its counters."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.request import urlopen

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.flow.wire.daemon import Report
from streamer.io.raw.nxtomo import DETECTOR

PATIENCE_S = 60.0
REFUSED = re.compile(r'^streamer_frames_rejected_total\{reason="(\w+)"\} (\S+)$', re.MULTILINE)


def beside(report: Report, images: NDArray[Any], kinds: list[int]) -> dict[str, Any]:
    """How the scan went, and whether its raw file holds these images as kinds of these numbers."""
    with h5py.File(report.raw_file) as raw:
        stored = raw[f"{DETECTOR}/data"][()]
        keys = raw[f"{DETECTOR}/image_key"][()].tolist()
    return {
        "state": report.state.value,
        "frames": len(stored),
        "missing": report.frames.missing,
        "identical": stored.dtype == images.dtype and np.array_equal(stored, images),
        "kinds as announced": keys == kinds,
    }


def refused(metrics: str) -> dict[str, int]:
    """Messages that the daemon has refused so far, by reason; ``metrics`` is the address of its counters."""
    with urlopen(metrics, timeout=10) as answer:
        text = answer.read().decode()
    return {reason: int(float(count)) for reason, count in REFUSED.findall(text) if float(count)}


def wait_refused(metrics: str, reason: str, count: int) -> None:
    """Wait until the daemon has refused so many messages for a reason."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := refused(metrics)).get(reason, 0) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the daemon has refused {found}, expected {reason}: {count}")
        time.sleep(0.05)
