"""The control verbs of the virtual beamline, as functions from requests to replies. No sockets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from streamer import __version__
from streamer.flow.wire import MAX_HEADER, EndStatus, Start, pack
from streamer.flow.wire.beamline import (
    Acquire,
    BeamlineEndpoints,
    BeamlineStatus,
    FindTruth,
    Finish,
    Finished,
    GetBeamlineStatus,
    Mount,
    MoveRotation,
    MoveX,
    Prepare,
    Quit,
    SetFaults,
    SetShutter,
    StopAcquire,
    TruthFile,
)
from streamer.flow.wire.control import Busy, Done, Ping, Pong, Request
from streamer.frames import MAX_FRAMES, BadInput, ScanSpec
from streamer.io.control import DeferredReply, Handler
from streamer.sim.acquisition import Acquirer
from streamer.sim.prerender import Batch, Renderer
from streamer.sim.scan import FrameSeries, VirtualScan
from streamer.sim.station import VirtualStation

PREPARE_WAIT_S = 3.0
"""``prepare`` replies when the projections are rendered, or after this time; the rest is rendered during the scan."""

HEADER_RESERVE = 64
"""Bytes of a start header that are reserved for its sequence number and source."""


class BeamlineControl:
    """Answers requests under the station's lock. ``quit`` sets ``finished``."""

    def __init__(
        self,
        station: VirtualStation,
        acquirer: Acquirer,
        renderer: Renderer,
        endpoints: Callable[[], BeamlineEndpoints],
        now: Callable[[], float],
    ) -> None:
        self._station = station
        self._acquirer = acquirer
        self._renderer = renderer
        self._endpoints = endpoints
        self._now = now
        self.finished = False

    def table(self) -> Mapping[type[Request[Any]], Handler]:
        handlers: dict[type[Request[Any]], Handler] = {
            Ping: lambda request: Pong(__version__),
            GetBeamlineStatus: self._status,
            MoveRotation: self._rotation,
            MoveX: self._x,
            SetShutter: self._shutter,
            Mount: self._mount,
            Prepare: self._prepare,
            Acquire: self._acquire,
            StopAcquire: self._stop_acquire,
            Finish: self._finish,
            SetFaults: self._faults,
            FindTruth: self._truth,
            Quit: self._quit,
        }
        return {kind: self._locked(handler) for kind, handler in handlers.items()}

    def _locked(self, handler: Handler) -> Handler:
        def answer(request: Any) -> Any:
            with self._station.lock:
                return handler(request)

        return answer

    def _status(self, request: GetBeamlineStatus) -> BeamlineStatus:
        return self._station.status(self._now(), self._endpoints())

    def _rotation(self, request: MoveRotation) -> Done:
        self._station.rotation = self._station.rotation.move(request.target_deg, self._now(), request.velocity_deg_s)
        return Done()

    def _x(self, request: MoveX) -> Done:
        self._station.command_x(request.target_mm, self._now())
        self._plan()
        return Done()

    def _shutter(self, request: SetShutter) -> Done:
        self._station.shutter = self._station.shutter.command(request.open)
        return Done()

    def _mount(self, request: Mount) -> Done:
        self._station.command_mount(request.slot, self._now())
        self._plan()
        return Done()

    def _prepare(self, request: Prepare) -> Done | DeferredReply:
        station, setup, spec = self._station, self._station.setup, request.spec
        _check_camera(spec, setup.rows, setup.columns)
        if request.rate_hz > setup.max_rate_hz:
            raise BadInput(f"prepare: rate_hz is {request.rate_hz:g}, the camera can do up to {setup.max_rate_hz:g}")
        if station.acquiring:
            raise Busy("the detector is acquiring")
        old = station.scan
        if old is not None and (old.issued or old.spec.scan_id != spec.scan_id):
            self._conclude(old, "aborted")
        scan = VirtualScan(spec, request.rate_hz, station.next_serial(), station.faults)
        station.begin(scan)
        self._acquirer.start_scan(scan)
        batch = self._plan()
        if batch is None:
            return Done()
        deadline = self._now() + PREPARE_WAIT_S
        return DeferredReply(deadline, lambda expired: Done() if expired or batch.done else None)

    def _plan(self) -> Batch | None:
        """Start to render the projections of the armed scan, as far as its scene is known."""
        station = self._station
        scene = station.expected_scene()[1]
        if station.scan is None or scene is None or not scene.quadrics.halves.size:
            return None
        return self._renderer.plan(scene, station.planned_shots(station.scan, self._renderer.capacity(scene)))

    def _acquire(self, request: Acquire) -> Done:
        station = self._station
        scan = station.scan
        if scan is None:
            raise BadInput("acquire: the detector is not prepared; send prepare first")
        if station.acquiring:
            raise Busy("the detector is acquiring")
        if scan.issued + request.frames > MAX_FRAMES:
            raise BadInput(f"acquire: a scan has at most {MAX_FRAMES} frames")
        now, start, step = self._now(), request.start_deg or 0.0, request.step_deg or 0.0
        series = FrameSeries(
            frames=request.frames,
            kind=request.kind,
            position_triggered=request.trigger == "position",
            start_deg=start,
            step_deg=step,
            before=(start - station.rotation.position(now)) * math.copysign(1.0, step) >= -1e-7,
            asked_s=now,
        )
        station.acquiring, station.error, scan.stop = True, None, False
        self._acquirer.acquire(scan, series)
        return Done()

    def _stop_acquire(self, request: StopAcquire) -> Done:
        if self._station.scan is not None and self._station.acquiring:
            self._station.scan.stop = True
        return Done()

    def _finish(self, request: Finish) -> Finished:
        scan = self._station.scan
        if scan is None:
            raise BadInput("finish: no scan is prepared")
        if self._station.acquiring and request.status == "ok":
            raise Busy("the detector is acquiring; stop it first")
        self._conclude(scan, request.status)
        return Finished(scan.issued)

    def _conclude(self, scan: VirtualScan, status: EndStatus) -> None:
        scan.stop, scan.aborted = True, status == "aborted"
        self._station.conclude(scan)
        self._acquirer.end_scan(scan, status)

    def _faults(self, request: SetFaults) -> Done:
        self._station.set_faults(request.set)
        return Done()

    def _truth(self, request: FindTruth) -> TruthFile:
        path = None if "/" in request.scan_id else self._station.truth_path(request.scan_id)
        if path is None or not path.exists():
            known = "(or the server runs without --truth-dir)"
            raise BadInput(f"truth: nothing is known of scan {request.scan_id!r} {known}")
        return TruthFile(str(path))

    def _quit(self, request: Quit) -> Done:
        self.finished = True
        return Done()


def _check_camera(spec: ScanSpec, rows: int, columns: int) -> None:
    if (spec.rows, spec.columns) != (rows, columns):
        raise BadInput(f"prepare: the detector has {rows}×{columns} pixels, the spec says {spec.rows}×{spec.columns}")
    if spec.dtype != "<u2":
        raise BadInput(f"prepare: the detector sends <u2, the spec says {spec.dtype}")
    size = len(pack(Start(spec)))
    if size > MAX_HEADER - HEADER_RESERVE:
        raise BadInput(f"prepare: the spec takes {size} bytes, a header has at most {MAX_HEADER}; shorten its metadata")
