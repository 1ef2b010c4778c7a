"""Batches: one bad sample never ends them, a dead server does."""

import logging
from dataclasses import replace

import pytest
from bluesky import RunEngine

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus
from streamer.frames import Decision, ReasonCode
from streamer_plans.batch import Choice, Policy, Sample, plan, tomo_batch
from streamer_plans.batch.policy import Blame
from streamer_plans.batch.sheet import SheetErrors
from streamer_plans.devices.failures import FailureCode
from streamer_plans.scan import TomoScanError

ONE_BY_ONE = Policy(overlap=False)


@pytest.fixture
def batch(engine: RunEngine, documents, start_daemon, connect, scan, caplog):
    """Run a batch of slots against a daemon with a script."""
    caplog.set_level(logging.CRITICAL, "bluesky")
    daemons = []

    def run(slots, *script, samples=None, **options):
        for daemon in daemons:
            daemon.kill()  # it would take every other frame
        daemons.append(start_daemon(*script))
        beamline = connect(daemons[-1])
        options = {"policy": ONE_BY_ONE, **options}
        return engine(tomo_batch(beamline, samples or samples_of(scan, slots), **options)).plan_result

    return run


def samples_of(scan, slots):
    return [Sample(slot, replace(scan, sample=f"sample-{slot}", projections=12)) for slot in slots]


def choices(sample):
    return [attempt.action.choice.value for attempt in sample.attempts]


@pytest.mark.parametrize("text", ["no sample in the beam", "x"])
def test_verdicts_steer_the_batch_whatever_their_sentences_say(batch, documents, text):
    heard = []
    first, second, third = batch(
        [0, 1, 2],
        {"verdict": "REALIGN", "center_px": 20.5},
        {"verdict": "RETAKE", "reasons": [{"code": "motion", "text": text}]},
        {"verdict": "ENOUGH"},
        {"verdict": "EMPTY", "reasons": [{"code": "empty", "text": text}]},
        {"verdict": "RETAKE"},
        on_event=lambda event: heard.append((event.what, event.sample.slot)),
    )
    assert choices(first) == ["realign", "retake", "accept"]
    assert choices(second) == ["reject"]
    assert choices(third) == ["retake", "retake", "reject"]
    assert heard.count(("sample", 0)) == 1
    starts = documents.of("start")
    assert len(starts) == 7
    pixel_mm = first.attempts[0].outcome.pixel_size_m * 1e3
    assert starts[0]["geometry"]["x_in_mm"] == 0.0
    assert starts[1]["geometry"]["x_in_mm"] == pytest.approx(-5 * pixel_mm)
    assert starts[2]["geometry"]["x_in_mm"] == pytest.approx(-5 * pixel_mm)
    assert starts[3]["geometry"]["x_in_mm"] == 0.0


def test_a_robot_fault_rejects_one_sample(batch, faults):
    faults(changer=["slot_empty"])
    first, second = batch([1, 2])
    assert (first.action.choice, first.action.blame) == (Choice.REJECT, Blame.SAMPLE)
    assert "slot 1 is empty" in first.action.why
    assert first.attempts == []
    assert second.action.choice is Choice.ACCEPT


def test_a_slot_that_does_not_exist_is_refused_before_the_robot_moves(batch, documents):
    heard = []
    with pytest.raises(SheetErrors, match=r"'sample-77', column slot: slot 77 does not exist; use 0 to 3"):
        batch([1, 77], on_event=heard.append)
    assert heard == []
    assert documents.all == []


def test_a_failed_scan_is_taken_again(batch, faults):
    faults(stall=5)
    (sample,) = batch([1])
    assert choices(sample) == ["retake", "accept"]
    (reason,) = sample.attempts[0].outcome.verdict.reasons
    assert reason.code is ReasonCode.SCAN_FAILED
    assert "camera stopped before frame 5" in reason.text
    assert sample.attempts[0].outcome.scan_id


