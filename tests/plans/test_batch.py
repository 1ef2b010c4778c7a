"""Batches: one bad sample never ends them, a dead server does."""

import logging
from dataclasses import replace

import pytest
from bluesky import RunEngine

from streamer.frames import ReasonCode
from streamer_plans.adaptive import Choice
from streamer_plans.batch import tomo_batch
from streamer_plans.tomo import TomoScanError


@pytest.fixture
def batch(engine: RunEngine, documents, start_daemon, connect, scan, caplog):
    """Run a batch of slots against a daemon with a script."""
    caplog.set_level(logging.CRITICAL, "bluesky")
    scan = replace(scan, projections=12)

    def run(slots, *script, **options):
        beamline = connect(start_daemon(*script))
        return engine(tomo_batch(beamline, slots, scan, **options)).plan_result

    return run


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
    faults(grip_failures=1)
    first, second = batch([1, 2])
    assert first.action.choice is Choice.REJECT
    assert "gripper lost the sample of slot 1" in first.action.why
    assert first.attempts == []
    assert second.action.choice is Choice.ACCEPT


def test_a_slot_that_does_not_exist_is_rejected(batch):
    first, second = batch([77, 1])
    assert "slot 77 does not exist" in first.action.why
    assert second.action.choice is Choice.ACCEPT


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
        engine(tomo_batch(beamline, [0, 1, 2], replace(scan, projections=12), on_event=kill_after_first))
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success", "fail"]
