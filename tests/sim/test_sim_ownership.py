"""The beamline belongs to one scan; a claim that is not renewed ends, and what it left is made safe."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.flow.wire import End
from streamer.flow.wire.control import Busy
from streamer.sim.ownership import MAX_CLAIMS, Claims

LONG_S = 600.0


def test_the_first_owns_and_the_others_wait_in_their_order() -> None:
    claims = Claims().claim("s-1", "ann", 5.0).claim("s-2", "bob", 9.0).claim("s-3", "eve", 7.0)
    status = claims.status()
    assert (status.scan_id, status.user, status.waiting) == ("s-1", "ann", ["bob", "eve"])
    assert claims.without("s-2").status().waiting == ["eve"]
    assert claims.without("s-1").status().user == "bob"
    assert claims.without("s-9") == claims


def test_a_claim_ends_unless_it_is_renewed() -> None:
    claims = Claims().claim("s-1", "ann", 5.0).claim("s-2", "bob", 9.0)
    assert claims.at(4.9) == claims
    assert claims.at(5.0).status().user == "bob"
    renewed = claims.claim("s-1", "ann", 15.0)
    assert [claim.user for claim in renewed.queue] == ["ann", "bob"]
    assert renewed.at(10.0).status().waiting == []
    assert claims.at(9.0).status().user is None


def test_only_the_owner_may_command_while_there_is_one() -> None:
    Claims().check(None, "shutter")
    claims = Claims().claim("s-1", "ann", 5.0).claim("s-2", "bob", 5.0)
    claims.check("s-1", "shutter")
    for other in (None, "s-2"):
        with pytest.raises(Busy, match="shutter: the beamline belongs to scan s-1 of ann"):
            claims.check(other, "shutter")


def test_the_queue_has_an_end() -> None:
    claims = Claims()
    for k in range(MAX_CLAIMS):
        claims = claims.claim(f"s-{k}", "ann", 5.0)
    with pytest.raises(Busy, match="no more can wait"):
        claims.claim("one-more", "bob", 5.0)
    assert claims.claim("s-3", "ann", 8.0).queue[3].until == 8.0


def flying(beamline: Any, scan_id: str) -> None:
    """A scan whose projections are being taken, by a user with a claim."""
    beamline.do("claim", scan_id=scan_id, user="ann", lease_s=LONG_S)
    beamline.do("prepare", spec=beamline.spec(scan_id), rate_hz=500.0)
    beamline.do("shutter", open=True, owner=scan_id)
    beamline.take(10, 0, trigger="position", start_deg=10.0, step_deg=10.0)
    beamline.do("rotation", target_deg=1e5, velocity_deg_s=1.0, owner=scan_id)


def assert_safe(beamline: Any) -> None:
    status = beamline.settle()
    assert status["shutter"] == "closed"
    assert not status["detector"]["armed"]
    assert not status["rotation"]["moving"]
    assert status["rotation"]["position_deg"] < 1e5


def test_a_session_that_is_not_heard_of_leaves_a_safe_beamline_to_the_next(beamline: Any) -> None:
    join = beamline.collect()
    flying(beamline, "silent")
    beamline.do("claim", scan_id="next", user="bob", lease_s=LONG_S)
    beamline.do("claim", scan_id="silent", user="ann", lease_s=0.05)
    beamline.wait(lambda: beamline.do("status")["ownership"]["user"] == "bob")
    assert_safe(beamline)
    assert "ann, who took scan silent, was not heard of" in beamline.do("status")["detector"]["error"]
    end = join()[-1][0]
    assert isinstance(end, End)
    assert (end.scan_id, end.status) == ("silent", "aborted")
    beamline.do("release", scan_id="next")
    assert beamline.do("status")["ownership"] == {"scan_id": None, "user": None, "waiting": []}


def test_a_claim_of_a_batch_covers_its_scans(beamline: Any) -> None:
    """Nobody gets in between two scans of a batch, and what its last scan left open is made safe with the claim."""
    beamline.do("claim", scan_id="batch", user="ann", lease_s=LONG_S)
    beamline.do("claim", scan_id="theirs", user="bob", lease_s=LONG_S)
    reply = beamline.ask("prepare", spec=beamline.spec("one"), rate_hz=500.0)
    assert reply["code"] == "busy"
    for scan_id in ("one", "two"):
        join = beamline.collect()
        beamline.do("prepare", spec=beamline.spec(scan_id), rate_hz=500.0, owner="batch")
        beamline.do("shutter", open=True, owner="batch")
        assert beamline.do("status")["ownership"]["scan_id"] == "batch"
        if scan_id == "one":
            beamline.do("finish", scan_id=scan_id, status="stopped")
            assert join()[-1][0].status == "stopped"
    beamline.do("release", scan_id="batch")
    assert_safe(beamline)
    end = join()[-1][0]
    assert (end.scan_id, end.status) == ("two", "aborted")
    assert beamline.do("status")["ownership"]["user"] == "bob"
    beamline.do("release", scan_id="theirs")


def test_a_claim_that_is_given_back_with_an_open_scan_leaves_it_safe(beamline: Any) -> None:
    join = beamline.collect()
    flying(beamline, "halted")
    beamline.do("release", scan_id="halted")
    assert_safe(beamline)
    assert join()[-1][0].status == "aborted"


def test_another_user_cannot_touch_anything(beamline: Any) -> None:
    join = beamline.collect()
    flying(beamline, "mine")
    waiting = beamline.do("claim", scan_id="theirs", user="bob", lease_s=LONG_S)["ownership"]
    assert waiting == {"scan_id": "mine", "user": "ann", "waiting": ["bob"]}
    for verb, args in (
        ("shutter", {"open": False}),
        ("shutter", {"open": False, "owner": "theirs"}),
        ("rotation", {"target_deg": 0.0}),
        ("x", {"target_mm": 1.0}),
        ("mount", {"slot": 1}),
        ("prepare", {"spec": beamline.spec("theirs"), "rate_hz": 100.0}),
    ):
        reply = beamline.ask(verb, **args)
        assert reply["code"] == "busy", verb
        assert "the beamline belongs to scan mine of ann" in reply["error"]
    for verb in ("stop_acquire", "finish", "acquire"):
        more = {"frames": 1, "kind": 0} if verb == "acquire" else {}
        reply = beamline.ask(verb, scan_id="theirs", **more)
        assert reply["code"] == "forbidden", verb
        assert "scan mine is prepared, not theirs" in reply["error"]
    beamline.do("release", scan_id="theirs")
    assert beamline.do("status")["detector"]["acquiring"]
    assert beamline.do("status")["ownership"]["waiting"] == []
    beamline.do("stop_acquire")
    beamline.wait(lambda: not beamline.do("status")["detector"]["acquiring"])
    beamline.do("finish", status="stopped")
    assert join()[-1][0].status == "stopped"
    beamline.do("release", scan_id="mine")
