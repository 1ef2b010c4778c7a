"""Orders of angles: even at every prefix, even at the end, and nothing that the checks of angles take for a fault."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.angles import AngleWatch, check_angles
from streamer.core.quality.live import SEEN, turn_seen
from streamer.frames import BadInput
from streamer_plans.orders import golden_angles, interlaced_angles, interlaced_count

GOOD_TURNS = (2, 3, 5, 8, 13)


def gaps(angles_deg: np.ndarray) -> np.ndarray:
    """Between neighbours on the half circle, in mean gaps."""
    ordered = np.sort(np.mod(angles_deg, 180.0))
    return np.diff(ordered, append=ordered[0] + 180.0) * len(ordered) / 180.0


@pytest.mark.parametrize("turns", GOOD_TURNS)
@pytest.mark.parametrize("wanted", [60, 181, 720])
def test_all_turns_together_have_equal_steps(wanted: int, turns: int) -> None:
    count = interlaced_count(wanted, turns)
    assert wanted <= count < wanted + turns
    np.testing.assert_allclose(gaps(np.array(interlaced_angles(count, turns))), 1.0, atol=1e-6)


@pytest.mark.parametrize("turns", GOOD_TURNS)
def test_the_first_turns_fill_each_others_gaps(turns: int) -> None:
    count = interlaced_count(720, turns)
    angles = np.array(interlaced_angles(count, turns, start_deg=33.0))
    for done in range(1, turns + 1):
        assert gaps(angles[: done * count // turns]).max() < 1.9, f"after {done} of {turns} turns"


def test_golden_angles_are_even_at_every_prefix() -> None:
    angles = np.array(golden_angles(400, -20.0))
    assert (angles >= -20).all()
    assert (angles < 160).all()
    assert max(gaps(angles[:count]).max() for count in range(5, 401)) < 2.4


@pytest.mark.parametrize(("projections", "turns"), [(7, 4), (100, 0), (100, -8)])
def test_too_few_projections_do_not_interlace(projections: int, turns: int) -> None:
    with pytest.raises(BadInput, match=f"^{projections} projections in {turns} interlaced turns"):
        interlaced_count(projections, turns)


def bit_reversed(count: int, turns: int) -> np.ndarray:
    """Turns with bit-reversed starts, as Mohan et al. write them, for a detector that is triggered by a table."""
    bits = turns.bit_length() - 1
    starts = np.array([int(f"{k:0{bits}b}"[::-1], 2) for k in range(turns)])
    turn = np.arange(count) * turns // count
    return (np.arange(count) * turns + starts[turn]) * 180.0 / count


ORDERS = {
    "golden": (np.array(golden_angles(240)), 180.0),
    "golden, not folded": (np.arange(240) * 180.0 * (5**0.5 - 1) / 2, 180.0),
    "interlaced 8": (np.array(interlaced_angles(245, 8)), 8 * 180.0),
    "interlaced 5, folded": (np.mod(interlaced_angles(243, 5), 180.0), 180.0),
    "interlaced 3, backwards": (np.array(interlaced_angles(242, 3, 90.0, -180.0)), -3 * 180.0),
    "interlaced 2, of full turns": (np.array(interlaced_angles(241, 2, 0.0, 360.0)), 720.0),
    "bit-reversed 8": (bit_reversed(240, 8), 8 * 180.0),
    "bit-reversed 8, folded": (np.mod(bit_reversed(240, 8), 180.0), 180.0),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("share", [1.0, 0.97, 0.6, 0.15])
def test_the_checks_of_angles_find_nothing(order: str, share: float) -> None:
    angles, span = ORDERS[order]
    taken = angles[: int(share * len(angles))] + np.random.default_rng(4).normal(0, 0.002, int(share * len(angles)))
    watch = AngleWatch()
    assert [k for k, angle in enumerate(taken) if watch.wrong(k + 12, angle)] == []
    assert check_angles(np.arange(len(taken)) + 12, taken, span, len(angles)).words == ()
    assert turn_seen(np.deg2rad(taken)) > SEEN or share < 0.6


@pytest.mark.parametrize("order", ["golden", "interlaced 8", "interlaced 5, folded", "bit-reversed 8"])
def test_the_checks_still_find_what_is_wrong(order: str) -> None:
    angles, _ = ORDERS[order]
    spoiled = angles.copy()
    spoiled[[50, 120]] += 37.0
    watch = AngleWatch()
    assert [k for k, angle in enumerate(spoiled) if watch.wrong(k, angle)] == [50, 120]


@pytest.mark.parametrize("order", ["interlaced 8", "bit-reversed 8"])
def test_a_standstill_and_a_wrong_range_are_named(order: str) -> None:
    angles, span = ORDERS[order]
    stood = angles.copy()
    stood[100:112] = stood[100]
    index = np.arange(len(angles))
    assert "did the rotation stand still" in check_angles(index, stood, span, len(angles)).words[0]
    assert "counts per degree" in check_angles(index, 1.02 * angles, span, len(angles)).words[0]
