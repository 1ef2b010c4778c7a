"""Planes cut out of the slices of a tomogram, and a view that shows them."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.pipeline.reconstruction.plane_cuts import PlaneCuts
from tests.pipeline.reconstruction.test_live_view import COLUMNS, COUNT, CUT, ROWS, Rig, same

SHAPE = (ROWS, COLUMNS, COLUMNS)
VOLUME = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
FLIPPED = Plane("flipped", (20.0, 1.0, 3.0), (-1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (9, 7))
DIAGONAL = Plane("diagonal", (2.0, 3.0, 9.0), (1.0, 1.0, 0.0), (0.0, 0.0, -2.0), (5, 11))


def blocks(height: int, volume=VOLUME):
    for first in range(0, ROWS, height):
        yield first, volume[first : first + height].copy()


def cut(planes, height=4):
    cuts = PlaneCuts(planes, SHAPE)
    for first, block in blocks(height):
        cuts.take(first, block)
    return cuts.images


@pytest.mark.parametrize("height", [1, 3, 4, ROWS])
def test_planes_are_the_voxels_of_the_tomogram(height: int) -> None:
    images = cut([*orthogonal_planes(ROWS, COLUMNS), FLIPPED, DIAGONAL], height)
    middle = COLUMNS // 2
    np.testing.assert_array_equal(images["xy"], VOLUME[ROWS // 2])
    np.testing.assert_array_equal(images["xz"], VOLUME[:, middle])
    np.testing.assert_array_equal(images["yz"], VOLUME[:, :, middle])
    np.testing.assert_array_equal(images["flipped"], VOLUME[3, 1:19:2, 20:13:-1])
    steps = np.arange(11)
    np.testing.assert_array_equal(images["diagonal"], VOLUME[9:0:-2][:, 3 + steps, 2 + steps])


@pytest.mark.parametrize(
    "plane",
    [
        CUT,
        Plane("between", (0.5, 0.0, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (4, 4)),
        Plane("beyond", (0.0, 0.0, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (4, COLUMNS + 1)),
        Plane("below", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (3, 4)),
        Plane("leaning", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (4, 4)),
    ],
    ids=lambda plane: plane.name,
)
def test_planes_off_the_voxels_cannot_be_cut(plane: Plane) -> None:
    assert PlaneCuts.on_voxels(orthogonal_planes(ROWS, COLUMNS), SHAPE)
    assert not PlaneCuts.on_voxels([*orthogonal_planes(ROWS, COLUMNS), plane], SHAPE)


def shown(rig: Rig) -> Rig:
    assert len(list(rig.view.cut_out_of(blocks(4), SHAPE))) == 3
    return rig


def test_the_tomogram_s_planes_are_shown_until_others_are_wanted(numba_backend: Backend) -> None:
    rig = shown(Rig(numba_backend).come(40))
    rig.view.catch_up()
    np.testing.assert_array_equal(rig.view.snapshot()()["xy"], VOLUME[ROWS // 2])
    assert not rig.view.work(), "nothing is left to do for planes that are cut"
    rig.view.watch([CUT])
    assert not rig.view.snapshot()(), "they are not wanted any more"
    rig.view.catch_up()
    assert same(rig.view, Rig(numba_backend, planes=[CUT]).come(40).view)


def test_planes_go_on_after_a_tomogram(numba_backend: Backend) -> None:
    assert same(shown(Rig(numba_backend).come(40)).come(20).view, Rig(numba_backend).come(60).view)
    rig = Rig(numba_backend, 10.0).come(40)
    rig.view.recenter(12.4)
    rig.view.replay()
    shown(rig)
    assert (rig.view.count, rig.view.center) == (40, 12.4), "the centre of the tomogram"
    rig.come(20)
    rig.view.catch_up()
    assert same(rig.view, Rig(numba_backend).come(COUNT).view)


def test_a_plane_that_is_no_part_of_the_tomogram_is_not_cut(numba_backend: Backend) -> None:
    rig = shown(Rig(numba_backend, planes=[CUT]).come(40))
    assert same(rig.view, Rig(numba_backend, planes=[CUT]).come(40).view)
    window = shown(Rig(numba_backend, sliding_deg=30.0).come(40))
    assert window.view.count < 40, "a window shows the latest projections only"


def test_projections_that_are_left_out_enter_at_the_end(numba_backend: Backend) -> None:
    rig = Rig(numba_backend).come(20)
    before = rig.view.snapshot()()["xz"]
    rig.store.next(20)[...] = 0
    rig.store.add(np.arange(20, 40) * np.pi / COUNT)
    rig.view.leave_out()
    assert not rig.view.takes_raw
    np.testing.assert_array_equal(rig.view.snapshot()()["xz"], before)
    rig.view.catch_up()
    assert rig.view.count == 40
    assert np.abs(rig.view.snapshot()()["xz"] - before).max() > 0
