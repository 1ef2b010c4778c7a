"""Whether a night came out right: fates of the samples against the truth, and journal, documents and files compared."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py

from benchmarks.batch.night import USEFUL
from streamer.io.raw.nxtomo import DETECTOR, STREAMER
from streamer.io.raw.unclosed import open_raw
from streamer_plans.batch.documents import DOCUMENTS
from streamer_plans.batch.journal import Line, read_journal, restored
from streamer_plans.batch.policy import Choice
from streamer_plans.batch.samples import SampleOutcome


@dataclass
class Run:
    """What the documents say of one scan."""

    uids: list[str] = field(default_factory=list)
    stopped: bool = False
    success: bool = False
    announced: int = 0
    planned: int = 0


@dataclass(frozen=True)
class Stored:
    """What the raw file of one scan holds: frames, how many of them twice, and those that it lists as lacking."""

    frames: frozenset[int]
    doubled: int
    listed: frozenset[int]


def evaluate(folder: Path) -> dict[str, Any]:
    """The result of the night in ``folder``, as a map for JSON."""
    facts = json.loads((folder / "night.json").read_text(encoding="utf-8"))
    lines = read_journal(folder / "batch")
    outcomes = restored(lines)
    kinds: list[str] = facts["night"]["kinds"]
    useful = [outcome for outcome in outcomes if kinds[outcome.slot] in USEFUL]
    accepted = sum(_accepted(outcome) for outcome in useful)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    hours = (times[-1] - times[0]).total_seconds() / 3600
    return {
        "samples": len(outcomes),
        "exit_code": facts["code"],
        "ended_by_itself": lines[-1]["event"] == "ended",
        "sessions": sum(line["event"] in ("started", "resumed") for line in lines),
        "events": facts["events"],
        "hours": round(hours, 3),
        "samples_per_hour": round(len(outcomes) / hours, 1),
        "useful": {"accepted": accepted, "of": len(useful), "share": round(accepted / len(useful), 4)},
        "wrongly_accepted": sorted(o.name for o in outcomes if kinds[o.slot] not in USEFUL and _accepted(o)),
        "confusion": confusion(outcomes, kinds),
        "events_fates": {event: _fate(_of(outcomes, event.split(":")[0])) for event in facts["events"]},
        "retakes_by_blame": dict(sum((outcome.retaken for outcome in outcomes), Counter())),
        "robot_faults": sum(outcome.faults for outcome in outcomes),
        "agreement": agreement(folder, lines, outcomes),
        "live": live(lines, documents(folder / "batch" / DOCUMENTS)),
    }


def _of(outcomes: list[SampleOutcome], name: str) -> SampleOutcome:
    return next(outcome for outcome in outcomes if outcome.name == name)


def _accepted(outcome: SampleOutcome) -> bool:
    return outcome.action is not None and outcome.action.choice is Choice.ACCEPT


def _fate(outcome: SampleOutcome) -> str:
    action = outcome.action
    if action is None:
        return "not decided"
    if action.choice is Choice.REJECT:
        return f"rejected: {action.rule.split(':')[0]}"
    again = [attempt.action for attempt in outcome.attempts[:-1]]
    if again:
        return f"accepted after {again[-1].rule.split(':')[0]}"
    return "accepted after grip_failed" if outcome.faults else "accepted"


def confusion(outcomes: list[SampleOutcome], kinds: list[str]) -> dict[str, dict[str, int]]:
    """Truth → fate → samples."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        table[kinds[outcome.slot]][_fate(outcome)] += 1
    return {kind: dict(sorted(row.items())) for kind, row in sorted(table.items())}


