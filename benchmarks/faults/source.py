"""Faults of the source of the frames, of other sources, and of clients that arm a scan and die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import zmq

from benchmarks.faults.rig import Fate, Rig, meta_of, pixels_of
from benchmarks.faults.writer import Row
from streamer.flow import wire
from streamer.flow.wire.daemon import GetStatus
from streamer.frames import ScanSpec

STALL = {"stall_timeout_s": 2.0}


def row(rig: Rig, spec: ScanSpec, fault: str, happens: str, good_after_s: float | None = None) -> Row:
    """What became of the frames of the scan, and whether the next scan is good."""
    found = rig.fate(spec)
    good_after_s = None if good_after_s is None else round(good_after_s, 2)
    return Row(fault, happens, found, spec.frames - found.right, good_after_s, rig.good_scan())


def slow_disk(folder: Path, pause_s: float = 9.0) -> Row:
    """Longer than the stall time-out; before, 246 of 410 frames were thrown away."""
    with Rig(folder, scan=STALL, hang_s=60.0) as rig:
        spec, writer = rig.arm(), rig.writer_pid
        rig.send(spec, 0, 20)
        rig.wait_written(spec, 20)
        os.kill(writer, signal.SIGSTOP)
        held = time.monotonic() + pause_s
        for index in range(20, spec.frames):
            while not rig.push.poll(100, zmq.POLLOUT):  # held back
                if time.monotonic() > held:
                    os.kill(writer, signal.SIGCONT)
            rig.send(spec, index, index + 1)
        time.sleep(max(0.0, held - time.monotonic()))
        os.kill(writer, signal.SIGCONT)
        began = time.monotonic()
        rig.wait_written(spec, spec.frames)
        good = time.monotonic() - began
        rig.end(spec)
        what = f"the disk is slow: the writer stands still for {pause_s:g} s, the stall time-out is 2 s"
        return row(rig, spec, what, "the ring is full, the detector is held back, the stall clock stands still", good)


def paused(folder: Path, pause_s: float = 5.0) -> Row:
    with Rig(folder, scan=STALL) as rig:
        spec = rig.arm()
        rig.send(spec, 0, 150)
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            rig.tell(wire.KeepAlive(paused=True, src="detector"))
            time.sleep(0.2)
        rig.send(spec, 150, spec.frames)
        rig.end(spec)
        what = f"the source pauses for {pause_s:g} s and says so, the stall time-out is 2 s"
        return row(rig, spec, what, "the stall clock stands still")


def silent(folder: Path) -> Row:
    with Rig(folder, scan=STALL) as rig:
        spec = rig.arm()
        rig.send(spec, 0, 150)
        rig.wait_written(spec, 150)
        good = rig.wait(spec, lambda report: report.state.final, "the end")
        return row(rig, spec, "the source dies at frame 150", "closed as incomplete after the stall time-out", good)


def nobody_comes(folder: Path) -> Row:
    with Rig(folder, scan={"armed_timeout_s": 2.0}) as rig:
        spec, began = rig.arm(), time.monotonic()
        while (scan := rig.link.ask(GetStatus()).scan) is None or not scan.state.final:
            time.sleep(0.05)
        happens = "given up after scan.armed_timeout_s (2 s here), said in log, event and report"
        good, report = time.monotonic() - began, rig.report(spec)
        fate = Fate(str(report.state), 0, 0, 0, 0, 0, 0, 1)
        what = "the client is killed between arm and the first frame"
        return Row(what, happens, fate, 0, round(good, 2), rig.good_scan())


def end_overtakes(folder: Path) -> Row:
    """A detector with two connections; before, 33 frames were thrown away."""
    with Rig(folder) as rig, rig.new_push() as second:
        second.connect(rig.endpoints["source"])
        spec = rig.arm()
        rig.send(spec, 0, 200)
        rig.end(spec)
        time.sleep(0.3)
        rig.send(spec, 200, spec.frames, push=second)
        what = "the end message overtakes 110 frames of another connection by 0.3 s"
        return row(rig, spec, what, "waited for, until none lacks or for scan.end_timeout_s")


def back_to_back(folder: Path, scans: int = 4) -> Row:
    """Scans that announce themselves; before, three of four were lost without a record."""
    with Rig(folder) as rig:
        specs = [rig.new_spec(60) for _ in range(scans)]
        for spec in specs:
            rig.start(spec)
            rig.send(spec, 0, spec.frames)
            rig.end(spec)
        for spec in specs:
            while rig.link.ask(GetStatus(spec.scan_id)).scan is None:
                time.sleep(0.02)
        fates = [rig.fate(spec) for spec in specs]
        total = Fate(
            "; ".join(sorted({one.state for one in fates})),
            *(sum(getattr(one, name) for one in fates) for name in Fate.__dataclass_fields__ if name != "state"),
        )
        what = f"{scans} scans announce themselves back to back on one connection"
        lost = sum(spec.frames for spec in specs) - total.right
        return Row(what, "each is held back until the one before is finished", total, lost, None, rig.good_scan())


def two_sources(folder: Path) -> Row:
    """Frames, start and end of a second producer; before, its frames were mixed in and its end ended the scan."""
    with Rig(folder) as rig:
        spec, other = rig.arm(), rig.new_spec(60)
        rig.send(spec, 0, 150)
        rig.wait_written(spec, 150)
        rig.start(spec, source="stranger")
        for index in (150, 151, 152):
            rig.push.send_multipart(wire.encode_frame(meta_of(spec, index), pixels_of(0), "stranger"))
        rig.tell(wire.End(spec.scan_id, 150, "aborted", src="stranger"))
        rig.start(other, source="stranger")
        rig.send(spec, 150, spec.frames)
        rig.end(spec)
        found = row(rig, spec, "a second source sends frames, an end and a start of its own", "")
        report, refused = rig.report(spec), rig.report(other)
        assert report.foreign == {"stranger": 5}, report.foreign
        assert (refused.state, refused.frames.missing) == ("refused", other.frames)
        happens = "refused, counted and named in report, log and metric; its own scan is a record: refused"
        return Row(found.fault, happens, found.fate, found.lost, None, found.next_scan_good)


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """The folder is away for a while."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    yield
    elsewhere.rename(folder)


