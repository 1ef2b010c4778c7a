from __future__ import annotations

import argparse
import io
import json
import logging
from datetime import datetime, timedelta

import pytest

from streamer.cli.terminal.logs import JournalLines, JsonLines, ScanInHand, add_log_options

LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log:
    """A logger of its own whose lines are read back."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.scan, self._lines = ScanInHand(), io.StringIO()
        handler = logging.StreamHandler(self._lines)
        handler.setFormatter(formatter)
        handler.addFilter(self.scan)
        self.logger = logging.Logger("streamer.test")
        self.logger.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        return self._lines.getvalue().splitlines()


@pytest.fixture
def log() -> Log:
    return Log(JsonLines())


def test_a_line_is_an_object_with_time_level_and_words(log: Log) -> None:
    log.logger.warning("scan %s: %d of %d", "a", 1, 2)
    (entry,) = map(json.loads, log.lines)
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "streamer.test", "scan a: 1 of 2")
    assert datetime.fromisoformat(entry["time"]).utcoffset() == timedelta(0)
    assert "scan_id" not in entry
    assert "exception" not in entry


def test_the_scan_in_hand_is_named_unless_the_line_is_about_another(log: Log) -> None:
    log.scan.ask = lambda: "running"
    log.logger.info("a frame was refused")
    log.logger.info("it is over", extra={"scan_id": "before"})
    assert [json.loads(line)["scan_id"] for line in log.lines] == ["running", "before"]


def test_an_exception_stays_on_its_line(log: Log) -> None:
    try:
        raise ValueError("two\nlines µ")
    except ValueError:
        log.logger.exception("failed")
    (entry,) = map(json.loads, log.lines)
    assert entry["exception"].endswith("ValueError: two\nlines µ")


@pytest.mark.parametrize(("level", "priority"), LEVELS.items())
def test_the_journal_learns_the_priority_of_every_line(level: str, priority: int) -> None:
    log = Log(JournalLines())
    getattr(log.logger, level)("first\nsecond")
    assert log.lines == [f"<{priority}>streamer.test: first", f"<{priority}>second"]


def test_the_format_is_one_of_those_known() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_log_options(parser)
    assert parser.parse_args([]).log_format == "text"
    assert parser.parse_args(["--log-format", "json"]).log_format == "json"
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--log-format", "xml"])
