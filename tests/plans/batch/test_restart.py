"""A session that is killed at any stage goes on where it was: nothing twice, nothing skipped. Real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus
from streamer_plans.batch.documents import DOCUMENTS
from streamer_plans.batch.journal import JOURNAL, read_journal, restored
from streamer_plans.batch.policy import Choice
from tests.paths import ROOT

PATIENCE_S = 200.0
SHEET = "sample,slot,projections,darks,flats,rate_hz,x_out_mm\nfirst,1,60,3,4,60,6\nsecond,2,60,3,4,60,6\n"


@pytest.fixture
def session(beamline_process, connect, start_daemon, tmp_path):
    """Start the command of a batch; gives a function that starts it (again), and the folder."""
    daemon = start_daemon({"verdict": "ENOUGH"})
    connect(daemon)  # brings the beamline to its rest
    sheet, folder = tmp_path / "sheet.csv", tmp_path / "night"
    sheet.write_text(SHEET, encoding="utf-8")
    words = [sys.executable, "-m", "streamer_plans.batch", "run", str(sheet), str(folder)]
    words += ["--beamline", beamline_process.endpoints["control"], "--daemon", daemon.endpoints["control"]]
    started = []

    def start():
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start, folder
    for process in started:
        process.kill()
        process.communicate()


def wait_for(folder, condition):
    end = time.monotonic() + PATIENCE_S
    path = folder / JOURNAL
    while time.monotonic() < end:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        if condition(lines):
            return
        time.sleep(0.005)
    raise AssertionError(f"not in time: {text}")


def has(event, **entries):
    def condition(lines):
        return any(line["event"] == event and entries.items() <= line.items() for line in lines)

    return condition


STAGES = {
    "begun": has("started"),
    "robot": has("mounting", sample="first"),
    "scan": has("scanning", sample="first"),
    "next sample under way": has("mounting", sample="second", early=True),
    "judged": has("attempt", sample="first"),
    "second scan": has("scanning", sample="second"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_kill_9_at_any_stage(session, beamline_process, stage):
    start, folder = session
    victim = start()
    wait_for(folder, STAGES[stage])
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    again = start()
    output, _ = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, output
    lines = read_journal(folder)
    samples = restored(lines)
    assert [sample.action.choice for sample in samples] == [Choice.ACCEPT] * 2
    decided = Counter(line["sample"] for line in lines if line["event"] == "decided")
    accepted = Counter(line["sample"] for line in lines if line["event"] == "attempt")
    assert decided == accepted == {"first": 1, "second": 1}
    documents = [json.loads(line) for line in (folder / DOCUMENTS).read_text(encoding="utf-8").splitlines()]
    scans = [document["tomo_scan_id"] for name, document in documents if name == "start"]
    assert len(set(scans)) == len(scans)
    judged = [line["outcome"]["scan_id"] for line in lines if line["event"] == "attempt"]
    gone = [line["scan_id"] for line in lines if line["event"] == "interrupted"]
    # A session may end between the line of a scan and its run; such a scan is no run, and is not counted as one.
    assert set(scans) <= set(judged) | set(gone)
    assert set(judged) <= set(scans)
    assert len(gone) <= 1
    assert (folder / "report.html").is_file()
    with Link(beamline_process.endpoints["control"], "the virtual beamline") as link:
        status = link.ask(GetBeamlineStatus())
    assert (status.shutter, status.ownership.scan_id, status.changer.mounted) == ("closed", None, None)


def test_a_sample_that_was_judged_is_not_scanned_again(session):
    """The session was killed between the two lines that say so."""
    start, folder = session
    assert start().wait(PATIENCE_S) == 0
    path = folder / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    judged = next(number for number, line in enumerate(lines) if has("attempt", sample="first")([json.loads(line)]))
    path.write_text("".join(lines[: judged + 1]), encoding="utf-8")
    assert start().wait(PATIENCE_S) == 0
    after = [(line["event"], line["sample"]) for line in read_journal(folder)[judged + 1 :] if "sample" in line]
    assert after[0] == ("decided", "first")
    assert {sample for _, sample in after[1:]} == {"second"}
    assert [sample.action.choice for sample in restored(read_journal(folder))] == [Choice.ACCEPT] * 2


def test_a_batch_that_is_over_does_nothing_again_and_takes_no_other_sheet(session, tmp_path):
    start, folder = session
    assert start().wait(PATIENCE_S) == 0
    before = len(read_journal(folder))
    assert start().wait(PATIENCE_S) == 0
    assert [line["event"] for line in read_journal(folder)[before:]] == ["resumed", "ended"]
    (tmp_path / "sheet.csv").write_text(SHEET.replace("second", "third"), encoding="utf-8")
    again = start()
    output, _ = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 2
    assert "was begun with another sheet; use that one, or another folder" in output
