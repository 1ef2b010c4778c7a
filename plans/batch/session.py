"""A batch from a sheet in a folder, as a plan: with journal, messages, and a report at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..stubs import Plan
from .journal import Journal
from .messages import Messenger, Send
from .plan import BatchStation, tomo_batch
from .policy import Policy
from .report import write_report
from .samples import BatchEvent
from .sheet import read_sheet


def sheet_batch(
    station: BatchStation,
    sheet: Path,
    folder: Path,
    policy: Policy = Policy(),  # noqa: B008 - a frozen value
    sends: Sequence[Send] = (),
    on_event: Callable[[BatchEvent], None] = lambda event: None,
) -> Plan:
    """Scan the samples of a sheet. Returns a list of SampleOutcome. The same call again goes on after an end.

    The folder gets the journal, and at the end the report. ``sends`` are told what people should know. Raises BadInput
    before anything moves, and TomoScanError when the batch cannot go on.
    """
    samples = read_sheet(sheet)
    journal = Journal(folder)
    messenger = Messenger(sends)
    journal.listen(messenger)
    try:
        return (yield from tomo_batch(station, samples, policy, journal, on_event))
    finally:
        if any(line["event"] == "started" for line in journal.lines):
            write_report(folder, journal.lines)
        messenger.close()
        journal.close()
