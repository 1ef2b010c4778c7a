"""What the demo says of a batch, event by event."""

import io
import json

from streamer_plans.batch.samples import BatchEvent, Sample, SampleOutcome
from streamer_plans.demo import Reporter
from streamer_plans.tomo import TomoScan


def told(*what: str) -> tuple[list[str], Reporter]:
    out = io.StringIO()
    reporter, sample = Reporter(out), SampleOutcome(Sample(0, TomoScan("tooth", 10, rate_hz=1.0, x_out_mm=1.0)))
    for one in what:
        reporter.batch_event(BatchEvent(one, sample))
    return [json.loads(line)["event"] for line in out.getvalue().splitlines()], reporter


def test_a_sample_is_told_once_however_often_the_robot_tries() -> None:
    said, reporter = told("mounting", "mounting", "scanning")
    assert said == ["sample", "scan"]
    assert len(reporter.samples) == 1


def test_a_sample_that_is_on_the_stage_already_is_told_and_in_the_result() -> None:
    said, reporter = told("scanning", "scanning")
    assert said == ["sample", "scan", "scan"]
    assert [sample["name"] for sample in reporter.result()["samples"]] == ["tooth"]
