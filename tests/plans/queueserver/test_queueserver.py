"""bluesky-queueserver with the startup module: submit, validate, run, pause, abort."""

import json
import subprocess
import sys

import pytest

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus
from tests.paths import ROOT

SHORT = {"projections": 20, "darks": 2, "flats": 2, "rate_hz": 100.0, "x_out_mm": 6.0}


@pytest.fixture
def station(beamline_process):
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        yield lambda: link.ask(GetBeamlineStatus())


def assert_safe(state):
    assert (state.shutter, state.detector.armed, state.detector.acquiring) == ("closed", False, False)
    assert not state.rotation.moving
    assert state.ownership.scan_id is None


def test_a_session_with_the_queue(manager, station):
    """One environment for all of it, as opening one takes seconds."""
    offered = manager.ask("plans_allowed", user_group="primary")["plans_allowed"]
    of_users = {"fly_scan", "golden_scan", "adaptive_scan", "advised_scan", "cine_scan", "capture_scan"}
    assert {*of_users, "batch_scan", "batch_sheet"} <= set(offered)
    assert set(manager.ask("plans_allowed", user_group="users")["plans_allowed"]) == of_users
    devices = manager.ask("devices_allowed", user_group="primary")["devices_allowed"]
    assert {"rotation", "sample_x", "shutter", "changer", "detector", "streamer"} <= set(devices)

    for wrong, word in [
        ({"sample_name": "weevil", "projections": 0}, "out of range"),
        ({"sample_name": "weevil", "projections": 10.5}, "projections"),
        ({"sample_name": "weevil", "rate_hz": "fast"}, "rate_hz"),
        ({"sample_name": "weevil", "flats": -1}, "out of range"),
        ({"sample_name": "weevil", "exposure": 1.0}, "exposure"),
        ({"projections": 20}, "sample_name"),
    ]:
        refused = manager.submit("fly_scan", **wrong)
        assert not refused["success"], wrong
        assert word in refused["msg"]
    assert "out of range" in manager.submit("batch_scan", slots=[0, -1])["msg"]
    assert "out of range" in manager.submit("advised_scan", sample_name="weevil", resolution_px=1.0)["msg"]
    assert not manager.submit("batch_scan", group="users", slots=[0])["success"]
    assert not manager.submit("no_such_scan")["success"]
    assert manager.ask("queue_get")["items"] == []

    # run to the end
    assert manager.submit("fly_scan", sample_name="weevil", **SHORT)["success"]
    assert manager.submit("golden_scan", group="users", sample_name="kůra 1", **SHORT)["success"]
    assert manager.ask("queue_start")["success"]
    manager.until(lambda: len(manager.history()) == 2, "two plans done")
    manager.until_state("idle")
    for done in manager.history():
        assert done["result"]["exit_status"] == "completed", done["result"]
        assert len(done["result"]["run_uids"]) == 1

    # pause, resume: the steps go on
    golden = {**SHORT, "projections": 300}
    assert manager.submit("golden_scan", sample_name="weevil", **golden)["success"]
    assert manager.ask("queue_start")["success"]
    manager.until(lambda: station().detector.issued > 10 and station().detector.armed, "taking projections")
    assert manager.ask("re_pause", option="immediate")["success"]
    manager.until_state("paused")
    assert station().shutter == "closed"
    assert manager.ask("re_resume")["success"]
    manager.until_state("executing_queue")
    manager.until(lambda: station().detector.issued > 40, "going on")
    # pause, abort
    assert manager.ask("re_pause", option="immediate")["success"]
    manager.until_state("paused")
    assert manager.ask("re_abort")["success"]
    manager.until_state("idle")
    assert_safe(station())
    assert manager.history()[-1]["result"]["exit_status"] == "aborted"
    manager.ask("queue_clear")  # an aborted plan goes back to the front

    # a plan that fails says why, and the next one works
    assert manager.submit("batch_scan", slots=[0], projections=20, rate_hz=100.0, x_out_mm=6.0)["success"]
    assert manager.submit("fly_scan", sample_name="too fast", **{**SHORT, "rate_hz": 50_000.0})["success"]
    assert manager.ask("queue_start")["success"]
    manager.until(lambda: len(manager.history()) == 5, "both done")
    manager.until_state("idle")
    good, bad = manager.history()[-2:]
    assert good["result"]["exit_status"] == "completed", good["result"]
    assert bad["result"]["exit_status"] == "failed"
    assert "can do up to 1000 Hz" in bad["result"]["msg"]
    manager.ask("queue_clear")
    assert_safe(station())


def test_the_example_batch(manager, tmp_path):
    items = json.loads((ROOT / "examples" / "queue_batch.json").read_text(encoding="utf-8"))
    for item in items:  # as it is, but short
        item["kwargs"] |= {"projections": 20, "rate_hz": 100.0, "x_out_mm": 6.0}
    items[-1]["kwargs"]["slots"] = [0, 1]
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps(items), encoding="utf-8")
    command = [sys.executable, str(ROOT / "examples" / "queue_batch.py"), str(batch), manager.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    names = [item["name"] for item in items]
    assert done.stdout.splitlines() == [
        *(f"{name}: queued" for name in names),
        *(f"{name} completed: no complaint" for name in names),
    ], done.stderr
    assert done.returncode == 0

    items[0]["kwargs"]["projections"] = -5
    batch.write_text(json.dumps(items), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1
    assert "out of range" in done.stdout
    assert manager.ask("queue_get")["items"] == [], "all or nothing"
