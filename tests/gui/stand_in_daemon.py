"""A daemon without frames: the control, event and preview sockets of the real one, saying what a test wants."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zmq
from msgspec import UnsetType, structs
from numpy.typing import NDArray

from streamer.flow.scan import ScanState
from streamer.flow.wire.control import Busy, Request
from streamer.flow.wire.daemon import (
    CenterReply,
    DaemonStatus,
    Endpoints,
    FixCenter,
    FrameCounts,
    GetStatus,
    PlaneSpec,
    PreviewHeader,
    ProjectionCounts,
    Report,
    RingStatus,
    WatchedPlanes,
    WatchPlanes,
)
from streamer.flow.wire.events import ProgressEvent, StateEvent
from streamer.flow.wire.looks import GetLatest, GetPast, LatestPlane, Look, Looked, PastScans
from streamer.frames import NOT_JUDGED, FrameKind, Verdict
from streamer.io.messaging.control import ControlServer, Handler
from streamer.io.messaging.publish import EVENT_HIGH_WATER_MARK, Publisher
from streamer.phantoms import image, shepp_logan

ANYWHERE = "tcp://127.0.0.1:*"
QUEUED_PREVIEWS = 4
VERSION = "stand-in"


class StandInDaemon:
    """Answers ``status`` with ``report``, and what ``handlers`` are for. Call ``serve`` between the sends.

    ``watched`` and ``centers`` are what clients have set, ``looked`` what they asked to see.
    """

    def __init__(
        self,
        control: str = ANYWHERE,
        handlers: Mapping[type[Request[Any]], Handler] | None = None,
        queued_previews: int = QUEUED_PREVIEWS,
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.asked = 0
        self.report: Report | None = None
        self.pixel_size_m: float | None = 6.5e-6
        self.watched: list[list[PlaneSpec]] = []
        self.centers: list[float | None] = []
        self.looked: list[Look] = []
        self.latest: dict[str, LatestPlane] = {}
        self.scans: list[Report] = []
        table: dict[type[Request[Any]], Handler] = {
            GetStatus: self.status,
            WatchPlanes: self.watch,
            FixCenter: self.center,
            Look: self.look,
            GetLatest: lambda request: self.latest[request.plane],
            GetPast: lambda _request: PastScans(self.scans, list(self.latest)),
        }
        self.server = ControlServer(self.context, control, {**table, **(handlers or {})}, time.monotonic)
        self.events = Publisher(self.context, ANYWHERE, EVENT_HIGH_WATER_MARK, "events")
        self.previews = Publisher(self.context, ANYWHERE, queued_previews, "previews")
        self.endpoint = self.server.endpoint
        self._version = 0

    def status(self, request: GetStatus) -> DaemonStatus:
        self.asked += 1
        state = ScanState.IDLE if self.report is None else self.report.state
        endpoints = Endpoints(self.endpoint, self.events.endpoint, self.previews.endpoint, source="")
        return DaemonStatus(state, VERSION, "none", endpoints, RingStatus(0, 0, 0), self.report)

    def watch(self, request: WatchPlanes) -> WatchedPlanes:
        if request.set is not None:
            self.watched.append(request.set)
        return WatchedPlanes(self.watched[-1] if self.watched else [])

    def center(self, request: FixCenter) -> CenterReply:
        if not isinstance(request.set, UnsetType):
            self.centers.append(request.set)
        held = self.centers[-1] if self.centers else None
        return CenterReply(held, 0.9, held is not None)

    def look(self, request: Look) -> Looked:
        """A ramp in every direction, of 20 rows and 30 columns."""
        self.looked.append(request)
        if self.report is None:
            raise Busy("no scan has come yet")
        pixels = np.add.outer(np.arange(20), np.arange(30)).astype("<u2") * 1000
        return Looked(
            scan_id=self.report.scan_id, sample=self.report.sample, subject=request.subject, shape=(20, 30), lo=0.0,
            hi=65535.0, unit="counts", index=3, kind=FrameKind.FLAT, row=request.row, count=9, pixels=pixels.tobytes(),
        )  # fmt: skip

    def serve(self, wait_s: float = 0.0) -> None:
        """Answer the requests that have come, waiting at most this long for the first."""
        while self.server.serve(round(1e3 * wait_s)):
            wait_s = 0.0

    def tell(self, verdict: Verdict | None = None, /, **changes: Any) -> None:
        """Change the report and announce it."""
        if verdict is not None:
            changes |= fields_of(verdict)
        self.report = structs.replace(self._known(), **changes)
        self.events.event(ProgressEvent(report=self.report, scan_id=self.report.scan_id))

    def enter(self, state: ScanState) -> None:
        """Change the state of the scan and announce it."""
        self.report = structs.replace(self._known(), state=state)
        self.events.event(StateEvent(scan_id=self.report.scan_id, state=state, report=self.report))

    def plane(self, name: str, picture: NDArray[np.float32], angles: int, of: int, **changes: Any) -> None:
        """Send one preview, with these changes to its header; the picture (rows, columns) is in 1/pixel."""
        report = self._known()
        if self.pixel_size_m is not None:
            picture = picture / np.float32(100 * self.pixel_size_m)
        low, high = float(picture.min()), float(picture.max())
        self._version += 1
        preview = PreviewHeader(
            scan_id=report.scan_id,
            sample=report.sample,
            plane=name,
            version=self._version,
            angles=angles,
            of=of,
            shape=picture.shape,
            lo=low,
            hi=high,
            unit="1/cm" if self.pixel_size_m else "1/pixel",
            pixel_size_m=self.pixel_size_m,
            center_px=report.center_px,
            frame_rate_hz=480.0,
            verdict=report.verdict,
            reasons=report.reasons,
            final=report.final,
        )
        self.previews.plane(
            structs.replace(preview, **changes), np.round((picture - low) * (65535 / max(high - low, 1e-12)))
        )

    def raw_preview(self, parts: Sequence[bytes]) -> None:
        """Any bytes, to those who listen to previews."""
        self.previews.send(list(parts))

    def close(self) -> None:
        self.server.close()
        self.events.close()
        self.previews.close()
        self.context.term()

    def _known(self) -> Report:
        assert self.report is not None, "set the report first"
        return self.report


def fields_of(verdict: Verdict) -> dict[str, Any]:
    """The fields of a report that are the verdict."""
    return {"verdict": verdict.decision.value, "reasons": verdict.reasons, "final": verdict.final}


def report_of(scan_id: str = "s1", sample: str = "foam", angles: int = 0, of: int = 90, **changes: Any) -> Report:
    """The report of a scan that runs, so far without losses."""
    running = Report(
        scan_id=scan_id,
        sample=sample,
        state=ScanState.ACQUIRING,
        frames=FrameCounts(expected=of, received=angles),
        projections=ProjectionCounts(angles, of),
        **fields_of(NOT_JUDGED),
    )
    return structs.replace(running, **changes)


def pictures(side: int, rows: int, angles: int) -> dict[str, NDArray[np.float32]]:
    """Three planes of a phantom, (side, side) and twice (rows, side); the fewer angles, the more noise."""
    noise = np.random.default_rng(angles)
    body = image(shepp_logan(side), side)
    upright = body[(side - rows) // 2 :][:rows]
    clean = {"xy": body, "xz": upright, "yz": upright[:, ::-1]}
    spread = np.float32(1 / angles)
    return {name: part + spread * noise.normal(size=part.shape).astype(np.float32) for name, part in clean.items()}
