"""The short form of ``python -m benchmarks.batch``: every fault once, by real processes."""

import json
from pathlib import Path

from benchmarks.batch.__main__ import run
from benchmarks.batch.evaluate import evaluate, markdown
from benchmarks.batch.night import Night

LIMIT_S = 500.0


def test_a_night_with_every_fault_comes_right(tmp_path: Path) -> None:
    night = Night.short()
    run(tmp_path, night, LIMIT_S, projections=80, rate_hz=60)
    result = evaluate(tmp_path)
    text = json.dumps(result, indent=1)
    assert (result["exit_code"], result["ended_by_itself"], result["sessions"]) == (0, True, 2), text
    happened = {event.split(": ")[1] for event in result["events"]}
    assert happened == {"beam dump", "kill -9 of the daemon", "kill -9 of the session"}
    assert result["useful"] == {"accepted": 6, "of": 6, "share": 1.0}, text
    assert result["wrongly_accepted"] == [], text
    assert result["confusion"]["empty"] == {"rejected: reason empty": 1}
    assert all(fate.startswith("rejected: ") for fate in result["confusion"]["wide"])
    assert result["confusion"]["slips"] == {"accepted after reason motion": 1}
    assert result["robot_faults"] == 1
    assert result["retakes_by_blame"]["beam"] >= 1
    agreement = result["agreement"]
    assert agreement["differences"] == []
    assert agreement["runs_not_in_the_journal"] == agreement["files_not_in_the_journal"] == []
    assert agreement["accepted_scans_per_sample"] == {1: 6}
    # A scan may survive the daemon; what waited in its sockets is then listed in the file, and judged.
    lost = ("begun_twice", "frames_doubled", "of_them_unlisted")
    assert {name: agreement[name] for name in lost} == dict.fromkeys(lost, 0)
    assert "| wide |" in markdown({"night": result})
    assert (tmp_path / "batch" / "report.html").stat().st_size > 10_000


def test_a_night_is_drawn_with_its_shares() -> None:
    night = Night.drawn(300, 11)
    counts = {kind: night.kinds.count(kind) for kind in set(night.kinds)}
    assert counts == {"good": 264, "slippery": 9, "empty": 6, "slips": 9, "loose": 6, "wide": 6}
    hit = [*night.dumps, night.daemon_killed, night.session_killed]
    assert len(set(hit)) == 4
    assert {night.kinds[slot] for slot in hit if slot is not None} == {"good"}
    assert night == Night.drawn(300, 11) != Night.drawn(300, 12)
