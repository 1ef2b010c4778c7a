"""Opposite pairs that are picked out while projections come, in any order."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.live_opposite_views import ANCHOR_COUNT, PairTrack
from streamer.phantoms import body_projections, random_body

TRUTH, ROWS, COLUMNS = 84.6, 20, 160
BODY = random_body(np.random.default_rng(4), COLUMNS)


def views(angles: np.ndarray) -> np.ndarray:
    return body_projections(BODY, ROWS, COLUMNS, angles, TRUTH).astype(np.float32)


def pushed(angles: np.ndarray, range_deg: float) -> PairTrack:
    track = PairTrack(float(angles.min()), np.deg2rad(range_deg))
    for angle, view in zip(angles, views(angles), strict=True):
        track.add(float(angle), view)
    return track


def test_nothing_is_known_before_there_is_a_pair() -> None:
    track = pushed(np.deg2rad(np.arange(0.0, 150.0, 3.0)), 360.0)
    found = track.estimate(None, 50)
    assert found.center is None
    assert found.confidence == 0


@pytest.mark.parametrize("step", [1.0, 2.9])
@pytest.mark.parametrize("shift", [0.0, 0.4])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_the_centre_of_a_full_turn_in_any_order(step: float, shift: float, order: str) -> None:
    """With exact opposites, and with ones that lie between two projections."""
    first = np.deg2rad(np.arange(0.0, 180.0, step))
    angles = np.concatenate([first, first + np.pi + np.deg2rad(shift)])
    places = {"ascending": angles, "descending": angles[::-1], "shuffled": np.random.default_rng(1).permutation(angles)}
    found = pushed(places[order], 360.0).estimate(None, angles.size, final=True)
    assert found.center == pytest.approx(TRUTH, abs=0.05)
    assert found.confidence > 0.9
    assert found.method == "pairs"


def test_the_ends_of_half_a_turn_are_joined() -> None:
    angles = np.deg2rad(np.arange(0.0, 180.0, 1.0))
    track = PairTrack(0.0, np.pi)
    answers = []
    for number, (angle, view) in enumerate(zip(angles, views(angles), strict=True), start=1):
        track.add(float(angle), view)
        answers.append(track.estimate(None, number).center)
    assert answers[:170] == [None] * 170
    assert answers[-1] == pytest.approx(TRUTH, abs=0.15)
    backwards = PairTrack(0.0, -np.pi)
    for angle, view in zip(-angles, views(-angles), strict=True):
        backwards.add(float(angle), view)
    assert backwards.estimate(None, 180).center == pytest.approx(TRUTH, abs=0.15)


def test_wide_steps_give_no_pair() -> None:
    angles = np.deg2rad(np.arange(0.0, 360.0, 7.2) * (1 + 1e-3))
    assert pushed(angles, 360.0).estimate(None, 50, final=True).center is None


def test_one_new_pair_is_matched_in_a_call_and_all_in_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamer.core.alignment import live_opposite_views as module

    matched: list[int] = []
    register = module.register
    monkeypatch.setattr(module, "register", lambda *given, **more: matched.append(1) or register(*given, **more))
    track = pushed(np.deg2rad(np.arange(0.0, 360.0, 2.0)), 360.0)
    for call in range(1, 4):
        track.estimate(None, 180)
        assert len(matched) == call
    for _ in range(2 * ANCHOR_COUNT):
        track.estimate(None, 180)
    assert len(matched) == ANCHOR_COUNT, "each pair once"


def test_memory_does_not_grow_with_the_scan() -> None:
    """Three views for each of the pairs, and none of the frames that were given."""
    angles = np.deg2rad(np.arange(0.0, 360.0, 0.5))
    track, frames = PairTrack(0.0, 2 * np.pi), views(angles)
    for angle, view in zip(angles, frames, strict=True):
        track.add(float(angle), view)
    kept = [view.rows for anchor in track._anchors for view in (anchor.view, anchor.before, anchor.after) if view]
    assert len(track._anchors) == ANCHOR_COUNT
    assert len(kept) <= 3 * ANCHOR_COUNT
    assert not any(np.shares_memory(rows, frames) for rows in kept)


def test_stripes_of_the_mean_are_left_out() -> None:
    angles = np.deg2rad(np.arange(0.0, 360.0, 2.0))
    stripes = np.zeros(COLUMNS, np.float32)
    stripes[[20, 41, 77, 130]] = 0.5
    frames = views(angles) + stripes
    track = PairTrack(0.0, 2 * np.pi)
    for angle, view in zip(angles, frames, strict=True):
        track.add(float(angle), view)
    with_mean = track.estimate(frames.mean(axis=0, dtype=np.float64), len(frames), final=True)
    assert with_mean.center == pytest.approx(TRUTH, abs=0.15)
