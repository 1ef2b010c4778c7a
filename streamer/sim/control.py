"""The control verbs of the virtual beamline, as functions from requests to replies. No sockets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from streamer import __version__
from streamer.flow.wire import MAX_HEADER, EndStatus, Start, pack
from streamer.flow.wire.axes import MoveAxis
from streamer.flow.wire.beamline import (
    Acquire,
    BeamlineEndpoints,
    BeamlineStatus,
    Claim,
    Claimed,
    FindTruth,
    Finish,
    Finished,
    GetBeamlineStatus,
    MoveRotation,
    MoveX,
    Prepare,
    Quit,
    Release,
    SetBeam,
    SetFaults,
    SetShutter,
    StopAcquire,
    TruthFile,
)
from streamer.flow.wire.changer import Confirm, HandOver, Mount, Park
from streamer.flow.wire.control import Busy, Done, Forbidden, Ping, Pong, Request
from streamer.frames import MAX_FRAMES, BadInput, ScanSpec
from streamer.io.messaging.control import DeferredReply, Handler
from streamer.sim.acquisition import Acquirer
from streamer.sim.ownership import Claims
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
            Claim: self._claim,
            Release: self._release,
            MoveRotation: self._owned(self._rotation),
            MoveX: self._owned(self._x),
            MoveAxis: self._owned(self._axis),
            SetShutter: self._owned(self._shutter),
            SetBeam: self._beam,
            Mount: self._owned(self._mount),
            Park: self._owned(self._park),
            HandOver: self._owned(self._hand_over),
            Confirm: self._owned(self._confirm),
            Prepare: self._prepare,
            Acquire: self._acquire,
            StopAcquire: self._stop_acquire,
            Finish: self._finish,
            SetFaults: self._faults,
            FindTruth: self._truth,
            Quit: self._quit,
        }
        return {kind: self._locked(handler) for kind, handler in handlers.items()}

    def watch(self) -> None:
        """The watchdog: drop the claims that were not renewed. Call it often."""
        with self._station.lock:
            claims = self._station.claims
            owner, left = claims.owner, claims.at(self._now())
            why = "" if owner is None else f"{owner.user}, who took scan {owner.scan_id}, was not heard of any more"
            self._change(left, why)

    def _change(self, claims: Claims, why: str) -> None:
        """Set the claims. What an owner who lost the claim left is made safe; ``why`` is kept if a scan was open."""
        station = self._station
        owner, station.claims = station.claims.owner, claims
        if owner is None or (claims.owner is not None and claims.owner.scan_id == owner.scan_id):
            return
        station.rest(self._now())
        scan = station.scan
        if scan is not None and owner.scan_id in (scan.owner, scan.spec.scan_id):
            self._conclude(scan, "aborted")
            station.error = why

    def _owned(self, handler: Handler) -> Handler:
        def answer(request: Any) -> Any:
            self._station.claims.check(request.owner, request.verb)
            return handler(request)

        return answer

    def _locked(self, handler: Handler) -> Handler:
        def answer(request: Any) -> Any:
            with self._station.lock:
                return handler(request)

        return answer

    def _status(self, request: GetBeamlineStatus) -> BeamlineStatus:
        return self._station.status(self._now(), self._endpoints())

    def _claim(self, request: Claim) -> Claimed:
        station, now = self._station, self._now()
        station.claims = station.claims.claim(request.scan_id, request.user, now + request.lease_s)
        return Claimed(station.claims.status())

    def _release(self, request: Release) -> Done:
        self._change(self._station.claims.without(request.scan_id), f"scan {request.scan_id} was given up")
        return Done()

    def _rotation(self, request: MoveRotation) -> Done:
        self._station.changer.check_parked("rotation", self._now())
        self._station.rotation = self._station.rotation.move(request.target_deg, self._now(), request.velocity_deg_s)
        return Done()

    def _x(self, request: MoveX) -> Done:
        self._station.command_x(request.target_mm, self._now())
        self._plan()
        return Done()

    def _axis(self, request: MoveAxis) -> Done:
        self._station.command_axis(request.axis, request.target, self._now())
        self._plan()
        return Done()

    def _shutter(self, request: SetShutter) -> Done:
        self._station.shutter = self._station.shutter.command(request.open)
        return Done()

    def _beam(self, request: SetBeam) -> Done:
        self._station.ring = self._station.ring.set(request.current, request.front_end)
        return Done()

    def _mount(self, request: Mount) -> Done:
        self._station.command_mount(request.slot, self._now())
        self._plan()
        return Done()

    def _park(self, request: Park) -> Done:
        self._station.changer = self._station.changer.park(self._now())
        return Done()

    def _hand_over(self, request: HandOver) -> Done:
        self._station.changer = self._station.changer.hand_over(self._now())
        return Done()

    def _confirm(self, request: Confirm) -> Done:
        self._station.changer = self._station.changer.confirm(request.mounted, self._now())
        return Done()

    def _prepare(self, request: Prepare) -> Done | DeferredReply:
        station, setup, spec = self._station, self._station.setup, request.spec
        station.claims.check(request.owner or spec.scan_id, request.verb)
        _check_camera(spec, setup.rows, setup.columns)
        if request.rate_hz > setup.max_rate_hz:
            raise BadInput(f"prepare: rate_hz is {request.rate_hz:g}, the camera can do up to {setup.max_rate_hz:g}")
        if station.acquiring:
            raise Busy("the detector is acquiring")
        old = station.scan
        if old is not None and (old.issued or old.spec.scan_id != spec.scan_id):
            self._conclude(old, "aborted")
        scan = VirtualScan(spec, request.rate_hz, station.next_serial(), station.faults, owner=request.owner)
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
        station, scan = self._station, self._prepared(request)
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
        scan = self._prepared(request)
        if self._station.acquiring:
            scan.stop = True
        return Done()

    def _finish(self, request: Finish) -> Finished:
        scan = self._prepared(request)
        if self._station.acquiring and request.status == "ok":
            raise Busy("the detector is acquiring; stop it first")
        self._conclude(scan, request.status)
        return Finished(scan.issued)

    def _prepared(self, request: Acquire | StopAcquire | Finish) -> VirtualScan:
        """The prepared scan. Raises BadInput when there is none, Forbidden when it is another one than requested."""
        scan = self._station.scan
        if scan is None:
            raise BadInput(f"{request.verb}: the detector is not prepared; send prepare first")
        if scan.spec.scan_id != request.scan_id:
            raise Forbidden(f"{request.verb}: scan {scan.spec.scan_id} is prepared, not {request.scan_id}")
        return scan

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
