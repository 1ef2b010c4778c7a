"""The tomography detector: it takes the frames, the daemon writes them, the documents point at the daemon's file."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.status import Status

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput, FrameKind, ScanSpec, StreamerError

from .camera import CLEANUP_S, DetectorHardware
from .daemon import StreamerDaemon
from .documents import ScanDocuments
from .requests import Closing, Exposures, Request, ScanSetup
from .waiting import Patience, done, in_thread, watch

log = logging.getLogger(__name__)

MARGIN_S = 15.0
ASK_DAEMON_S = 0.2


class ScanFailed(StreamerError):
    """The scan cannot be finished: the detector or the daemon gave up, or nothing moves any more."""


class DaemonLost(LinkTimeout):
    """The daemon is gone, or it was restarted and has forgotten the scan."""


class TomoDetector(Device):
    """Camera and daemon as one Bluesky detector: one scan, one NXtomo file, one stream.

    ``prepare`` takes the values of ``requests`` in their order. ``collect`` announces the frames that
    the daemon has flushed, so every announced frame can be read even if the next second brings a power cut.
    ``stop()`` ends the running exposures early and well. ``unstage()`` never raises, and leaves nothing open.
    """

    rate_hz = Cpt(Signal, value=0.0, kind=Kind.config)
    pixel_size_m = Cpt(Signal, value=0.0, kind=Kind.config)  # 0: not known
    dtype = "<u2"

    def __init__(
        self, hardware: DetectorHardware, daemon: StreamerDaemon, name: str = "detector", stall_s: float = 8.0
    ) -> None:
        super().__init__(name=name)
        self.hardware = hardware
        self.daemon = daemon
        self.stall_s = stall_s
        self._asked_daemon = 0.0
        self._silent = False
        self._stopping = threading.Event()
        self._paused = threading.Event()
        self._reset()

    def _reset(self) -> None:
        self._spec: ScanSpec | None = None
        self._documents: ScanDocuments | None = None
        self._open = self._prepared = False
        self._request: Request | None = None
        self._target = 0
        self._written = 0
        self._stopping.clear()
        self._paused.clear()

    # ── Stageable, Preparable ───────────────────────────────────────────────────────────────────────────────────
    def stage(self) -> list[object]:
        staged: list[object] = super().stage()
        self._reset()
        return staged

    def unstage(self) -> list[object]:
        self._abandon("unstaged before the scan was closed")
        try:
            unstaged: list[object] = super().unstage()
        except Exception:
            log.exception("%s: unstaging", self.name)
            return [self]
        return unstaged

    def prepare(self, value: Request) -> Status:
        if isinstance(value, ScanSetup):
            return in_thread(lambda: self._open_scan(value))
        if not self._open and isinstance(value, Exposures):
            raise ScanFailed(f"{self.name}: prepare a ScanSetup before Exposures")
        self._request = value
        return done()

    def _open_scan(self, setup: ScanSetup) -> None:
        geometry = self.hardware.geometry()
        if not 0 < setup.rate_hz <= geometry.max_rate_hz:
            raise BadInput(
                f"{self.name}: a rate of {setup.rate_hz:g} Hz is asked, it can do up to {geometry.max_rate_hz:g} Hz"
            )
        spec = ScanSpec(
            scan_id=setup.scan_id,
            sample=setup.sample,
            rows=geometry.rows,
            columns=geometry.columns,
            projections=setup.projections,
            flats=setup.flats,
            darks=setup.darks,
            dtype=self.dtype,
            start_deg=setup.start_deg,
            range_deg=setup.range_deg,
            exposure_s=setup.exposure_s or 0.9 / setup.rate_hz,
            pixel_size_m=geometry.pixel_size_m,
            metadata=dict(setup.metadata),
        )
        self._reset()
        self._spec = spec
        self._open = True  # from here on unstage() has something to close, whatever fails
        try:
            armed = self.daemon.arm(spec)
        except LinkError:
            self._open = False  # refused: what runs there is another's, and so is the camera
            raise
        self._go_on(spec)
        self._documents = ScanDocuments(self.name, spec, armed)
        self._prepared = True
        self.hardware.prepare(spec, setup.rate_hz)
        self._go_on(spec)
        self.rate_hz.put(float(setup.rate_hz))
        self.pixel_size_m.put(float(geometry.pixel_size_m or 0.0))

    def _go_on(self, spec: ScanSpec) -> None:
        """Raise, and leave nothing armed, when the plan has given the scan up while it was being prepared."""
        if not self._open:
            self._close(spec.scan_id, "given up while it was prepared")
            raise ScanFailed(f"{self.name}: scan {spec.scan_id} was given up while it was prepared")

    # ── Flyable, Triggerable, Stoppable ─────────────────────────────────────────────────────────────────────────
    def kickoff(self) -> Status:
        request = self._request
        if isinstance(request, Exposures):
            return in_thread(lambda: self._acquire(request))
        if isinstance(request, Closing):
            return in_thread(lambda: self._finish(request))
        raise ScanFailed(f"{self.name}: nothing was prepared")

    def complete(self) -> Status:
        """Ends when the exposures are taken, or after a Closing when all frames are on disk."""
        request, spec = self._request, self._scan()
        if isinstance(request, Exposures):
            return self._watch_exposures(request)
        aborted = isinstance(request, Closing) and request.status == "aborted"
        if aborted or not self._open:
            return done()
        patience = Patience(self.stall_s + MARGIN_S)
        limit = 2 * MARGIN_S + spec.frames / max(1.0, float(self.rate_hz.get()))
        return watch(lambda: self._flushed(patience), limit, f"{self.name}: writing the frames", 0.05)

    def trigger(self) -> Status:
        """Take the prepared exposures once, at the angle where the rotation stands."""
        request = self._request
        if not isinstance(request, Exposures):
            raise ScanFailed(f"{self.name}: prepare Exposures before trigger")
        return self._watch_exposures(request, acquire=True)

    def stop(self, *, success: bool = True) -> None:
        """End the running exposures after the current frame; their Status ends well."""
        self._stopping.set()
        if self._open:
            self.hardware.stop()

    def pause(self) -> None:
        """The RunEngine pauses, and stops the motors: exposures that wait for the rotation can never be completed."""
        request = self._request
        if self._open and isinstance(request, Exposures) and request.step_deg is not None:
            self._paused.set()

    def resume(self) -> None:
        """Nothing: the Status of the exposures has failed if they were spoiled."""

    def _acquire(self, exposures: Exposures) -> None:
        self._stopping.clear()
        self._target = self.hardware.activity().issued + exposures.frames
        self.hardware.acquire(exposures)

    def _watch_exposures(self, exposures: Exposures, acquire: bool = False) -> Status:
        rate = max(1e-3, float(self.rate_hz.get()))
        limit_s = self.stall_s + 4.0 / rate
        camera = Patience(limit_s, exposures.patience_s)
        daemon = Patience(limit_s + 1.0, exposures.patience_s)  # a silent camera silences the daemon, too
        pending = acquire

        def exposed() -> bool:
            nonlocal pending
            if pending:
                pending = False
                self._acquire(exposures)
            return self._exposed(camera, daemon)

        limit = exposures.patience_s + 2.0 * exposures.frames / rate + limit_s + MARGIN_S
        what = f"{self.name}: {exposures.frames} {FrameKind(exposures.kind).name.lower()} frames"
        return watch(exposed, limit, what, 0.005 if acquire else 0.03)

    def _exposed(self, camera: Patience, daemon: Patience) -> bool:
        if not self._open:
            return True  # the plan itself has closed the scan
        if self._paused.is_set():
            raise ScanFailed("the scan was paused while the rotation turned; take it again")
        activity = self.hardware.activity()
        if activity.error:
            # A detector whose frames nobody takes gives up as well: ask first whether the daemon is there.
            if self._ask_daemon() is None:
                self._ask_daemon()
            raise ScanFailed(f"{self.name}: {activity.error}")
        self._check_daemon(daemon, activity.issued)
        if not activity.acquiring and (activity.issued >= self._target or self._stopping.is_set()):
            return True
        if camera.lost(activity.issued):
            raise ScanFailed(
                f"{self.name} stalled: no frame for {camera.limit_s:.0f} s, "
                f"{activity.issued} of {self._target} frames of the scan so far"
            )
        return False

    def _check_daemon(self, patience: Patience, issued: int) -> None:
        """Raise when the daemon is dead, has given up, or receives nothing although frames are sent."""
        if time.monotonic() - self._asked_daemon < ASK_DAEMON_S:
            return
        report = self._ask_daemon()
        if report is None:
            return
        if report.state.final and report.state != "complete":
            raise ScanFailed(f"the daemon closed the scan as {report.state}: {report.error or report.judgement}")
        frames = report.frames
        seen = frames.received + frames.duplicate + frames.late + frames.corrupt
        if patience.lost(seen, issued if seen >= issued else 0):
            what = f"{seen} of {issued} frames received, no news for {patience.limit_s:.0f} s"
            raise ScanFailed(f"the daemon stalled: {what}")

    def _ask_daemon(self) -> Report | None:
        """The report; None after the first unanswered request. The second one is DaemonLost."""
        spec = self._scan()
        try:
            report = self.daemon.poll(spec.scan_id)
        except LinkTimeout as error:
            if self._silent:
                raise DaemonLost(f"the daemon died or hangs: {error}") from error
            self._silent = True
            return None
        finally:
            self._asked_daemon = time.monotonic()
        self._silent = False
        if report is None:
            raise DaemonLost(f"the daemon does not know scan {spec.scan_id} any more: it was restarted during the scan")
        return report

    # ── the end of a scan ───────────────────────────────────────────────────────────────────────────────────────
    def _finish(self, closing: Closing) -> None:
        if closing.status == "aborted":
            self._abandon(closing.reason or "aborted by the plan")
        elif self._open:
            self.hardware.finish(closing.status)

    def _flushed(self, patience: Patience) -> bool:
        report = self._ask_daemon()
        if report is None:
            return False
        state, received, written = report.state, report.frames.received, report.written
        if state in ("aborted", "failed") or (state == "incomplete" and report.error):
            raise ScanFailed(f"the daemon closed the scan as {state}: {report.error or 'no reason given'}")
        if state.final or (state == "finalising" and written >= received):
            self._open = False
            return True
        if patience.lost(state, received, written):
            raise ScanFailed(f"the daemon stalled while {state}: {written} of {received} frames written")
        return False

    def _abandon(self, reason: str) -> None:
        """Close whatever is open, as aborted, as well as possible. Never raises."""
        if not self._open or self._spec is None:
            return
        self._open = False
        self._close(self._spec.scan_id, reason)

    def _close(self, scan_id: str, reason: str) -> None:
        """End the scan in the hardware, if it was prepared for it, and in the daemon."""
        answers = True
        if self._prepared:
            self._try(self.hardware.stop)
            if self._try(lambda: self.hardware.finish("aborted")):
                answers = self._try(lambda: self._await_end(scan_id))  # the frames on their way are worth a moment
        if answers and self._try(lambda: self.daemon.abort(scan_id, reason, CLEANUP_S)):
            self._try(lambda: self.daemon.poll(scan_id, CLEANUP_S))

    def _await_end(self, scan_id: str) -> None:
        """Until the daemon has closed the scan, because the hardware told it that it is over; not for long."""
        end = time.monotonic() + CLEANUP_S
        while time.monotonic() < end:
            report = self.daemon.poll(scan_id, CLEANUP_S)
            if report is None or report.state.final:
                return
            time.sleep(0.05)

    def _try(self, step: Callable[[], object]) -> bool:
        """Whether a step of the cleaning-up went well; why not, is logged."""
        try:
            step()
        except (LinkError, LinkTimeout) as error:
            log.warning("%s, cleaning up: %s", self.name, error)
        except Exception:
            log.exception("%s, cleaning up", self.name)
        else:
            return True
        return False

    # ── Collectable, WritesStreamAssets ─────────────────────────────────────────────────────────────────────────
    def describe_collect(self) -> dict[str, dict[str, Any]]:
        return self._announcements().keys()

    def get_index(self) -> int:
        """Frames on disk."""
        if self._spec is not None:
            self._written = max(self._written, self.daemon.written(self._spec.scan_id))
        return self._written

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        stop = self.get_index() if index is None else index
        if stop > 0:
            yield from self._announcements().assets(stop)

    def _announcements(self) -> ScanDocuments:
        if self._documents is None:
            raise ScanFailed(f"{self.name}: no scan is prepared")
        return self._documents

    def _scan(self) -> ScanSpec:
        if self._spec is None:
            raise ScanFailed(f"{self.name}: no scan is prepared")
        return self._spec
