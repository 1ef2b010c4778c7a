"""A scan belongs to one source."""

from __future__ import annotations

from streamer.flow.owner import MOST_NAMES, OTHERS, Owner


def test_the_first_to_begin_keeps_it() -> None:
    owner = Owner()
    assert owner.admits("anybody")
    owner.begins("camera")
    owner.begins("other")
    assert owner.source == "camera"
    assert owner.admits("camera")
    assert not owner.admits("other")
    assert owner.foreign == {"other": 1}


def test_a_source_without_a_name_is_one_like_others() -> None:
    owner = Owner()
    owner.begins("")
    assert owner.admits("")
    assert not owner.admits("camera")


def test_any_number_of_names_takes_little_memory() -> None:
    owner = Owner()
    owner.begins("camera")
    for number in range(1000):
        owner.admits(f"stranger-{number}")
    owner.admits("stranger-3")
    assert len(owner.foreign) == MOST_NAMES + 1
    assert (owner.foreign[OTHERS], owner.foreign["stranger-3"]) == (1000 - MOST_NAMES, 2)
    assert owner.foreign.total() == 1001
