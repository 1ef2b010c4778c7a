from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.core.preprocessing.flat_field import FlatFieldCorrection, row_moments_of
from streamer.core.preprocessing.kernels import moment_margin
from streamer.frames import BadInput


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.float32, (4, 6), elements=st.floats(0, 2.0**17, width=32)),
)
@example(np.zeros((4, 6), np.float32), np.full((4, 6), 3.4e35, np.float32), np.zeros((4, 6), np.float32))
def test_nothing_makes_attenuation_infinite(raw: np.ndarray, flat: np.ndarray, dark: np.ndarray) -> None:
    for correction in (
        FlatFieldCorrection(dark, flat),
        FlatFieldCorrection(dark, None),
        FlatFieldCorrection(None, flat),
    ):
        assert np.isfinite(correction.attenuation(raw)).all()


def test_zeros_and_counts_below_the_dark_stay_finite() -> None:
    correction = FlatFieldCorrection(np.full((1, 4), 10, np.float32), np.full((1, 4), 1010, np.float32))
    result = correction.attenuation(np.array([[0, 10, 11, 1010]], np.uint16))[0]
    np.testing.assert_allclose(result, [np.log(2000), np.log(2000), np.log(1000), 0], atol=1e-5)


def test_dead_pixels_are_filled_along_the_row() -> None:
    flat = np.full((3, 8), 1000, np.float32)
    flat[0, [2, 3]] = 0
    flat[1, 7] = np.nan
    flat[2] = 0
    raw = np.tile((1000 * np.exp(-0.1 * np.arange(8))), (3, 1)).astype(np.float32)
    correction = FlatFieldCorrection(None, flat)
    result = correction.attenuation(raw)
    np.testing.assert_allclose(result[0], 0.1 * np.arange(8), atol=1e-6)
    assert result[1, 7] == result[1, 6]
    assert not result[2].any()
    assert correction.dead_share == pytest.approx(11 / 24)


def test_without_flats_the_beam_is_taken_from_the_first_projection() -> None:
    correction = FlatFieldCorrection(None, None)
    assert not correction.flat_known
    raw = np.full((20, 20), 5000, np.uint16)
    raw[8:12, 8:12] = 5000 / np.e
    first = correction.attenuation(raw)
    assert abs(first[0, 0]) < 1e-5
    assert first[9, 9] == pytest.approx(1, abs=1e-3)
    # A later projection is measured with the same beam, not with its own.
    assert correction.attenuation(raw // 2)[0, 0] == pytest.approx(np.log(2), abs=1e-3)


def test_read_only_and_strided_frames_are_read() -> None:
    raw = np.random.default_rng(0).integers(1, 999, (6, 10)).astype("<u2")
    correction = FlatFieldCorrection(None, np.full((6, 10), 1000, np.float32))
    frozen = np.frombuffer(raw.tobytes(), "<u2").reshape(6, 10)
    strided = np.repeat(raw, 2, axis=1)[:, ::2]
    expected = correction.attenuation(raw)
    assert np.array_equal(correction.attenuation(frozen), expected)
    assert np.array_equal(correction.attenuation(strided), expected)


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="same detector region"):
        FlatFieldCorrection(np.zeros((2, 3)), np.ones((3, 2)))
    correction = FlatFieldCorrection(None, np.ones((2, 3)))
    with pytest.raises(BadInput, match=r"\(3, 3\)"):
        correction.attenuation(np.ones((3, 3), np.uint16))
    with pytest.raises(BadInput, match="int64"):
        correction.attenuation(np.ones((2, 3), np.int64))
    with pytest.raises(BadInput, match=r"\(4, 4\)"):
        FlatFieldCorrection(np.zeros((2, 3)), None).attenuation(np.ones((4, 4), np.uint16))