# ── journal, documents, files ───────────────────────────────────────────────────────────────────────────────────────
def agreement(folder: Path, lines: list[Line], outcomes: list[SampleOutcome]) -> dict[str, Any]:
    """Each scan in journal, documents, raw file and the detector's own record. ``differences`` should be empty.

    Frames on disk that no document announces are counted apart: of a scan whose session was killed, or whose daemon,
    which alone knows what it has written.
    """
    begun = [line["scan_id"] for line in lines if line["event"] == "scanning"]
    judged = {attempt.outcome.scan_id: attempt for outcome in outcomes for attempt in outcome.attempts}
    runs = documents(folder / "batch" / DOCUMENTS)
    scans = {scan_id: stored(folder / "data", scan_id) for scan_id in begun}
    issued = {scan_id: _issued(folder / "truth", scan_id) for scan_id in begun}
    kept = [a.outcome.scan_id for o in outcomes for a in o.attempts if a.action.choice is Choice.ACCEPT]
    differences: list[str] = []
    unannounced = 0
    for scan_id in begun:
        run, file = runs.get(scan_id), scans[scan_id]
        if run is None or file is None:
            differences.append(f"{scan_id}: {'no run' if run is None else 'no file'}")
            continue
        if len(run.uids) != 1:
            differences.append(f"{scan_id}: {len(run.uids)} runs")
        attempt = judged.get(scan_id)
        if attempt is not None and attempt.outcome.run_uid not in ("", run.uids[0]):
            differences.append(f"{scan_id}: the journal names another run")
        if run.announced < len(file.frames) and not (run.stopped and run.success):
            unannounced += len(file.frames) - run.announced
        elif run.announced != len(file.frames):
            differences.append(f"{scan_id}: {run.announced} frames announced, {len(file.frames)} in the file")
        report = None if attempt is None else attempt.outcome.report
        if report is not None and report.written != len(file.frames):
            differences.append(f"{scan_id}: {report.written} frames reported, {len(file.frames)} in the file")
    known = {path.name.removesuffix(".nx").split("+")[0] for path in (folder / "data").glob("*.nx")}
    return {
        "scans": len(begun),
        "begun_twice": len(begun) - len(set(begun)),
        "runs_without_stop": sum(not run.stopped for run in runs.values()),
        "runs_not_in_the_journal": sorted(set(runs) - set(begun)),
        "files_not_in_the_journal": sorted(known - set(begun)),
        "differences": differences,
        "frames_not_announced": unannounced,
        "accepted_scans_per_sample": dict(Counter(Counter(o.name for o in outcomes if _accepted(o)).values())),
        "frames_issued": sum(issued.values()),
        "frames_doubled": sum(file.doubled for file in scans.values() if file is not None),
        "frames_lost_of_accepted_scans": sum(_lost(scans[scan_id], issued[scan_id]) for scan_id in kept),
        "of_them_unlisted": sum(
            _lost(file, issued[scan_id], file.listed)
            for scan_id, file in scans.items()
            if file is not None and scan_id in kept
        ),
        "frames_lost_of_scans_taken_again": sum(
            _lost(scans[scan_id], issued[scan_id]) for scan_id in begun if scan_id not in kept
        ),
        "of_them_not_listed": sum(
            _lost(file, issued[scan_id], file.listed) for scan_id, file in scans.items() if file is not None
        ),
    }


def _lost(file: Stored | None, issued: int, listed: frozenset[int] = frozenset()) -> int:
    return issued if file is None else len(set(range(issued)) - file.frames - listed)


def _issued(folder: Path, scan_id: str) -> int:
    """Frames that the virtual detector sent, by its own record."""
    path = folder / f"{scan_id}.truth.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["issued"]) if path.is_file() else 0


def stored(folder: Path, scan_id: str) -> Stored | None:
    """What is in the file of a scan, or in its segments where a killed daemon left only these; None without any."""
    master = folder / f"{scan_id}.nx"
    paths = [master] if master.is_file() else sorted(folder.glob(f"{scan_id}+*.nx"))
    indices: list[int] = []
    listed: set[int] = set()
    for path in paths:
        with _opened(path) as file:
            indices += file[f"{DETECTOR}/sequence_number"][()].tolist()
            names = [f"{STREAMER}/{name}_frames" for name in ("missing", "corrupt", "lost")]
            listed |= {int(index) for name in names if name in file for index in file[name][()]}
    return Stored(frozenset(indices), len(indices) - len(set(indices)), frozenset(listed)) if paths else None


def _opened(path: Path) -> h5py.File:
    """A raw file, also one that was not closed."""
    try:
        return h5py.File(path, "r")
    except OSError:
        return open_raw(path)


