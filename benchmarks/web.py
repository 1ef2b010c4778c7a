"""``python -m benchmarks.web [--size PX] [--projections N] [--rounds N]``: the page in a real Chromium, without a GPU.

Three questions, each with the daemon, the virtual beamline, the page's server and the browser on this one machine: how
long after the mouse has moved is the plane on the screen; how long after a scan's end is a coarse tomogram in three
dimensions there, and how fast does it turn; do fifty pages, one of which is stopped, slow the scan?
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from msgspec import structs
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.record import record
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.flow.wire.beamline import Finish
from streamer.flow.wire.daemon import GetStatus, Report
from tests.web.served import ServedPage, token_file
from tests.web.test_browser import CHROMIUM, FLAGS

TOKEN = "t" * 32
FRAMES = 20
MOVES = 60
REST = 40
CLIENTS = 50
ELSEWHERE_NICE = 10
"""Of the processes that hold the pages: they stand for browsers on other machines, which take no time of this one."""

CLIENT = """
import sys, json
from websockets.sync.client import connect
from threading import Thread
def look():
    with connect(sys.argv[1], max_size=2**24, compression=None, proxy=None) as socket:
        socket.send(json.dumps({"do": "enter", "token": ""}))
        for message in socket:
            if isinstance(message, bytes):
                socket.send('{"do": "drawn"}')
