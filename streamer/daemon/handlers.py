"""The verbs of the control socket (docs/protocol.md §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UnsetType

from streamer import __version__
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.daemon.compute.pictures import spec_of, thinned
from streamer.daemon.compute.thread import Compute
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.flow.wire.control import Busy, Done, Forbidden, Ping, Pong, Request
from streamer.flow.wire.daemon import (
    Abort,
    Arm,
    Armed,
    CenterReply,
    DaemonStatus,
    Disarm,
    EndScan,
    FixCenter,
    GetStatus,
    GetVerdict,
    Report,
    SendPositions,
    Trigger,
    VerdictReply,
    WatchedPlanes,
    WatchPlanes,
)
from streamer.flow.wire.looks import Brick, GetBrick, GetLatest, GetPast, LatestPlane, Look, Looked, PastScans
from streamer.frames import BadInput, ScanSpec
from streamer.io.messaging.control import DeferredReply, Handler
from streamer.io.positions import PositionSource
from streamer.io.positions.table import PositionTable
from streamer.keys import Client, Role

ARM_WAIT_S = 120.0


def needed_role(request: Request[Any]) -> Role | None:
    """The role that a request needs, None when every client may make it. What is not named here needs to steer."""
    match request:
        case Ping():
            return None
        case GetStatus() | GetVerdict() | WatchPlanes(set=None) | FixCenter(set=UnsetType()):
            return Role.LOOK
        case Look() | GetLatest() | GetPast() | GetBrick():
            return Role.LOOK
    return Role.STEER


def check_role(client: Callable[[str], Client | None], public: str, request: Request[Any]) -> None:
    """Raises Forbidden when the client with this public key may not make the request."""
    known, role = client(public), needed_role(request)
    if known is None:
        raise Forbidden("this key is not known any more")
    if role is not None and not known.may(role):
        roles = ", ".join(sorted(known.roles))
        raise Forbidden(f"{request.verb} needs the role {role}, and the client {known.name} has {roles}")


class Handlers:
    """Answers requests on the control thread. A handler reads numbers or sets options; it computes nothing."""

    def __init__(
        self,
        scans: Scans,
        status: Callable[[Report | None], DaemonStatus],
        clock: Callable[[], float],
        compute: Compute,
        positions: PositionSource | None = None,
    ) -> None:
        self._scans, self._status, self._clock, self._positions = scans, status, clock, positions
        self._compute = compute

    def table(self) -> Mapping[type[Request[Any]], Handler]:
        return {
            Ping: self.ping,
            Arm: self.arm,
            Disarm: self.disarm,
            Abort: self.abort,
            Trigger: self.trigger,
            EndScan: self.end,
            GetStatus: self.status,
            GetVerdict: self.verdict,
            WatchPlanes: self.planes,
            FixCenter: self.center,
            SendPositions: self.positions,
            Look: self.look,
            GetLatest: self.latest,
            GetPast: self.past,
            GetBrick: self.brick,
        }

    def ping(self, _request: Ping) -> Pong:
        return Pong(__version__)

    def arm(self, request: Arm) -> Armed | DeferredReply:
        spec, finishing = request.spec, self._scans.current
        if finishing is not None:
            finishing.give_way(spec.scan_id)
        if finishing is not None and finishing.ends and not finishing.over:
            # The previous scan is being finished. The plan waits for its reply instead of asking again.
            return DeferredReply(self._clock() + ARM_WAIT_S, lambda expired: self._arm_when_free(spec, expired))
        return self._armed(self._scans.arm(spec))

    def _arm_when_free(self, spec: ScanSpec, expired: bool) -> Armed | None:
        if self._scans.is_busy() and not expired:
            return None
        return self._armed(self._scans.arm(spec))

    @staticmethod
    def _armed(session: Session) -> Armed:
        spec = session.spec
        return Armed(spec.scan_id, str(session.raw_file), spec.dtype, (spec.rows, spec.columns), session.plan)

    def disarm(self, request: Disarm) -> Done:
        self._scans.disarm(request.scan_id)
        return Done()

    def abort(self, request: Abort) -> Done:
        self._scans.abort(request.scan_id, request.reason)
        return Done()

    def trigger(self, request: Trigger) -> Done:
        self._scans.trigger(request.scan_id)
        return Done()

    def end(self, request: EndScan) -> Done:
        self._scans.end(request.scan_id, request.frames, request.status)
        return Done()

    def status(self, request: GetStatus) -> DaemonStatus:
        self._asked(request.scan_id)
        return self._status(self._scans.report(request.scan_id))

    def _asked(self, scan_id: str | None) -> None:
        if scan_id is not None and (session := self._scans.of(scan_id)) is not None:
            session.asked()

    def verdict(self, request: GetVerdict) -> VerdictReply | DeferredReply:
        self._asked(request.scan_id)
        known = self._verdict(request.scan_id)
        if not request.wait:
            return known
        deadline = self._clock() + request.timeout_s
        return DeferredReply(deadline, lambda expired: self._when_final(request.scan_id, expired))

    def _when_final(self, scan_id: str, expired: bool) -> VerdictReply | None:
        session = self._scans.of(scan_id)
        waiting = session is not None and not session.over and not session.verdict.final
        return None if waiting and not expired else self._verdict(scan_id)

    def _verdict(self, scan_id: str) -> VerdictReply:
        report = self._scans.report(scan_id)
        if report is None:
            raise BadInput(f"scan {scan_id!r} is not known to this daemon")
        return VerdictReply(report.scan_id, report.verdict, report.reasons, report.final, report.quality)

    def positions(self, request: SendPositions) -> Done:
        if not isinstance(self._positions, PositionTable):
            raise BadInput('this daemon takes no table of positions; set positions.source = "table"')
        session = self._scans.of(request.scan_id)
        if session is None or session.ending is not None:
            raise BadInput(f"scan {request.scan_id!r} waits for no positions; arm it first")
        self._positions.enter(request.first, request.values, request.last)
        return Done()

    def planes(self, request: WatchPlanes) -> WatchedPlanes:
        if request.set is not None:
            self._scans.watch(tuple(Plane(p.name, p.origin, p.u, p.v, p.shape) for p in request.set))
            self._compute.wake()
        planes = self._scans.planes
        session = self._scans.current
        if planes is None and session is not None:
            planes = orthogonal_planes(session.spec.rows, session.spec.columns)
        return WatchedPlanes([spec_of(plane) for plane in planes or ()])

    def center(self, request: FixCenter) -> CenterReply:
        if not isinstance(request.set, UnsetType):
            self._scans.fix_center(request.set)
            self._compute.wake()
        report = self._scans.report()
        found, confidence = (None, 0.0) if report is None else (report.center_px, report.center_confidence)
        return CenterReply(found, confidence, self._scans.fixed_center is not None)

    def look(self, request: Look) -> Looked | DeferredReply:
        return self._compute.detector.ask(request)

    def latest(self, request: GetLatest) -> LatestPlane:
        latest = self._compute.latest.get(request.plane)
        if latest is None:
            raise Busy(f"there is no picture of the plane {request.plane!r} yet")
        return thinned(latest)

    def past(self, request: GetPast) -> PastScans:
        return PastScans(self._scans.past(request.most), list(self._compute.latest))

    def brick(self, request: GetBrick) -> Brick | DeferredReply:
        return self._compute.bricks.ask(request)
