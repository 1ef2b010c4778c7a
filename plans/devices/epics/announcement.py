"""The announcement of a scan to an IOC that wants to know: records for its beginning and its end."""

import msgspec

from streamer.flow.wire import EndStatus
from streamer.frames import ScanSpec

from .record import Record, check_answer

PREPARE_S = 60.0


class Announcement:
    """Records that begin with ``prefix``: Spec gets the announcement as JSON before the first frame, End how the scan
    ended; Answer_RBV is "" when that was taken.

    The IOC of the virtual beamline needs it, since its camera takes part in the scan; others may write it into their
    files.
    """

    def __init__(self, prefix: str) -> None:
        self._spec, self._end = (Record(prefix + word, prefix + word, text=True) for word in ("Spec", "End"))
        self._answer = Record(f"{prefix}Answer_RBV", text=True)

    def begin(self, spec: ScanSpec) -> None:
        self._spec.order(msgspec.json.encode(spec).decode(), PREPARE_S)
        check_answer(self._answer)

    def end(self, status: EndStatus) -> None:
        self._end.order(status)
        check_answer(self._answer)
