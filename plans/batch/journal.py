"""The journal of a batch: JSON lines on disk, each safe before the batch goes on. It is the decision record, too.

A restarted batch reads what became of every sample. A line that the end of the process cut off is dropped.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import convert, to_builtins

from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput, Verdict

from ..scan import ScanOutcome, TomoScan
from .policy import Action
from .samples import Attempt, Sample, SampleOutcome

JOURNAL = "journal.jsonl"

Line = dict[str, Any]


class Journal:
    """Lines of a batch in ``folder``; without one they go to the listeners only.

    Raises BadInput when another session has the journal open, or when a line cannot be read.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._listeners: list[Callable[[Line], None]] = []
        self._file: BinaryIO | None = None
        self.lines: list[Line] = []
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._open(folder / JOURNAL)

    def _open(self, path: Path) -> None:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise BadInput(f"{path}: another session runs this batch; end it first, or take another folder") from None
        try:
            self.lines, whole = _parsed(path)
        except BadInput:
            file.close()
            raise
        file.truncate(whole)
        self._file = file
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)  # so that the file itself survives a power cut
        os.close(directory)

    def listen(self, listener: Callable[[Line], None]) -> None:
        """Call ``listener`` with every new line."""
        self._listeners.append(listener)

    def write(self, event: str, **entries: Any) -> Line:
        """Append a line; it is on the disk when this returns."""
        stamp = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = {"time": stamp, "event": event, **entries}
        if self._file is not None:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self.lines.append(line)
        for listener in self._listeners:
            listener(line)
        return line

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _parsed(path: Path) -> tuple[list[Line], int]:
    """The lines of a journal, and the length in bytes of those that are whole."""
    lines: list[Line] = []
    whole = 0
    for number, text in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not text.endswith(b"\n"):
            break
        try:
            lines.append(json.loads(text))
        except ValueError:
            raise BadInput(f"{path}: line {number} is damaged; mend it by hand, or take another folder") from None
        whole += len(text)
    return lines, whole


def read_journal(folder: Path) -> list[Line]:
    """The lines of the journal in a folder. Raises BadInput when there is none."""
    path = folder / JOURNAL
    if not path.is_file():
        raise BadInput(f"{folder}: has no {JOURNAL}; name the folder of a batch")
    return _parsed(path)[0]


# ── values and their lines ──────────────────────────────────────────────────────────────────────────────────────────
def sample_entries(sample: Sample) -> Line:
    entries: Line = to_builtins(asdict(sample))
    return entries


def sample_of(entries: Line) -> Sample:
    scan = TomoScan(**entries["scan"])
    return Sample(entries["slot"], scan, entries["priority"], entries["plan"], entries["turns"])


def outcome_entries(outcome: ScanOutcome) -> Line:
    return {
        "scan_id": outcome.scan_id,
        "run_uid": outcome.run_uid,
        **outcome.verdict.to_dict(),
        "center_px": outcome.center_px,
        "columns": outcome.columns,
        "pixel_size_m": outcome.pixel_size_m,
        "report": None if outcome.report is None else finite(to_builtins(outcome.report)),
    }


def outcome_of(entries: Line) -> ScanOutcome:
    report = entries["report"]
    return ScanOutcome(
        entries["scan_id"],
        entries["run_uid"],
        Verdict.from_dict(entries),
        entries["center_px"],
        entries["columns"],
        entries["pixel_size_m"],
        None if report is None else convert(report, Report),
    )


def action_entries(action: Action) -> Line:
    entries: Line = to_builtins(action)
    return entries


def finite(value: Any) -> Any:
    """The value with None for numbers that JSON has not."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, list) else value


def restored(lines: Sequence[Line]) -> list[SampleOutcome]:
    """What became of the samples of a batch so far, in the order of its sheet; empty when it has not begun.

    Raises BadInput when a line is not one of this version.
    """
    try:
        return _restored(lines)
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise BadInput(f"the journal is one of another version ({error!r}); take another folder") from error


def _restored(lines: Sequence[Line]) -> list[SampleOutcome]:
    outcomes: dict[str, SampleOutcome] = {}
    for line in lines:
        if line["event"] == "started":
            outcomes = {entry["scan"]["sample"]: SampleOutcome(sample_of(entry)) for entry in line["samples"]}
            continue
        if "sample" not in line:
            continue
        sample = outcomes[line["sample"]]
        match line["event"]:
            case "robot":
                sample.faults += 1
            case "scanning":
                sample.in_flight = line["scan_id"]
            case "interrupted":
                sample.in_flight = ""
            case "attempt":
                sample.attempts.append(Attempt(outcome_of(line["outcome"]), convert(line["decision"], Action)))
                sample.in_flight = ""
            case "decided":
                sample.action = convert(line["decision"], Action)
    return list(outcomes.values())
