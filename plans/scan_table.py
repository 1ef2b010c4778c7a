"""A table of a scan that runs: a row a second with angle, frames and verdict so far, and the verdict at the end.

``RE.subscribe(ScanTable())``. Bluesky's BestEffortCallback makes rows of the events of "primary" alone, and the frames
of a scan there are no events but lie in a file.
"""

from collections.abc import Callable
from typing import Any

from bluesky.callbacks import CallbackBase, LiveTable

from .exposing import ROWS


class ScanTable(CallbackBase):
    """``out`` gets each line."""

    def __init__(self, out: Callable[[str], object] = print) -> None:
        super().__init__()
        self._out = out
        self._start: dict[str, Any] = {}
        self._table: Any = None
        self._verdict = ""

    def start(self, doc: Any) -> None:
        self._start, self._table, self._verdict = doc, None, ""

    def descriptor(self, doc: Any) -> None:
        if doc["name"] == ROWS:
            fields = [field for hint in doc["hints"].values() for field in hint.get("fields", ())]
            self._table = LiveTable(fields, stream_name=ROWS, separator_lines=False, out=self._out)
            self._table.start(self._start)
            self._table.descriptor(doc)
        elif doc["name"] == "verdict":
            self._verdict = doc["uid"]

    def event(self, doc: Any) -> Any:
        if self._table is not None:
            self._table.event(doc)
        if doc["descriptor"] == self._verdict:
            told = {key.rpartition("_")[2]: value for key, value in doc["data"].items()}
            self._out(f"verdict: {told['decision']}: {'; '.join(told['texts'])}")
        return doc

    def stop(self, doc: Any) -> None:
        if self._table is not None:
            self._table.stop(doc)
        if doc["exit_status"] != "success":
            self._out(f"the scan ended as {doc['exit_status']}: {doc['reason']}")
