"""What the order of the frames says of those that are missing."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.flow.losses import CounterWatch, cause_of_loss, shared_with
from streamer.flow.scan import Ledger

FRAMES = 200


def lost(received: list[int]) -> np.ndarray:
    return np.setdiff1d(np.arange(FRAMES), received)


@pytest.mark.parametrize("receivers", [2, 3, 5])
@pytest.mark.parametrize("first", [0, 61])
def test_frames_that_go_to_several_receivers_in_turns_are_noticed(receivers: int, first: int) -> None:
    """The others attached when frame ``first`` was due."""
    received = [*range(first), *range(first, FRAMES, receivers)]
    assert shared_with(lost(received), FRAMES) == receivers


def test_a_frame_out_of_turn_changes_nothing() -> None:
    received = sorted({*range(0, 90, 2), *range(91, FRAMES, 2), 41} - {60})
    assert shared_with(lost(received), FRAMES) == 2


@pytest.mark.parametrize(
    "received",
    [
        list(range(FRAMES)),
        list(range(150)),
        [*range(50), *range(90, FRAMES)],
        [index for index in range(FRAMES) if index % 2],
        np.random.default_rng(3).permutation(FRAMES)[:100].tolist(),
        [index for index in range(FRAMES) if index % 20],
        [index for index in range(FRAMES) if index % 3],
    ],
    ids=["none", "the end", "a block", "the even ones", "any half", "each 20th", "each third"],
)
def test_only_frames_in_turns_are_taken_for_that(received: list[int]) -> None:
    alternate = received == list(range(1, FRAMES, 2))
    assert shared_with(lost(sorted(received)), FRAMES) == (2 if alternate else 1)


def watched(indices: list[int]) -> CounterWatch:
    ledger, watch = Ledger(FRAMES), CounterWatch()
    for index in indices:
        watch.frame(index, ledger.frame(index))
    return watch


@pytest.mark.parametrize("after", [0, 7])
def test_a_counter_that_restarts_is_noticed(after: int) -> None:
    assert watched([*range(54), *range(after, 100)]).restart == (53, after)


@pytest.mark.parametrize(
    "indices",
    [
        list(range(FRAMES)),
        [index for index in range(100) for _ in range(2)],
        [*range(100), 40, 41, 42, *range(100, 120)],
        list(range(FRAMES))[::-1],
        np.random.default_rng(1).permutation(FRAMES).tolist(),
    ],
    ids=["in order", "all twice", "a few again", "backwards", "shuffled"],
)
def test_other_orders_are_no_restart(indices: list[int]) -> None:
    assert watched(indices).restart is None


def test_the_cause_in_words() -> None:
    half = lost(list(range(0, FRAMES, 2)))
    assert cause_of_loss(half, FRAMES, None) == "only every second frame came: the frames also go to another receiver"
    third = lost(list(range(0, FRAMES, 3)))
    assert cause_of_loss(third, FRAMES, None) == "only every third frame came: the frames also go to 2 other receivers"
    restarted = "the source's frame counter went back from 53 to 0: was it restarted or armed twice?"
    assert cause_of_loss(half, FRAMES, (53, 0)) == restarted
    assert cause_of_loss(lost(list(range(150))), FRAMES, None) == ""
    assert cause_of_loss(lost(list(range(FRAMES))), FRAMES, (53, 0)) == "", "nothing is missing"
