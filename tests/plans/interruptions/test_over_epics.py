"""Plans over EPICS: the tests of several users, halts, pauses and dead sessions, and some of batches, again over
Channel Access.

In a process of its own, since the library of Channel Access reads its environment once.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from streamer.cli.rig.processes import local_channel_access
from tests.paths import ROOT

MODULES = ("tests/plans/interruptions/test_users.py", "tests/plans/batch/test_batch.py")

ROBOT = "mounted_while or grip_that_fails_is_tried or robot_fault"
CHOSEN = f"test_users and not stops_short or {ROBOT}"
"""Not that which reaches into the class of the simulated motors; of batches, what the robot has to do with."""


@pytest.mark.parametrize("control", ["epics", "ophyd-async"])
def test_what_holds_for_the_simulated_devices_holds(control: str) -> None:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *MODULES, "-k", CHOSEN]
    if control == "ophyd-async":
        words += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]  # aioca's, when a RunEngine's loop is closed
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **local_channel_access(), "STREAMER_TEST_CONTROL": control},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