def test_a_dead_daemon_ends_the_batch(engine, documents, start_daemon, connect, scan, caplog):
    caplog.set_level(logging.CRITICAL, "bluesky")
    daemon = start_daemon()
    beamline = connect(daemon)

    def kill_after_first(event):
        if event.what == "sample":
            daemon.kill()

    with pytest.raises(TomoScanError, match=r"the Streamer daemon at .* did not answer"):
        engine(tomo_batch(beamline, samples_of(scan, [0, 1, 2]), Policy(patience_s=0.0), on_event=kill_after_first))
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success", "fail"]


def test_a_grip_that_fails_is_tried_again(batch, faults):
    batch([0])  # the stage is empty afterwards
    faults(changer=["grip_failed", "grip_failed"])
    first, second = batch([1, 2])
    assert (first.action.choice, first.faults) == (Choice.ACCEPT, 2)
    assert second.faults == 0


def test_a_robot_that_fails_again_and_again_ends_the_batch(batch, faults):
    """Three tries with each of three samples: then it is the robot."""
    batch([0])
    faults(changer=["grip_failed"] * 9)
    with pytest.raises(TomoScanError, match="3 samples in a row failed, not through their own fault"):
        batch([0, 1, 2, 3])


def test_the_next_sample_is_mounted_while_the_verdict_is_awaited(batch, documents):
    """The run's stop document comes after the robot was sent for the next sample."""
    order = []
    outcomes = batch(
        [0, 1, 2],
        {"verdict": "ENOUGH"},
        {"verdict": "ENOUGH"},
        policy=Policy(),
        on_event=lambda event: order.append((event.what, event.sample.slot)),
    )
    assert [sample.action.choice for sample in outcomes] == [Choice.ACCEPT] * 3
    assert order.index(("mounting", 1)) < order.index(("attempt", 0))
    assert order.index(("mounting", 2)) < order.index(("attempt", 1))
    assert len(documents.of("start")) == 3


def test_a_sample_that_is_needed_again_comes_back_after_the_one_on_the_stage(batch, documents, monkeypatch):
    """Its final verdict came when the next one was mounted: that one is scanned first, and nobody twice."""
    monkeypatch.setattr(plan, "EARLY", tuple(Decision))
    first, second = batch([1, 2], {"verdict": "RETAKE"}, {"verdict": "ENOUGH"}, {"verdict": "ENOUGH"}, policy=Policy())
    assert choices(first) == ["retake", "accept"]
    assert choices(second) == ["accept"]
    assert [start["sample_name"] for start in documents.of("start")] == ["sample-1", "sample-2", "sample-1"]


def test_higher_priorities_come_first(batch, documents, scan):
    low, high, other = samples_of(scan, [0, 1, 2])
    beamline_samples = [low, replace(high, priority=5.0), other]
    outcomes = batch([], samples=beamline_samples)
    assert [outcome.slot for outcome in outcomes] == [0, 1, 2]
    assert [start["sample_name"] for start in documents.of("start")] == ["sample-1", "sample-0", "sample-2"]


def test_refused_arguments_are_no_bad_data(batch, scan, documents):
    """Refused once, whatever number of retakes is left, and the next sample is scanned."""
    bad, good = samples_of(scan, [1, 2])
    bad = replace(bad, scan=replace(bad.scan, flat_position="attic"))
    first, second = batch([], samples=[bad, good])
    assert choices(first) == ["reject"]
    assert (first.action.blame, first.action.rule) == (Blame.SETTINGS, f"failure {FailureCode.REFUSED}")
    assert "attic" in first.action.why
    assert choices(second) == ["accept"]


def test_the_beamline_is_claimed_once_for_the_whole_batch(batch, beamline_process):
    """Another user waits through all scans, and has the beamline afterwards."""
    owners = []
    with Link(beamline_process.endpoints["control"], "the virtual beamline") as link:
        batch([1, 2], on_event=lambda _event: owners.append(link.ask(GetBeamlineStatus()).ownership.scan_id))
        assert link.ask(GetBeamlineStatus()).ownership.scan_id is None
    assert len(set(owners)) == 1
    assert owners[0].startswith("batch.")
