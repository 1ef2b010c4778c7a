from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.core.backend.selection import Backend, select_backend
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.frames import BadInput


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.float32, (4, 6), elements=st.floats(0, 2.0**17, width=32)),
)
def test_nothing_makes_attenuation_infinite(raw: np.ndarray, flat: np.ndarray, dark: np.ndarray) -> None:
    backend, _ = select_backend("numba", 1)
    for correction in (
        FlatFieldCorrection(backend, dark, flat),
        FlatFieldCorrection(backend, dark, None),
        FlatFieldCorrection(backend, None, flat),
    ):
        assert np.isfinite(correction.attenuation(raw)).all()


def test_zeros_and_counts_below_the_dark_stay_finite(numba_backend: Backend) -> None:
    correction = FlatFieldCorrection(numba_backend, np.full((1, 4), 10, np.float32), np.full((1, 4), 1010, np.float32))
    result = correction.attenuation(np.array([[0, 10, 11, 1010]], np.uint16))[0]
    np.testing.assert_allclose(result, [np.log(2000), np.log(2000), np.log(1000), 0], atol=1e-5)


def test_dead_pixels_are_filled_along_the_row(numba_backend: Backend) -> None:
    flat = np.full((3, 8), 1000, np.float32)
    flat[0, [2, 3]] = 0
    flat[1, 7] = np.nan
    flat[2] = 0
    raw = np.tile((1000 * np.exp(-0.1 * np.arange(8))), (3, 1)).astype(np.float32)
    correction = FlatFieldCorrection(numba_backend, None, flat)
    result = correction.attenuation(raw)
    np.testing.assert_allclose(result[0], 0.1 * np.arange(8), atol=1e-6)
    assert result[1, 7] == result[1, 6]
    assert not result[2].any()
    assert correction.dead_share == pytest.approx(11 / 24)


def test_without_flats_the_beam_is_taken_from_the_first_projection(numba_backend: Backend) -> None:
    correction = FlatFieldCorrection(numba_backend, None, None)
    assert not correction.flat_known
    raw = np.full((20, 20), 5000, np.uint16)
    raw[8:12, 8:12] = 5000 / np.e
    first = correction.attenuation(raw)
    assert abs(first[0, 0]) < 1e-5
    assert first[9, 9] == pytest.approx(1, abs=1e-3)
    # A later projection is measured with the same beam, not with its own.
    assert correction.attenuation(raw // 2)[0, 0] == pytest.approx(np.log(2), abs=1e-3)


def test_read_only_and_strided_frames_are_read(numba_backend: Backend) -> None:
    raw = np.random.default_rng(0).integers(1, 999, (6, 10)).astype("<u2")
    correction = FlatFieldCorrection(numba_backend, None, np.full((6, 10), 1000, np.float32))
    frozen = np.frombuffer(raw.tobytes(), "<u2").reshape(6, 10)
    strided = np.repeat(raw, 2, axis=1)[:, ::2]
    expected = correction.attenuation(raw)
    assert np.array_equal(correction.attenuation(frozen), expected)
    assert np.array_equal(correction.attenuation(strided), expected)


def test_shapes_and_types_that_do_not_fit_are_refused(numba_backend: Backend) -> None:
    with pytest.raises(BadInput, match="same detector region"):
        FlatFieldCorrection(numba_backend, np.zeros((2, 3)), np.ones((3, 2)))
    correction = FlatFieldCorrection(numba_backend, None, np.ones((2, 3)))
    with pytest.raises(BadInput, match=r"\(3, 3\)"):
        correction.attenuation(np.ones((3, 3), np.uint16))
    with pytest.raises(BadInput, match="int64"):
        correction.attenuation(np.ones((2, 3), np.int64))
    with pytest.raises(BadInput, match=r"\(4, 4\)"):
        FlatFieldCorrection(numba_backend, np.zeros((2, 3)), None).attenuation(np.ones((4, 4), np.uint16))


def test_a_range_of_rows_is_prepared_like_the_whole(numba_backend: Backend) -> None:
    rng = np.random.default_rng(2)
    flat = rng.uniform(900, 1100, (9, 12))
    flat[2, 3], flat[4, 11], flat[5], flat[8, 0] = 0.0, np.nan, 0.0, -1.0
    raw = rng.integers(0, 1000, (9, 12)).astype(np.uint16)
    for correction in (
        FlatFieldCorrection(numba_backend, rng.uniform(0, 9, (9, 12)), flat),
        FlatFieldCorrection(numba_backend, None, None),
    ):
        whole = correction.attenuation(raw)
        for part in (slice(None), slice(4, 6), slice(5, None), slice(-7, 3), slice(3, 3)):
            some = correction.rows(part)
            np.testing.assert_array_equal(some.attenuation(raw[part]), whole[part])
            assert some.flat_known == correction.flat_known
    assert FlatFieldCorrection(numba_backend, None, flat).rows(slice(5, 7)).dead_share == 0.5
    with pytest.raises(BadInput, match="leave rows out"):
        correction.rows(slice(0, 9, 2))


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_constants_are_what_attenuation_does(numba_backend: Backend, dtype: str) -> None:
    flat = np.full((4, 6), 1000.0)
    flat[1, 2:4], flat[3] = 0.0, 0.0
    raw = np.random.default_rng(0).uniform(5, 999, (4, 6)).astype(dtype)
    raw[0, 0] = 0
    correction = FlatFieldCorrection(numba_backend, np.full((4, 6), 3.0), flat)
    c = correction.constants(raw)
    expected = c.log_flat - np.log(np.clip(raw - c.dark, c.low, c.high))
    for row in range(4):
        for k in range(c.dead_from[row], c.dead_from[row + 1]):
            column, left, right = c.dead[:, k]
            ends = (0.0, 0.0) if left < 0 else (expected[row, left], expected[row, right])
            expected[row, column] = (1 - c.share[k]) * ends[0] + c.share[k] * ends[1]
    np.testing.assert_allclose(correction.attenuation(raw), expected, atol=2e-6)
    assert not c.dark.flags.writeable
    with pytest.raises(BadInput, match=r"\(6, 4\)"):
        correction.constants(raw.T)
