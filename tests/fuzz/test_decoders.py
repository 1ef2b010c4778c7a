"""Whatever the bytes: a decoder takes them, or refuses them in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.campaign import campaign
from tests.fuzz.mutations import TOKENS, corpus
from tests.fuzz.targets import TARGETS, fuzz_one

STORED = corpus()
changes = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 20), st.sampled_from(TOKENS) | st.binary(max_size=8)), max_size=4
)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds_messages_that_are_taken_and_some_that_are_not(name: str) -> None:
    outcomes = {TARGETS[name](data) for data in STORED[name]}
    assert True in outcomes, "a corpus of refused messages tests the first check only"
    for data in (message for messages in STORED.values() for message in messages):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_a_message_with_a_few_changes(name: str, data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(STORED[name])))
    for at, length, token in data.draw(changes):
        place = at % (len(message) + 1)
        message[place : place + length] = token
    TARGETS[name](bytes(message))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    fuzz_one(data)


def test_a_short_campaign() -> None:
    """``python -m tests.fuzz`` is the long one."""
    outcome = campaign(20_000, seed=7)
    assert outcome.broken is None
    assert all(outcome.taken[name] and outcome.refused[name] for name in TARGETS)
