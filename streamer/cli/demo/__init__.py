"""``streamer demo``: the virtual beamline, the daemon and the RunEngine, each a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins
from pydantic import Field

from streamer import __version__
from streamer.cli.rig.processes import (
    ManagedProcess,
    ProcessError,
    local_channel_access,
    start_beamline,
    start_daemon,
    start_ioc,
)
from streamer.cli.terminal.arguments import add_options, add_verb
from streamer.cli.terminal.extras import need
from streamer.cli.terminal.outputs import check_outputs, write_json
from streamer.cli.terminal.progress import Progress
from streamer.cli.terminal.words import say
from streamer.client import Link
from streamer.flow.scan import ScanState
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.daemon import GetStatus
from streamer.frames import BadInput, Verdict
from streamer.io.messaging.sockets import until_done
from streamer.io.raw.disk_space import check_space
from streamer.options import Options

if TYPE_CHECKING:
    from streamer.cli.demo.recording import Recorder

FINISH_S = 120.0
DARKS_AND_FLATS = 30
WEEK_S = 7 * 86400.0
TRANSPORT: Transport = "acknowledged"
CONTROLS = {"sim": (), "epics": ("caproto", "epics"), "ophyd-async": ("caproto", "epics", "ophyd_async", "aioca")}
"""What each way of control needs beside the plans."""


class DemoOptions(Options):
    """The scans of the demo."""

    samples: int = Field(4, ge=1, le=100)
    """samples in the changer"""
    size: int = Field(256, ge=16, le=4096)
    """rows and columns of the detector"""
    projections: int = Field(360, ge=1, le=100_000)
    """projections of each scan"""
    rate: float = Field(100.0, gt=0, le=100_000)
    """frames per second"""
    seed: int = Field(1, ge=0, le=2**31)
    """seed of the virtual beamline's noise and faults"""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "demo",
        "Scan samples on a virtual beamline with a real RunEngine, real sockets and real files: a good sample, one "
        "whose axis is off, one that moves during its first scan, and an empty holder. Opens the viewer where there "
        "is a display. Ctrl-C ends everything cleanly.",
        {
            "demo": "four samples; the results go to streamer-demo",
            "demo --samples 1 --size 512 --projections 720": "one larger sample",
            "demo --headless --json result.json": "without a window; results for a program",
        },
    )
    add_options(parser, DemoOptions)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("streamer-demo"),
        metavar="DIR",
        help="folder for raw files, tomograms, pictures and logs (default streamer-demo)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results to FILE (default: result.json in that folder)"
    )
    parser.add_argument("--headless", action="store_true", help="open no window, but save a picture of the live planes")
    parser.add_argument(
        "--control",
        choices=list(CONTROLS),
        default="sim",
        help="how the plans reach the devices: directly (sim, the default), or through an IOC of EPICS with devices of "
        "ophyd (epics) or of ophyd-async (ophyd-async)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _check(args)
    # Heavy, and not needed to say what is wrong or to show the help.
    from streamer.cli.demo.recording import Recorder
    from streamer.cli.warming import warm_with_bar
    from streamer.core.backend.selection import select_backend

    headless = args.headless or _no_window()
    warm_with_bar(select_backend()[0])  # the daemon would do it without showing its progress
    logs = args.out / "logs"
    with ExitStack() as stack:
        stack.enter_context(_terminated_as_interrupt())
        beamline = start_beamline(
            logs,
            "--size",
            str(args.size),
            "--seed",
            str(args.seed),
            "--truth-dir",
            str(args.out / "truth"),
            "--transport",
            TRANSPORT,
        )
        stack.callback(beamline.stop)
        frames = beamline.wait_ready()["frames"]
        daemon = start_daemon(
            logs,
            source={"endpoint": frames, "transport": TRANSPORT},
            writer={"directory": args.out, "reserve_mb": 64},
        )
        stack.callback(daemon.stop, timeout_s=30.0)
        control = daemon.wait_ready()["control"]
        print(f"metrics: {daemon.endpoints['metrics']}")
        print(f"viewer:  streamer view {control}")
        recorder = viewer = None
        if headless:
            recorder = Recorder(daemon.endpoints["preview"])
            stack.callback(recorder.stop)
        else:
            viewer = ManagedProcess("viewer", ["-m", "streamer", "view", control], logs / "viewer.log")
            stack.callback(viewer.stop)
        where, environment = beamline.endpoints["control"], {}
        if args.control != "sim":
            environment = local_channel_access()
            ioc = start_ioc(logs, where, environment)
            stack.callback(ioc.stop)
            ioc.wait_ready()
            where = args.control
        outcome = _run_plans(args, where, environment, (beamline, daemon), stack)
        _await_reports(outcome, control)
        _show_results(args, outcome, daemon.endpoints["backend"], recorder)
        if viewer is not None:
            _await_viewer(viewer)
    return 0


def _check(args: argparse.Namespace) -> None:
    need("plans", "the demo", "bluesky", "ophyd", "event_model")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {args.out}: {error.strerror}") from error
    check_outputs({"--json": args.json})
    need("plans,epics", f"--control {args.control}", *CONTROLS[args.control])
    frames = args.projections + DARKS_AND_FLATS
    tries = args.samples + 2
    check_space(args.out, tries * (2 * frames * args.size**2 + 4 * args.size**3), 2**28)


def _no_window() -> bool:
    """Whether no window can be opened; says why, before the scans."""
    from streamer.gui.qt import cannot_open

    try:
        need("gui", "a window", "pyqtgraph", "PySide6")
        reason = cannot_open()
    except BadInput as error:
        reason = str(error)
    if reason is not None:
        say(f"no window: {reason}; a picture of the live planes is saved instead")
    return reason is not None


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Make SIGTERM end the demo as Ctrl-C does, so that its processes are stopped in good order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_plans(
    args: argparse.Namespace,
    where: str,
    environment: Mapping[str, str],
    servers: tuple[ManagedProcess, ManagedProcess],
    stack: ExitStack,
) -> dict[str, Any]:
    """Run the batch to its end and read what the plans wrote. Raises ProcessError when a process failed."""
    result = args.out / "logs" / "plans.json"
    result.unlink(missing_ok=True)
    daemon = servers[-1].endpoints["control"]
    command = ["-m", "streamer_plans.demo", "--beamline", where, "--daemon", daemon]
    for name in DemoOptions.model_fields:
        command += [f"--{name}", str(getattr(args, name))]
    command += ["--out", str(args.out), "--json", str(result)]
    plans = ManagedProcess("RunEngine", command, args.out / "logs" / "plans.log", pipe=True, environment=environment)
    stack.callback(plans.stop, signal.SIGINT)
    with Progress(parts=4) as progress:
        for line in plans.output:
            show_event(progress, line, args.samples)
    code = plans.wait(FINISH_S)
    if code != 0:
        dead = [process for process in servers if process.poll() is not None]
        why = f"; the {dead[0].name} ended: {dead[0].last_line()}" if dead else ""
        raise ProcessError(f"the run failed: {plans.last_line()}{why}")
    outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def show_event(progress: Progress, line: bytes, samples: int) -> None:
    """Show a line that ``python -m streamer_plans.demo`` wrote: an event as JSON, or anything else as it is."""
    text = line.decode("utf-8", errors="replace").strip()
    try:
        event = json.loads(text)
        kind = event["event"]
    except (ValueError, TypeError, KeyError):
        progress.say(text)
        return
    if kind == "sample":
        progress.say(f"sample {event['number']} of {samples}: {event['sample']}")
    elif kind == "scan":
        progress.begin(f"{event['sample']} scan {event['attempt']}, frames", event["total"])
    elif kind == "progress" and not ScanState(event["state"]).final:  # which the next scan may have overtaken
        progress.at(event["written"] or 0, event["verdict"] or "")
    elif kind == "verdict":
        progress.say(f"{event['sample']} → {event['action']}: {Verdict.from_dict(event)}")


def _await_reports(outcome: dict[str, Any], daemon: str) -> None:
    """Replace the reports by the final ones: the last tomogram may be unfinished when the plans end."""
    deadline = time.monotonic() + FINISH_S
    with until_done() as context, Link(daemon, "the daemon", 10.0, context) as link:
        for sample in outcome["samples"]:
            while sample["scan_id"]:
                report = link.ask(GetStatus(sample["scan_id"])).scan
                sample["report"] = to_builtins(report)
                if report is None or report.state.final or time.monotonic() > deadline:
                    break
                time.sleep(0.05)


def _show_results(args: argparse.Namespace, outcome: dict[str, Any], backend: str, recorder: Recorder | None) -> None:
    from streamer.cli.demo.results import print_table, sample_results
    from streamer.io.picture import strip_picture

    print("drawing a picture of each sample, comparing each tomogram with the truth", flush=True)
    results = sample_results(outcome, args.out, args.out / "truth")
    if recorder is not None and recorder.stages:
        stages = [(s.angles / s.of, s.angles, s.of, s.planes) for s in recorder.stages]
        strip_picture(args.out / "while-scanning.png", stages)
    print_table(results)
    content = {"version": __version__, "backend": backend, "samples": results, "run_uids": outcome["run_uids"]}
    write_json(args.json or args.out / "result.json", content)
    print(f"pictures, raw files and tomograms: {args.out}")
    say(f"what a file says of its scan: streamer report {args.out}/FILE")


def _await_viewer(viewer: ManagedProcess) -> None:
    if viewer.poll() is None:
        print("close the viewer, or press Ctrl-C, to end")
    elif viewer.poll() != 0:
        print(f"the viewer did not open: {viewer.last_line()}")
    viewer.wait(timeout_s=WEEK_S)
