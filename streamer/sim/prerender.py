"""Transmissions rendered ahead of time: a bounded cache that is filled in the background.

The frames of the next scan are rendered by two threads (the kernels release the GIL) as soon as its angles are known.
Frames that exceed the budget are rendered during the scan, a few frames ahead.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.sim.scene.render import Scene, Transmission

SHOTS_AHEAD = 4
RENDER_THREADS = 2


@dataclass(frozen=True, slots=True)
class Shot:
    """One projection to render: true angle, and progress of the scan (0…1) for samples that move."""

    angle_deg: float
    progress: float


class Batch:
    """The transmissions of one scene at many shots, rendered in the background."""

    def __init__(self, scene: Scene, shots: list[Shot], keep: int) -> None:
        self._scene = scene
        self._shots = shots[:keep]
        self._index = {_name(scene, shot): k for k, shot in enumerate(self._shots)}
        view = scene.view
        self._frames: NDArray[np.uint16] = np.empty((len(self._shots), view.rows, view.columns), np.uint16)
        self._ready = [threading.Event() for _ in self._shots]
        self._cancelled = threading.Event()
        claims = itertools.count()
        self._threads = [
            threading.Thread(target=self._work, args=(claims,), name=f"render-{k}", daemon=True)
            for k in range(RENDER_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def nbytes(self) -> int:
        return self._frames.nbytes

    @property
    def done(self) -> bool:
        return all(event.is_set() for event in self._ready)

    def cancel(self) -> None:
        """Stop rendering. Frames that are not ready by now never will be."""
        self._cancelled.set()
        for thread in self._threads:
            thread.join()

    def get(self, scene: Scene, shot: Shot) -> Transmission | None:
        """The transmission of a shot, once it is rendered; None when the shot does not belong to this batch."""
        if not self.holds(scene, shot):
            return None
        k = self._index[_name(scene, shot)]
        while not self._ready[k].wait(0.05):
            if self._cancelled.is_set():
                return None
        frame: Transmission = self._frames[k]
        return frame

    def holds(self, scene: Scene, shot: Shot) -> bool:
        """Whether the shot belongs to this batch."""
        return scene.key == self._scene.key and _name(scene, shot) in self._index

    def _work(self, claims: Iterator[int]) -> None:
        for k in claims:
            if k >= len(self._shots) or self._cancelled.is_set():
                return
            shot = self._shots[k]
            self._frames[k] = self._scene.transmission(shot.angle_deg, shot.progress)
            self._ready[k].set()


def _name(scene: Scene, shot: Shot) -> tuple[float, float]:
    """Key by which two shots of a scene are equal: a sample at rest looks the same at any progress."""
    return (shot.angle_deg, 0.0 if scene.motion.still else shot.progress)


class Renderer:
    """Returns transmissions, from the cache or rendered on demand. Safe to use from two threads."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._batches: dict[object, Batch] = {}  # the newest last
        self._pool = ThreadPoolExecutor(RENDER_THREADS, thread_name_prefix="render-live")
        self._lock = threading.Lock()

    def capacity(self, scene: Scene) -> int:
        """How many transmissions of a scene the cache can hold."""
        return self._budget // scene.view.nbytes

    def plan(self, scene: Scene, shots: list[Shot]) -> Batch:
        """Start to render ``shots``. The same plan again costs nothing; older batches are dropped to make room."""
        key = (scene.key, tuple(shots))
        with self._lock:
            if key in self._batches:
                self._batches[key] = self._batches.pop(key)
                return self._batches[key]
            frame = scene.view.nbytes
            keep = min(len(shots), self.capacity(scene))
            for old_key, old in list(self._batches.items()):
                if not old.done:
                    old.cancel()
                    del self._batches[old_key]
            while self._batches and sum(b.nbytes for b in self._batches.values()) + keep * frame > self._budget:
                self._batches.pop(next(iter(self._batches))).cancel()
            self._batches[key] = Batch(scene, shots, keep)
            return self._batches[key]

    def get(self, scene: Scene, shot: Shot) -> Transmission:
        """The transmission (rows, columns) of one shot; renders it if need be."""
        with self._lock:
            batches = list(self._batches.values())
        for batch in reversed(batches):
            found = batch.get(scene, shot)
            if found is not None:
                return found
        return scene.transmission(shot.angle_deg, shot.progress)

    def holds(self, scene: Scene, shot: Shot) -> bool:
        """Whether the shot is cached or being rendered."""
        with self._lock:
            return any(batch.holds(scene, shot) for batch in self._batches.values())

    def submit(self, scene: Scene, shot: Shot) -> Future[Transmission]:
        """Render one shot in the background."""
        return self._pool.submit(scene.transmission, shot.angle_deg, shot.progress)

    def close(self) -> None:
        """Stop all rendering."""
        with self._lock:
            for batch in self._batches.values():
                batch.cancel()
            self._batches.clear()
        self._pool.shutdown(cancel_futures=True)


class Ahead:
    """Live rendering a few shots ahead of the camera, for scans that do not fit into the cache."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._waiting: dict[tuple[object, Shot], Future[Transmission]] = {}

    def expect(self, scene: Scene, shot: Shot) -> bool:
        """Announce a shot that will soon be taken. Returns False when it is cached already."""
        if self._renderer.holds(scene, shot):
            return False
        key = (scene.key, shot)
        if key not in self._waiting and len(self._waiting) < SHOTS_AHEAD:
            self._waiting[key] = self._renderer.submit(scene, shot)
        return True

    def take(self, scene: Scene, shot: Shot) -> Transmission:
        """The transmission of one shot. Announced shots that did not come are forgotten."""
        future = self._waiting.pop((scene.key, shot), None)
        if future is None:
            self.forget()
            return self._renderer.get(scene, shot)
        return future.result()

    def forget(self) -> None:
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
