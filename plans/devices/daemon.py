"""The Streamer daemon as a device: a plan arms it before a scan and reads its verdict afterwards."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.status import Status

from streamer.client import Events, Link, LinkClosed, LinkError, LinkTimeout, reachable
from streamer.flow.wire import EndStatus
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import Abort, Arm, EndScan, GetStatus, GetVerdict, Report, Trigger, VerdictReply
from streamer.flow.wire.events import Event, ProgressEvent, StateEvent, VerdictEvent
from streamer.frames import NOT_JUDGED, Decision, Reason, ReasonCode, ScanSpec, Verdict
from streamer.keys import client_key

from .claim import GivenUp
from .signals import PolledSignal
from .waiting import settle

log = logging.getLogger(__name__)

NUMBERS = ("center_px", "center_confidence", "coverage", "snr", "motion_px", "resolution_px", "flat_drift")
SLICE_S = 1.0  # longest wait of one request for the verdict, so that a dead daemon is noticed
RETRY_S = 0.1
HEARTBEAT_S = 2.0
ARM_S = 150.0  # the daemon may answer only when the tomogram of the previous scan is written


class Measured(Signal):
    """A number, or None while it is not known."""

    def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"source": self.source_name, "dtype": "number", "shape": []}}


class StreamerDaemon(Device):
    """``trigger()`` waits for the final verdict of the armed scan, ``read()`` returns it.

    Waiting never hangs and never fails: without a verdict in time ``decision`` becomes UNKNOWN, with the reason
    ``no_verdict``. ``reason_codes`` and ``reason_texts`` belong together, one each for every reason; plans decide on
    codes. While the scan runs, ``decision`` follows the daemon's opinion so far (from its events), so that a plan can
    stop early. A number that the daemon could not measure reads None (null in JSON,
    which has no NaN).

    ``key`` is the file with the key of a client that may steer, for a daemon with keys; without it the one that
    STREAMER_KEY names.
    """

    decision = Cpt(Signal, value=NOT_JUDGED.decision.value, kind=Kind.hinted)
    reason = Cpt(Signal, value=NOT_JUDGED.codes[0].value, kind=Kind.hinted)  # the first of reason_codes
    reason_codes = Cpt(Signal, value=[], kind=Kind.normal)
    reason_texts = Cpt(Signal, value=[], kind=Kind.normal)
    final = Cpt(Signal, value=0, kind=Kind.normal)
    armed_scan = Cpt(Signal, value="", kind=Kind.normal)
    center_px = Cpt(Measured, value=None, kind=Kind.normal)
    center_confidence = Cpt(Measured, value=None, kind=Kind.normal)
    coverage = Cpt(Measured, value=None, kind=Kind.normal)
    snr = Cpt(Measured, value=None, kind=Kind.normal)
    motion_px = Cpt(Measured, value=None, kind=Kind.normal)
    resolution_px = Cpt(Measured, value=None, kind=Kind.normal)
    flat_drift = Cpt(Measured, value=None, kind=Kind.normal)
    verdict_timeout = Cpt(Signal, value=60.0, kind=Kind.config)

    def __init__(
        self,
        endpoint: str,
        name: str = "streamer",
        busy_timeout_s: float = 120.0,
        key: Path | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.last_report: Report | None = None
        self.on_report: Callable[[Report], None] | None = None
        self._key = client_key(key, os.environ)
        self._link = Link(endpoint, "the Streamer daemon", key=self._key)
        # A socket of its own: a long wait must not delay other requests.
        self._patient = Link(endpoint, "the Streamer daemon", key=self._key)
        self._events: Events | None = None
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._pulse = Link(endpoint, "the Streamer daemon", timeout_s=HEARTBEAT_S, key=self._key)
        self.alive = PolledSignal(self._is_alive, f"{name}_alive", True, HEARTBEAT_S)
        """Whether the daemon answers; for a suspender. It is asked while somebody is subscribed."""
        self._set_verdict(NOT_JUDGED)

    # ── the scan ────────────────────────────────────────────────────────────────────────────────────────────────
    def arm(self, spec: ScanSpec, given_up: Callable[[], bool] = lambda: False) -> str:
        """Arm the daemon and return the path of the raw file. Waits while the previous scan is being finished.

        Raises GivenUp when ``given_up()`` while it waits.
        """
        self._link.ask(Ping())  # notices a dead daemon at once; arming a busy one may take long
        end = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                raw_file = self._link.ask(Arm(spec), timeout_s=ARM_S).raw_file
                break
            except LinkError as error:
                if error.code != "busy" or time.monotonic() > end:
                    raise
                if given_up():
                    raise GivenUp(f"scan {spec.scan_id} was given up while it waited: {error}") from error
                time.sleep(RETRY_S)
        self._forget(spec.scan_id)
        self._listen()
        return raw_file

    def version(self) -> str:
        """The version of the daemon, which is alive then. Raises LinkTimeout."""
        return self._link.ask(Ping()).version

    def poll(self, scan_id: str, timeout_s: float | None = None) -> Report | None:
        """Request the report of a scan. Returns None when the daemon does not know it."""
        report = self._link.ask(GetStatus(scan_id), timeout_s).scan
        if report is None or report.scan_id != scan_id:
            return None
        self._take(report)
        return report

    def abort(self, scan_id: str, reason: str, timeout_s: float | None = None) -> None:
        """Abort a scan; the frames received are kept."""
        self._link.ask(Abort(scan_id, reason), timeout_s)

    def capture(self, scan_id: str) -> None:
        """Keep the latest projections of a scan that waits for this, and those that follow. Raises LinkError."""
        self._link.ask(Trigger(scan_id))

    def end(self, scan_id: str, frames: int, status: EndStatus) -> None:
        """No more frames of a scan come than these, of all kinds."""
        self._link.ask(EndScan(scan_id, frames, status))

    def written(self, scan_id: str) -> int:
        """Frames of a scan that are on disk, from the last report received; sends no request."""
        with self._lock:
            report = self.last_report
            return report.written if report is not None and report.scan_id == scan_id else 0

    def close(self) -> None:
        """Close the sockets for good; whoever still waits for the daemon waits no more."""
        events, self._events = self._events, None
        if events is not None:
            events.close()
        self.alive.close()
        for link in (self._link, self._patient, self._pulse):
            link.close()

    def _is_alive(self) -> bool:
        try:
            self._pulse.ask(Ping())
        except (LinkError, LinkTimeout):
            return False
        return True

    # ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────
    def trigger(self) -> Status:
        """Wait for the final verdict and for the end of the scan, at most ``verdict_timeout`` seconds."""
        status = Status()
        scan_id, limit = str(self.armed_scan.get()), float(self.verdict_timeout.get())
        threading.Thread(target=self._await, args=(scan_id, limit, status), name="verdict", daemon=True).start()
        return status

    def _await(self, scan_id: str, limit: float, status: Status) -> None:
        end = time.monotonic() + limit
        trouble = ""
        while not self._ended(scan_id) and (left := end - time.monotonic()) > 0:
            try:
                self._ask(scan_id, min(SLICE_S, left))
                trouble = ""
            except LinkClosed as error:
                trouble = f": {error}"
                break
            except (LinkError, LinkTimeout) as error:
                trouble = f": {error}"
                time.sleep(min(RETRY_S, left))
        if not self._verdict.final:
            why = f"no final verdict within {limit:g} s{trouble}"
            if self.last_report is not None and self._ended(scan_id):
                why = f"the scan ended as {self.last_report.state}"
            reason = Reason(ReasonCode.NO_VERDICT, why)
            self._set_verdict(Verdict(Decision.UNKNOWN, (reason, *self._verdict.reasons)))
        settle(status)

    def _ask(self, scan_id: str, wait_s: float) -> None:
        if not self._verdict.final:
            request = GetVerdict(scan_id, wait=True, timeout_s=wait_s)
            self._publish(self._patient.ask(request, timeout_s=wait_s + self._patient.timeout_s))
        if self.poll(scan_id) is None:
            raise LinkError(f"the daemon does not know scan {scan_id} (was it restarted?)")
        if self._verdict.final and not self._ended(scan_id):
            time.sleep(RETRY_S)

    def _ended(self, scan_id: str) -> bool:
        with self._lock:
            report = self.last_report
            return report is not None and report.scan_id == scan_id and report.state.final

    # ── reports and events ──────────────────────────────────────────────────────────────────────────────────────
    def _forget(self, scan_id: str) -> None:
        with self._lock:
            self.armed_scan.put(scan_id)
            self.last_report = None
            self._set_verdict(NOT_JUDGED)
            for name in NUMBERS:
                getattr(self, name).put(None)

    def _listen(self) -> None:
        """Subscribe to the events, again when a restarted daemon has another endpoint. Without events we only poll."""
        endpoint = reachable(self._link.ask(GetStatus()).endpoints.events, self._link.endpoint)
        if self._events is not None and self._events.endpoint != endpoint:
            self._events.close()
            self._events = None
        if self._events is None and endpoint:
            self._events = Events(endpoint, self._heard, self._key)

    def _heard(self, event: Event) -> None:
        if isinstance(event, (StateEvent, ProgressEvent)) and event.report is not None:
            self._take(event.report)
        elif isinstance(event, VerdictEvent):
            self._publish(event)

    def _take(self, report: Report) -> None:
        with self._lock:
            if report.scan_id != self.armed_scan.get():
                return
            before = 0 if self.last_report is None else self.last_report.written
            if not report.state.final and (self._ended(report.scan_id) or report.written < before):
                return  # an event older than the last reply
            self.last_report = report
        self._publish(report)
        if self.on_report is not None:
            self.on_report(report)

    def _publish(self, news: Report | VerdictReply | VerdictEvent) -> None:
        """Take a verdict and its numbers. An older, preliminary one does not replace a final one."""
        with self._lock:
            if news.scan_id != self.armed_scan.get() or (self._verdict.final and not news.final):
                return
            self._set_verdict(news.judgement)
            for name in NUMBERS:
                value = getattr(news.quality, name)
                getattr(self, name).put(None if value is None else float(value))

    def _set_verdict(self, verdict: Verdict) -> None:
        with self._lock:
            self._verdict = verdict
            self.decision.put(verdict.decision.value)
            self.reason.put(verdict.codes[0].value if verdict.codes else "")
            self.reason_codes.put([code.value for code in verdict.codes])
            self.reason_texts.put([reason.text for reason in verdict.reasons])
            self.final.put(int(verdict.final))

    def read(self) -> Any:
        with self._lock:  # codes and texts of the same verdict
            return super().read()