def test_a_range_of_rows_is_prepared_like_the_whole() -> None:
    rng = np.random.default_rng(2)
    flat = rng.uniform(900, 1100, (9, 12))
    flat[2, 3], flat[4, 11], flat[5], flat[8, 0] = 0.0, np.nan, 0.0, -1.0
    raw = rng.integers(0, 1000, (9, 12)).astype(np.uint16)
    for correction in (
        FlatFieldCorrection(rng.uniform(0, 9, (9, 12)), flat),
        FlatFieldCorrection(None, None),
    ):
        whole = correction.attenuation(raw)
        for part in (slice(None), slice(4, 6), slice(5, None), slice(-7, 3), slice(3, 3)):
            some = correction.rows(part)
            np.testing.assert_array_equal(some.attenuation(raw[part]), whole[part])
            assert some.flat_known == correction.flat_known
    assert FlatFieldCorrection(None, flat).rows(slice(5, 7)).dead_share == 0.5
    with pytest.raises(BadInput, match="leave rows out"):
        correction.rows(slice(0, 9, 2))


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4", ">u2", ">f4"])
def test_attenuation_is_the_logarithm(dtype: str) -> None:
    rng = np.random.default_rng(0)
    top = {"u1": 255, "<u2": 65_000, "<u4": 4_000_000_000, "<f4": 4e6, ">u2": 65_000, ">f4": 4e6}[dtype]
    raw = rng.uniform(0.02 * top, top, (33, 47)).astype(dtype)
    dark = rng.uniform(0, 0.01 * top, raw.shape).astype(np.float32)
    flat = rng.uniform(0.8 * top, top, raw.shape).astype(np.float32)
    truth = -np.log((raw.astype(np.float64) - dark) / (flat.astype(np.float64) - dark))
    np.testing.assert_allclose(FlatFieldCorrection(dark, flat).attenuation(raw), truth, atol=4e-6)


def test_a_32_bit_counter_keeps_its_last_count() -> None:
    raw = np.array([[2**31, 2**31 + 1]], np.uint32)
    dark, flat = np.full((1, 2), 2.0**31 - 128), np.full((1, 2), 2.0**31 + 1024)
    truth = -np.log(np.array([128, 129]) / 1152)
    np.testing.assert_allclose(FlatFieldCorrection(dark, flat).attenuation(raw)[0], truth, atol=1e-6)


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_tables_are_what_attenuation_does(dtype: str) -> None:
    flat = np.full((4, 6), 1000.0)
    flat[1, 2:4], flat[3] = 0.0, 0.0
    raw = np.random.default_rng(0).uniform(5, 999, (4, 6)).astype(dtype)
    raw[0, 0] = 0
    correction = FlatFieldCorrection(np.full((4, 6), 3.0), flat)
    t = correction.tables(raw)
    expected = (t.log_flat - np.log(np.clip(raw - t.dark, t.low, t.high))).astype(np.float32)
    t.dead.fill(expected)
    np.testing.assert_allclose(correction.attenuation(raw), expected, atol=2e-6)
    assert not t.dark.flags.writeable
    with pytest.raises(BadInput, match=r"\(6, 4\)"):
        correction.tables(raw.T)


def test_batches_and_threads_change_no_bit_and_moments_are_those_of_the_result() -> None:
    rng = np.random.default_rng(6)
    flat = rng.uniform(900, 1100, (9, 60))
    flat[3, 4:9] = 0
    raw = rng.integers(0, 1000, (5, 9, 60)).astype("<u2")
    single = np.stack([FlatFieldCorrection(None, flat).attenuation(frame) for frame in raw])
    for threads in (1, 2, 16):
        attenuation, moments = np.empty(raw.shape, np.float32), np.empty((5, 9, 4))
        FlatFieldCorrection(None, flat, threads).prepare(raw, attenuation, moments)
        np.testing.assert_array_equal(attenuation, single)
        np.testing.assert_array_equal(moments, row_moments_of(single, threads))


@pytest.mark.parametrize("columns", [7, 8, 9, 10, 100, 257])
def test_moments_are_the_sums(columns: int) -> None:
    source = np.random.default_rng(5).normal(1, 1, (2, 12, columns)).astype(np.float32)
    wide, margin = source.astype(np.float64), moment_margin(columns)
    x = np.arange(columns) - (columns - 1) / 2
    expected = [wide.sum(2), wide @ x, wide[..., :margin].sum(2), wide[..., -margin:].sum(2)]
    np.testing.assert_allclose(row_moments_of(source), np.stack(expected, 2), atol=1e-9)


def test_no_projections_are_prepared_without_complaint() -> None:
    nothing = np.empty((0, 2, 3), np.uint16)
    FlatFieldCorrection(None, None).prepare(nothing, np.empty(nothing.shape, np.float32))
