"""A short form of ``python -m benchmarks.strangers``: a daemon with keys, and whoever has not the right one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.strangers import attempts, floods
from benchmarks.strangers.house import House
from streamer.cli import main
from streamer.flow.wire.control import Request
from streamer.flow.wire.daemon import Abort, GetStatus
from streamer.keys import Role

WHOLE = "complete, 99 of 99 frames, 99 written"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"), keys=True)
    yield house
    house.close()


def test_whoever_has_the_keys_takes_a_scan(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.good_scan() == WHOLE
    control, key = house.endpoints["control"], str(house.folder / "look.key")
    assert main(["status", control, "--key", key, "--timeout", "60"]) == 0
    assert "good-1 of noise: complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    "who", ["nobody, without a key", "a stranger with a key of its own", "a client that was removed"]
)
def test_strangers_reach_nothing(house: House, who: str) -> None:
    key = attempts.strangers(house)[who]
    for request in (GetStatus(), Abort("good-1")):
        assert attempts.ask(house, who, key, request).came_of_it == "no answer"
    assert not attempts.send(house, who, key).worked
    assert not attempts.listen(house, who, key, "events").worked


@pytest.mark.parametrize("wanted", attempts.STEERING, ids=lambda request: request.verb)
def test_a_client_does_what_its_role_allows_and_no_more(house: House, wanted: Request[Any]) -> None:
    for role in (Role.LOOK, Role.SEND):
        outcome = attempts.ask(house, role, house.keys[role], wanted, 60.0)
        assert not outcome.worked
        assert "needs the role steer" in outcome.came_of_it


@pytest.mark.parametrize("name", list(floods.floods(20, 150, 0))[:9])
def test_floods_are_survived(house: House, name: str) -> None:
    floods.floods(20, 150, 0)[name](house)
    assert house.good_scan() == WHOLE
