"""Pictures of the planes, made and sent beside the compute thread: frames do not wait for them."""

from __future__ import annotations

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

    @property
    def busy(self) -> bool:
        """Whether the last round is not sent yet. Raises what went wrong with it."""
        if self._round.done:
            self._round.take()
        return not self._round.idle

    def send(
        self, header: Callable[..., PreviewHeader], images: Callable[[], dict[str, Image]], planes: Sequence[Plane] = ()
    ) -> None:
        """Have ``images`` made and sent; ``header`` is what they have in common, the rest is for each plane to say.

        ``planes`` says where they are.
        """
        self.wait()
        places = {plane.name: spec_of(plane) for plane in planes}
        self._round.begin(lambda: self._send(header, images, places))

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
        """Forget the pictures of other planes than these."""
        self.wait()
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
    ) -> None:
        for name, image in images().items():
            small = preview.decimate(image, self._max_px)
            factor = -(-image.shape[0] // small.shape[0])
            lo, hi = preview.contrast(small)
            said = header(
                plane=name, shape=(small.shape[0], small.shape[1]), lo=lo, hi=hi, bin=factor, place=places.get(name)
            )
            pixels = self._previews.plane(said, preview.quantise(small, lo, hi))
            of_scan = {n: plane for n, plane in self.latest.items() if plane.header.scan_id == said.scan_id}
            self.latest = {**of_scan, name: LatestPlane(said, pixels)}


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
