"""Transport faults: what is asked for is done, and what is done is recorded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.wire import checksum, decode_as, pack
from streamer.flow.wire.beamline import Faults, SetFaults
from streamer.frames import BadInput
from streamer.sim.faults import TRANSPORT_FAULTS, Transport, light

FRAMES = 40
asked = st.dictionaries(st.sampled_from(TRANSPORT_FAULTS), st.lists(st.integers(0, FRAMES - 1), max_size=8))


def asked_for(kinds: dict[str, Any]) -> Faults:
    """The faults in a request, as they come from the network."""
    return decode_as(pack({"set": kinds}), SetFaults, "faults").set


def send_all(transport: Transport, frames: int = FRAMES) -> tuple[list[list[Any]], list[list[Any]]]:
    """(header = frame index, payload) of what goes out before and after the end."""
    sent: list[list[Any]] = []
    for k in range(frames):
        sent += transport.route(k, lambda k=k: [k, bytes([k]) * 64])
    return [*sent, *transport.before_end()], transport.after_end()


@given(asked)
def test_recorded_faults_explain_every_difference(faults: dict[str, list[int]]) -> None:
    transport = Transport(asked_for(faults))
    sent, late = send_all(transport)
    record = transport.injected
    once = [k for indices in record.values() for k in indices]
    assert len(once) == len(set(once)), "a frame has at most one fault"
    assert set(once) == {k for indices in faults.values() for k in indices}
    count = Counter(header for header, _ in sent)
    for k in range(FRAMES):
        expected = 0 if k in record["drop"] + record["late"] else 2 if k in record["duplicate"] else 1
        assert count[k] == expected
    assert [header for header, _ in late] == record["late"]
    for header, payload in sent:
        assert (len(payload) < 64) == (header in record["truncate"])
        assert (len(payload) == 64 and checksum(payload) != checksum(bytes([header]) * 64)) == (
            header in record["corrupt"]
        )


def test_reordered_frame_comes_after_its_successor() -> None:
    sent, _ = send_all(Transport(asked_for({"reorder": [2, 6]})), 7)
    assert [header for header, _ in sent] == [0, 1, 3, 2, 4, 5, 6]


def test_probabilities_are_reproducible_and_about_right() -> None:
    chances = {"seed": 7, "probability": {"drop": 0.1, "corrupt": 0.05}}
    first, second = (Transport(asked_for(chances)) for _ in range(2))
    send_all(first, 250)
    send_all(second, 250)
    assert first.injected == second.injected
    assert 10 < len(first.injected["drop"]) < 45
    assert 2 < len(first.injected["corrupt"]) < 30


def test_light_of_dump_scale_and_drift() -> None:
    faults = asked_for({"beam_dump": [3, 4], "beam_scale": 2.0, "beam_drift": 0.5})
    assert [light(faults, k, 10) for k in (0, 3, 4, 5, 10, 20)] == [2.0, 0.0, 0.0, 1.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dorp": [1]},
        {"drop": 3},
        {"drop": [-1]},
        {"drop": [1.5]},
        {"probability": {"drop": 2.0}},
        {"probability": {"explode": 0.1}},
        {"probability": {"drop": float("nan")}},
        {"beam_dump": [5, 2]},
        {"beam_scale": "bright"},
        {"shutter": "gone"},
        {"stall": True},
        {"changer": ["tired"]},
    ],
)
def test_bad_fault_maps_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        asked_for(wrong)
