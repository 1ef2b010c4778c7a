"""The tomogram of the running scan grows beside the compute thread, so that no frame waits for it."""

from __future__ import annotations

from collections.abc import Callable

from streamer.daemon.compute.aside import Aside, Threads
from streamer.pipeline.scan_pipeline import ScanPipeline


class Growth:
    """Belongs to the compute thread, but for the work itself. It rests while a batch of frames waits."""

    def __init__(self, many_wait: Callable[[], bool], threads: Threads) -> None:
        self._many_wait = many_wait
        self._work: Aside[None] = Aside("tomogram", threads)
        self._called_off = False

    @property
    def idle(self) -> bool:
        """Whether nothing is going on."""
        return self._work.idle

    def go_on(self, pipeline: ScanPipeline) -> None:
        """Have done what there is to do, unless it is being done. Raises what went wrong with what was begun before."""
        if self._work.done:
            self._work.take()
        if self._work.idle and not self._many_wait():
            work = pipeline.growth(lambda: self._called_off or self._many_wait())
            if work is not None:
                self._work.begin(work)

    def pause(self) -> None:
        """Return when nothing is going on, which takes some milliseconds. Raises what went wrong with it."""
        self._called_off = True
        try:
            self._work.take()
        finally:
            self._called_off = False

    def drop(self) -> None:
        """``pause``, and what went wrong is of no interest any more."""
        self._called_off = True
        self._work.drop()
        self._called_off = False
