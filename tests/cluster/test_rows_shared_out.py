"""Rows shared out, and pictures put together again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamer.cluster.rows import Strips, row_blocks, scout_rows, strip_of
from streamer.core.planes.plane import NOTHING, Plane, orthogonal_planes
from streamer.flow.row_cut import RowCut
from streamer.frames import BadInput

ROWS, COLUMNS = 96, 40


@pytest.mark.parametrize(("rows", "shards"), [(64, 2), (64, 4), (100, 3), (8192, 16), (47, 2)])
def test_blocks_have_every_row_once_and_begin_where_the_kernels_cut(rows: int, shards: int) -> None:
    blocks = row_blocks(rows, shards)
    assert len(blocks) == shards
    assert [row for block in blocks for row in range(block.first, block.end)] == list(range(rows))
    assert all(block.first % 16 == 0 for block in blocks)


def test_too_few_rows_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(BadInput, match=r"40 rows are too few for 4 shards; set compute\.shards to 2 or less"):
        row_blocks(40, 4)


@pytest.mark.parametrize("rows", [1, 20, 96, 513, 8192])
def test_the_scout_sees_the_middle_of_the_detector(rows: int) -> None:
    seen = scout_rows(rows)
    assert 0 <= seen.first < seen.end <= rows
    assert abs((seen.first + seen.end) - rows) <= 1
    assert seen.rows >= min(rows, 32)


def drawn(plane: Plane, first_row: int) -> np.ndarray:
    """What a shard that begins at a row shows: each pixel is its own place in the whole volume."""
    lines, columns = np.indices(plane.shape)
    x, y, z = (plane.origin[axis] + lines * plane.v[axis] + columns * plane.u[axis] for axis in range(3))
    return (x + 100 * y + 10_000 * (z + first_row)).astype(np.float32)


OBLIQUE = Plane("oblique", (2.0, 3.0, -4.0), (0.6, 0.2, 0.5), (0.1, 0.3, 0.9), (90, 70))
LYING = Plane("lying", (0.0, 5.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (COLUMNS, ROWS))


@pytest.mark.parametrize("shards", [2, 3])
def test_stitched_planes_are_those_of_one_volume(shards: int) -> None:
    planes = (*orthogonal_planes(ROWS, COLUMNS), OBLIQUE, LYING)
    blocks = row_blocks(ROWS, shards)
    strips = Strips.of(planes, blocks, ROWS)
    images = [
        {plane.name: drawn(plane, block.first) for plane in strips.watched(number)}
        for number, block in enumerate(blocks)
    ]
    whole = strips.stitched(images)
    assert set(whole) == {plane.name for plane in planes}
    for plane in planes:
        np.testing.assert_allclose(whole[plane.name], drawn(plane, 0), rtol=1e-5)


def test_a_plane_of_which_a_shard_has_no_picture_is_left_out() -> None:
    planes, blocks = orthogonal_planes(ROWS, COLUMNS), row_blocks(ROWS, 2)
    strips = Strips.of(planes, blocks, ROWS)
    first = {plane.name: drawn(plane, 0) for plane in strips.watched(0)}
    assert set(strips.stitched([first, {}])) == {"xy"} & set(first)


def test_a_shard_that_no_plane_passes_through_watches_nothing() -> None:
    low = Plane("low", (0.0, 0.0, 3.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (COLUMNS, COLUMNS))
    strips = Strips.of((low,), (RowCut(0, 48), RowCut(48, ROWS)), ROWS)
    assert strips.watched(1) == (NOTHING,)


directions = st.tuples(*[st.floats(-1, 1, allow_nan=False, width=16)] * 3)


@given(
    origin=st.tuples(*[st.floats(-60, 150, allow_nan=False, width=16)] * 3),
    u=directions,
    v=directions,
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rows=st.integers(64, 200),
    shards=st.integers(1, 4),
)
def test_every_pixel_of_any_plane_is_one_shards(
    origin: tuple[float, float, float],
    u: tuple[float, float, float],
    v: tuple[float, float, float],
    shape: tuple[int, int],
    rows: int,
    shards: int,
) -> None:
    assume(np.linalg.norm(np.cross(u, v)) >= 1e-6)
    plane = Plane("any", origin, u, v, shape)
    count = np.zeros(shape, int)
    blocks = row_blocks(rows, shards)
    for block in blocks:
        strip = strip_of(plane, block, rows)
        if strip is None:
            continue
        count[strip.place] += 1 if strip.mask is None else strip.mask
        assert strip.plane.shape == count[strip.place].shape
    assert (count == 1).all()


def test_pictures_of_another_shape_are_not_stitched() -> None:
    """A shard that still shows the planes of before."""
    planes, blocks = orthogonal_planes(ROWS, COLUMNS), row_blocks(ROWS, 2)
    strips = Strips.of(planes, blocks, ROWS)
    images = [{plane.name: drawn(plane, 0) for plane in strips.watched(number)} for number in range(2)]
    images[1] = {name: image[:-1] for name, image in images[1].items()}
    assert set(strips.stitched(images)) <= {"xy"}


@pytest.mark.parametrize("shards", [1, 2, 5, 16])
def test_blocks_are_of_nearly_the_same_size(shards: int) -> None:
    sizes = [block.rows for block in row_blocks(2048, shards)]
    assert max(sizes) - min(sizes) <= 16
