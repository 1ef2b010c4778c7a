"""The verbs of the control socket: what they answer, what they refuse, and what they wait for."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest
import zmq
from msgspec import structs

from streamer import __version__
from streamer.core.planes.plane import orthogonal_planes
from streamer.daemon.handlers import Handlers
from streamer.flow import wire
from streamer.flow.positions.positions import Position, RunEnds
from streamer.flow.wire.control import Busy, Reply, read_request
from streamer.flow.wire.daemon import PlaneSpec
from streamer.frames import BadInput, Verdict
from streamer.io.messaging.control import DeferredReply
from streamer.io.positions.table import PositionTable
from tests.daemon.rig import COLUMNS, ROWS, Rig, TinyScan

SPEC = TinyScan().spec
MIDDLE = {"name": "middle", "origin": [0.0, 0.0, 0.0], "u": [1.0, 0.0, 0.0], "v": [0.0, 1.0, 0.0], "shape": [8, 8]}


def ask(rig: Rig, verb: str, args: Any) -> Any:
    """The answer to a request from the network: a map, or what is still to come. Raises BadInput as the server does."""
    handlers = rig.handlers.table()
    request = read_request(
        wire.pack({"v": wire.PROTOCOL_VERSION, "verb": verb, "args": args}), {k.verb: k for k in handlers}
    )
    return plain(handlers[type(request)](request))


def plain(reply: Any) -> Any:
    """A reply as the client sees it, without what all have."""
    if not isinstance(reply, Reply):
        return reply
    entries = wire.unpack(wire.pack(reply))
    assert (entries.pop("v"), entries.pop("ok")) == (wire.PROTOCOL_VERSION, True)
    return entries


def now(reply: Any) -> dict[str, Any]:
    assert isinstance(reply, dict), "the answer is still to come"
    return reply


def later(reply: Any) -> DeferredReply:
    assert isinstance(reply, DeferredReply), "answered at once"
    return reply


def test_ping_gives_the_version(rig: Rig) -> None:
    assert ask(rig, "ping", {}) == {"version": __version__}


# ── arm, disarm, abort ──────────────────────────────────────────────────────────────────────────────────────────────
def test_arm_says_where_the_frames_go(rig: Rig) -> None:
    reply = now(ask(rig, "arm", {"spec": SPEC.to_dict()}))
    assert reply["raw_file"] == str(rig.directory.resolve() / "scan-1.nx")
    assert (reply["dtype"], reply["shape"]) == ("<u2", [ROWS, COLUMNS])
    assert set(reply["plan"]) >= {"tomogram", "memory_mb"}
    assert now(ask(rig, "arm", {"spec": SPEC.to_dict()})) == reply


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"spec": None},
        {"spec": "scan-1"},
        {"spec": {}},
        {"spec": {**SPEC.to_dict(), "rows": 0}},
        {"spec": {**SPEC.to_dict(), "rows": "16"}},
        {"spec": {**SPEC.to_dict(), "projections": 2**40}},
        {"spec": {**SPEC.to_dict(), "scan_id": "../../etc"}},
        {"spec": {**SPEC.to_dict(), "dtype": ">u2"}},
        {"spec": {**SPEC.to_dict(), "range_deg": math.nan}},
        {"spec": {**SPEC.to_dict(), "colour": "red"}},
    ],
)
def test_arm_refuses_what_is_no_scan(rig: Rig, args: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        ask(rig, "arm", args)
    assert rig.scans.current is None


def test_arm_is_busy_while_frames_may_come(rig: Rig) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    with pytest.raises(Busy):
        ask(rig, "arm", {"spec": structs.replace(SPEC, scan_id="scan-2").to_dict()})


def test_arm_waits_for_the_scan_before_to_be_finished(rig: Rig) -> None:
    first, second = TinyScan(), structs.replace(SPEC, scan_id="scan-2")
    rig.run(first)
    rig.end(first.spec)
    waiting = later(ask(rig, "arm", {"spec": second.to_dict()}))
    assert waiting.deadline > rig.clock.now
    assert waiting.ask(False) is None
    rig.finished(first)
    reply = plain(waiting.ask(False))
    assert reply is not None
    assert reply["scan_id"] == "scan-2"


def test_arm_that_has_waited_long_enough_is_busy(rig: Rig) -> None:
    first = TinyScan()
    rig.run(first)
    rig.end(first.spec)
    waiting = later(ask(rig, "arm", {"spec": structs.replace(SPEC, scan_id="scan-2").to_dict()}))
    with pytest.raises(Busy, match="scan scan-1 is draining"):
        waiting.ask(True)


def test_disarm_and_abort_end_a_scan(rig: Rig) -> None:
    scan = TinyScan()
    ask(rig, "arm", {"spec": scan.spec.to_dict()})
    assert ask(rig, "disarm", {"scan_id": "scan-1"}) == {}
    assert rig.finished(scan).state == "aborted"
    again = TinyScan("scan-2")
    rig.run(again, range(30))
    assert ask(rig, "abort", {"scan_id": "scan-2", "reason": "late for tea"}) == {}
    assert rig.finished(again).state == "aborted"


@pytest.mark.parametrize("verb", ["disarm", "abort", "verdict"])
@pytest.mark.parametrize("args", [{}, {"scan_id": 3}, {"scan_id": None}, {"scan_id": "nobody"}, {"scan_id": ""}])
def test_a_scan_id_that_is_missing_or_unknown_is_refused(rig: Rig, verb: str, args: dict[str, Any]) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    with pytest.raises(BadInput):
        ask(rig, verb, args)
    assert rig.scans.state == "armed"


# ── status and verdict ──────────────────────────────────────────────────────────────────────────────────────────────
def test_status_is_that_of_the_running_the_last_or_the_named_scan(rig: Rig) -> None:
    assert ask(rig, "status", {})["scan"] is None
    scan = TinyScan()
    rig.run(scan, range(20))
    running = ask(rig, "status", {})
    assert (running["state"], running["scan"]["frames"]["received"]) == ("acquiring", 20)
    assert ask(rig, "status", {"scan_id": "nobody"})["scan"] is None
    rig.scans.abort("scan-1", "")
    rig.finished(scan)
    assert ask(rig, "status", {})["scan"]["state"] == "aborted"
    ask(rig, "arm", {"spec": structs.replace(SPEC, scan_id="scan-2").to_dict()})
    assert ask(rig, "status", {"scan_id": "scan-1"})["scan"]["state"] == "aborted"
    assert ask(rig, "status", {})["scan"]["scan_id"] == "scan-2"
    with pytest.raises(BadInput, match="status: scan_id is 5, expected a text, or nil"):
        ask(rig, "status", {"scan_id": 5})


def test_a_verdict_is_given_at_once_as_far_as_it_is_known(rig: Rig) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    reply = now(ask(rig, "verdict", {"scan_id": "scan-1"}))
    assert set(reply) == {"scan_id", "verdict", "reasons", "final", "quality"}
    assert (reply["verdict"], reply["final"]) == ("UNKNOWN", False)
    assert [reason["code"] for reason in reply["reasons"]] == ["not_judged"]


def test_a_verdict_is_waited_for_until_it_is_final(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    waiting = later(ask(rig, "verdict", {"scan_id": "scan-1", "wait": True, "timeout_s": 60}))
    rig.feed(scan, range(50))
    assert waiting.ask(False) is None
    rig.feed(scan, range(50, scan.spec.frames))
    rig.finish(scan)
    reply = plain(waiting.ask(False))
    assert reply is not None
    assert Verdict.from_dict(reply).final
    assert reply["verdict"] == "ENOUGH"
    assert plain(later(ask(rig, "verdict", {"scan_id": "scan-1", "wait": True})).ask(False)) == reply


def test_a_verdict_of_a_scan_before_stays_known(rig: Rig) -> None:
    first = TinyScan()
    rig.run(first)
    rig.finish(first)
    ask(rig, "arm", {"spec": structs.replace(SPEC, scan_id="scan-2").to_dict()})
    assert now(ask(rig, "verdict", {"scan_id": "scan-1"}))["verdict"] == "ENOUGH"


def test_at_the_time_out_the_verdict_is_what_is_known(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(50))
    rig.turn_for(1.0)
    waiting = later(ask(rig, "verdict", {"scan_id": "scan-1", "wait": True, "timeout_s": 2.5}))
    assert waiting.deadline == rig.clock.now + 2.5
    reply = plain(waiting.ask(True))
    assert reply is not None
    assert (reply["verdict"], reply["final"]) == ("CONTINUE", False)


@pytest.mark.parametrize("timeout_s", [-1, math.inf, math.nan, 1e9, "5", None, True, [5]])
def test_a_time_out_that_is_no_time_is_refused(rig: Rig, timeout_s: Any) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    with pytest.raises(BadInput, match="timeout_s"):
        ask(rig, "verdict", {"scan_id": "scan-1", "wait": True, "timeout_s": timeout_s})


def test_a_waiting_client_is_answered_over_the_socket_when_its_time_is_up(rig: Rig) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    with rig.context.socket(zmq.REQ) as client:
        client.connect(rig.control.endpoint)
        args = {"scan_id": "scan-1", "wait": True, "timeout_s": 2.0}
        client.send(wire.pack({"v": wire.PROTOCOL_VERSION, "verb": "verdict", "args": args}))
        began = rig.clock.now

        def answered() -> bool:
            rig.clock.now += 0.25
            return bool(client.poll(0))

        rig.control.run(answered)
        assert 2.0 <= rig.clock.now - began <= 4.0
        reply = wire.unpack(client.recv())
    assert (reply["ok"], reply["verdict"], reply["final"]) == (True, "UNKNOWN", False)


# ── planes and centre ───────────────────────────────────────────────────────────────────────────────────────────────
def test_planes_are_the_three_orthogonal_ones_unless_set(rig: Rig) -> None:
    assert ask(rig, "planes", {}) == {"planes": []}
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    usual = [wire.unpack(wire.pack(PlaneSpec(*astuple(plane)))) for plane in orthogonal_planes(ROWS, COLUMNS)]
    assert ask(rig, "planes", {})["planes"] == usual
    (middle,) = ask(rig, "planes", {"set": [MIDDLE]})["planes"]
    assert middle["name"] == "middle"
    assert ask(rig, "planes", {})["planes"] == [middle]
    assert ask(rig, "planes", {"set": []})["planes"] == usual


@pytest.mark.parametrize(
    "wanted",
    [
        "xy",
        {"planes": [MIDDLE]},
        [1],
        ["xy"],
        [None],
        [{}],
        [{**MIDDLE, "colour": "red"}],
        [{**MIDDLE, "name": "../x"}],
        [{**MIDDLE, "name": 7}],
        [{**MIDDLE, "shape": [0, 8]}],
        [{**MIDDLE, "shape": [8.5, 8]}],
        [{**MIDDLE, "shape": [10**9, 10**9]}],
        [{**MIDDLE, "shape": 8}],
        [{**MIDDLE, "u": [0.0, 0.0, 0.0]}],
        [{**MIDDLE, "u": MIDDLE["v"]}],
        [{**MIDDLE, "u": [math.nan, 0.0, 0.0]}],
        [{**MIDDLE, "origin": [0.0, 0.0]}],
        [{**MIDDLE, "origin": "middle"}],
        [MIDDLE, MIDDLE],
        [{**MIDDLE, "name": f"p{k}"} for k in range(1000)],
    ],
)
def test_nonsense_for_planes_is_refused_and_changes_nothing(rig: Rig, wanted: Any) -> None:
    ask(rig, "planes", {"set": [MIDDLE]})
    before = rig.scans.operator_revision
    with pytest.raises(BadInput):
        ask(rig, "planes", {"set": wanted})
    assert rig.scans.operator_revision == before
    assert [plane["name"] for plane in ask(rig, "planes", {})["planes"]] == ["middle"]


def test_the_center_is_found_held_and_let_go(rig: Rig) -> None:
    assert ask(rig, "center", {}) == {"center_px": None, "confidence": 0.0, "fixed": False}
    assert ask(rig, "center", {"set": 31})["fixed"]
    scan = TinyScan()
    rig.run(scan)
    rig.finish(scan)
    assert ask(rig, "center", {})["center_px"] is not None
    assert not ask(rig, "center", {"set": None})["fixed"]


@pytest.mark.parametrize("center", ["31", True, [31], math.nan, math.inf, {"px": 31}])
def test_a_center_that_is_no_column_is_refused(rig: Rig, center: Any) -> None:
    with pytest.raises(BadInput, match="center"):
        ask(rig, "center", {"set": center})
    assert not ask(rig, "center", {})["fixed"]


def test_a_client_ends_a_scan_for_its_detector(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(60))
    assert ask(rig, "end", {"scan_id": scan.spec.scan_id, "frames": 60, "status": "stopped"}) == {}
    report = rig.finished(scan)
    assert (report.state, report.frames.missing, report.frames.received) == ("complete", 0, 60)
    assert ask(rig, "end", {"scan_id": scan.spec.scan_id, "frames": 60}) == {}
    with pytest.raises(BadInput, match="nobody"):
        ask(rig, "end", {"scan_id": "nobody", "frames": 1})


# ── positions ───────────────────────────────────────────────────────────────────────────────────────────────────────
TABLE = {"scan_id": SPEC.scan_id, "first": 0, "values": [0.0, 1.5]}


def test_a_table_of_positions_is_for_a_daemon_that_wants_one(rig: Rig) -> None:
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    with pytest.raises(BadInput, match=r"takes no table of positions; set positions\.source"):
        ask(rig, "positions", TABLE)


def test_a_table_of_positions_is_for_the_armed_scan(rig: Rig) -> None:
    table = PositionTable()
    rig.handlers = Handlers(rig.scans, rig.handlers._status, rig.clock, rig.compute, table)
    with pytest.raises(BadInput, match=r"scan 'scan-1' waits for no positions; arm it first"):
        ask(rig, "positions", TABLE)
    ask(rig, "arm", {"spec": SPEC.to_dict()})
    assert now(ask(rig, "positions", {**TABLE, "last": True})) == {}
    assert table.drain() == [Position(0, 0.0), Position(1, 1.5), RunEnds()]
