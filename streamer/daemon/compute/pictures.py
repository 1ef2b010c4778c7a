"""Pictures of the planes, made and sent beside the compute thread: frames do not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import structs

from streamer.core import preview
from streamer.core.arrays import Image
from streamer.core.planes.plane import Plane
from streamer.daemon.compute.aside import Aside, Threads
from streamer.flow.wire.daemon import PlaneSpec, PreviewHeader
from streamer.flow.wire.looks import MOST_LOOK_PX, LatestPlane
from streamer.io.messaging.publish import Publisher


class Pictures:
    """One round of pictures at a time. Belongs to the compute thread, but for the work itself."""

    def __init__(self, previews: Publisher, max_px: int, threads: Threads) -> None:
        """Pictures of at most ``max_px`` rows and columns go to ``previews``."""
        self._previews, self._max_px = previews, max_px
        self._round: Aside[None] = Aside("pictures", threads)
        self.latest: dict[str, LatestPlane] = {}  # of each plane of the newest scan; read by any thread
        self._lock = threading.Lock()  # held while a picture goes out
        self._newest: dict[str, int] = {}  # version of the last picture of each plane
        self._kept: set[str] | None = None  # names of the planes that are shown; None: all

    @property
    def busy(self) -> bool:
        """Whether the last round is not sent yet. Raises what went wrong with it."""
        if self._round.done:
            self._round.take()
        return not self._round.idle

    def send(
        self,
        header: Callable[..., PreviewHeader],
        images: Callable[[], dict[str, Image]],
        planes: Sequence[Plane] = (),
        factor: int = 1,
        at_once: bool = False,
    ) -> None:
        """Have ``images`` made and sent; ``header`` is what they have in common, the rest is for each plane to say.

        ``planes`` says where they are, and ``factor`` how many of their pixels, along each side, are one of an image.
        ``at_once``: on this thread, whatever the other does. Of a plane no picture follows a newer one.
        """
        places = {plane.name: spec_of(plane) for plane in planes}
        if at_once:
            self._send(header, images, places, factor)
        else:
            self.wait()
            self._round.begin(lambda: self._send(header, images, places, factor))

    def send_gathered(
        self,
        header: Callable[..., PreviewHeader],
        gather: Callable[[], tuple[int, dict[str, Image]]],
        planes: Sequence[Plane],
    ) -> None:
        """``send`` what others have made: only then it is known how many projections are in it."""
        count = 0

        def images() -> dict[str, Image]:
            nonlocal count
            count, gathered = gather()
            return gathered

        self.send(lambda **said: header(angles=count, **said), images, planes)

    def keep(self, names: set[str]) -> None:
        """Show no other planes than these from now on, and forget their pictures."""
        with self._lock:
            self._kept = names
            self.latest = {name: plane for name, plane in self.latest.items() if name in names}

    def wait(self) -> None:
        """Return when the last round is sent. Raises what went wrong with it."""
        self._round.take()

    def rest(self) -> None:
        """Return when nothing is being made or sent."""
        self._round.drop()

    def _send(
        self,
        header: Callable[..., PreviewHeader],
        images: Callable[[], dict[str, Image]],
        places: dict[str, PlaneSpec],
        factor: int,
    ) -> None:
        for name, image in images().items():
            small = preview.decimate(image, self._max_px)
            joined = factor * -(-image.shape[0] // small.shape[0])
            lo, hi = preview.contrast(small)
            said = header(
                plane=name, shape=(small.shape[0], small.shape[1]), lo=lo, hi=hi, bin=joined, place=places.get(name)
            )
            pixels = preview.quantise(small, lo, hi)
            with self._lock:
                if said.version < self._newest.get(name, 0) or not (self._kept is None or name in self._kept):
                    continue
                self._newest[name] = said.version
                payload = self._previews.plane(said, pixels)
                of_scan = {n: plane for n, plane in self.latest.items() if plane.header.scan_id == said.scan_id}
                self.latest = {**of_scan, name: LatestPlane(said, payload)}


def thinned(plane: LatestPlane) -> LatestPlane:
    """The picture, small enough for a reply: of a larger one every second, third … row and column."""
    every = -(-max(plane.header.shape) // MOST_LOOK_PX)
    if every == 1:
        return plane
    pixels = np.frombuffer(plane.pixels, "<u2").reshape(plane.header.shape)[::every, ::every]
    header = structs.replace(plane.header, shape=pixels.shape, bin=every * plane.header.bin)
    return LatestPlane(header, pixels.tobytes())


def spec_of(plane: Plane) -> PlaneSpec:
    """A plane as it is told."""
    return PlaneSpec(plane.name, plane.origin, plane.u, plane.v, plane.shape)
