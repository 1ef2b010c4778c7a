"""The watched planes through new centres, layouts and choices of planes, while projections keep coming."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fourier.factory import reconstruct_rows
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.masks import circle_mask
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.reconstruction.live_view import REPLAY_BATCH, LiveView
from streamer.pipeline.reconstruction.moved_plane import Moved, passes_of
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.store import AttenuationStore
from tests.core.plane_suite import blobs, projections

ROWS, COLUMNS, COUNT, CENTER = 10, 24, 60, 12.4
SPEC = ScanSpec("scan", "sample", ROWS, COLUMNS, COUNT)
ANGLES = np.arange(COUNT) * np.pi / COUNT
FRAMES = projections(blobs(COLUMNS, ROWS), ROWS, COLUMNS, ANGLES, CENTER)
CUT = Plane("cut", (2.0, 3.0, 1.0), (0.8, 0.1, 0.0), (0.0, 0.2, 0.3), (12, 14))


class Rig:
    """A store that fills, and the planes that follow it."""

    def __init__(
        self,
        backend: Backend,
        center: float = CENTER,
        memory: int = 2**30,
        sliding_deg: float | None = None,
        planes: list[Plane] | None = None,
    ) -> None:
        self.store = AttenuationStore(ROWS, COLUMNS, COUNT, memory)
        preparation = Preparation(SPEC, 1, PreparationOptions())
        layout = Layout(ROWS, COLUMNS, center)
        self.stored = StoredProjections(self.store, preparation, layout, 1, RecentProjections())
        self.view = LiveView(backend, self.stored, sliding_deg, planes)

    def come(self, count: int) -> Rig:
        """The next projections, as the pipeline brings them."""
        first, last = self.store.count, self.store.count + count
        for k in range(first, last, 4):
            some = slice(k, min(k + 4, last))
            attenuation = self.store.next(some.stop - k)
            attenuation[...] = FRAMES[some]
            self.store.add(ANGLES[some])
            self.view.add(self.stored.laid_out(attenuation, np.arange(k, some.stop)), ANGLES[some])
            self.view.replay(some.stop - k)
        return self

    def lay_out(self, layout: Layout) -> None:
        self.stored = self.stored.with_layout(layout)
        self.view.lay_out(self.stored)


def same(mine: LiveView, other: LiveView, share: float = 1e-3) -> bool:
    here, there = mine.snapshot()(), other.snapshot()()
    assert here.keys() == there.keys()
    return all(np.abs(here[name] - there[name]).max() <= share * np.abs(there[name]).max() for name in here)


def test_planes_follow_the_projections(numba_backend: Backend) -> None:
    rig = Rig(numba_backend).come(20)
    assert (rig.view.count, rig.view.center, rig.view.target_center) == (20, CENTER, CENTER)
    assert list(rig.view.snapshot()()) == ["xy", "xz", "yz"]
    assert not rig.view.replay(), "nothing is being built"


def test_the_old_centre_is_shown_until_the_new_one_has_caught_up(numba_backend: Backend) -> None:
    rig = Rig(numba_backend, CENTER - 2).come(40)
    before = rig.view.snapshot()()["xz"]
    rig.view.recenter(CENTER)
    assert (rig.view.center, rig.view.target_center) == (CENTER - 2, CENTER)
    steps = 0
    while rig.view.replay():
        steps += 1
        if rig.view.center != CENTER:
            assert rig.view.count == 40
            np.testing.assert_array_equal(rig.view.snapshot()()["xz"], before)
    assert steps == 40 // REPLAY_BATCH
    assert (rig.view.center, rig.view.count) == (CENTER, 40)
    assert same(rig.view, Rig(numba_backend).come(40).view)
    assert not same(rig.view, Rig(numba_backend, CENTER - 2).come(40).view)


def test_it_catches_up_while_projections_keep_coming(numba_backend: Backend) -> None:
    """Every call takes as many as came, and four more: the faster the camera, the less it is held up."""
    rig = Rig(numba_backend, CENTER - 2).come(20)
    rig.view.recenter(CENTER)
    rig.come(16)
    assert rig.view.center == CENTER - 2
    assert rig.view.count == 36
    rig.come(4)
    assert rig.view.center == CENTER
    assert rig.view.count == 40
    rig.come(20)
    assert same(rig.view, Rig(numba_backend).come(60).view)


def test_a_newer_centre_replaces_one_that_is_not_reached_yet(numba_backend: Backend) -> None:
    rig = Rig(numba_backend, CENTER - 2).come(30)
    rig.view.recenter(CENTER + 5)
    rig.view.replay()
    rig.view.recenter(CENTER)
    assert rig.view.target_center == CENTER
    rig.view.catch_up()
    assert same(rig.view, Rig(numba_backend).come(30).view)


def test_other_planes_fill_with_what_has_come(numba_backend: Backend) -> None:
    rig = Rig(numba_backend).come(30)
    rig.view.watch([CUT])
    assert not rig.view.snapshot()(), "planes that are not wanted any more are not shown"
    assert rig.view.moving
    rig.view.catch_up()
    assert not rig.view.moving
    assert same(rig.view, Rig(numba_backend, planes=[CUT]).come(30).view)
    rig.view.watch([CUT])
    assert not rig.view.replay(), "the same planes are not built again"
    rig.view.watch(None)
    rig.view.catch_up()
    assert same(rig.view, Rig(numba_backend).come(30).view)
    with pytest.raises(BadInput, match="same name"):
        rig.view.watch([CUT, CUT])


def test_a_moved_plane_is_shown_at_once_and_the_others_stay(numba_backend: Backend) -> None:
    xy, xz, yz = orthogonal_planes(ROWS, COLUMNS)
    elsewhere = Plane("xz", (0.0, 5.0, 0.0), xz.u, xz.v, xz.shape)
    rig = Rig(numba_backend).come(50)
    before = rig.view.snapshot()()
    rig.view.watch([xy, elsewhere, yz])
    assert set(rig.view.snapshot()()) == {"xy", "yz"}
    np.testing.assert_array_equal(rig.view.snapshot()()["xy"], before["xy"])
    (moving,) = rig.view.moving
    assert moving.plane == elsewhere
    while rig.view.move():
        pass
    assert moving.ready
    early = moving.snapshot()()
    assert not moving.ready
    rig.view.catch_up()
    late = rig.view.snapshot()()["xz"]
    assert np.abs(early - late).max() < 2e-3 * np.abs(late).max(), "all angles were in the first picture already"
    assert same(rig.view, Rig(numba_backend, planes=[xy, elsewhere, yz]).come(50).view)


def test_somebody_waits_for_a_centre_that_is_set_by_hand(numba_backend: Backend) -> None:
    rig = Rig(numba_backend, CENTER - 2).come(40)
    rig.view.recenter(CENTER)
    assert not rig.view.moving, "a centre that was found is no hurry"
    rig.view.hurry()
    while rig.view.move():
        pass
    first = pictures(rig.view.moving)
    there = Rig(numba_backend).come(40).view.snapshot()()
    assert first.keys() == there.keys()
    for name in ("xz", "yz"):
        assert np.abs(first[name] - there[name]).max() < 2e-3 * np.abs(there[name]).max()
    # A slice is as smooth as those of the tomogram, the live plane is sharper.
    inside = circle_mask(COLUMNS)
    apart = (first["xy"] - there["xy"])[inside]
    assert np.sqrt(np.mean(apart**2)) < 0.1 * np.std(there["xy"][inside])


def pictures(moving: list[Moved]) -> dict[str, Image]:
    return {part.plane.name: part.snapshot()() for part in moving}


def test_a_moved_horizontal_plane_is_the_slice_of_the_tomogram(numba_backend: Backend) -> None:
    rig = Rig(numba_backend).come(50)
    xy, xz, yz = orthogonal_planes(ROWS, COLUMNS)
    row = ROWS // 2 + 1
    part = Plane("xy", (3.0, 2.0, float(row)), xy.u, xy.v, (COLUMNS - 7, COLUMNS - 5))
    rig.view.watch([part, xz, yz])
    while rig.view.move():
        pass
    angles = rig.stored.angles_rad
    slices = reconstruct_rows(
        numba_backend, rig.stored.block(row, row + 1), angles, rig.stored.layout.weights(angles), CENTER
    )
    (moved,) = rig.view.moving
    assert moved.count == 50
    np.testing.assert_allclose(moved.snapshot()(), slices[0, 2 : COLUMNS - 5, 3 : COLUMNS - 2], atol=1e-6)


def test_what_is_moved_now_comes_before_what_was_moved_earlier(numba_backend: Backend) -> None:
    xy, xz, yz = orthogonal_planes(ROWS, COLUMNS)
    rig = Rig(numba_backend).come(COUNT)
    away = Plane("xz", (0.0, 5.0, 0.0), xz.u, xz.v, xz.shape)
    rig.view.watch([xy, away, yz])
    first = rig.view.moving[0]
    for _ in range(3):
        rig.view.move()
    far = Plane("yz", (7.0, 0.0, 0.0), yz.u, yz.v, yz.shape)
    rig.view.watch([xy, away, far])
    assert [part.plane for part in rig.view.moving] == [far, away]
    assert rig.view.moving[1] is first, "it goes on where it was"
    second, count = rig.view.moving[0], first.count
    assert 0 < count < COUNT
    while not second.ready:
        rig.view.move()
        assert first.count == count
    while rig.view.move():
        pass
    assert first.count == second.count == COUNT
    rig.view.watch([xy, xz, yz])
    assert {part.plane for part in rig.view.moving} == {xz, yz}, "a plane that comes back is shown at once, too"


@pytest.mark.parametrize(("count", "first"), [(720, 180), (60, 180), (1, 1), (1000, 7)])
def test_passes_have_each_projection_once_and_even_steps(count: int, first: int) -> None:
    by_angle = np.random.default_rng(count).permutation(count)
    passes = passes_of(by_angle, first)
    np.testing.assert_array_equal(np.sort(np.concatenate(passes)), np.arange(count))
    assert len(passes[0]) >= min(first, count)
    assert len(passes) == 1 or len(passes[0]) < 2 * first + 2
    places = np.sort(np.argsort(by_angle)[passes[0]])
    assert len(places) < 2 or np.ptp(np.diff(places)) == 0


def test_planes_keep_their_last_picture_while_another_width_is_built(numba_backend: Backend) -> None:
    """What comes meanwhile is not folded into planes of the old width, and is in those of the new one."""
    rig = Rig(numba_backend).come(24)
    before = rig.view.snapshot()()["xy"]
    wide = Layout(ROWS, COLUMNS, 18.0, half=True)
    rig.lay_out(wide)
    assert not rig.view.takes_raw
    rig.view.add(rig.stored.laid_out(FRAMES[24:26], np.arange(24, 26)), ANGLES[24:26])
    np.testing.assert_array_equal(rig.view.snapshot()()["xy"], before)
    rig.view.catch_up()
    assert rig.view.snapshot()()["xy"].shape == (wide.width, wide.width)
    assert rig.view.snapshot()()["xz"].shape == (ROWS, wide.width)
    assert (rig.view.center, rig.view.count) == (18.0, 24)
    rig.come(8)
    assert rig.view.count == 32


def test_raw_frames_are_taken_only_as_they_are_stored(numba_backend: Backend) -> None:
    rig = Rig(numba_backend).come(8)
    assert rig.view.takes_raw
    rig.lay_out(Layout(ROWS, COLUMNS, CENTER, extend=True))
    assert rig.view.takes_raw, "edges are the planes' own affair"
    rig.lay_out(Layout(ROWS, COLUMNS, CENTER, tilt_rad=0.02))
    rig.view.catch_up()
    assert not rig.view.takes_raw


def test_without_stored_projections_planes_begin_again(numba_backend: Backend) -> None:
    rig = Rig(numba_backend, CENTER - 2, memory=1)
    assert not rig.stored.whole
    rig.come(30)
    assert rig.view.count == 30
    rig.view.recenter(CENTER)
    assert (rig.view.count, rig.view.center) == (0, CENTER)
    assert not rig.view.replay()
    rig.come(10)
    assert rig.view.count == 10


def test_before_the_first_projection_the_centre_just_changes(numba_backend: Backend) -> None:
    rig = Rig(numba_backend, CENTER - 2)
    rig.view.recenter(CENTER)
    assert (rig.view.center, rig.view.target_center) == (CENTER, CENTER)
    assert same(rig.come(30).view, Rig(numba_backend).come(30).view)


def test_a_window_shows_the_latest_angles(numba_backend: Backend) -> None:
    """And the same of them after a new centre."""
    rig = Rig(numba_backend, CENTER - 2, sliding_deg=60.0).come(60)
    assert 20 <= rig.view.count <= 23
    count = rig.view.count
    rig.view.recenter(CENTER)
    rig.view.catch_up()
    assert rig.view.count == count
    assert same(rig.view, Rig(numba_backend, sliding_deg=60.0).come(60).view)


def test_idle_moments_correct_weights_that_turned_out_otherwise(numba_backend: Backend) -> None:
    """An interlaced scan: with work, or without, the picture is that of exact weights."""
    order = np.argsort(np.arange(COUNT) % 4, kind="stable")
    rigs = []
    for idle in (False, True):
        rig = Rig(numba_backend)
        for k in order.tolist():
            attenuation = rig.store.next()
            attenuation[0] = FRAMES[k]
            rig.store.add(ANGLES[k : k + 1])
            rig.view.add(attenuation, ANGLES[k : k + 1])
            while idle and rig.view.work():
                pass
        rigs.append(rig)
    assert not rigs[1].view.work()
    assert same(rigs[1].view, rigs[0].view, 0.01)
    assert same(rigs[1].view, Rig(numba_backend).come(COUNT).view, 0.01)


def test_planes_outside_of_the_usual_are_refused_at_once(numba_backend: Backend) -> None:
    many = [Plane(f"p{k}", (0.0, 0.0, 1.0), (1.0, 0, 0), (0.0, 1, 0), (4, 4)) for k in range(17)]
    with pytest.raises(BadInput, match="at most"):
        Rig(numba_backend, planes=many)
    assert set(Rig(numba_backend, planes=[]).come(4).view.snapshot()()) == set()
    assert list(Rig(numba_backend, planes=list(orthogonal_planes(ROWS, COLUMNS))).view.snapshot()()) == [
        "xy",
        "xz",
        "yz",
    ]
