"""How a verb logs on stderr: for people, for a collector of JSON lines, or for systemd's journal."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

FORMATS = ("text", "json", "journal")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JOURNAL = "%(name)s: %(message)s"  # the journal knows the time

PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""Levels and what syslog calls them."""


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--log-format`` and ``-v``; ``start_log`` reads them."""
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default="text",
        help="text for people; json, an object a line with level and scan id; journal, for systemd: "
        "`journalctl -p warning` then finds warnings (default text)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also log what helps to find a fault")


class ScanInHand(logging.Filter):
    """Adds the id of the scan in hand to records that name none; ``ask`` says which that is."""

    def __init__(self) -> None:
        super().__init__()
        self.ask: Callable[[], str | None] = lambda: None

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "scan_id"):
            record.scan_id = self.ask()
        return True


class JsonLines(logging.Formatter):
    """An object a line: time (UTC), level, logger, thread, message, and scan_id and exception where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if (scan_id := getattr(record, "scan_id", None)) is not None:
            entry["scan_id"] = scan_id
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class JournalLines(logging.Formatter):
    """Each line begins with its priority, as sd-daemon(3) has it."""

    def __init__(self) -> None:
        super().__init__(JOURNAL)

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def start_log(args: argparse.Namespace) -> ScanInHand:
    """Log on stderr as the options say."""
    formatters = {"text": logging.Formatter(TEXT), "json": JsonLines(), "journal": JournalLines()}
    scan, handler = ScanInHand(), logging.StreamHandler()
    handler.setFormatter(formatters[args.log_format])
    handler.addFilter(scan)
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.INFO, handlers=[handler])
    logging.getLogger("numba").setLevel(logging.WARNING)
    return scan
