"""``python -m streamer_plans.demo`` and the startup module, as processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from streamer_plans import demo


@pytest.fixture
def command(beamline_process, connect, tmp_path):
    """The command line of a short batch; ``connect`` brings the beamline to its rest."""

    def build(daemon, *more):
        line = [
            sys.executable,
            "-m",
            "streamer_plans.demo",
            "--beamline",
            beamline_process.endpoints["control"],
            "--daemon",
            daemon.endpoints["control"],
        ]
        line += ["--size", "32", "--projections", "20", "--rate", "100", "--samples", "2"]
        return [*line, "--out", str(tmp_path), "--json", str(tmp_path / "plans.json"), *more]

    return build


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_batch(command, start_daemon, tmp_path):
    daemon = start_daemon({"verdict": "RETAKE", "reasons": [{"code": "motion", "text": "it moved"}]}, {})
    done = subprocess.run(command(daemon), capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    told = lines(done.stdout)
    assert [line["event"] for line in told if line["event"] != "progress"] == [
        *("sample", "scan", "verdict", "scan", "verdict", "outcome"),
        *("sample", "scan", "verdict", "outcome"),
    ]
    last = [line for line in told if line["event"] == "progress"][-1]
    assert (last["written"], last["total"]) == (50, 50)
    result = json.loads((tmp_path / "plans.json").read_text())
    first, second = result["samples"]
    assert [attempt["action"] for attempt in first["attempts"]] == ["retake", "accept"]
    assert first["action"] == second["action"] == "accept"
    assert second["report"]["written"] == 50
    assert second["run_uid"] == result["run_uids"][2]
    assert result["documents"]["start"] == result["documents"]["stop"] == 3


def test_a_dead_daemon_is_one_line(command, start_daemon, tmp_path):
    daemon = start_daemon()
    daemon.kill()
    done = subprocess.run(command(daemon), capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith("plans: the Streamer daemon at ")
    assert done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "plans.json").read_text())["samples"] == []  # nothing was moved


def test_a_wrong_size_is_bad_input(command, start_daemon):
    done = subprocess.run(command(start_daemon(), "--size", "99"), capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (2, "plans: --size 99: the detector has 32 columns\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_batch_cleanly(command, start_daemon, connect, number):
    daemon = start_daemon()
    child = subprocess.Popen(
        command(daemon, "--projections", "2000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in child.stdout:
        told = json.loads(line)
        if told["event"] == "progress" and told["written"] > 35:
            break
    child.send_signal(number)
    _, errors = child.communicate(timeout=100)
    assert child.returncode == 1
    assert errors == "plans: interrupted; the beamline was left safe\n"
    beamline = connect(daemon)
    assert beamline.shutter.read()["shutter"]["value"] == "closed"
    assert not beamline.detector.hardware.activity().acquiring


def test_a_document_against_the_schema_ends_the_run():
    with pytest.raises(Exception, match="uid"):
        demo.validate("start", {"time": 0.0})


def test_the_startup_module_offers_devices_and_plans_without_a_server():
    code = "import inspect, plans.startup as s; names = [n for n in vars(s) if n[0] != '_'];"
    code += "print(*sorted(names));"
    code += "assert all(inspect.isgeneratorfunction(getattr(s, n)) == n.endswith(('scan', 'sheet')) for n in names)"
    environment = {**os.environ, "STREAMER_DAEMON": "tcp://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.stderr == ""
    names = [
        "RE",  # bluesky-queueserver insists on it
        "adaptive_scan",
        "advised_scan",
        "batch_scan",
        "batch_sheet",
        "capture_scan",
        "changer",
        "cine_scan",
        "detector",
        "fly_scan",
        "golden_scan",
        "rotation",
        "sample_x",
        "shutter",
        "streamer",
    ]
    assert done.stdout.split() == names
