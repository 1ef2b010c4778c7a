"""Errors of devices and servers as codes."""

import pytest
from bluesky.utils import FailedStatus

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import WireError
from streamer.frames import BadInput
from streamer_plans.devices.claim import BeamlineTaken
from streamer_plans.devices.daemon_watch import DaemonLost, ScanFailed
from streamer_plans.devices.failures import FailureCode, failure_of
from streamer_plans.devices.stage import MotionStopped
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ScanFailed("no frame", FailureCode.CAMERA_STALLED), FailureCode.CAMERA_STALLED),
        (ScanFailed("anything"), FailureCode.OTHER),
        (DaemonLost("gone"), FailureCode.DAEMON_LOST),
        (LinkTimeout("no answer"), FailureCode.SERVER_LOST),
        (LinkError("not so", "bad_input"), FailureCode.REFUSED),
        (LinkError("later", "busy"), FailureCode.OTHER),
        (BadInput("no"), FailureCode.REFUSED),
        (WireError("map", "not a map"), FailureCode.OTHER),
        (BeamlineTaken("theirs"), FailureCode.BEAMLINE_TAKEN),
        (MotionStopped("stands"), FailureCode.MOTION),
        (TimeoutError("late"), FailureCode.TIMED_OUT),
        (FailedStatus("a Status"), FailureCode.OTHER),
    ],
)
def test_every_error_has_a_code(error, code):
    assert failure_of(error) is code


def test_the_page_shows_the_codes():
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8").split("## Why a scan failed")[1]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{code.value}` | {code.meaning} |" for code in FailureCode]
