"""``streamer demo``: the virtual beamline, the daemon and the RunEngine, each a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from pydantic import Field

from streamer import __version__
from streamer.cli.arguments import checked
from streamer.cli.outputs import check_outputs, write_json
from streamer.cli.processes import Child, ChildError
from streamer.cli.recording import Recorder
from streamer.cli.report import SampleResult, print_table, sample_results
from streamer.cli.runlog import RunLog
from streamer.cli.warming import warm_with_bar
from streamer.core.backend.selection import select_backend
from streamer.flow.scan import FINAL_STATES
from streamer.frames import BadInput
from streamer.io.control import request
from streamer.io.picture import strip_picture
from streamer.io.sockets import until_done
from streamer.io.writer import check_space

START_S = 300.0  # where the kernels could not be cached, the daemon compiles them again
FINISH_S = 120.0
DARKS_AND_FLATS = 30
FRAMES_PER_S = 100.0


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "demo",
        description="Scan samples on a virtual beamline with a real RunEngine, real sockets and real files: a good "
        "sample, one whose axis is off, one that moves during its first scan, an empty holder. Opens the viewer where "
        "there is a display. Ctrl-C ends everything cleanly.",
    )
    parser.add_argument(
        "--samples",
        type=checked(Annotated[int, Field(ge=1, le=100)]),
        default=4,
        metavar="N",
        help="samples in the changer (default 4)",
    )
    parser.add_argument(
        "--size",
        type=checked(Annotated[int, Field(ge=16, le=4096)]),
        default=256,
        metavar="PX",
        help="rows and columns of the detector (default 256)",
    )
    parser.add_argument(
        "--projections",
        type=checked(Annotated[int, Field(ge=1, le=100_000)]),
        default=360,
        metavar="M",
        help="per scan (default 360)",
    )
    parser.add_argument(
        "--rate",
        type=checked(Annotated[float, Field(gt=0, le=100_000)]),
        default=FRAMES_PER_S,
        metavar="FPS",
        help="frames per second (default 100)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("streamer-demo"), metavar="DIR", help="files go here (default streamer-demo)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--headless", action="store_true", help="no window; leaves a strip of pictures instead")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the virtual beamline (default 1)")
    parser.add_argument("--control", choices=["sim"], default="sim", help="how the devices are reached (default sim)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _check(args)
    headless = args.headless or not _has_display()
    warm_with_bar(select_backend()[0])  # the daemon would do it as well, but could not show how far it is
    results: list[SampleResult] = []
    with ExitStack() as stack:
        stack.enter_context(_terminated_as_interrupt())
        beamline, endpoints = _start_beamline(args, stack)
        daemon, listening = _start_daemon(args, endpoints["frames"], stack)
        recorder = viewer = None
        if headless:
            recorder = Recorder(listening["preview"])
            stack.callback(recorder.stop)
        else:
            viewer = Child("viewer", ["streamer", "view", listening["control"]], args.out / "logs" / "viewer.log")
            stack.callback(viewer.stop)
        outcome = _run_plans(args, endpoints["control"], listening["control"], (beamline, daemon), stack)
        _await_reports(outcome, listening["control"])
        results = sample_results(outcome, args.out, args.out / "truth")
        if recorder is not None and recorder.stages:
            stages = [(s.angles / s.of, s.angles, s.of, s.planes) for s in recorder.stages]
            strip_picture(args.out / "while-scanning.png", stages)
        print_table(results)
        _write_json(args.json or args.out / "result.json", listening["backend"], results, outcome["run_uids"])
        print(f"pictures, raw files and tomograms: {args.out}")
        if viewer is not None:
            if viewer.poll() is None:
                print("close the viewer, or press Ctrl-C, to end")
            elif viewer.poll() != 0:
                print(f"the viewer did not open: {viewer.last_line()}")
            viewer.wait(timeout_s=7 * 86400)
    return 0


def _check(args: argparse.Namespace) -> None:
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {args.out}: {error.strerror}") from error
    check_outputs({"--json": args.json})
    frames = args.projections + DARKS_AND_FLATS
    tries = args.samples + 2
    check_space(args.out, tries * (2 * frames * args.size**2 + 4 * args.size**3), 2**28)


def _has_display() -> bool:
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        import pyqtgraph  # noqa: F401
        import PySide6  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that the children are stopped in good order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_beamline(args: argparse.Namespace, stack: ExitStack) -> tuple[Child, dict[str, Any]]:
    ready = args.out / "logs" / "beamline.json"
    anywhere = "tcp://127.0.0.1:*"
    command = [
        "streamer.sim",
        "--frames",
        anywhere,
        "--control",
        anywhere,
        "--size",
        str(args.size),
        "--preset",
        "demo",
    ]
    command += ["--seed", str(args.seed), "--truth-dir", str(args.out / "truth"), "--ready-file", str(ready)]
    child = Child("virtual beamline", command, args.out / "logs" / "beamline.log", ready)
    stack.callback(child.stop)
    return child, child.wait_ready(START_S)


def _start_daemon(args: argparse.Namespace, frames: str, stack: ExitStack) -> tuple[Child, dict[str, Any]]:
    config = args.out / "daemon.toml"
    config.write_text(
        f'source.endpoint = "{frames}"\n'
        'control = { endpoint = "tcp://127.0.0.1:*", events = "tcp://127.0.0.1:*" }\n'
        'preview.endpoint = "tcp://127.0.0.1:*"\n'
        "metrics.port = 0\n"
        f"writer = {{ directory = {json.dumps(str(args.out))}, reserve_mb = 64 }}\n",
        encoding="utf-8",
    )
    ready = args.out / "logs" / "daemon.json"
    command = ["streamer", "run", str(config), "--ready-file", str(ready), "--with-parent"]
    child = Child("daemon", command, args.out / "logs" / "daemon.log", ready)
    stack.callback(child.stop, timeout_s=30.0)
    listening = child.wait_ready(START_S)
    print(f"metrics: {listening['metrics']}   viewer: streamer view {listening['control']}")
    return child, listening


def _run_plans(
    args: argparse.Namespace, beamline: str, daemon: str, others: tuple[Child, ...], stack: ExitStack
) -> dict[str, Any]:
    """Run the batch to its end; what the plans wrote. Raises ChildError when a process failed."""
    result = args.out / "logs" / "plans.json"
    result.unlink(missing_ok=True)
    command = ["streamer_plans.demo", "--beamline", beamline, "--daemon", daemon, "--size", str(args.size)]
    command += ["--projections", str(args.projections), "--samples", str(args.samples), "--rate", str(args.rate)]
    command += ["--out", str(args.out), "--json", str(result), "--seed", str(args.seed)]
    plans = Child("RunEngine", command, args.out / "logs" / "plans.log", pipe=True)
    stack.callback(plans.stop, signal.SIGINT)
    with RunLog(args.samples) as log:
        for line in plans.output:
            log.line(line)
    code = plans.wait(FINISH_S)
    if code != 0:
        dead = [child for child in others if child.poll() is not None]
        why = f"; the {dead[0].name} ended: {dead[0].last_line()}" if dead else ""
        raise ChildError(f"the run failed: {plans.last_line()}{why}")
    outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def _await_reports(outcome: dict[str, Any], daemon: str) -> None:
    """Replace the reports by the final ones: the last tomogram may still be in the making when the plans end."""
    deadline = time.monotonic() + FINISH_S
    with until_done() as context:
        for sample in outcome["samples"]:
            while sample["scan_id"]:
                report = request(context, daemon, "status", {"scan_id": sample["scan_id"]}, 10.0)["scan"]
                sample["report"] = report
                if report["state"] in FINAL_STATES or time.monotonic() > deadline:
                    break
                time.sleep(0.05)


def _write_json(path: Path, backend: str, results: list[SampleResult], run_uids: list[str]) -> None:
    samples = [result.to_dict() for result in results]
    content = {"version": __version__, "backend": backend, "samples": samples, "run_uids": run_uids}
    write_json(path, content)
