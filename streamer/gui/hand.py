"""What mouse and keys do to planes and centre: they change the steering, and the daemon is told."""

from __future__ import annotations

from collections.abc import Callable

from streamer.gui.client import ViewerClient
from streamer.gui.state.model import ViewModel
from streamer.gui.state.steering import FREE, ORTHOGONAL, FreePlane, point_at

TURN_DEG = 0.5
"""Of the free plane, for a pixel of the screen."""

DETECTOR = {"raw", "projection"}


class SteeringHand:
    """Moves planes and centre. ``changed`` is called after each change, ``measured`` with the tile of the line."""

    def __init__(
        self,
        model: ViewModel,
        client: Callable[[], ViewerClient | None],
        changed: Callable[[], None],
        measured: Callable[[str], None],
    ) -> None:
        self._model, self._client = model, client
        self._changed, self._measured = changed, measured
        self._pulled = 0.0  # what is less than a voxel

    @property
    def steers(self) -> bool:
        """Whether planes can be moved: those of a past scan stay where they were."""
        return not self._model.shows_past

    # What a tile calls.

    def levels(self, name: str, low: float, high: float) -> None:
        self._model.contrast.set_levels(name, low, high)

    def put(self, name: str, x: float, y: float) -> None:
        picture = self._model.shown_planes.get(name) or self._model.looks.get(name)
        if picture is None:
            return
        row, column = picture.full_pixel(x, y)
        if name in DETECTOR:
            if (client := self._client()) is not None:
                client.row = max(0, round(row))
        elif picture.place is not None and self.steers:
            before = self._model.steering.point
            self._model.steering.go_to(point_at(picture.place, row, column))
            point = self._model.steering.point
            if before is not None and point is not None:
                moved = {other for other, axis in ORTHOGONAL.items() if other != name and before[axis] != point[axis]}
                if name in ORTHOGONAL:  # the plane itself stays where it is
                    keep = list(point)
                    keep[ORTHOGONAL[name]] = before[ORTHOGONAL[name]]
                    self._model.steering.go_to((keep[0], keep[1], keep[2]))
                self.watch(moved)

    def pull(self, name: str, across: float, down: float) -> None:
        steering = self._model.steering
        if not self.steers:
            return
        if name == FREE and steering.free is not None:
            steering.free = steering.free.turned(TURN_DEG * across, TURN_DEG * down)
            self.watch({FREE})
        elif name in ORTHOGONAL:
            self._pulled += down
            whole = round(self._pulled)
            self._pulled -= whole
            self.scroll(name, whole)

    def scroll(self, name: str, steps: int) -> None:
        if steps and (name in ORTHOGONAL or name == FREE) and self.steers:
            self._model.steering.step(name, float(steps))
            self.watch({name})

    def measure(self, name: str) -> None:
        self._measured(name)

    # What keys and numbers do.

    def watch(self, names: set[str]) -> None:
        """The steering has moved these planes: have them shown."""
        client = self._client()
        if names and client is not None and self.steers:
            client.watch(names)
        self._changed()

    def toggle_free(self) -> None:
        """A free plane more, or less."""
        steering = self._model.steering
        if self.steers:
            steering.free = FreePlane() if steering.free is None else None
            self.set_free()

    def set_free(self) -> None:
        """The steering has got a free plane, or lost it."""
        if self._model.steering.free is None:
            self._model.remove(FREE)
        self.watch({FREE})

    def turn(self, azimuth_deg: float, tilt_deg: float) -> None:
        steering = self._model.steering
        if steering.free is not None and self.steers:
            steering.free = steering.free.turned(azimuth_deg, tilt_deg)
            self.watch({FREE})

    def to_middle(self) -> None:
        if self.steers:
            self._model.steering.to_middle()
            self.watch({*ORTHOGONAL, *([FREE] if self._model.steering.free is not None else [])})

    def nudge(self, pixels: float) -> None:
        """Hold the centre of rotation beside where it is."""
        center = self._model.scan.center_px
        if center is not None:
            self.fix_center(round(center + pixels, 3))

    def fix_center(self, column: float | None) -> None:
        """Hold the centre at a column; None: have it found."""
        client = self._client()
        if client is not None:
            self._model.center_wanted(column)
            client.fix_center(column)
        self._changed()
