"""The journal: every line safe, one session, and a batch that goes on wherever it was cut off."""

import json
from dataclasses import replace

import pytest

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput, Decision, Quality, Reason, ReasonCode, Verdict
from streamer_plans.batch.journal import (
    JOURNAL,
    Journal,
    action_entries,
    outcome_entries,
    outcome_of,
    read_journal,
    restored,
    sample_entries,
    sample_of,
)
from streamer_plans.batch.policy import Action, Blame, Change, Choice
from streamer_plans.batch.samples import Sample
from streamer_plans.scan import ScanOutcome, TomoScan

SAMPLES = [
    Sample(0, TomoScan("Ti 6Al 4V", 30, energy_kev=25.0, metadata={"a": 1}), 1.0, "interlaced", 4),
    Sample(3, TomoScan("kůra", stop_early=True)),
]
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), True)
REPORT = Report(scan_id="a.1", sample="a", state=ScanState.COMPLETE, quality=Quality(snr=2.5), raw_file="/d/a.nx")
OUTCOME = ScanOutcome("a.1", "uid", MOVED, 31.5, 64, 1e-6, REPORT)
AGAIN = Action(Choice.RETAKE, "it moved", Blame.SAMPLE, "reason motion", Change.MORE_PROJECTIONS, {"projections": 60})


def begun(folder):
    journal = Journal(folder, clock=lambda: 1e9)
    journal.write("started", samples=[sample_entries(sample) for sample in SAMPLES], versions={"daemon": "1"})
    return journal


def filled(folder):
    journal = begun(folder)
    journal.write("mounting", sample="Ti 6Al 4V", slot=0, early=False)
    journal.write("robot", sample="Ti 6Al 4V", number=1, decision=action_entries(AGAIN))
    journal.write("scanning", sample="Ti 6Al 4V", number=1, scan_id="a.1")
    journal.write("attempt", sample="Ti 6Al 4V", outcome=outcome_entries(OUTCOME), decision=action_entries(AGAIN))
    journal.write("scanning", sample="Ti 6Al 4V", number=2, scan_id="a.2")
    journal.write("decided", sample="kůra", decision=action_entries(Action(Choice.REJECT, "empty", Blame.SAMPLE)))
    journal.close()
    return journal


def test_values_survive_the_way_to_the_disk_and_back():
    through = lambda entries: json.loads(json.dumps(entries, allow_nan=False))  # noqa: E731
    assert [sample_of(through(sample_entries(sample))) for sample in SAMPLES] == SAMPLES
    assert outcome_of(through(outcome_entries(OUTCOME))) == OUTCOME
    assert outcome_of(through(outcome_entries(replace(OUTCOME, report=None, center_px=None)))).report is None


def test_numbers_that_json_has_not_are_null():
    report = Report(scan_id="a.1", sample="a", state=ScanState.COMPLETE, artefacts={"rings": None})
    outcome = ScanOutcome("a.1", "uid", MOVED, report=report)
    json.dumps(outcome_entries(outcome), allow_nan=False)


def test_a_batch_is_restored_from_its_lines(tmp_path):
    filled(tmp_path)
    first, second = restored(read_journal(tmp_path))
    assert [first.sample, second.sample] == SAMPLES
    assert (len(first.attempts), first.faults, first.in_flight, first.action) == (1, 1, "a.2", None)
    assert first.attempts[0].outcome == OUTCOME
    assert first.attempts[0].action == AGAIN
    assert first.scan.projections == 60
    assert first.retaken == {Blame.SAMPLE: 1}
    assert second.action.choice is Choice.REJECT


def test_every_cut_of_the_file_is_a_state_of_the_batch(tmp_path):
    """Wherever the end of the process cut the file off, it opens, and goes on with whole lines."""
    filled(tmp_path)
    path = tmp_path / JOURNAL
    data = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(data) if byte == 10]
    for cut in sorted({*range(0, len(data), 97), *ends, *(end - 1 for end in ends)}):
        path.write_bytes(data[:cut])
        journal = Journal(tmp_path)
        whole = sum(end <= cut for end in ends)
        assert len(journal.lines) == whole
        assert len(restored(journal.lines)) == (2 if whole else 0)
        journal.write("resumed")
        journal.close()
        assert [line["event"] for line in read_journal(tmp_path)][-1] == "resumed"
        assert len(read_journal(tmp_path)) == whole + 1


def test_a_second_session_is_refused(tmp_path):
    journal = begun(tmp_path)
    with pytest.raises(BadInput, match="another session runs this batch"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


@pytest.mark.parametrize("text", [b"nonsense\n", b'{"event": "started"\n{}\n'])
def test_a_damaged_line_is_named(tmp_path, text):
    (tmp_path / JOURNAL).write_bytes(b"{}\n" + text + b"{}\n")
    with pytest.raises(BadInput, match="line 2 is damaged"):
        Journal(tmp_path)


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has no journal\.jsonl; name the folder of a batch"):
        read_journal(tmp_path)


def test_lines_of_another_version_are_refused():
    with pytest.raises(BadInput, match="another version"):
        restored([{"event": "started", "samples": [{"slot": 1}]}])


def test_listeners_hear_every_line():
    heard = []
    journal = Journal(clock=lambda: 0.0)
    journal.listen(heard.append)
    journal.write("ended", text="x")
    assert heard == journal.lines == [{"time": "1970-01-01T00:00:00.000+00:00", "event": "ended", "text": "x"}]
