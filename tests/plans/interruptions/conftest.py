"""What tests of interrupted scans share: silence about failed runs, and a look at the beamline past the devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from streamer.cli.rig.processes import ManagedProcess
from streamer.client import Link
from streamer.flow.wire.beamline import BeamlineStatus, GetBeamlineStatus


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The RunEngine logs the traceback of every failed run."""
    caplog.set_level(logging.CRITICAL, "bluesky")


@pytest.fixture
def station(beamline_process: ManagedProcess) -> Iterator[Callable[[], BeamlineStatus]]:
    """Asks the virtual beamline how it is."""
    with Link(beamline_process.endpoints["control"], "the virtual beamline", timeout_s=60.0) as link:
        yield lambda: link.ask(GetBeamlineStatus())
