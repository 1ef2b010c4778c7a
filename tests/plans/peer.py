"""A small daemon that follows docs/protocol.md, for failures that the real one does not have on demand.

``python -m tests.plans.peer READY_FILE FRAMES_ENDPOINT ORDERS_FILE``: the orders are JSON, with the ``directory`` of
the files and a ``script``, one map for each scan: ``verdict``, ``reasons``, ``center_px``, ``silent`` (never a final
verdict), ``deaf_after`` (receives no frame beyond this one), ``live_after`` (gives the verdict ``live``, not final,
from this projection on), ``live_when`` (and not before this file is there), ``fail_after`` (gives the scan up). The
last map holds for all further scans. With other orders in the file it forgets what was before. It writes real HDF5
files in SWMR mode.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zmq
from msgspec import structs

from streamer.flow.scan import ScanState
from streamer.flow.wire import End, FrameHeader, decode
from streamer.flow.wire.control import Busy, Done, Ping, Pong
from streamer.flow.wire.daemon import (
    Abort,
    Arm,
    Armed,
    EndScan,
    FrameCounts,
    GetVerdict,
    ProjectionCounts,
    Report,
    VerdictReply,
)
from streamer.frames import BadInput, Decision, Quality, Reason, ReasonCode, Verdict
from streamer.io.messaging.control import DeferredReply
from tests.gui.stand_in_daemon import VERSION, StandInDaemon

FLUSH_S = 0.05
NEVER = 10**9
RUNNING = (ScanState.ARMED, ScanState.ACQUIRING, ScanState.DRAINING)


class Peer(StandInDaemon):
    def __init__(self, ready: Path, frames: str, orders: Path) -> None:
        handlers: dict[Any, Any] = {
            Ping: lambda _: Pong(VERSION),
            Arm: self.arm,
            Abort: self.abort,
            GetVerdict: self.verdict,
        }
        handlers[EndScan] = lambda _: Done()  # the stream of the virtual beamline says it as well
        super().__init__(handlers=handlers)
        self.frames = self.context.socket(zmq.PULL)
        self.frames.connect(frames)
        self.plan: dict[str, Any] = {}
        self.file: h5py.File | None = None
        self.flushed = 0.0
        self.orders, self.text = orders, ""
        self.look_at_orders()
        scratch = ready.with_suffix(".tmp")
        scratch.write_text(json.dumps({"control": self.endpoint, "events": self.events.endpoint}))
        scratch.replace(ready)

    def look_at_orders(self) -> None:
        text = self.orders.read_text(encoding="utf-8")
        if text == self.text:
            return
        if self.file is not None:
            self.file.close()
        orders = json.loads(text)
        self.directory, self.script = Path(orders["directory"]), orders["script"] or [{}]
        self.text, self.report, self.file = text, None, None

    def run(self) -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            self.look_at_orders()
            self.serve()
            if self.frames.poll(5):
                self.receive(self.frames.recv_multipart())
            if time.monotonic() - self.flushed > FLUSH_S:
                self.flush()

    @property
    def running(self) -> bool:
        return self.report is not None and self.report.state in RUNNING

    def arm(self, request: Arm) -> Armed:
        spec = request.spec
        if self.report is not None and self.running:
            raise Busy(f"scan {self.report.scan_id} is running")
        self.plan = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        path = self.directory / f"{spec.scan_id}.nxs"
        shape = (spec.rows, spec.columns)
        self.file = h5py.File(path, "w", libver="latest")
        self.data = self.file.create_dataset(
            "/entry/instrument/detector/data", (0, *shape), spec.dtype, maxshape=(None, *shape), chunks=(1, *shape)
        )
        self.keys = self.file.create_dataset(
            "/entry/instrument/detector/image_key", (0,), "u1", maxshape=(None,), chunks=(1024,)
        )
        self.angles = self.file.create_dataset(
            "/entry/sample/rotation_angle", (0,), "f8", maxshape=(None,), chunks=(1024,)
        )
        self.file.swmr_mode = True
        self.seen: set[int] = set()
        self.pending: list[tuple[Any, Any]] = []
        self.report = Report(
            scan_id=spec.scan_id,
            sample=spec.sample,
            state=ScanState.ARMED,
            frames=FrameCounts(expected=spec.frames),
            projections=ProjectionCounts(expected=spec.projections),
            raw_file=str(path),
        )
        return Armed(spec.scan_id, str(path), spec.dtype, shape, {})

    def abort(self, request: Abort) -> Done:
        if self.report is not None and self.running and self.report.scan_id == request.scan_id:
            self.end(ScanState.ABORTED, error=request.reason)
        return Done()

    def verdict(self, request: GetVerdict) -> DeferredReply:
        def ask(expired: bool) -> VerdictReply | None:
            report = self.report
            if report is None:
                raise BadInput("no scan")
            if request.wait and not report.final and not expired:
                return None
            return VerdictReply(report.scan_id, report.verdict, report.reasons, report.final, report.quality)

        return DeferredReply(time.monotonic() + request.timeout_s, ask)

    def receive(self, parts: list[bytes]) -> None:
        message, report = decode(parts[0]), self.report
        if report is None or not self.running:
            return
        if isinstance(message, FrameHeader) and message.scan_id == report.scan_id:
            self.take(report, message, parts[1])
        elif isinstance(message, End) and message.scan_id == report.scan_id:
            self.flush()
            frames = structs.replace(report.frames, missing=message.frames - len(self.seen))
            self.end(ScanState.ABORTED if message.status == "aborted" else ScanState.COMPLETE, frames=frames)

    def take(self, report: Report, header: FrameHeader, payload: bytes) -> None:
        if header.index > self.plan.get("deaf_after", NEVER):
            return
        if header.index > self.plan.get("fail_after", NEVER):
            self.end(ScanState.FAILED, error="no space left on device")
            return
        self.seen.add(header.index)
        self.pending.append((header.meta, np.frombuffer(payload, header.dtype).reshape(header.shape)))
        projections = report.projections.received + (header.kind == 0)
        self.report = structs.replace(
            report,
            state=ScanState.ACQUIRING,
            frames=structs.replace(report.frames, received=report.frames.received + 1),
            projections=structs.replace(report.projections, received=projections),
        )
        when = self.plan.get("live_when")
        if projections >= self.plan.get("live_after", NEVER) and (when is None or Path(when).exists()):
            code = ReasonCode(self.plan["live"])
            decision = code.decision or Decision.ENOUGH
            self.report = structs.replace(self.report, verdict=decision, reasons=(Reason(code, code.meaning),))

    def flush(self) -> None:
        self.flushed = time.monotonic()
        if self.report is None or not self.running or not self.pending:
            return
        start = self.report.written
        stop = start + len(self.pending)
        for dataset in (self.data, self.keys, self.angles):
            dataset.resize(stop, axis=0)
        self.data[start:stop] = np.stack([pixels for _, pixels in self.pending])
        self.keys[start:stop] = [int(meta.kind) for meta, _ in self.pending]
        self.angles[start:stop] = [meta.angle_deg for meta, _ in self.pending]
        for dataset in (self.data, self.keys, self.angles):
            dataset.flush()
        self.pending.clear()
        self.tell(written=stop)

    def end(self, state: ScanState, **changes: Any) -> None:
        if self.file is not None:
            self.file.close()
        assert self.report is not None
        self.report = structs.replace(self.report, **changes)
        if state is ScanState.COMPLETE and not self.plan.get("silent"):
            reasons = self.plan.get("reasons", [{"code": "nothing_wrong", "text": "fine"}])
            verdict = Verdict(
                Decision(self.plan.get("verdict", "ENOUGH")),
                tuple(Reason(ReasonCode(reason["code"]), reason["text"]) for reason in reasons),
                final=True,
            )
            quality = Quality(center_px=self.plan.get("center_px", 15.5), center_confidence=0.9)
            self.tell(verdict, quality=quality, center_px=quality.center_px, center_confidence=0.9)
        self.enter(state)


if __name__ == "__main__":
    Peer(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])).run()
