"""Options: one line for what is wrong, rules in words, and values that cannot be changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from streamer.frames import BadInput
from streamer.options import Options, rule


class Inner(Options):
    """A section."""

    share: float = Field(0.5, ge=0, le=1)
    """a share"""
    on: bool = True
    """a switch"""


class Outer(Options):
    """A section in which others lie."""

    inner: Inner = Inner()
    """the section"""
    name: Literal["auto"] | int = "auto"
    """text that may go on over
    several lines"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number"),
        (Annotated[float, Field(gt=0)], "a number above 0"),
        (Annotated[float, Field(gt=0, le=60)], "a number above 0, at most 60"),
        (Annotated[int, Field(ge=1, le=10_000_000)], "a whole number from 1 to 10000000"),
        (Annotated[float, Field(ge=0)] | None, "a number, 0 or more"),
        (Annotated[float, Field(le=2.5)], "a number, at most 2.5"),
        (Literal["a", "b", "c"], "a, b or c"),
        (Literal["auto"] | Annotated[float, Field(ge=-5, le=5)], "auto or a number from -5 to 5"),
        (Literal["auto"], "auto"),
        (bool, "true or false"),
        (Inner, "a section"),
    ],
)
def test_rules_in_words(kind: Any, words: str) -> None:
    assert rule(kind) == words


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"share": 2}, "share: give a number from 0 to 1, not 2"),
        ({"share": True}, "share: give a number from 0 to 1, not True"),
        ({"share": float("inf")}, "share: give a number from 0 to 1, not inf"),
        ({"on": 0}, "on: give true or false, not 0"),
        ({"off": 0}, "off: no such option; known here: share, on"),
    ],
)
def test_what_is_not_allowed_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        Inner(**values)
    assert str(error.value) == said
    with pytest.raises(BadInput) as error:
        Outer(inner=values)
    assert str(error.value) == f"inner.{said}"


def test_sections_are_made_from_maps_and_taken_as_they_are() -> None:
    assert Outer(inner={"share": 1}).inner == Inner(share=1.0)
    inner = Inner(on=False)
    assert Outer(inner=inner).inner is inner


def test_options_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().share = 0.1  # type: ignore[misc]


def test_the_docstring_of_a_field_describes_it() -> None:
    assert Inner.model_fields["share"].description == "a share"
