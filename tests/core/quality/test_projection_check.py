"""What one raw frame shows, and why it may be of no use."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.projection_check import BUFFERS, SAME_ROWS, ProjectionCheck, Unusable, is_ceiling

ROWS, COLUMNS = 40, 60
DARK, BEAM = 100.0, 4000.0


@pytest.fixture
def check():
    return ProjectionCheck(np.full((ROWS, COLUMNS), DARK), np.full((ROWS, COLUMNS), DARK + BEAM), (ROWS, COLUMNS))


def frame(seed, light=0.6, dtype="<u2"):
    return np.random.default_rng(seed).normal(DARK + light * BEAM, 5.0, (ROWS, COLUMNS)).astype(dtype)


def causes(check, frames):
    return [check.cause(check.look(pixels)) for pixels in frames]


def test_the_light_of_a_frame_is_its_mean_transmission(check):
    look = check.look(frame(0))
    assert look.light == pytest.approx(0.6, abs=0.002)
    assert (look.dark_rows, look.broken, look.spikes, look.same) == (0.0, 0.0, 0.0, False)


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_every_pixel_type_is_read(dtype):
    check = ProjectionCheck(np.full((ROWS, COLUMNS), 10.0), np.full((ROWS, COLUMNS), 210.0), (ROWS, COLUMNS))
    raw = np.full((ROWS, COLUMNS), 110).astype(dtype)
    assert check.look(raw).light == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_frames_that_come_together_look_as_they_do_one_by_one(dtype):
    """By the numbers that their definitions give."""
    rng = np.random.default_rng(3)
    flat = rng.normal(200.0, 5.0, (ROWS, COLUMNS))
    flat[:, 9], flat[3, 4] = 0.0, np.nan
    fields = np.full((ROWS, COLUMNS), 10.0), flat
    frames = rng.normal(120.0, 8.0, (6, ROWS, COLUMNS)).astype(dtype)
    frames[2, ::5] = 10
    frames[3, 5, 7] = 250
    frames[4] = frames[1]
    one, several = (ProjectionCheck(*fields, (ROWS, COLUMNS), saturation=130.5) for _ in range(2))
    assert [one.look(raw) for raw in frames] == several.looks(frames[:4]) + several.looks(frames[4:])
    net, known = np.minimum(frames, 130.5) - 10.0, flat > 0
    level = np.asarray(flat - 10.0, np.float32)
    for look, its, raw in zip(one.looks(frames), net, frames, strict=True):
        assert look.light == pytest.approx(its[known].sum() / level[known].sum(dtype=float), rel=1e-6)
        lit = np.minimum(raw, 130.5)[known]
        assert (look.top, look.at_top) == (lit.max(), (np.count_nonzero(lit == lit.max()) - 1) / raw.size)


def test_rows_that_differ_in_one_pixel_are_not_the_same(check):
    """Whichever pixel it is, and however little it differs."""
    check.look(frame(0))
    for column in range(COLUMNS):
        other = frame(0)
        other[:, column] += 1
        assert not check.look(other).same
        assert check.look(frame(0)).old_rows == 1.0


def test_frames_without_light_are_set_aside_from_the_first_on(check):
    assert causes(check, [frame(k, 0.0) for k in range(3)]) == [Unusable.NO_LIGHT] * 3
    assert causes(check, [frame(3), frame(4, 0.0), frame(5)]) == [None, Unusable.NO_LIGHT, None]


def test_a_tenth_of_the_beam_is_still_a_projection(check):
    assert causes(check, [frame(0), frame(1, 0.1), frame(2)]) == [None, None, None]


def test_a_frame_whose_last_rows_did_not_come_is_torn(check):
    torn = frame(1)
    torn[ROWS // 2 :] = 0
    assert causes(check, [frame(0), torn, frame(2)]) == [None, Unusable.TORN, None]


def shut(pixels, edge, column=COLUMNS // 3):
    """A shutter in front of the columns from one edge of the detector on."""
    pixels[:, np.s_[:column] if edge == "left" else np.s_[-column:]] = DARK
    return pixels


@pytest.mark.parametrize("edge", ["left", "right"])
def test_frames_of_which_a_shutter_covers_some_columns_are_set_aside(check, edge):
    frames = [frame(k) for k in range(5)]
    for pixels in frames[2:4]:
        shut(pixels, edge)
    assert causes(check, frames) == [None, None, Unusable.NO_LIGHT, Unusable.NO_LIGHT, None]


def test_a_sample_that_leaves_the_field_is_no_shutter(check):
    """Some light comes through it, or past it."""
    frames = [frame(k) for k in range(4)]
    frames[1][:, :20] = DARK + 0.03 * BEAM
    frames[2] = shut(frames[2], "left")
    frames[2][:6, :20] = DARK + BEAM
    assert causes(check, frames) == [None] * 4


def test_columns_that_a_holder_always_covers_and_a_beam_that_is_narrow_are_no_shutter(check):
    assert causes(check, [shut(frame(k), "right") for k in range(4)]) == [None] * 4
    narrow = np.full((ROWS, COLUMNS), DARK + BEAM)
    narrow[:, :8] = DARK + 0.01 * BEAM
    check = ProjectionCheck(np.full((ROWS, COLUMNS), DARK), narrow, (ROWS, COLUMNS))
    frames = [shut(frame(k), "left", 8) for k in range(4)]
    frames[0][:, :8] = DARK + 0.01 * BEAM
    assert causes(check, frames) == [None] * 4


@pytest.mark.parametrize("buffers", [1, 3, 16])
def test_a_frame_with_rows_of_an_earlier_one_is_torn(check, buffers):
    frames = [frame(k) for k in range(20)]
    frames[18][: ROWS // 3] = frames[18 - buffers][: ROWS // 3]
    assert causes(check, frames) == [None] * 18 + [Unusable.TORN, None]


def test_rows_in_the_dark_and_in_a_gap_between_modules_may_be_the_same_again(check):
    frames = [frame(k) for k in range(6)]
    for pixels in frames:
        pixels[:5], pixels[-6:] = 65_535, DARK
        pixels[-6:, ::9] += 1
    assert causes(check, frames) == [None] * 6


def test_rows_are_forgotten_and_the_memory_for_them_is_bounded(check):
    first = frame(0)
    causes(check, [first, *(frame(k) for k in range(1, 200))])
    late = frame(200)
    late[: ROWS // 3] = first[: ROWS // 3]
    assert causes(check, [late]) == [None]
    assert len(check._marks) <= 2 * BUFFERS * SAME_ROWS


def test_rows_that_a_holder_always_covers_do_not_make_a_frame_torn(check):
    frames = [frame(k) for k in range(4)]
    for pixels in frames:
        pixels[-8:] = DARK
    assert causes(check, frames) == [None] * 4


def test_the_same_bytes_again_are_a_frozen_frame(check):
    assert causes(check, [frame(0), frame(0), frame(0), frame(1)]) == [None, Unusable.FROZEN, Unusable.FROZEN, None]


def test_a_frame_with_many_pixels_that_are_no_numbers_is_set_aside(check):
    few, many = frame(0, dtype="<f4"), frame(1, dtype="<f4")
    few[3, 5] = np.nan
    many[:4] = np.inf
    assert causes(check, [few, many]) == [None, Unusable.NOT_A_NUMBER]


def test_pixels_that_pile_up_at_one_value_are_counted_wherever_that_is(check):
    raw = np.minimum(frame(0), 2500)
    look = check.look(raw)
    assert look.top == 2500
    assert look.at_top == pytest.approx((np.count_nonzero(raw == 2500) - 1) / raw.size)


def test_single_pixels_that_outshine_their_neighbours_are_counted(check):
    raw = frame(0)
    raw[::4, 7] += 3000
    assert check.look(raw).spikes == pytest.approx(10 / raw.size)


def test_a_round_sample_without_noise_is_no_frozen_camera():
    fields = np.full((ROWS, COLUMNS), DARK), np.full((ROWS, COLUMNS), DARK + BEAM)
    computed = ProjectionCheck(*fields, (ROWS, COLUMNS), noisy=False)
    assert causes(computed, [frame(0)] * 4) == [None] * 4
    assert causes(computed, [frame(1), frame(1)]) == [None, Unusable.FROZEN]


def test_a_thin_gap_between_dense_parts_is_no_zinger(check):
    raw = frame(0, 0.05)
    raw[:, 30] = frame(1, 0.9)[:, 30]
    assert check.look(raw).spikes == 0.0


def test_few_photons_are_no_zingers():
    rng = np.random.default_rng(0)
    flat = np.full((ROWS, COLUMNS), 100.0)
    check = ProjectionCheck(np.zeros_like(flat), flat, flat.shape, noise=0.1)
    assert check.look(rng.poisson(8.0, flat.shape).astype("<u2")).spikes == 0.0


def test_without_flats_only_what_needs_none_is_judged():
    check = ProjectionCheck(None, None, (ROWS, COLUMNS))
    assert causes(check, [frame(0, 0.0), frame(0, 0.0)]) == [None, Unusable.FROZEN]


@pytest.mark.parametrize(
    ("top", "noisy", "saturation", "cut_off"),
    [
        (65_535.0, False, None, True),  # full scale of 16 bits
        (4_095.0, False, None, True),
        (40_000.0, True, None, True),  # chance makes no two pixels equal
        (40_000.0, False, None, False),  # a computed beam
        (40_000.0, False, 40_000.0, True),  # announced
        (1.0, False, None, False),
        (-np.inf, False, None, False),  # no frame yet
    ],
)
def test_equal_pixels_are_a_ceiling_only_where_noise_would_part_them(top, noisy, saturation, cut_off):
    assert is_ceiling(top, noisy, saturation) is cut_off
