"""The verbs of the control socket (docs/protocol.md §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamer import __version__
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session, verdict_map
from streamer.frames import BadInput, ScanSpec
from streamer.io.control import Handler, Later

ARM_WAIT_S = 120.0
MAX_WAIT_S = 3600.0


class Handlers:
    """Answers requests on the control thread. A handler reads numbers or sets options; it computes nothing."""

    def __init__(self, scans: Scans, status: Callable[[], dict[str, Any]], clock: Callable[[], float]) -> None:
        self._scans, self._status, self._clock = scans, status, clock

    def table(self) -> dict[str, Handler]:
        names = ("ping", "arm", "disarm", "abort", "status", "verdict", "planes", "center")
        return {name: getattr(self, name) for name in names}

    def ping(self, _args: Mapping[str, Any]) -> dict[str, Any]:
        return {"version": __version__}

    def arm(self, args: Mapping[str, Any]) -> dict[str, Any] | Later:
        spec_map = args.get("spec")
        if not isinstance(spec_map, dict):
            raise BadInput("arm needs the argument 'spec', a map")
        spec = ScanSpec.from_dict(spec_map)
        finishing = self._scans.current
        if finishing is not None and finishing.ending is not None and not finishing.over:
            # The previous scan is being finished. The plan waits for its reply instead of asking again.
            return Later(self._clock() + ARM_WAIT_S, lambda expired: self._arm_when_free(spec, expired))
        return self._armed(self._scans.arm(spec))

    def _arm_when_free(self, spec: ScanSpec, expired: bool) -> dict[str, Any] | None:
        if self._scans.is_busy() and not expired:
            return None
        return self._armed(self._scans.arm(spec))

    @staticmethod
    def _armed(session: Session) -> dict[str, Any]:
        spec = session.spec
        return {
            "scan_id": spec.scan_id,
            "raw_file": str(session.raw_file.resolve()),
            "dtype": spec.dtype,
            "shape": [spec.rows, spec.columns],
            "plan": session.plan,
        }

    def disarm(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self._scans.disarm(_text(args, "scan_id"))
        return {}

    def abort(self, args: Mapping[str, Any]) -> dict[str, Any]:
        reason = args.get("reason", "")
        self._scans.abort(_text(args, "scan_id"), reason if isinstance(reason, str) else "")
        return {}

    def status(self, args: Mapping[str, Any]) -> dict[str, Any]:
        scan_id = _text(args, "scan_id") if args.get("scan_id") is not None else None
        return {**self._status(), "scan": self._scans.report(scan_id)}

    def verdict(self, args: Mapping[str, Any]) -> dict[str, Any] | Later:
        scan_id = _text(args, "scan_id")
        known = self._verdict(scan_id)
        if not args.get("wait"):
            return known
        timeout = args.get("timeout_s", 30.0)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout <= MAX_WAIT_S:
            raise BadInput(f"timeout_s is {timeout!r}, expected 0 to {MAX_WAIT_S:g} seconds")
        return Later(self._clock() + timeout, lambda expired: self._when_final(scan_id, expired))

    def _when_final(self, scan_id: str, expired: bool) -> dict[str, Any] | None:
        session = self._scans.of(scan_id)
        waiting = session is not None and not session.over and not session.verdict.final
        return None if waiting and not expired else self._verdict(scan_id)

    def _verdict(self, scan_id: str) -> dict[str, Any]:
        report = self._scans.report(scan_id)
        if report is None:
            raise BadInput(f"scan {scan_id!r} is not known to this daemon")
        return verdict_map(report)

    def planes(self, args: Mapping[str, Any]) -> dict[str, Any]:
        wanted = args.get("set")
        if wanted is not None:
            if not isinstance(wanted, list):
                raise BadInput("planes: 'set' must be a list of plane maps")
            self._scans.watch(tuple(Plane.from_dict(plane) for plane in wanted))
        planes = self._scans.planes
        session = self._scans.current
        if planes is None and session is not None:
            planes = orthogonal_planes(session.spec.rows, session.spec.columns)
        return {"planes": [plane.to_dict() for plane in planes or ()]}

    def center(self, args: Mapping[str, Any]) -> dict[str, Any]:
        if "set" in args:
            self._scans.fix_center(args["set"])
        report = self._scans.report() or {}
        return {
            "center_px": report.get("center_px"),
            "confidence": report.get("center_confidence", 0.0),
            "fixed": self._scans.fixed_center is not None,
        }


def _text(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str):
        raise BadInput(f"the argument {name!r} is missing or not text")
    return value
