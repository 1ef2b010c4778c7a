"""Subscribes to the previews as a viewer does, and keeps the planes of the first scan at a few moments."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.client import Subscriber
from streamer.flow.wire.daemon import PreviewHeader, read_preview

FRACTIONS = (0.10, 0.25, 0.50, 0.75, 1.00)


@dataclass
class Stage:
    """The planes after ``angles`` ``of`` all projections."""

    angles: int
    of: int
    planes: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class Recorder:
    """Records in a thread until ``stop``; ``stages`` then holds the planes."""

    def __init__(self, endpoint: str) -> None:
        self.stages: list[Stage] = []
        self._scan = ""
        self._version = -1
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(endpoint,), name="recorder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self, endpoint: str) -> None:
        subscriber = Subscriber()
        subscriber.follow(endpoint)
        while not self._stopped.is_set():
            if (parts := subscriber.receive(0.05)) is not None:
                self._take(*read_preview(parts))
        subscriber.close()

    def _take(self, plane: PreviewHeader, payload: bytes) -> None:
        """Keep the first round of planes at or past each fraction; the last round of all replaces that of 100 %."""
        self._scan = self._scan or plane.scan_id
        if plane.scan_id != self._scan:
            return
        if plane.version != self._version:
            wanted = FRACTIONS[min(len(self.stages), len(FRACTIONS) - 1)]
            if plane.angles < wanted * plane.of:
                return
            self._version = plane.version
            if len(self.stages) == len(FRACTIONS):
                self.stages.pop()
            self.stages.append(Stage(plane.angles, plane.of))
        self.stages[-1].planes[plane.plane] = plane.values(payload)
