"""``streamer status`` against a control socket that answers like a daemon: once, as JSON, and again and again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from msgspec import structs

from streamer.cli import main, status
from streamer.cli.status import lines, pace
from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import DaemonStatus, Endpoints, FrameCounts, GetStatus, Report, RingStatus
from streamer.frames import Quality, Reason, ReasonCode
from streamer.io.messaging.control import ControlServer
from tests.io.helpers import free_ports

COUNTS = FrameCounts(
    expected=210, received=103, missing=7, duplicate=1, late=2, corrupt=3, missing_projections=5, missing_flats=2
)
REPORT = Report(
    scan_id="night-7", sample="tooth", state=ScanState.ACQUIRING, frames=COUNTS, written=100,
    writer="failed", writer_note="the disk is full", verdict="CONTINUE",
    reasons=(Reason(ReasonCode.NOTHING_WRONG, "half of the angles came"),),
    quality=Quality(unusable_counts={"no light": 4}),
)  # fmt: skip
ENDPOINTS = Endpoints("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:3", source="tcp://127.0.0.1:4")
STATUS = DaemonStatus(ScanState.ACQUIRING, "1.2", "numba", ENDPOINTS, RingStatus(64, 3, 17), REPORT, uptime_s=90.0)


def later(answer: int) -> DaemonStatus:
    """The answers one after the other: ten more frames in each."""
    frames = structs.replace(COUNTS, received=COUNTS.received + 10 * answer)
    return structs.replace(STATUS, scan=structs.replace(REPORT, frames=frames))


@contextmanager
def daemon() -> Iterator[str]:
    """The endpoint of one."""
    stopped, asked = threading.Event(), count()

    def answer(_request: GetStatus) -> DaemonStatus:
        return later(next(asked))

    with zmq.Context() as context:
        server = ControlServer(context, "tcp://127.0.0.1:*", {GetStatus: answer}, lambda: 0.0)
        thread = threading.Thread(target=server.run, args=(stopped.is_set,))
        thread.start()
        try:
            yield server.endpoint
        finally:
            stopped.set()
            thread.join()


def test_the_answer_is_told_with_what_is_lost_and_why() -> None:
    assert lines(STATUS) == [
        "streamer 1.2, backend numba: acquiring, up for 90 s",
        "  control  tcp://127.0.0.1:1",
        "  events   tcp://127.0.0.1:2",
        "  preview  tcp://127.0.0.1:3",
        "  source   tcp://127.0.0.1:4",
        "  ring     3 of 64 slots in use, at most 17 so far",
        "  scan     night-7 of tooth: acquiring",
        "           103 of 210 frames, 7 missing (5 projections, 2 flats), 1 duplicate, 2 late, 3 corrupt, "
        "4 unusable (no light); 100 written",
        "  writer   failed: the disk is full",
        f"  verdict  {REPORT.judgement}",
    ]
    idle = structs.replace(STATUS, state=ScanState.IDLE, scan=None, uptime_s=600.0)
    assert lines(idle)[0].endswith(": idle, up for 10 min")
    assert lines(idle)[-1].startswith("  ring     ")


def test_json_on_stdout_is_alone_there_and_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon() as endpoint:
        assert main(["status", endpoint, "--json", "-"]) == 0
    told = capsys.readouterr()
    answer: dict[str, Any] = json.loads(told.out)
    assert answer["ring"] == {"slots": 64, "occupied": 3, "high_water": 17}
    scan = answer["scan"]
    assert (scan["scan_id"], scan["state"], scan["frames"]["missing_projections"]) == ("night-7", "acquiring", 5)
    assert scan["reasons"][0]["code"] == "nothing_wrong"
    assert scan["quality"]["unusable_counts"] == {"no light": 4}
    assert told.err.splitlines() == lines(STATUS)  # for people


def test_watching_goes_on_until_ctrl_c_and_tells_the_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = count(1)

    def sleep(_seconds: float) -> None:
        if next(naps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    with daemon() as endpoint:
        assert main(["status", endpoint, "--watch", "--timeout", "60"]) == 1
    told = capsys.readouterr()
    assert told.err == "streamer status: interrupted\n"
    rounds = told.out.split("streamer 1.2, ")[1:]
    assert [f"{103 + 10 * number} of 210 frames" in said for number, said in enumerate(rounds)] == [True] * len(rounds)
    assert len(rounds) == 4
    assert ["  pace     " in said for said in rounds] == [False] + [True] * (len(rounds) - 1)
    assert " frames/s, 97 to come, " in rounds[1]
    assert "\x1b" not in told.out  # no terminal: nothing that moves a cursor


def test_watching_ends_when_the_daemon_does(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    assert main(["status", f"tcp://127.0.0.1:{port}", "--watch", "--timeout", "0.05"]) == 2
    told = capsys.readouterr()
    assert told.out.strip() == ""
    assert told.err.startswith(f"streamer status: the daemon at tcp://127.0.0.1:{port} did not answer 'status' within")


def test_there_is_no_pace_between_two_scans_and_none_to_come_is_no_time() -> None:
    other = structs.replace(STATUS, scan=structs.replace(REPORT, scan_id="night-8"))
    assert pace((1.0, STATUS), (2.0, other)) == []
    assert pace((1.0, structs.replace(STATUS, scan=None)), (2.0, STATUS)) == []
    assert pace((2.0, STATUS), (2.0, later(1))) == []
    assert pace((1.0, STATUS), (2.0, later(11))) == ["  pace     110.0 frames/s, 0 to come, 0 s left"]
