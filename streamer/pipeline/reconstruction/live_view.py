"""The watched planes of a running scan, moved to a better centre of rotation without stopping the scan.

When a new centre, layout or choice of planes comes, a second set of planes is built from the stored projections, a few
per frame and in idle moments, while the first set remains visible; then it takes the first one's place. So a new centre
never costs the camera a frame, nor the scientist the picture. What somebody moves by hand is shown before that, see
``moved_plane``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.on_device import Projections
from streamer.core.backend.selection import Backend
from streamer.core.memory import Memory
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.pipeline.reconstruction.moved_plane import Moved, moved
from streamer.pipeline.reconstruction.plane_cuts import PlaneCuts, Shape
from streamer.pipeline.reconstruction.stored_projections import StoredProjections

REPLAY_BATCH = 4
"""Stored projections that one call of ``replay`` folds in besides as many as arrived: planes that are being built catch
up in any case, and hold up the frames the less, the more of them wait."""


class LiveView:
    """Folds projections into the watched planes, about the axis of ``stored.layout``. Not thread-safe.

    Values are attenuation per pixel. ``center`` is always a column of the detector.
    """

    def __init__(
        self,
        backend: Backend,
        stored: StoredProjections,
        sliding_deg: float | None,
        planes: Sequence[Plane] | None,
        hurried: Backend | None = None,
    ) -> None:
        """``planes`` None: the three orthogonal ones. ``sliding_deg`` shows only the latest angles (None: all).
        ``hurried`` makes planes that somebody waits for.
        """
        self._backend, self._stored, self._hurried = backend, stored, hurried or backend
        self._sliding_rad = None if sliding_deg is None else float(np.deg2rad(sliding_deg))
        self._wanted = None if planes is None else tuple(planes)
        self.center = stored.layout.detector_center
        self._shown = self._empty(self.center)
        self._next: LivePlanes | None = None
        self._next_center = self.center
        self._replayed = 0
        self._outdated = False  # the shown planes have another layout than the projections that arrive
        self._lacking = False  # some stored projections are not in the planes
        self._cut: tuple[int, dict[str, Image]] | None = None  # projections in a tomogram, and the planes in it
        self._cut_planes: tuple[Plane, ...] = ()
        self._hidden: frozenset[str] = frozenset()  # planes that are elsewhere now, until those being built are done
        self.moving: list[Moved] = []  # what was moved last comes first
        self._memory, self._coarse_memory = Memory(), Memory()  # of slices of planes that are moved
        self.held = False  # planes that are being built wait: somebody moves others, and will again

    @property
    def target_center(self) -> float:
        """The centre that the planes have, or are being moved to."""
        return self.center if self._next is None else self._next_center

    @property
    def count(self) -> int:
        """Projections in the planes that are shown."""
        return self._shown.count if self._cut is None else self._cut[0]

    @property
    def takes_raw(self) -> bool:
        """Whether raw frames may be given to ``add_raw``, which knows neither layouts nor deferred corrections."""
        return not self._outdated and not self._lacking and self._stored.as_stored

    def add_raw(
        self, raw: Array, correction: FlatFieldCorrection, angle_rad: Values, attenuation: Image, moments: Values
    ) -> None:
        """Fold in raw projections, and fill in their attenuation and moments; see LivePlanes.add_raw."""
        self._cut = None
        self._shown.add_raw(raw, correction, angle_rad, attenuation, moments)

    def add(self, projections: Projections, angle_rad: Values) -> None:
        """Fold in laid-out projections (n, rows, width). Planes of another layout stay as they are until replaced."""
        if self._lacking and self._next is None:
            self.recenter(self.target_center)
        elif not self._outdated and not self._lacking:
            self._cut = None
            self._shown.add(projections, angle_rad)

    def leave_out(self) -> None:
        """A projection was stored that need not be seen at once: the planes stay as they are until ``catch_up``."""
        self._lacking = True

    def snapshot(self) -> Callable[[], dict[str, Image]]:
        """The shown planes of this moment by name, (height, width) float32; see ``LivePlanes.snapshot``.

        Those that were moved are left out until they are built; see ``moving``.
        """
        if self._cut is None:
            shown = self._shown.snapshot()
            hidden = self._hidden
            return lambda: {name: image for name, image in shown().items() if name not in hidden}
        images = {name: image for name, image in self._cut[1].items() if name not in self._hidden}
        return lambda: images

    @property
    def shown(self) -> tuple[Plane, ...]:
        """Where the shown planes are."""
        return self._shown.planes if self._cut is None else self._cut_planes

    @property
    def building(self) -> bool:
        """Whether other planes are being built."""
        return self._next is not None

    def lies_in(self, shape: Shape) -> bool:
        """Whether the planes can be cut out of a tomogram (row, y, x) of this shape."""
        return self._sliding_rad is None and PlaneCuts.on_voxels(self.wanted, shape)

    def cut_out_of(self, blocks: Iterator[tuple[int, Image]], shape: Shape) -> Iterator[tuple[int, Image]]:
        """Pass on the blocks (first row, slices) of the tomogram (row, y, x) of all that is stored.

        After the last one, planes whose pixels are voxels are shown as they are in the tomogram, until they change.
        """
        cuts = PlaneCuts(self.wanted, shape) if self.lies_in(shape) else None
        for first, block in blocks:
            if cuts is not None:
                cuts.take(first, block)
            yield first, block
        if cuts is not None:
            self._cut, self._cut_planes = (self._stored.count, cuts.images), self.wanted
            self._lacking = self._lacking or self._next is not None
            self.center, self._next, self.moving = self.target_center, None, []
            self._hidden = frozenset()

    def watch(self, planes: Sequence[Plane] | None) -> None:
        """Show other planes (None: the three orthogonal ones); they fill with what has come so far."""
        before, self._wanted = self.wanted, None if planes is None else tuple(planes)
        if self.wanted == before:
            return
        self.recenter(self.target_center)
        if self._next is not None:
            self._hidden = frozenset(plane.name for plane in self.shown if plane not in self.wanted)
            # What was moved earlier goes on, behind what is moved now.
            earlier = [part for part in self.moving if part.plane in self.wanted]
            self.moving = self._moved([plane for plane in self.wanted if plane not in before]) + earlier

    def hurry(self) -> None:
        """Show the planes that are being built as soon as they show anything: somebody waits for them."""
        if self._next is not None:
            self._hidden = frozenset(plane.name for plane in self.shown)
            self.moving = self._moved(self.wanted)

    def _moved(self, planes: Sequence[Plane]) -> list[Moved]:
        if not (self._stored.whole and self._stored.count and self._sliding_rad is None):
            return []
        memory = self._memory, self._coarse_memory
        return [moved(self._hurried, self._stored, plane, self.target_center, *memory) for plane in planes]

    @property
    def unseen(self) -> bool:
        """Whether there is no picture yet of a plane that somebody moved."""
        return any(part.passes == 0 for part in self.moving)

    def move(self, further: bool = True) -> bool:
        """Fold a few projections into one of the planes that somebody moved. False when all is in them.

        The plane with the fewest pictures so far comes first, and of these the one that was moved last. Not
        ``further``: only first pictures are made.
        """
        parts = sorted(self.moving, key=lambda part: part.passes)
        return any(part.step() for part in parts if further or part.passes == 0)

    def lay_out(self, stored: StoredProjections) -> None:
        """Go on with another layout, about its axis."""
        self._outdated = self._outdated or stored.layout.width != self._stored.layout.width
        self._stored = stored
        self.recenter(stored.layout.detector_center)

    def recenter(self, center: float) -> None:
        """Build the planes anew about ``center``, from the stored projections.

        If these are not in memory, the planes start again, and report by their count that they hold few angles.
        """
        fresh = self._empty(center)
        if self._stored.whole and self._stored.count:
            self._next, self._next_center, self._replayed = fresh, center, 0
        else:
            self._show(fresh, center)

    def replay(self, arrived: int = 0) -> bool:
        """Fold some stored projections into the planes being built. False when there are none, or they are ``held``.

        Call it after ``arrived`` projections were added to the store, and in idle moments.
        """
        return not self.held and self._replay(arrived)

    def _replay(self, arrived: int = 0) -> bool:
        if self._next is None:
            return False
        first, last = self._replayed, min(self._replayed + arrived + REPLAY_BATCH, self._stored.count)
        angles = self._stored.angles_rad
        # The weights among all that came are known by now, so no projection needs to be added twice.
        weights = self._stored.layout.weights(angles)[first:last]
        self._next.add(self._stored.span(first, last), angles[first:last], weights)
        self._replayed = last
        if last == self._stored.count:
            self._show(self._next, self._next_center)
        return True

    def catch_up(self) -> None:
        """Finish the planes that are being built, and those that lack a projection."""
        if self._lacking and self._next is None and self._cut is None:
            self.recenter(self.target_center)
        while self._replay():
            pass

    def work(self) -> bool:
        """Use an idle moment. False when there is nothing to do."""
        return self.replay() or (self._cut is None and self._shown.work())

    @property
    def wanted(self) -> tuple[Plane, ...]:
        """The planes to be shown, now or when they are built."""
        layout = self._stored.layout
        return orthogonal_planes(layout.rows, layout.width) if self._wanted is None else self._wanted

    def _show(self, planes: LivePlanes, center: float) -> None:
        self._shown, self._next, self.center, self._outdated = planes, None, center, False
        self._cut, self._lacking, self._hidden, self.moving = None, False, frozenset(), []

    def _empty(self, center: float) -> LivePlanes:
        stored, layout = self._stored, self._stored.layout
        fetch = stored.one if stored.whole and self._sliding_rad is None else None
        return LivePlanes(
            self._backend, self.wanted, layout.rows, layout.width, layout.center(center), self._sliding_rad,
            extend=layout.extend, stored=fetch, period=layout.period, recent=stored.recent,
        )  # fmt: skip
