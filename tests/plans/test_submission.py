"""Plans that share the arguments of their settings."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from inspect import isgeneratorfunction, signature
from typing import Annotated, Any, get_type_hints

import pytest
from pydantic import Field

from streamer_plans.submission import submittable, with_arguments_of

Frames = Annotated[int, Field(ge=0, le=100, description="in a row")]


@dataclass(frozen=True)
class Settings:
    sample: str
    flats: int
    darks: int
    rate_hz: float


def settings(sample: str, flats: Frames = 20, darks: Frames = 10, rate_hz: float = 50.0) -> Settings:
    return Settings(sample, flats, darks, rate_hz)


@submittable
@with_arguments_of(settings, "darks", rate_hz=5.0)
def plan(scan: Settings, turns: Frames, often: bool = False) -> Generator[Any, Any, Any]:
    """Scan."""
    yield scan
    return turns, often


def test_a_plan_has_the_arguments_of_the_settings_and_its_own() -> None:
    assert isgeneratorfunction(plan)
    assert (plan.__name__, plan.__doc__) == ("plan", "Scan.")
    parameters = signature(plan).parameters
    assert [(name, each.default) for name, each in parameters.items() if each.default is not each.empty] == [
        ("flats", 20),
        ("rate_hz", 5.0),
        ("often", False),
    ]
    assert list(parameters) == ["sample", "turns", "flats", "rate_hz", "often"]
    hints = get_type_hints(plan, include_extras=True)
    assert hints == {
        "sample": str,
        "turns": Frames,
        "flats": Frames,
        "rate_hz": float,
        "often": bool,
        "return": Generator[Any, Any, Any],
    }
    limits = plan._custom_parameter_annotation_["parameters"]
    assert limits == {
        name: {"annotation": "int", "description": "in a row", "min": 0, "max": 100} for name in ("flats", "turns")
    }


def test_the_settings_are_made_of_what_is_given() -> None:
    running = plan("beetle", 3, flats=7)
    assert next(running) == Settings("beetle", 7, 10, 5.0)
    with pytest.raises(StopIteration) as ended:
        next(running)
    assert ended.value.value == (3, False)


@pytest.mark.parametrize(("given", "words"), [({"sample": "a"}, "turns"), ({"sample": "a", "darks": 1}, "darks|turns")])
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        next(plan(**given))


def test_a_list_of_arguments_is_checked_when_a_plan_is_made() -> None:
    with pytest.raises(TypeError, match="settings has no argument exposure"):
        with_arguments_of(settings, exposure=1.0)
