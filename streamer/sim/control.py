"""The control verbs of the virtual beamline: a table of functions from arguments to replies. No sockets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamer import __version__
from streamer.flow.wire import MAX_HEADER, VERSION, EndStatus, Start, encode
from streamer.frames import MAX_FRAMES, BadInput, FrameKind, ScanSpec
from streamer.sim.acquisition import Acquirer
from streamer.sim.faults import Faults
from streamer.sim.prerender import Batch, Renderer
from streamer.sim.scan import Request, Scan
from streamer.sim.station import ANGLE_LIMIT_DEG, X_LIMIT_MM, Busy, Station

Reply = dict[str, Any]
Args = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Later:
    """A reply that is sent once ``ready`` says so."""

    ready: Callable[[], bool]
    reply: Reply


class UnknownVerb(BadInput):
    """There is no such verb."""


class Control:
    """Answers requests. ``finished`` becomes True with ``quit``."""

    def __init__(
        self,
        station: Station,
        acquirer: Acquirer,
        renderer: Renderer,
        endpoints: Mapping[str, str],
        now: Callable[[], float],
    ) -> None:
        self._station = station
        self._acquirer = acquirer
        self._renderer = renderer
        self._endpoints = dict(endpoints)
        self._now = now
        self.finished = False
        self._verbs: dict[str, Callable[[Args], Reply | Later]] = {
            "ping": lambda args: {"version": __version__},
            "status": self._status,
            "rotation": self._rotation,
            "x": self._x,
            "shutter": self._shutter,
            "mount": self._mount,
            "prepare": self._prepare,
            "acquire": self._acquire,
            "stop_acquire": self._stop_acquire,
            "finish": self._finish,
            "faults": self._faults,
            "truth": self._truth,
            "quit": self._quit,
        }

    def answer(self, request: Args) -> Reply | Later:
        """The reply to one request map; errors of the client are replies too."""
        try:
            if request.get("v") != 1:
                raise BadInput(f"control protocol version {request.get('v')!r}, this server speaks {VERSION}")
            verb, args = request.get("verb"), request.get("args") or {}
            if not isinstance(verb, str) or verb not in self._verbs:
                raise UnknownVerb(f"unknown verb {verb!r}; known: {', '.join(self._verbs)}")
            if not isinstance(args, Mapping):
                raise BadInput(f"{verb}: args is {args!r}, must be a map")
            with self._station.lock:
                reply = self._verbs[verb](args)
        except BadInput as error:
            return refusal(error)
        except OSError as error:
            return {**refusal(BadInput(f"{verb}: {error}")), "code": "failed"}
        if isinstance(reply, Later):
            return Later(reply.ready, _accepted(reply.reply))
        return _accepted(reply)

    def _status(self, args: Args) -> Reply:
        return {**self._station.status(self._now()), "endpoints": self._endpoints}

    def _rotation(self, args: Args) -> Reply:
        target = _number(args, "target_deg", -ANGLE_LIMIT_DEG, ANGLE_LIMIT_DEG)
        velocity = _number(args, "velocity_deg_s", 1e-3, 1e5) if args.get("velocity_deg_s") is not None else None
        self._station.rotation = self._station.rotation.move(target, self._now(), velocity)
        return {}

    def _x(self, args: Args) -> Reply:
        self._station.command_x(_number(args, "target_mm", -X_LIMIT_MM, X_LIMIT_MM), self._now())
        self._plan()
        return {}

    def _shutter(self, args: Args) -> Reply:
        opened = args.get("open")
        if not isinstance(opened, bool):
            raise BadInput(f"shutter: open is {opened!r}, must be true or false")
        self._station.shutter = self._station.shutter.command(opened)
        return {}

    def _mount(self, args: Args) -> Reply:
        if "slot" not in args:
            raise BadInput("mount: slot is missing; give a number, or nil to unmount")
        slot = None if args["slot"] is None else _whole(args, "slot", 0, MAX_FRAMES)
        self._station.command_mount(slot, self._now())
        self._plan()
        return {}

    def _prepare(self, args: Args) -> Reply | Later:
        station, setup = self._station, self._station.setup
        if not isinstance(args.get("spec"), Mapping):
            raise BadInput("prepare: spec is missing, must be the map of a ScanSpec")
        spec = ScanSpec.from_dict(args["spec"])
        _check_camera(spec, setup.rows, setup.columns)
        rate = _number(args, "rate_hz", 1e-3, setup.max_rate_hz)
        if station.acquiring:
            raise Busy("the detector is acquiring")
        old = station.scan
        if old is not None and (old.issued or old.spec.scan_id != spec.scan_id):
            self._conclude(old, "aborted")
        scan = Scan(spec, rate, station.next_serial(), station.faults)
        station.begin(scan)
        self._acquirer.start_scan(scan)
        batch = self._plan()
        return {} if batch is None else Later(lambda: batch.done, {})

    def _plan(self) -> Batch | None:
        """Render ahead what the armed scan will see, as far as that is known."""
        station = self._station
        scene = station.expected_scene()[1]
        if station.scan is None or scene is None or not scene.quadrics.halves.size:
            return None
        return self._renderer.plan(scene, station.planned_shots(station.scan, self._renderer.capacity(scene)))

    def _acquire(self, args: Args) -> Reply:
        station = self._station
        scan = station.scan
        if scan is None:
            raise BadInput("acquire: the detector is not prepared; send prepare first")
        if station.acquiring:
            raise Busy("the detector is acquiring")
        trigger = args.get("trigger", "internal")
        if trigger not in ("internal", "position"):
            raise BadInput(f"acquire: trigger is {trigger!r}, must be 'internal' or 'position'")
        start = step = 0.0
        if trigger == "position":
            start = _number(args, "start_deg", -ANGLE_LIMIT_DEG, ANGLE_LIMIT_DEG)
            step = _number(args, "step_deg", -360.0, 360.0)
            if step == 0:
                raise BadInput("acquire: step_deg is 0, so the rotation would never reach the second position")
        now = self._now()
        before = (start - station.rotation.position(now)) * math.copysign(1.0, step) >= -1e-7
        request = Request(
            frames=_whole(args, "frames", 1, MAX_FRAMES),
            kind=FrameKind(_whole(args, "kind", 0, 3)),
            position_triggered=trigger == "position",
            start_deg=start,
            step_deg=step,
            before=before,
            asked_s=now,
        )
        if scan.issued + request.frames > MAX_FRAMES:
            raise BadInput(f"acquire: a scan has at most {MAX_FRAMES} frames")
        station.acquiring, station.error, scan.stop = True, None, False
        self._acquirer.acquire(scan, request)
        return {}

    def _stop_acquire(self, args: Args) -> Reply:
        if self._station.scan is not None and self._station.acquiring:
            self._station.scan.stop = True
        return {}

    def _finish(self, args: Args) -> Reply:
        scan = self._station.scan
        status = args.get("status", "ok")
        if status not in ("ok", "stopped", "aborted"):
            raise BadInput(f"finish: status is {status!r}, must be 'ok', 'stopped' or 'aborted'")
        if scan is None:
            raise BadInput("finish: no scan is prepared")
        if self._station.acquiring and status == "ok":
            raise Busy("the detector is acquiring; stop it first")
        self._conclude(scan, status)
        return {"issued": scan.issued}

    def _conclude(self, scan: Scan, status: EndStatus) -> None:
        scan.stop, scan.aborted = True, status == "aborted"
        self._station.conclude(scan)
        self._acquirer.end_scan(scan, status)

    def _faults(self, args: Args) -> Reply:
        if not isinstance(args.get("set"), Mapping):
            raise BadInput("faults: set is missing, must be a map")
        self._station.set_faults(Faults.from_dict(args["set"]))
        return {}

    def _truth(self, args: Args) -> Reply:
        scan_id = args.get("scan_id")
        path = self._station.truth_path(scan_id) if isinstance(scan_id, str) and "/" not in scan_id else None
        if path is None or not path.exists():
            raise BadInput(f"truth: nothing is known of scan {scan_id!r} (or the server runs without --truth-dir)")
        return {"path": str(path)}

    def _quit(self, args: Args) -> Reply:
        self.finished = True
        return {}


def refusal(error: BadInput) -> Reply:
    """The reply that tells a client what was wrong."""
    code = "busy" if isinstance(error, Busy) else "unknown_verb" if isinstance(error, UnknownVerb) else "bad_input"
    return {"v": 1, "ok": False, "error": " ".join(str(error).split()), "code": code}


def _accepted(reply: Reply) -> Reply:
    return {"v": 1, "ok": True, **reply}


def _check_camera(spec: ScanSpec, rows: int, columns: int) -> None:
    if (spec.rows, spec.columns) != (rows, columns):
        raise BadInput(f"prepare: the detector has {rows}×{columns} pixels, the spec says {spec.rows}×{spec.columns}")
    if spec.dtype != "<u2":
        raise BadInput(f"prepare: the detector sends <u2, the spec says {spec.dtype}")
    try:
        size = len(encode(Start(spec))[0])
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"prepare: the spec cannot be sent: {error}") from error
    if size > MAX_HEADER - 64:
        raise BadInput(f"prepare: the spec takes {size} bytes, a header has at most {MAX_HEADER}; shorten its metadata")


def _number(args: Args, key: str, low: float, high: float) -> float:
    value = args.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise BadInput(f"{key} is {value!r}, must be a finite number")
    if not low <= value <= high:
        raise BadInput(f"{key} is {value!r}, must be from {low:g} to {high:g}")
    return float(value)


def _whole(args: Args, key: str, low: int, high: int) -> int:
    value = args.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadInput(f"{key} is {value!r}, must be a whole number from {low} to {high}")
    return value
