"""A sliding window by itself: which frames it shows, and with what weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.planes.sliding_window import SECTORS, SlidingWindow
from streamer.frames import BadInput


class Sums:
    """Counts the sets that were made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        return self.made


def travelled(window: SlidingWindow, angles: np.ndarray, sums: Sums, piece: int = 1000) -> list[np.ndarray]:
    """All frames, entered in pieces; the angles of each group that fell into one sector."""
    groups, first = [], 0
    while first < len(angles):
        count = window.enter(angles[first : first + piece], sums)
        groups.append(angles[first : first + count])
        window.add(groups[-1])
        first += count
    return groups


def new(window_rad: float | None) -> tuple[SlidingWindow, Sums]:
    window, sums = SlidingWindow(window_rad), Sums()
    window.begin(sums())
    return window, sums


def test_without_an_angle_all_frames_are_shown() -> None:
    window, sums = new(None)
    angles = np.random.default_rng(0).uniform(-10, 10, 500)
    assert len(travelled(window, angles, sums)) == 1
    np.testing.assert_array_equal(window.angles, angles)
    np.testing.assert_array_equal(window.weights, np.ones(500))
    assert (sums.made, window.most) == (1, 1)


def test_the_window_shows_its_angle_and_up_to_a_sector_more() -> None:
    step = np.pi / 96
    window, sums = new(np.pi)
    shown = []
    for k in range(500):
        travelled(window, np.array([k * step]), sums)
        assert window.count == len(window.angles) == len(window.weights)
        np.testing.assert_allclose(window.angles, np.arange(k + 1 - window.count, k + 1) * step)
        shown.append(window.count)
    assert (min(shown[200:]), max(shown[200:])) == (96 + 1, 96 + 96 // SECTORS)
    assert sums.made == 500 // (96 // SECTORS) + 1


@pytest.mark.parametrize("piece", [1, 3, 8, 1000])
def test_pieces_do_not_change_the_sectors(piece: int) -> None:
    angles = np.cumsum(np.random.default_rng(1).uniform(-0.02, 0.08, 700))
    window, sums = new(1.0)
    travelled(window, angles, sums, piece)
    other, made = new(1.0)
    travelled(other, angles, made)
    assert [s.angles for s in window.sectors] == [s.angles for s in other.sectors]


@pytest.mark.parametrize("turn", [lambda a: np.mod(a, 2 * np.pi), lambda a: -a, lambda a: a + 100.0])
def test_only_the_way_counts(turn) -> None:
    """Angles modulo a turn, turned backwards, from elsewhere: the same sectors."""
    angles = np.arange(600) * 0.037
    window, sums = new(1.5)
    travelled(window, angles, sums)
    other, made = new(1.5)
    travelled(other, turn(angles), made)
    assert [len(s.angles) for s in window.sectors] == [len(s.angles) for s in other.sectors]
    assert sums.made == made.made


def test_the_newest_sector_takes_the_place_of_the_oldest_gradually() -> None:
    """In a steady turn all directions together weigh the same at every moment, and none is lost or counted twice."""
    window, sums = new(np.pi)
    for k in range(96 * 3):
        travelled(window, np.array([k * np.pi / 96]), sums)
        if k >= 96:
            weight = np.bincount(np.arange(k + 1 - window.count, k + 1) % 96, window.weights, 96)
            assert weight.sum() == pytest.approx(96)
            assert weight.min() >= 0.5
            assert weight.max() <= 1.125


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=60),
    st.floats(0.01, 10),
    st.integers(1, 9),
)
def test_whatever_the_stage_does_no_frame_is_lost(angles: list[float], window_rad: float, piece: int) -> None:
    window, sums = new(window_rad)
    groups = travelled(window, np.array(angles), sums, piece)
    assert all(len(group) > 0 for group in groups)
    np.testing.assert_array_equal(np.concatenate(groups), angles)
    assert 1 <= len(window.sectors) <= window.most == SECTORS + 1
    np.testing.assert_array_equal(window.angles, angles[len(angles) - window.count :])
    assert ((window.weights > 0) & (window.weights <= 1)).all()
    assert [sector.sums for sector in window.sectors] == list(range(sums.made - len(window.sectors) + 1, sums.made + 1))


@pytest.mark.parametrize("window_rad", [0.0, -1.0, np.inf, np.nan])
def test_windows_that_make_no_sense_are_refused(window_rad: float) -> None:
    with pytest.raises(BadInput, match="positive angle"):
        SlidingWindow(window_rad)