def folder_away(folder: Path) -> Row:
    """Before, the receive thread died of it, and the daemon said "armed" for ever."""
    with Rig(folder) as rig:
        spec = rig.new_spec(60)
        with away(rig.data):
            rig.start(spec)
            while rig.link.ask(GetStatus(spec.scan_id)).scan is None:
                time.sleep(0.02)
        began, report = time.monotonic(), rig.report(spec)
        fate = Fate(str(report.state), 0, 0, report.frames.missing, 0, 0, 0, 0)
        good = rig.good_scan()
        what = "the folder of the files is away when a scan announces itself"
        happens = "refused, with a record; the receive thread lives"
        return Row(what, happens, fate, spec.frames, round(time.monotonic() - began, 2), good)


def idle_daemon(folder: Path) -> Row:
    """Before, the second daemon took every other frame."""
    with Rig(folder / "busy", shared=True) as rig, Rig(folder / "idle", shared=True) as idle:
        spec = rig.arm()
        rig.send(spec, 0, spec.frames)
        rig.end(spec)
        assert idle.link.ask(GetStatus()).scan is None
        return row(rig, spec, "a second daemon is idle at the same detector", "attached between arm and end only")


def thief(folder: Path) -> Row:
    """A receiver that is not ours takes frames; what it takes cannot be had, but is named."""
    with Rig(folder, shared=True, scan={"end_timeout_s": 2.0}) as rig, rig.context.socket(zmq.PULL) as pull:
        spec = rig.arm()
        rig.send(spec, 0, 50)
        rig.wait_written(spec, 50)
        pull.connect(rig.push.getsockopt_string(zmq.LAST_ENDPOINT))
        for index in range(50, spec.frames):
            rig.send(spec, index, index + 1)
            while pull.poll(0):
                pull.recv_multipart()
        for _ in range(2):  # one for each
            rig.end(spec)
        rig.wait(spec, lambda report: report.state.final, "the end")
        pull.close()
        found = row(rig, spec, "another receiver connects to the detector at frame 50", "")
        note = rig.report(spec).note
        return Row(found.fault, f"listed; the report says: {note}", found.fate, found.lost, None, found.next_scan_good)


FAULTS: Mapping[str, Callable[[Path], Row]] = {
    "slow-disk": slow_disk,
    "paused": paused,
    "silent": silent,
    "nobody-comes": nobody_comes,
    "end-overtakes": end_overtakes,
    "back-to-back": back_to_back,
    "two-sources": two_sources,
    "folder-away": folder_away,
    "idle-daemon": idle_daemon,
    "another-receiver": thief,
}