threads = [Thread(target=look, daemon=True) for _ in range(int(sys.argv[2]))]
[thread.start() for thread in threads]
print("ready", flush=True)
[thread.join() for thread in threads]
"""

MOVE = """async ([id, value, plane]) => {
  const slider = document.getElementById(id), canvas = document.querySelector(`#plane-${plane} canvas`);
  const wanted = plane === "xy" ? (o) => o && o[2] === value : plane === "xz" ? (o) => o && o[1] === value : null;
  const began = performance.now(), before = canvas.dataset.place;
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  return await new Promise((done) => {
    const watch = new MutationObserver(() => {
      const place = JSON.parse(canvas.dataset.place ?? "null");
      if (wanted ? !wanted(place) : canvas.dataset.place === before) return;
      watch.disconnect();
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
    });
    watch.observe(canvas, { attributes: true });
    setTimeout(() => done(null), 5000);
  });
}"""

TURN = """(frames) => {
  const { view } = document.getElementById("scene");
  const times = Array.from({ length: frames }, () => (view.turn(5, 0), view.draw()));
  return [times, view.quality];
}"""


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--size", type=int, default=512)
    parse.add_argument("--projections", type=int, default=720)
    parse.add_argument("--rate", type=float, default=100.0)
    parse.add_argument("--rounds", type=int, default=3)
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as name:
        record("web", measure(Path(name), args))


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        beamline = start_beamline(folder, "--size", str(args.size), "--mount-s", "0", "--seed", "3")
        stack.callback(beamline.stop)
        daemon = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 0},
        )
        stack.callback(daemon.stop)
        control = daemon.wait_ready()["control"]
        station = ScanDriver(zmq.Context(), beamline, daemon)
        page = stack.enter_context(ServedPage(control, "--steer-token", token_file(folder, "token", TOKEN)))
        scan = Scan(station, args)
        scan.take("warm-up")
        with browsing(page) as tab:
            result = {"move": moves(scan, tab, args.size)} | volume(tab)
        result["pages"] = pages(scan, page, args.rounds)
        return result


class Scan:
    """Takes scans of one sample."""

    def __init__(self, station: ScanDriver, args: argparse.Namespace) -> None:
        self.station, self._args = station, args

    def begin(self, scan_id: str, rest: int = 0) -> None:
        """Start the projections of a scan. ``rest`` more are announced and do not come, so it goes on."""
        size = self._args.size
        self._spec = self.station.spec(
            scan_id, rows=size, columns=size, projections=self._args.projections + rest, flats=8, darks=4
        )
        self.station.begin(self._spec, self._args.rate)
        self.station.fly(structs.replace(self._spec, projections=self._args.projections), self._args.rate)

    def finish(self) -> Report:
        self.station.until(self.station.at_rest, "all projections are taken")
        self.station.do(Finish(self._spec.scan_id))
        return self.station.final(self._spec.scan_id)

    def take(self, scan_id: str) -> Report:
        self.begin(scan_id)
        return self.finish()


@contextmanager
def browsing(page: ServedPage) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 720})
        tab.goto(page.address)
        tab.click("#token-button")
        tab.fill("#token", TOKEN)
        tab.press("#token", "Enter")
        yield tab
        browser.close()


def moves(scan: Scan, tab: Page, size: int) -> dict[str, Any]:
    """Milliseconds from an input event of a slider until a picture of the new place is on the screen.

    While frames come, in the second half of the scan, and with all of its projections, before it ends.
    """
    scan.begin("moved", REST)
    expect(tab.locator("#title")).to_contain_text("moved")
    expect(tab.locator("#xy-z")).to_be_enabled()
    scan.station.until(lambda: received(scan.station) > 0.5, "half of the projections")
    sliders, random = {"xy": "xy-z", "xz": "xz-y"}, np.random.default_rng(1)

    def move(plane: str) -> float | None:
        found: float | None = tab.evaluate(MOVE, [sliders[plane], int(random.integers(size)), plane])
        return found

    while_scanning: list[float | None] = []
    while received(scan.station) < 0.9:
        while_scanning += [move(plane) for plane in sliders]
    scan.station.until(scan.station.at_rest, "all projections are taken")
    at_rest = {plane: spread([move(plane) for _ in range(MOVES)]) for plane in sliders}
    scan.finish()
    return {"while scanning": spread(while_scanning), "with all projections": at_rest}


def received(station: ScanDriver) -> float:
    report = station.ask(GetStatus()).scan
    return 0.0 if report is None else report.projections.received / report.projections.expected


def volume(tab: Page) -> dict[str, Any]:
    """Milliseconds from the news of the tomogram to its brick on the screen, and of a turn by 5° of brick and box."""
    expect(tab.locator("#tomogram-file")).to_contain_text("moved", timeout=120_000)
    began = time.monotonic()
    tab.click("#tab-volume")
    tab.wait_for_selector("#scene[data-step] canvas", timeout=120_000)
    first = time.monotonic() - began
    coarse, coarse_quality = tab.evaluate(TURN, FRAMES)
    tab.get_by_text("Full detail").click()
    expect(tab.locator("#scene")).to_have_attribute("data-step", "1", timeout=120_000)
    fine, fine_quality = tab.evaluate(TURN, FRAMES)
    return {
        "first_brick_s": first,
        "coarse": {"frame_ms": median(coarse), "pixels_per_screen_pixel_and_lit": coarse_quality},
        "full_detail": {"frame_ms": median(fine), "pixels_per_screen_pixel_and_lit": fine_quality},
    }


def pages(scan: Scan, page: ServedPage, rounds: int) -> dict[str, Any]:
    """Scans alone and beside fifty pages, one of them stopped, in turn."""
    address = page.address.replace("http", "ws") + "/news"
    alone, beside = [], []
    for turn in range(rounds):
        alone.append(scan.take(f"alone-{turn}"))
        clients = [client(address, CLIENTS - 1), client(address, 1)]
        os.kill(clients[1].pid, signal.SIGSTOP)
        beside.append(scan.take(f"beside-{turn}"))
        for each in clients:
            each.kill()
            each.wait()
    rates = [[(one.frames.received - 1) / (one.scan_s or 1) for one in reports] for reports in (alone, beside)]
    late = [[one.latency_ms.p99 for one in reports] for reports in (alone, beside)]
    return {
        "frames_per_s_alone": rates[0], "frames_per_s_beside": rates[1],
        "ratio": statistics.median(b / a for a, b in zip(*rates, strict=True)),
        "p99_ms_alone": late[0], "p99_ms_beside": late[1],
        "missing": [one.frames.missing for one in beside],
    }  # fmt: skip


def client(address: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENT, address, str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.setpriority(os.PRIO_PROCESS, process.pid, ELSEWHERE_NICE)  # before it begins any thread
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)  # they must be in before one is stopped
    return process


def spread(times: list[float | None]) -> dict[str, Any]:
    seen = np.array([one for one in times if one is not None])
    if not seen.size:
        return {"n": 0, "none came": len(times)}
    return {
        "n": len(times), "none came within 5 s": len(times) - seen.size,
        "p50_ms": float(np.percentile(seen, 50)), "p99_ms": float(np.percentile(seen, 99)),
    }  # fmt: skip


def median(times: list[float]) -> float:
    return round(float(np.median(times)), 1)


if __name__ == "__main__":
    main()