def documents(path: Path) -> Mapping[str, Run]:
    """What the documents say, by scan id."""
    runs: dict[str, Run] = defaultdict(Run)
    scan_of: dict[str, str] = {}
    images: dict[str, str] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        name, document = json.loads(text)
        if name == "start":
            scan_of[document["uid"]] = document["tomo_scan_id"]
            run = runs[document["tomo_scan_id"]]
            run.uids.append(document["uid"])
            run.planned = document["num_points"]
        elif name == "stream_resource" and document["data_key"] == "detector":
            images[document["uid"]] = scan_of[document["run_start"]]
        elif name == "stream_datum" and document["stream_resource"] in images:
            run = runs[images[document["stream_resource"]]]
            run.announced = max(run.announced, document["indices"]["stop"])
        elif name == "stop":
            run = runs[scan_of[document["run_start"]]]
            run.stopped, run.success = True, document["exit_status"] == "success"
    return dict(runs)


# ── what live verdicts saved ────────────────────────────────────────────────────────────────────────────────────────
def live(lines: list[Line], runs: Mapping[str, Run]) -> dict[str, Any]:
    """Frames that were not taken because the verdict on the running scan ended it, by decision, and their time."""
    saved: Counter[str] = Counter()
    scans: Counter[str] = Counter()
    planned = taken = 0
    begun = [line for line in lines if line["event"] == "scanning"]
    rates: dict[str, float] = {line["scan_id"]: line["scan"]["rate_hz"] for line in begun}
    seconds = 0.0
    for line in lines:
        report = line["outcome"]["report"] if line["event"] == "attempt" else None
        if report is None:
            continue
        frames = report["frames"]
        wanted = runs[line["outcome"]["scan_id"]].planned
        planned, taken = planned + wanted, taken + frames["received"]
        left = wanted - frames["received"]
        if report["state"] == "complete" and left > 0:
            saved[report["verdict"]] += left
            scans[report["verdict"]] += 1
            seconds += left / rates[line["outcome"]["scan_id"]]
    return {
        "frames_planned": planned,
        "frames_taken": taken,
        "scans_ended": dict(scans),
        "frames_saved": dict(saved),
        "share_saved": round(sum(saved.values()) / max(1, planned), 4),
        "exposure_s_saved": round(seconds, 1),
    }


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def markdown(result: Mapping[str, Any]) -> str:
    """The result as tables."""
    night, agree, saved = result["night"], result["night"]["agreement"], result["night"]["live"]
    fates = sorted({fate for row in night["confusion"].values() for fate in row})
    head = f"| truth | {' | '.join(fates)} |\n|---|{'---|' * len(fates)}\n"
    rows = "".join(
        f"| {kind} | {' | '.join(str(row.get(fate, '')) for fate in fates)} |\n"
        for kind, row in night["confusion"].items()
    )
    useful = night["useful"]
    words = [
        f"{night['samples']} samples in {night['hours']} h ({night['samples_per_hour']} an hour), ended by itself: "
        f"{'yes' if night['ended_by_itself'] else 'no'}; useful {useful['accepted']} of {useful['of']} "
        f"({100 * useful['share']:.1f} %); wrongly accepted: {', '.join(night['wrongly_accepted']) or 'none'}.",
        f"{agree['scans']} scans, {agree['frames_issued']} frames; lost of accepted scans "
        f"{agree['frames_lost_of_accepted_scans']}, of scans taken again {agree['frames_lost_of_scans_taken_again']} "
        f"({agree['of_them_not_listed']} of them not listed in the file), doubled {agree['frames_doubled']}. "
        f"Differences of journal, documents and files: {len(agree['differences'])}.",
        f"Frames on disk that no document announces: {agree['frames_not_announced']}.",
        f"Live verdicts ended {sum(saved['scans_ended'].values())} scans early, which saved "
        f"{100 * saved['share_saved']:.1f} % of the frames.",
        "",
        *(f"- {event}: {fate}" for event, fate in night["events_fates"].items()),
    ]
    if "slow" in result:
        slow = result["slow"]["live"]
        words += [
            "",
            f"{result['slow']['samples']} samples at {result['slow']['rate_hz']} Hz: live verdicts ended "
            f"{sum(slow['scans_ended'].values())} of {result['slow']['agreement']['scans']} scans early, which saved "
            f"{100 * slow['share_saved']:.1f} % of the frames, {slow['exposure_s_saved']:g} s.",
        ]
    if result.get("overlap"):
        words.append("")
        words += [
            f"- robot {row['mount_s']:g} s each way: {row['with']:.0f} samples an hour with overlap, "
            f"{row['without']:.0f} without"
            for row in result["overlap"]
        ]
    return "# A night without anybody\n\n" + head + rows + "\n" + "\n".join(words) + "\n"
