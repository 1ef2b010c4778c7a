"""Whether the daemon still takes the frames of a scan."""

import time

from streamer.client import LinkTimeout
from streamer.flow.wire.daemon import Report
from streamer.frames import StreamerError

from .daemon import StreamerDaemon
from .failures import FailureCode
from .waiting import Patience

ASK_EVERY_S = 0.2


class ScanFailed(StreamerError):
    """The scan cannot be finished: the detector or the daemon gave up, or nothing moves any more."""

    def __init__(self, text: str, failure: FailureCode = FailureCode.OTHER) -> None:
        super().__init__(text)
        self.failure = failure


class DaemonLost(LinkTimeout):
    """The daemon is gone, or it was restarted and has forgotten the scan."""

    failure = FailureCode.DAEMON_LOST


class DaemonWatch:
    """Asks the daemon about a scan, and tells what is wrong. Not thread-safe."""

    def __init__(self, daemon: StreamerDaemon) -> None:
        self._daemon = daemon
        self._asked_s = 0.0
        self._silent = False

    def ask(self, scan_id: str) -> Report | None:
        """The report; None after the first unanswered request. The second one is DaemonLost."""
        try:
            report = self._daemon.poll(scan_id)
        except LinkTimeout as error:
            if self._silent:
                raise DaemonLost(f"the daemon died or hangs: {error}") from error
            self._silent = True
            return None
        finally:
            self._asked_s = time.monotonic()
        self._silent = False
        if report is None:
            raise DaemonLost(f"the daemon does not know scan {scan_id} any more: it was restarted during the scan")
        return report

    def check(self, scan_id: str, patience: Patience, issued: int) -> None:
        """Now and then, raise when the daemon is dead, has given up, or receives nothing although frames are sent."""
        if time.monotonic() - self._asked_s < ASK_EVERY_S:
            return
        report = self.ask(scan_id)
        if report is None:
            return
        if report.state.final and report.state != "complete":
            why = f"the daemon closed the scan as {report.state}: {report.error or report.judgement}"
            raise ScanFailed(why, FailureCode.DAEMON_GAVE_UP)
        frames = report.frames
        seen = frames.received + frames.duplicate + frames.late + frames.corrupt + frames.passed
        if patience.lost(seen, issued if seen >= issued else 0):
            what = f"{seen} of {issued} frames received, no news for {patience.limit_s:.0f} s"
            raise ScanFailed(f"the daemon stalled: {what}", FailureCode.DAEMON_STALLED)

    def flushed(self, scan_id: str, patience: Patience) -> bool:
        """Whether all frames of a scan that is over are on disk. Raises when the daemon has given up, or hangs."""
        report = self.ask(scan_id)
        if report is None:
            return False
        state, received, written = report.state, report.frames.received, report.written
        if state in ("aborted", "failed") or (state == "incomplete" and report.error):
            why = f"the daemon closed the scan as {state}: {report.error or 'no reason given'}"
            raise ScanFailed(why, FailureCode.DAEMON_GAVE_UP)
        if state.final or (state == "finalising" and written >= received):
            return True
        if patience.lost(state, received, written):
            why = f"the daemon stalled while {state}: {written} of {received} frames written"
            raise ScanFailed(why, FailureCode.DAEMON_STALLED)
        return False
