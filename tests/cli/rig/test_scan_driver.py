"""The driver of scans waits with an eye on the processes it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from streamer.cli.rig.processes import ManagedProcess
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.frames import StreamerError

READY = """
import json, pathlib, sys, threading
scratch = pathlib.Path(sys.argv[1] + ".tmp")
scratch.write_text(json.dumps({"control": "tcp://127.0.0.1:1"}))
scratch.rename(sys.argv[1])
threading.Event().wait()
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ManagedProcess, ManagedProcess]]:
    """Two processes that are ready and do nothing."""
    pair = tuple(
        ManagedProcess(name, ["-c", READY, str(tmp_path / name)], tmp_path / f"{name}.log", tmp_path / name)
        for name in ("beamline", "daemon")
    )
    for process in pair:
        process.wait_ready()
    yield pair
    for process in pair:
        process.stop()


def test_it_waits_for_the_first_true_value(pair: tuple[ManagedProcess, ManagedProcess]) -> None:
    with zmq.Context() as context:
        values = iter([None, 0, "", "now", "later"])
        assert ScanDriver(context, *pair).until(lambda: next(values), "a value") == "now"


def test_it_gives_up_in_the_end(pair: tuple[ManagedProcess, ManagedProcess]) -> None:
    with zmq.Context() as context, pytest.raises(StreamerError, match=r"^the end of days: not within 0\.05 s$"):
        ScanDriver(context, *pair, timeout_s=0.05).until(lambda: False, "the end of days")


def test_it_says_which_process_has_ended(pair: tuple[ManagedProcess, ManagedProcess]) -> None:
    with zmq.Context() as context:
        driver = ScanDriver(context, *pair)
        pair[1].stop()
        with pytest.raises(StreamerError, match=r"^the daemon ended: it said nothing; see "):
            driver.until(lambda: False, "anything")
