"""The watched planes as pictures in the unit of the scan, finished by whoever has the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamer.core.arrays import Image
from streamer.core.jit import at_most
from streamer.core.planes.plane import Plane
from streamer.pipeline.reconstruction.live_view import LiveView

Images = Callable[[], dict[str, Image]]
"""Makes images (height, width) float32 of planes, by name. Another thread may call it, as frames come."""


@dataclass(frozen=True)
class MovedImage:
    """A picture of a plane that somebody moves: of ``count`` projections, each pixel ``factor`` of the plane's wide and
    high (1: full detail).
    """

    plane: Plane
    count: int
    factor: int
    images: Images


class PlaneImages:
    """Pictures of a LiveView. Not thread-safe, but for what it returns."""

    def __init__(self, view: LiveView, scale: Callable[[], np.float32], threads: int, hurried_threads: int) -> None:
        """``scale`` from attenuation per pixel to the unit, at this moment. ``threads`` are used while frames come,
        ``hurried_threads`` for planes that somebody waits for.
        """
        self._view, self._scale, self._threads, self._hurried = view, scale, threads, hurried_threads

    def snapshot(self) -> Images:
        """The watched planes of this moment; most of the work is left to do."""
        threads, scale = self._threads, self._scale()
        with at_most(threads):
            unscaled = self._view.snapshot()

        def finish() -> dict[str, Image]:
            with at_most(threads):
                return {name: image * scale for name, image in unscaled().items()}

        return finish

    def images(self) -> dict[str, Image]:
        """``snapshot``, made now."""
        return self.snapshot()()

    def move(self, further: bool = True) -> bool:
        """Work on the planes that somebody moves; see ``LiveView.move``."""
        # First pictures take a few milliseconds, in which the threads of a busy machine would wait for each other.
        with at_most(self._hurried if further else self._threads):
            return self._view.move(further)

    def moved(self, coarse: bool = False) -> MovedImage | None:
        """A plane that somebody moves; None where nothing new is. ``coarse``: none in full detail."""
        moved = next((part for part in self._view.moving if part.ready and (part.factor > 1 or not coarse)), None)
        if moved is None:
            return None
        plane, count, factor, scale = moved.plane, moved.count, moved.factor, self._scale()
        threads = self._hurried if factor == 1 else self._threads
        with at_most(threads):
            unscaled = moved.snapshot()

        def finish() -> dict[str, Image]:
            with at_most(threads):
                return {plane.name: unscaled() * scale}

        return MovedImage(plane, count, factor, finish)

    def browse(self) -> bool:
        """Use an idle moment after the scan. False when there was nothing to do."""
        with at_most(self._threads):
            return self._view.work()
