"""The tomography detector: it takes the frames, the daemon writes them, the documents point at the daemon's file."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.status import Status

from streamer.client import LinkError
from streamer.frames import BadInput, FrameKind, ScanSpec

from .cameras.camera import DetectorHardware
from .claim import GivenUp
from .daemon import StreamerDaemon
from .daemon_watch import DaemonWatch, ScanFailed
from .documents import ScanDocuments
from .failures import FailureCode
from .requests import Closing, Exposures, Request, ScanSetup
from .shutter import Shutter
from .undoing import attempt, close_scan
from .waiting import PERIOD_S, Patience, Progress, done, in_thread, watch

log = logging.getLogger(__name__)

MARGIN_S = 15.0
UNDO_S = 10.0  # what is being prepared undoes itself in this time
EXPOSURE_S = 1.0  # an exposure may take so much longer than the rate says


class TomoDetector(Device):
    """Camera and daemon as one Bluesky detector: one scan, one NXtomo file, one stream.

    ``prepare`` takes the values of ``requests`` in their order. ``collect`` announces the frames that
    the daemon has flushed, so every announced frame can be read even if the next second brings a power cut.
    ``stop()`` ends the running exposures early and well. ``unstage()`` never raises, and leaves nothing open: it gives
    the beamline back, which the scan has claimed. During a pause ``shutter`` is closed.
    """

    rate_hz = Cpt(Signal, value=0.0, kind=Kind.config)
    pixel_size_m = Cpt(Signal, value=0.0, kind=Kind.config)  # 0: not known

    def __init__(
        self,
        hardware: DetectorHardware,
        daemon: StreamerDaemon,
        name: str = "detector",
        stall_s: float = 8.0,
        shutter: Shutter | None = None,
        queue_s: float = 120.0,
    ) -> None:
        """``queue_s``: how long a scan waits while the beamline belongs to another one."""
        super().__init__(name=name)
        self.hardware = hardware
        self.daemon = daemon
        self.stall_s = stall_s
        self.queue_s = queue_s
        self.frames_taken = Signal(name=f"{name}_frames_taken", value=0, kind=Kind.hinted)
        """Of the scan, as the camera said last; for a row of a table."""
        self._shutter = shutter
        self._lock = threading.Lock()
        self._watch = DaemonWatch(daemon)
        self._stopping = threading.Event()
        self._paused = threading.Event()
        self._undone = threading.Event()
        self._undone.set()
        self._reset()

    def _reset(self) -> None:
        self._spec: ScanSpec | None = None
        self._documents: ScanDocuments | None = None
        self._preparing: ScanSetup | None = None
        self._open = False
        self._request: Request | None = None
        self._target = 0
        self._issued = 0  # as the camera said last
        self._written = 0
        self._flight: Exposures | None = None
        self._stopping.clear()
        self._paused.clear()

    # ── Stageable, Preparable ───────────────────────────────────────────────────────────────────────────────────
    def stage(self) -> list[object]:
        staged: list[object] = super().stage()
        self._reset()
        return staged

    def unstage(self) -> list[object]:
        self._abandon("unstaged before the scan was closed")
        self._undone.wait(UNDO_S)  # a session that ends now would leave the daemon armed
        if self._spec is not None:
            self.hardware.give_back(self._spec.scan_id)
        try:
            unstaged: list[object] = super().unstage()
        except Exception:
            log.exception("%s: unstaging", self.name)
            return [self]
        return unstaged

    def prepare(self, value: Request) -> Status:
        if isinstance(value, ScanSetup):
            self._reset()
            self._preparing = value
            self._undone.clear()
            return in_thread(lambda: self._open_or_undo(value))
        if not self._open and isinstance(value, Exposures):
            raise ScanFailed(f"{self.name}: prepare a ScanSetup before Exposures")
        self._request = value
        return done()

    def _open_or_undo(self, setup: ScanSetup) -> None:
        try:
            self._open_scan(setup)
        except GivenUp as error:  # no plan waits for it any more
            log.info("%s", error)
        finally:
            self._undone.set()

    def _open_scan(self, setup: ScanSetup) -> None:
        geometry = self.hardware.geometry()
        if not 0 < setup.rate_hz <= geometry.max_rate_hz:
            raise BadInput(
                f"{self.name}: a rate of {setup.rate_hz:g} Hz is asked, it can do up to {geometry.max_rate_hz:g} Hz"
            )
        spec = geometry.spec(setup)
        self._spec = spec

        def given_up() -> bool:
            return self._preparing is not setup

        prepared = armed = False
        try:
            self.hardware.claim(spec.scan_id, self.queue_s, given_up)
            armed = True  # whatever fails from here on, the daemon may know the scan
            try:
                raw_file = self.daemon.arm(spec, given_up)
            except (LinkError, GivenUp):
                armed = False
                raise
            prepared = True
            self.hardware.prepare(spec, setup.rate_hz)
            self.rate_hz.put(float(setup.rate_hz))
            self.pixel_size_m.put(float(geometry.pixel_size_m or 0.0))
            with self._lock:
                if given_up():
                    raise GivenUp(f"scan {spec.scan_id} was given up while it was prepared")
                self._documents = ScanDocuments(self.name, spec, raw_file)
                self._open, self._preparing = True, None
        except Exception as error:
            close_scan(self.hardware, self.daemon, spec.scan_id, str(error), prepared, armed)
            self.hardware.give_back(spec.scan_id)
            raise

    # ── Flyable, Triggerable, Stoppable ─────────────────────────────────────────────────────────────────────────
    def kickoff(self) -> Status:
        request = self._request
        if isinstance(request, Exposures):
            self._flight = None if request.step_deg is None else request
            return in_thread(lambda: self._acquire(request))
        if isinstance(request, Closing):
            return in_thread(lambda: self._finish(request))
        raise ScanFailed(f"{self.name}: nothing was prepared")

    def complete(self) -> Status:
        """Ends when the exposures are taken, or after a Closing when all frames are on disk."""
        request, spec = self._request, self._scan()
        if isinstance(request, Exposures):
            status = self._watch_exposures(request)
            status.add_callback(lambda status: self._land(request))
            return status
        aborted = isinstance(request, Closing) and request.status == "aborted"
        if aborted or not self._open:
            return done()
        patience = Patience(self.stall_s + MARGIN_S)
        limit = 2 * MARGIN_S + spec.frames / max(1.0, float(self.rate_hz.get()))
        what = f"{self.name}: writing the frames"
        return watch(lambda: self._flushed(patience), limit, what, 0.05, self._progress_of_writing)

    def _progress_of_writing(self) -> Progress:
        report = self.daemon.last_report
        written, received = (0, 0) if report is None else (report.written, report.frames.received)
        return Progress(0, written, received, "frames")

    def _land(self, exposures: Exposures) -> None:
        if self._flight is exposures:  # callbacks may come late, when the next exposures are under way
            self._flight = None

    @property
    def in_flight(self) -> bool:
        """Whether frames are taken that the rotation triggers."""
        return self._flight is not None and self._open

    @property
    def issued(self) -> int:
        """Frames that the camera has taken in this scan, on disk or not."""
        return self.hardware.activity().issued

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
        """The RunEngine pauses, and stops the motors: no beam on a sample while nothing is measured.

        Exposures that wait for the rotation can never be completed: their scan ends. The others are completed first.
        """
        request = self._request
        if not self._open:
            return
        spoiled = self.in_flight
        if isinstance(request, Exposures) and not spoiled:
            end = time.monotonic() + request.frames / max(1e-3, float(self.rate_hz.get())) + EXPOSURE_S
            attempt(lambda: self._await_camera(end))
        if self._shutter is not None:
            attempt(self._shutter.hold)
        if spoiled:
            self._paused.set()
            self._abandon("paused while the rotation turned")

    def resume(self) -> None:
        """The shutter opens again, unless the pause has spoiled the exposures, so that the scan fails."""
        if self._shutter is not None and self._open:
            self._shutter.go_on()

    def _await_camera(self, end: float) -> None:
        while time.monotonic() < end and self.hardware.activity().acquiring:
            time.sleep(PERIOD_S)

    def _acquire(self, exposures: Exposures) -> None:
        self._stopping.clear()
        self._issued = self.hardware.activity().issued
        self._target = self._issued + exposures.frames
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

        def progress() -> Progress:
            left = self._target - self._issued if not pending else exposures.frames
            return Progress(0, exposures.frames - max(0, left), exposures.frames, "frames")

        return watch(exposed, limit, what, 0.005 if acquire else 0.03, progress)

    def _exposed(self, camera: Patience, daemon: Patience) -> bool:
        try:
            if self._open and self._taken(camera, daemon):
                return True
        except ScanFailed:
            if self._open:
                raise
        if self._paused.is_set():
            raise ScanFailed("the scan was paused while the rotation turned; take it again", FailureCode.PAUSED)
        return not self._open  # the plan itself has closed the scan

    def _taken(self, camera: Patience, daemon: Patience) -> bool:
        activity = self.hardware.activity()
        self._issued = activity.issued
        self.frames_taken.put(activity.issued)
        if activity.error:
            # A detector whose frames nobody takes gives up as well: ask first whether the daemon is there.
            if self._watch.ask(self._scan().scan_id) is None:
                self._watch.ask(self._scan().scan_id)
            raise ScanFailed(f"{self.name}: {activity.error}", FailureCode.CAMERA_FAULT)
        self._watch.check(self._scan().scan_id, daemon, activity.issued)
        if not activity.acquiring and (activity.issued >= self._target or self._stopping.is_set()):
            return True
        if camera.lost(activity.issued):
            raise ScanFailed(
                f"{self.name} stalled: no frame for {camera.limit_s:.0f} s, "
                f"{activity.issued} of {self._target} frames of the scan so far",
                FailureCode.CAMERA_STALLED,
            )
        return False

    # ── the end of a scan ───────────────────────────────────────────────────────────────────────────────────────
    def _finish(self, closing: Closing) -> None:
        if closing.status == "aborted":
            self._abandon(closing.reason or "aborted by the plan")
        elif self._open:
            issued = self.hardware.activity().issued
            self.hardware.finish(closing.status)
            if not self.hardware.announces_end:
                self.daemon.end(self._scan().scan_id, issued, closing.status)

    def _flushed(self, patience: Patience) -> bool:
        flushed = self._watch.flushed(self._scan().scan_id, patience)
        if flushed:
            self._open = False
        return flushed

    def _abandon(self, reason: str) -> None:
        """Close whatever is open, as aborted, as well as possible. A scan that is being prepared undoes itself."""
        with self._lock:
            was_open, self._open, self._preparing = self._open, False, None
        if was_open:
            close_scan(self.hardware, self.daemon, self._scan().scan_id, reason, prepared=True, armed=True)

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
