"""The report of a batch: one HTML file with everything in it, and a CSV table."""

import base64
import csv
import io
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - volumes may be compressed
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .journal import Line, restored
from .policy import Choice
from .samples import SampleOutcome

log = logging.getLogger(__name__)

REPORT, TABLE = "report.html", "samples.csv"
PICTURE_PX = 128
COLUMNS = (
    "sample", "slot", "priority", "result", "blame", "scans", "retakes", "robot_faults", "verdict", "reasons",
    "resolution_px", "center_px", "frames", "written", "scan_id", "raw_file", "tomogram_file", "seconds",
)  # fmt: skip


def write_report(folder: Path, lines: Sequence[Line]) -> Path:
    """Write ``report.html`` and ``samples.csv`` into the folder of a batch; gives the path of the first."""
    outcomes = restored(lines)
    spans = _spans(lines)
    rows = [_row(outcome, spans) for outcome in outcomes]
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    path = folder / REPORT
    path.write_text(_page(folder.resolve().name, outcomes, rows, lines, spans), encoding="utf-8")
    return path


def picture(file: Path) -> str | None:
    """The middle slice of a tomogram as a data URL, grey values from percentile 0.5 to 99.5; None without a file."""
    try:
        with h5py.File(file, "r") as tomogram:
            data = tomogram["entry/data/data"]
            middle = np.asarray(data[data.shape[0] // 2], np.float32)
    except (OSError, KeyError) as error:
        log.info("no picture of %s: %s", file, error)
        return None
    return _data_url(middle)


def _data_url(values: NDArray[np.float32]) -> str:
    step = max(1, -(-max(values.shape) // (2 * PICTURE_PX)))
    low, high = np.percentile(values, (0.5, 99.5))
    grey = np.clip((values[::step, ::step] - low) / max(float(high - low), 1e-12), 0, 1)
    sink = io.BytesIO()
    Image.fromarray((255 * grey).astype(np.uint8)).save(sink, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()


def _spans(lines: Sequence[Line]) -> dict[str, tuple[datetime, datetime]]:
    """From the first to the last line of each sample."""
    spans: dict[str, tuple[datetime, datetime]] = {}
    for line in lines:
        if "sample" in line:
            now = datetime.fromisoformat(line["time"])
            spans[line["sample"]] = (spans.get(line["sample"], (now, now))[0], now)
    return spans


def _row(outcome: SampleOutcome, spans: dict[str, tuple[datetime, datetime]]) -> dict[str, Any]:
    last = outcome.attempts[-1].outcome if outcome.attempts else None
    report = None if last is None else last.report
    action, span = outcome.action, spans.get(outcome.name)
    return {
        "sample": outcome.name,
        "slot": outcome.slot,
        "priority": outcome.sample.priority,
        "result": "open" if action is None else str(action.choice),
        "blame": "" if action is None else str(action.blame),
        "scans": len(outcome.attempts),
        "retakes": sum(attempt.action.choice in (Choice.RETAKE, Choice.REALIGN) for attempt in outcome.attempts),
        "robot_faults": outcome.faults,
        "verdict": "" if last is None else str(last.verdict.decision),
        "reasons": "" if last is None else " ".join(str(code) for code in last.verdict.codes),
        "resolution_px": "" if report is None else report.quality.resolution_px or "",
        "center_px": "" if last is None else last.center_px or "",
        "frames": "" if report is None else report.frames.received,
        "written": "" if report is None else report.written,
        "scan_id": "" if last is None else last.scan_id,
        "raw_file": "" if report is None else report.raw_file,
        "tomogram_file": "" if report is None else report.tomogram_file or "",
        "seconds": "" if span is None else round((span[1] - span[0]).total_seconds(), 1),
    }


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────
STYLE = """
:root { --ink: #1c2430; --soft: #5b6676; --line: #e3e7ee; --good: #1f8a4c; --again: #c98a00; --bad: #c43d3d; --open: #8592a6 }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .2rem } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem } p { color: var(--soft); margin: .2rem 0 }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 7rem }
.tile b { display: block; font-size: 1.5rem; font-weight: 600 } .tile span { color: var(--soft); font-size: .85rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: var(--soft); font-weight: 500; font-size: .85rem }
th, td { border-bottom: 1px solid var(--line); padding: .45rem .6rem; vertical-align: top }
td img { width: 96px; height: 96px; object-fit: contain; background: #000; border-radius: 4px; display: block }
td:nth-child(2) { white-space: nowrap } td.none { color: var(--soft); font-size: .85rem } .why { color: var(--soft); font-size: .87rem; max-width: 36rem }
.mark { border-radius: 4px; color: #fff; padding: .1rem .5rem; font-size: .82rem; white-space: nowrap }
.accept { background: var(--good) } .retaken { background: var(--again) } .reject { background: var(--bad) } .open { background: var(--open) }
svg .accept { fill: var(--good) } svg .retaken { fill: var(--again) } svg .reject { fill: var(--bad) } svg .open { fill: var(--open) }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft) }
@media print { body { max-width: none } tr { break-inside: avoid } }
"""  # noqa: E501 - lines of CSS


def _page(
    name: str,
    outcomes: Sequence[SampleOutcome],
    rows: Sequence[dict[str, Any]],
    lines: Sequence[Line],
    spans: dict[str, tuple[datetime, datetime]],
) -> str:
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    hours = (times[-1] - times[0]).total_seconds() / 3600 if times else 0.0
    counts = Counter(_kind(outcome) for outcome in outcomes)
    decided = len(outcomes) - counts["open"]
    tiles = (
        (len(outcomes), "samples"),
        (counts["accept"] + counts["retaken"], "accepted"),
        (counts["retaken"], "of them after a retake"),
        (counts["reject"], "rejected"),
        (counts["open"], "not decided"),
        (f"{decided / hours:.0f}" if hours else "–", "samples per hour"),
    )
    order = sorted(zip(outcomes, rows, strict=True), key=lambda pair: ("open", "reject").count(_kind(pair[0])) == 0)
    body = "".join(_table_row(outcome, row) for outcome, row in order)
    span = f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC" if times else ""
    shown = "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Batch {escape(name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>
<h1>Batch {escape(name)}</h1><p>{span} · {_how_it_ended(lines)}</p>
<div class="tiles">{shown}</div>
<h2>When</h2>{_timeline(outcomes, spans, times)}
<h2>Samples</h2><p>Rejected and open ones first. A slice through the middle of each tomogram.</p>
<table><thead><tr><th></th><th>Sample</th><th>Result</th><th>Why</th><th>Scans</th><th>Frames</th></tr></thead>
<tbody>{body}</tbody></table></body></html>
"""


def _kind(outcome: SampleOutcome) -> str:
    if outcome.action is None:
        return "open"
    if outcome.action.choice is not Choice.ACCEPT:
        return "reject"
    return "retaken" if len(outcome.attempts) > 1 else "accept"


def _how_it_ended(lines: Sequence[Line]) -> str:
    sessions = sum(line["event"] in ("started", "resumed") for line in lines)
    again = f", started again {sessions - 1} times" if sessions > 2 else ", started again once" if sessions == 2 else ""
    last = lines[-1] if lines else {"event": ""}
    if last["event"] == "ended":
        return f"ended by itself{again}"
    if last["event"] == "failed":
        return f"ended before its last sample: {escape(last['text'])}{again}"
    return f"not ended{again}"


def _table_row(outcome: SampleOutcome, row: dict[str, Any]) -> str:
    shown = picture(Path(row["tomogram_file"])) if row["tomogram_file"] else None
    cell = f'<td><img alt="" src="{shown}"></td>' if shown else '<td class="none">no tomogram</td>'
    kind = _kind(outcome)
    word = {"accept": "accepted", "retaken": "accepted, retaken", "reject": "rejected", "open": "not decided"}[kind]
    why, rule = ("", "") if outcome.action is None else (outcome.action.why, f"by {outcome.action.rule}")
    attempts = "".join(
        f"<div>{escape(str(attempt.outcome.verdict.decision))} → {attempt.action.choice}</div>"
        for attempt in outcome.attempts
    )
    return (
        f"<tr>{cell}<td><b>{escape(outcome.name)}</b><div class='why'>slot {outcome.slot}</div></td>"
        f"<td><span class='mark {kind}'>{word}</span><div class='why'>{escape(rule)}</div></td>"
        f"<td><div class='why'>{escape(why)}</div></td>"
        f"<td>{attempts or '–'}</td><td>{row['written']}</td></tr>"
    )


def _timeline(
    outcomes: Sequence[SampleOutcome], spans: dict[str, tuple[datetime, datetime]], times: Sequence[datetime]
) -> str:
    if len(times) < 2:
        return "<p>nothing yet</p>"
    first, width = times[0], 1000.0
    scale = width / max((times[-1] - first).total_seconds(), 1e-3)
    bars = []
    for number, outcome in enumerate(outcome for outcome in outcomes if outcome.name in spans):
        begin, end = spans[outcome.name]
        x, w = (begin - first).total_seconds() * scale, max(1.0, (end - begin).total_seconds() * scale - 0.5)
        title = f"<title>{escape(outcome.name)}: {_kind(outcome)}, {(end - begin).total_seconds():.0f} s</title>"
        y = 4 + 14 * (number % 2)
        bars.append(
            f'<rect class="{_kind(outcome)}" x="{x:.1f}" y="{y}" width="{w:.1f}" height="12" rx="2">{title}</rect>'
        )
    ends = f'<text x="0" y="46">{times[0]:%H:%M}</text><text x="1000" y="46" text-anchor="end">{times[-1]:%H:%M}</text>'
    return (
        f'<svg viewBox="0 0 1000 50" width="100%" role="img" aria-label="samples in time">{"".join(bars)}{ends}</svg>'
    )
