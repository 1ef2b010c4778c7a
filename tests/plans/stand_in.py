"""The stand-in daemon on a thread, with the verbs that the plans use."""

from __future__ import annotations

import threading
from typing import Any

from msgspec import structs

from streamer.flow.scan import ScanState
from streamer.flow.wire import pack
from streamer.flow.wire.control import Busy, Done, Ping, Pong
from streamer.flow.wire.daemon import Abort, Arm, Armed, GetVerdict, VerdictReply
from streamer.frames import BadInput
from tests.gui.stand_in_daemon import VERSION, StandInDaemon, report_of


class StandIn(StandInDaemon):
    """``report`` is what ``status`` and ``verdict`` answer; the first ``busy`` requests to arm are refused."""

    def __init__(self) -> None:
        handlers = {Ping: lambda _: Pong(VERSION), Arm: self.arm, GetVerdict: self.verdict, Abort: self.abort}
        super().__init__(handlers=handlers)
        self.busy = 0
        self.verbs: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.server.run, args=(self._ended.is_set,))
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        super().close()

    def event(self, topic: str, **entries: Any) -> None:
        """Any map as an event."""
        self.events.send([topic.encode(), pack(entries)])

    def arm(self, request: Arm) -> Armed:
        self.verbs.append("arm")
        if self.busy > 0:
            self.busy -= 1
            raise Busy("another scan is running")
        spec = request.spec
        self.report = structs.replace(report_of(spec.scan_id, spec.sample), state=ScanState.ARMED)
        return Armed(spec.scan_id, "/data/s1.nx", spec.dtype, (spec.rows, spec.columns), {})

    def verdict(self, request: GetVerdict) -> VerdictReply:
        report = self.report
        if report is None:
            raise BadInput(f"scan {request.scan_id!r} is not known to this daemon")
        return VerdictReply(report.scan_id, report.verdict, report.reasons, report.final, report.quality)

    def abort(self, request: Abort) -> Done:
        self.verbs.append("abort")
        self.tell(state=ScanState.ABORTED, error=request.reason)
        return Done()
