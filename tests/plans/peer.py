"""A small daemon that follows docs/protocol.md, for failures that the real one does not have on demand.

``python peer.py READY_FILE FRAMES_ENDPOINT DIRECTORY [SCRIPT]``: SCRIPT is a JSON list, one map for each scan:
``verdict``, ``reasons``, ``center_px``, ``silent`` (never a final verdict), ``deaf_after`` (receives no frame beyond
this one), ``enough_after`` (says ENOUGH, not final, from this projection on), ``fail_after`` (gives the scan up). The
last map holds for all further scans. It writes real HDF5 files in SWMR mode.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zmq

from streamer.flow.wire import End, FrameHeader, decode, pack, unpack
from streamer.frames import ScanSpec

FLUSH_S = 0.05


class Peer:
    def __init__(self, ready: Path, frames: str, directory: Path, script: list[dict[str, Any]]) -> None:
        context = zmq.Context.instance()
        self.control = context.socket(zmq.ROUTER)
        self.events = context.socket(zmq.PUB)
        self.frames = context.socket(zmq.PULL)
        for socket in (self.control, self.events):
            socket.bind("tcp://127.0.0.1:*")
        self.frames.connect(frames)
        self.directory = directory
        self.script = script or [{}]
        self.plan: dict[str, Any] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.report: dict[str, Any] | None = None
        self.file: h5py.File | None = None
        self.waiting: list[tuple[float, bytes]] = []
        self.flushed = 0.0
        self.endpoints = {
            "control": self.control.last_endpoint.decode(),
            "events": self.events.last_endpoint.decode(),
        }
        ready.write_text(json.dumps(self.endpoints))

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self.control, zmq.POLLIN)
        poller.register(self.frames, zmq.POLLIN)
        parent = os.getppid()
        while os.getppid() == parent:
            ready = dict(poller.poll(20))
            if self.control in ready:
                self.serve(*self.control.recv_multipart())
            if self.frames in ready:
                self.receive(self.frames.recv_multipart())
            if time.monotonic() - self.flushed > FLUSH_S:
                self.flush()
            self.answer_waiting()

    def serve(self, client: bytes, _: bytes, data: bytes) -> None:
        request = unpack(data)
        verb, args = request["verb"], request["args"]
        if verb == "arm":
            reply = self.arm(ScanSpec.from_dict(args["spec"]))
        elif verb == "status":
            scan = self.reports.get(args["scan_id"]) if args.get("scan_id") else self.report
            reply = {"state": scan["state"] if scan else "idle", "endpoints": self.endpoints, "scan": scan}
        elif verb == "abort":
            reply = {}
            if self.running() and self.report["scan_id"] == args["scan_id"]:
                self.report["error"] = args["reason"]
                self.end("aborted")
        elif verb == "verdict":
            if args.get("wait") and not (self.report and self.report["final"]):
                self.waiting.append((time.monotonic() + args["timeout_s"], client))
                return
            reply = self.verdict()
        else:
            reply = {"version": "peer"}
        self.send(client, {"v": 1, "ok": True, **reply} if "ok" not in reply else {"v": 1, **reply})

    def send(self, client: bytes, reply: dict[str, Any]) -> None:
        self.control.send_multipart([client, b"", pack(reply)])

    def verdict(self) -> dict[str, Any]:
        keys = ("scan_id", "verdict", "reasons", "final", "quality")
        return {key: self.report[key] for key in keys} if self.report else {"ok": False, "error": "no scan"}

    def answer_waiting(self) -> None:
        for entry in list(self.waiting):
            if entry[0] < time.monotonic() or (self.report and self.report["final"]):
                self.waiting.remove(entry)
                self.send(entry[1], {"v": 1, "ok": True, **self.verdict()})

    def running(self) -> bool:
        return self.report is not None and self.report["state"] in ("armed", "acquiring", "draining")

    def arm(self, spec: ScanSpec) -> dict[str, Any]:
        if self.running():
            return {"ok": False, "error": f"scan {self.report['scan_id']} is running", "code": "busy"}
        self.plan = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        path = self.directory / f"{spec.scan_id}.nxs"
        self.file = h5py.File(path, "w", libver="latest")
        shape = (spec.rows, spec.columns)
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
        self.report = {
            "scan_id": spec.scan_id,
            "sample": spec.sample,
            "state": "armed",
            "frames": {"expected": spec.frames, "received": 0, "missing": 0, "duplicate": 0, "late": 0, "corrupt": 0},
            "written": 0,
            "projections": {"received": 0, "expected": spec.projections},
            "coverage": 0.0,
            "verdict": "UNKNOWN",
            "reasons": [],
            "final": False,
            "quality": {},
            "center_px": None,
            "center_confidence": 0.0,
            "raw_file": str(path),
            "error": None,
        }
        self.reports[spec.scan_id] = self.report
        return {"scan_id": spec.scan_id, "raw_file": str(path), "dtype": spec.dtype, "shape": list(shape)}

    def receive(self, parts: list[bytes]) -> None:
        message = decode(parts[0])
        if not self.running():
            return
        if isinstance(message, FrameHeader) and message.meta.scan_id == self.report["scan_id"]:
            self.take(message, parts[1])
        elif isinstance(message, End) and message.scan_id == self.report["scan_id"]:
            self.flush()
            self.report["frames"]["missing"] = message.frames - len(self.seen)
            self.end("aborted" if message.status == "aborted" else "complete")

    def take(self, header: FrameHeader, payload: bytes) -> None:
        report, meta = self.report, header.meta
        if meta.index > self.plan.get("deaf_after", 10**9):
            return
        if meta.index > self.plan.get("fail_after", 10**9):
            report["error"] = "no space left on device"
            self.end("failed")
            return
        report["state"] = "acquiring"
        self.seen.add(meta.index)
        report["frames"]["received"] += 1
        report["projections"]["received"] += meta.kind == 0
        self.pending.append((meta, np.frombuffer(payload, header.dtype).reshape(header.shape)))
        if report["projections"]["received"] >= self.plan.get("enough_after", 10**9):
            report["verdict"] = "ENOUGH"

    def flush(self) -> None:
        self.flushed = time.monotonic()
        if not self.running() or not self.pending:
            return
        start = self.report["written"]
        stop = start + len(self.pending)
        for dataset in (self.data, self.keys, self.angles):
            dataset.resize(stop, axis=0)
        self.data[start:stop] = np.stack([pixels for _, pixels in self.pending])
        self.keys[start:stop] = [int(meta.kind) for meta, _ in self.pending]
        self.angles[start:stop] = [meta.angle_deg for meta, _ in self.pending]
        for dataset in (self.data, self.keys, self.angles):
            dataset.flush()
        self.pending.clear()
        self.report["written"] = stop
        self.publish("progress")

    def end(self, state: str) -> None:
        if self.file is not None:
            self.file.close()
        report = self.report
        report["state"] = state
        if state == "complete" and not self.plan.get("silent"):
            report["verdict"] = self.plan.get("verdict", "ENOUGH")
            report["reasons"] = self.plan.get("reasons", [{"code": "nothing_wrong", "text": "fine"}])
            report["center_px"] = self.plan.get("center_px", 15.5)
            report["center_confidence"] = 0.9
            report["final"] = True
        self.publish("scan")

    def publish(self, topic: str) -> None:
        event = {"scan_id": self.report["scan_id"], "state": self.report["state"], "report": self.report}
        self.events.send_multipart([topic.encode(), pack(event)])


if __name__ == "__main__":
    script = json.loads(sys.argv[4]) if len(sys.argv) > 4 else []
    Peer(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), script).run()
