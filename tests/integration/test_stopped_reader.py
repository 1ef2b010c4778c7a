"""Readers that stop reading cost nobody a frame; ``benchmarks.viewers`` measures how little."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import zmq
from station import Station, eventually

from streamer.flow import wire
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import FixCenter, GetStatus, PlaneSpec, WatchPlanes


def test_a_stopped_viewer_costs_no_frame(shared_station: Station, tmp_path: Path) -> None:
    station = shared_station
    shot = tmp_path / "shot.png"
    viewer = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "streamer",
            "view",
            station.daemon["control"],
            "--snapshot",
            str(shot),
            "--after",
            "600",
        ],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    try:
        before = station.ask(GetStatus())
        eventually(lambda: subscribers(viewer.pid, before.endpoints.preview), "the viewer is connected")
        os.kill(viewer.pid, signal.SIGSTOP)
        report = station.scan("stopped-viewer", projections=360)
    finally:
        viewer.kill()
        viewer.wait()
    assert report.frames.missing == 0
    assert report.state == "complete"
    assert station.ask(GetStatus()).ring.high_water < station.ask(GetStatus()).ring.slots


def subscribers(pid: int, endpoint: str) -> bool:
    """Whether the process has a TCP connection to the endpoint's port."""
    port = f":{int(endpoint.rsplit(':', 1)[1]):04X}"
    sockets = {name.removeprefix("socket:[").rstrip("]") for name in open_files(pid)}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(port) and fields[3] == "01" and fields[9] in sockets:
            return True
    return False


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process point at; it may close some while we look."""
    names = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(fd))
    return names


def test_a_control_client_that_never_reads_its_replies_is_harmless(shared_station: Station) -> None:
    with shared_station.context.socket(zmq.DEALER) as dealer:
        dealer.connect(shared_station.daemon["control"])
        for _ in range(500):
            dealer.send(wire.pack({"v": 1, "verb": "status", "args": {}}))
        assert shared_station.ask(Ping()).ok


def test_control_misuse_is_answered_and_changes_nothing(shared_station: Station) -> None:
    with shared_station.context.socket(zmq.REQ) as client:
        client.connect(shared_station.daemon["control"])
        for request, code in (
            (b"\xff\xff", "bad_input"),
            (wire.pack({"v": 9, "verb": "ping"}), "bad_input"),
            (wire.pack({"v": 1, "verb": "format_disk"}), "unknown_verb"),
            (wire.pack({"v": 1, "verb": "arm", "args": {}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "arm", "args": {"spec": {"scan_id": "../x", "sample": "s"}}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "arm", "args": {"spec": zero_projections()}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "abort", "args": {"scan_id": "never"}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "verdict", "args": {"scan_id": "never", "wait": True}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "planes", "args": {"set": [{"name": "p"}]}}), "bad_input"),
            (wire.pack({"v": 1, "verb": "center", "args": {"set": "left"}}), "bad_input"),
        ):
            client.send(request)
            assert client.poll(100_000)
            reply = wire.unpack(client.recv())
            assert (reply["ok"], reply["code"]) == (False, code)
            assert "\n" not in reply["error"]
    assert shared_station.ask(GetStatus()).state in ("idle", "complete", "incomplete", "aborted")


def zero_projections() -> dict[str, object]:
    return {"scan_id": "s", "sample": "s", "rows": 4, "columns": 4, "projections": 0}


def test_a_second_scan_is_refused_while_one_runs(shared_station: Station) -> None:
    spec = shared_station.spec("first")
    shared_station.begin(spec)
    with shared_station.context.socket(zmq.REQ) as client:
        client.connect(shared_station.daemon["control"])
        client.send(wire.pack({"v": 1, "verb": "arm", "args": {"spec": {**spec.to_dict(), "scan_id": "second"}}}))
        assert client.poll(100_000)
        reply = wire.unpack(client.recv())
    assert (reply["ok"], reply["code"]) == (False, "busy")
    assert "first" in reply["error"]
    shared_station.do(Finish("first", "aborted"))
    assert shared_station.final("first").state == "aborted"


def test_other_planes_and_a_fixed_centre(shared_station: Station) -> None:
    tilted = PlaneSpec("tilted", origin=(0, 32, 0), u=(1, 0, 0), v=(0, 0.6, 0.8), shape=(48, 64))
    with shared_station.context.socket(zmq.SUB) as previews:
        previews.subscribe(b"plane")
        previews.connect(shared_station.daemon["preview"])
        shared_station.ask(WatchPlanes([tilted]))
        shared_station.ask(FixCenter(30.5))
        try:
            report = shared_station.scan("tilted")
        finally:
            shared_station.ask(WatchPlanes([]))
            shared_station.ask(FixCenter(None))
        assert previews.poll(100_000)
        _, header, payload = previews.recv_multipart()
    entries = wire.unpack(header)
    assert (entries["plane"], entries["shape"], len(payload)) == ("tilted", [48, 64], 2 * 48 * 64)
    assert entries["center_px"] == 30.5
    assert report.state == "complete"


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """A daemon that was told to end with its parent does so when the parent is killed."""
    ready = tmp_path / "daemon.json"
    config = tmp_path / "c.toml"
    anywhere = "tcp://127.0.0.1:*"
    config.write_text(
        f'source = {{ endpoint = "{anywhere}", bind = true }}\n'
        f'control = {{ endpoint = "{anywhere}", events = "{anywhere}" }}\n'
        f'preview.endpoint = "{anywhere}"\nmetrics.port = 0\nwriter.directory = "{tmp_path}/data"\n'
    )
    script = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'streamer', 'run', {str(config)!r}, '--ready-file', {str(ready)!r}, "
        "'--with-parent'], stderr=subprocess.DEVNULL)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    eventually(ready.exists, "the daemon is up", 150)
    pid = json.loads(ready.read_text())["pid"]
    parent.kill()
    parent.wait()
    eventually(lambda: ended(pid), "the daemon has ended", 100)


def ended(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
