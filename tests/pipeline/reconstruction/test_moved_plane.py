"""A plane that somebody moves: coarse at once, in full detail when the hand rests."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.memory import Memory
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.frames import ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.reconstruction import plane_sources
from streamer.pipeline.reconstruction.live_view import LiveView
from streamer.pipeline.reconstruction.moved_plane import FIRST_PASS, SLICE_ANGLES, Moved, moved
from streamer.pipeline.reconstruction.plane_sources import COARSE_PX, coarse_factor
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.store import AttenuationStore
from tests.core.plane_suite import blobs, projections, truth

COUNT = 400
ANGLES = np.arange(COUNT) * np.pi / COUNT
NAMES = ["level", "between rows", "upright", "across", "free"]
DETECTORS = {"even": (48, 96, 48.3), "odd": (45, 95, 45.7), "four": (80, 160, 80.2)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coarse picture of these detectors has about 40 columns."""
    monkeypatch.setattr(plane_sources, "COARSE_PX", 40)


def store(rows: int, columns: int, center: float, **layout: float) -> tuple[StoredProjections, np.ndarray]:
    parts = blobs(columns, rows)
    kept = AttenuationStore(rows, columns, COUNT, 2**30)
    for first in range(0, COUNT, 8):
        kept.next(8)[...] = projections(parts, rows, columns, ANGLES[first : first + 8], center)
        kept.add(ANGLES[first : first + 8])
    preparation = Preparation(ScanSpec("scan", "sample", rows, columns, COUNT), 1, PreparationOptions())
    laid_out = Layout(rows, columns, center, **layout)
    return StoredProjections(kept, preparation, laid_out, 1, RecentProjections()), parts


def first_picture(part: Moved) -> np.ndarray:
    while not part.ready:
        assert part.step()
    return part.snapshot()()


def in_full(part: Moved) -> np.ndarray:
    image = first_picture(part)
    while part.step() or part.ready:
        if part.ready:
            image = part.snapshot()()
    return image


def binned(image: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = (side // factor * factor for side in image.shape)
    return image[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))


def planes_of(rows: int, columns: int) -> dict[str, Plane]:
    xy, xz, yz = orthogonal_planes(rows, columns)
    return {
        "level": Plane("xy", (0.0, 0.0, float(rows // 3)), xy.u, xy.v, xy.shape),
        "between rows": Plane("xy", (0.0, 0.0, rows / 3 + 0.4), xy.u, xy.v, xy.shape),
        "upright": Plane("xz", (0.0, columns / 3, 0.0), xz.u, xz.v, xz.shape),
        "across": Plane("yz", (columns / 2.5, 0.0, 0.0), yz.u, yz.v, yz.shape),
        "free": Plane("free", (5.0, 12.0, 2.0), (0.9, 0.3, 0.0), (-0.2, 0.5, 0.8), (rows - 4, columns - 20)),
    }


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("name", NAMES)
def test_the_coarse_picture_shows_what_is_there(numba_backend: Backend, detector: str, name: str) -> None:
    rows, columns, center = DETECTORS[detector]
    stored, parts = store(rows, columns, center)
    plane = planes_of(rows, columns)[name]
    part = moved(numba_backend, stored, plane, center, Memory(), Memory())
    early = first_picture(part)
    factor = part.factor
    assert factor == coarse_factor(columns) == (4 if detector == "four" else 2)
    assert early.shape == tuple(-(-side // factor) for side in plane.shape)
    few = SLICE_ANGLES if name == "level" else FIRST_PASS // 2 if name == "free" else FIRST_PASS
    assert few <= part.count < 2 * few + 2
    there = binned(truth(parts, plane, columns), factor)
    mine = early[: there.shape[0], : there.shape[1]]
    within = binned(np.asarray(_seen(plane, rows, columns), np.float32), factor) == 1.0
    apart = (mine - there)[within]
    assert np.sqrt(np.mean(apart**2)) < 0.06 * np.ptp(there), "smooth blobs, half a coarse pixel away at most"


def _seen(plane: Plane, rows: int, columns: int) -> np.ndarray:
    i, j = np.mgrid[: plane.shape[0], : plane.shape[1]]
    x, y, z = (o + j * u + i * v for o, u, v in zip(plane.origin, plane.u, plane.v, strict=True))
    middle = (columns - 1) / 2
    return (np.hypot(x - middle, y - middle) < 0.9 * columns / 2) & (z >= 2) & (z <= rows - 3)


@pytest.mark.parametrize("name", NAMES)
def test_at_rest_it_is_as_if_there_had_been_no_coarse_picture(
    numba_backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns, center = DETECTORS["even"]
    stored, _ = store(rows, columns, center)
    plane = planes_of(rows, columns)[name]
    part = moved(numba_backend, stored, plane, center, Memory(), Memory())
    late = in_full(part)
    assert (part.factor, part.count, late.shape) == (1, COUNT, plane.shape)
    monkeypatch.setattr(plane_sources, "COARSE_PX", COARSE_PX)
    alone = moved(numba_backend, stored, plane, center, Memory(), Memory())
    assert alone.factor == 1, "a small detector has no coarse picture"
    np.testing.assert_allclose(late, in_full(alone), atol=1e-5 * np.abs(late).max())


def test_a_wide_layout_has_a_coarse_picture_too(numba_backend: Backend) -> None:
    """Projections that are straightened when they are read."""
    rows, columns, center = DETECTORS["even"]
    plain, _ = store(rows, columns, center)
    tilted, _ = store(rows, columns, center, tilt_rad=1e-6)
    assert not tilted.as_stored
    plane = planes_of(rows, columns)["upright"]
    pictures = [
        first_picture(moved(numba_backend, each, plane, center, Memory(), Memory())) for each in (plain, tilted)
    ]
    np.testing.assert_allclose(pictures[0], pictures[1], atol=0.01 * np.ptp(pictures[0]))


def test_one_picture_at_a_time(numba_backend: Backend) -> None:
    """The coarse picture waits until it was taken: what comes in full detail cannot take its place unseen."""
    rows, columns, center = DETECTORS["even"]
    stored, _ = store(rows, columns, center)
    part = moved(numba_backend, stored, planes_of(rows, columns)["upright"], center, Memory(), Memory())
    assert part.step()
    assert part.ready
    assert part.passes == 1
    assert not part.step()
    part.snapshot()
    assert part.step()
    assert not part.ready


def test_while_the_hand_moves_only_coarse_pictures_are_made(numba_backend: Backend) -> None:
    rows, columns, center = DETECTORS["even"]
    stored, _ = store(rows, columns, center)
    view = LiveView(numba_backend, stored, None, None)
    view.add(stored.span(0, COUNT), ANGLES)
    chosen = planes_of(rows, columns)
    view.watch([chosen["level"], chosen["upright"], chosen["across"]])
    view.held = True
    assert view.unseen
    assert not view.replay(4), "planes of all angles wait"
    while view.move(further=False):
        pass
    assert not view.unseen
    assert [(part.factor, part.ready) for part in view.moving] == [(2, True)] * 3
    for part in view.moving:
        part.snapshot()
    assert not view.move(further=False)
    assert view.move()
    view.catch_up()
    assert not view.building, "a scan that ends does not wait for the hand"
    assert not view.moving


@pytest.mark.parametrize(("width", "factor"), [(100, 1), (384, 1), (385, 2), (512, 2), (1024, 4), (2048, 8), (2560, 8)])
def test_coarse_pictures_have_about_as_many_columns_whatever_the_detector(
    width: int, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_sources, "COARSE_PX", COARSE_PX)
    assert coarse_factor(width) == factor
