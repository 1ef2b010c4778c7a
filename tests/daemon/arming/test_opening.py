"""What hinders the opening of a scan, and that nothing is left behind then."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from msgspec import structs

from streamer.daemon.arming import opening
from streamer.frames import BadInput
from streamer.io.messaging.control import Busy
from tests.daemon.rig import PATIENCE_S, Rig, TinyScan
from tests.io.helpers import wait_until

SPEC = TinyScan().spec


def go_on(pid: int) -> None:
    """Let a process go on that was stopped, if it is there still."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_arming_is_busy_while_the_raw_writer_is_slow_to_start(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A process that is stopped while it starts stands for one that gets no time on a busy machine."""
    killed = rig.writer.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: rig.writer.poll_events(0.02) is not None and rig.writer.pid != killed, "the next writer")
    slow = rig.writer.pid
    os.kill(slow, signal.SIGSTOP)
    request.addfinalizer(lambda: go_on(slow))
    with monkeypatch.context() as impatient:
        impatient.setattr(opening, "OPEN_TIMEOUT_S", 0.1)
        with pytest.raises(Busy, match=r"the raw writer did not answer 'open' .*: the machine is busy; try again"):
            rig.scans.arm(SPEC)
    assert rig.scans.current is None
    assert not list(rig.directory.iterdir())
    go_on(slow)
    monkeypatch.setattr(opening, "OPEN_TIMEOUT_S", PATIENCE_S)
    assert rig.scans.arm(SPEC).state == "armed"


def test_a_raw_file_is_not_made_where_a_symbolic_link_leads(rig: Rig) -> None:
    (rig.directory / "scan-1.nx").symlink_to(rig.directory / "elsewhere")
    with pytest.raises(BadInput, match=r"scan-1\.nx exists already"):
        rig.scans.arm(SPEC)
    assert not (rig.directory / "elsewhere").exists()


def test_a_raw_file_is_never_overwritten(rig: Rig) -> None:
    (rig.directory / "scan-1.nx").write_text("precious")
    with pytest.raises(BadInput, match=r"scan-1\.nx exists already"):
        rig.scans.arm(SPEC)
    assert (rig.directory / "scan-1.nx").read_text() == "precious"


@pytest.mark.parametrize(
    ("sections", "spec", "words"),
    [
        ({"writer": {"reserve_mb": 1e9}}, SPEC, "GB free, the scan needs"),
        ({}, structs.replace(SPEC, rows=600, columns=600), "make the ring larger"),
        ({"ring": {"max_slots": 4}}, structs.replace(SPEC, rows=400, columns=400), "make the ring larger"),
        (
            {"reconstruction": {"memory_mb": 16}, "ring": {"max_slots": 4}},
            structs.replace(SPEC, rows=2, columns=60_000, projections=1000, dtype="|u1"),
            r"one detector row needs .* MiB for its reconstruction, 16.0 are allowed",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing_behind(
    build: Callable[..., Rig], sections: dict[str, Any], spec: Any, words: str
) -> None:
    rig = build(**sections)
    with pytest.raises(BadInput, match=words):
        rig.scans.arm(spec)
    assert rig.scans.current is None
    assert not list(rig.directory.iterdir())


def test_after_a_refusal_the_next_scan_can_be_armed(rig: Rig) -> None:
    with pytest.raises(BadInput):
        rig.scans.arm(structs.replace(SPEC, rows=600, columns=600))
    assert rig.scans.arm(SPEC).state == "armed"
