"""From outcomes to figures, and from figures to tables."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.verdict_blind.cases import GOOD, Outcome
from benchmarks.verdict_blind.kinds import COUNTS, KINDS

DECISIONS = ("ENOUGH", "RETAKE", "REALIGN", "EMPTY", "UNKNOWN", "CONTINUE", "FAILED")
HARM = 1.5
"""Growth of the error of a scan that must not be taken for a good one on any account."""

GROWTHS = {f"up to {COUNTS}": (0.0, COUNTS), f"to {HARM}": (COUNTS, HARM), "to 3": (HARM, 3.0), "more": (3.0, np.inf)}
CONFIDENCES = ((0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01))

WIDTHS = (8, 8, 10, 10, 10, 10, 7, 7, 7, 10)
"""Of the columns of the table of kinds."""

Figures = dict[str, Any]


def figures(outcomes: list[Outcome]) -> Figures:
    """All figures of an examination, for JSON."""
    good = [o for o in outcomes if o.kind == GOOD]
    spoiled = [o for o in outcomes if o.kind != GOOD]
    counting = [o for o in spoiled if o.counts]
    silent = [o for o in spoiled if not o.caught and o.growth is not None and o.growth > HARM]
    return {
        "scans": len(outcomes),
        "good": len(good),
        "spoiled": len(spoiled),
        "spoiled_that_count": len(counting),
        "false_alarms": _share([o.caught for o in good]),
        "alarms_where_harmless": _share([o.caught for o in spoiled if not o.counts]),
        "sensitivity": _share([o.caught for o in counting]),
        "right_advice": _share([o.decision in o.right for o in counting]),
        f"error_above_{HARM}_called_ENOUGH": round(len(silent) / max(len(spoiled), 1), 4),
        "confusion": _confusion(good, spoiled),
        "kinds": {kind.name: _of_kind([o for o in spoiled if o.kind == kind.name]) for kind in KINDS},
        "families": _alarms(good, lambda o: [o.family]),
        "orders": _alarms(good, lambda o: [o.order]),
        "hardships": _alarms(good, lambda o: o.hardships or ["none"]),
        "center": {
            "good": _center(good),
            "spoiled": _center([o for o in spoiled if o.axis_known]),
        },
        "resolution_reported_to_true": _ratios(good),
        "missed": [o.line() for o in counting if not o.caught],
        "false": [o.line() for o in good if o.caught],
        "failed": [o.line() for o in outcomes if o.decision == "FAILED"],
    }


def _share(hits: list[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None


def _confusion(good: list[Outcome], spoiled: list[Outcome]) -> Figures:
    groups = {
        "good": [o for o in good if not o.hardships],
        "good, hard": [o for o in good if o.hardships],
        "spoiled, harmless": [o for o in spoiled if not o.counts],
    }
    for right in sorted({" or ".join(o.right) for o in spoiled if o.counts}):
        groups[f"→ {right}"] = [o for o in spoiled if o.counts and " or ".join(o.right) == right]
    return {name: dict(Counter(o.decision for o in group)) for name, group in groups.items()}


def _of_kind(cases: list[Outcome]) -> Figures:
    counting = [o for o in cases if o.counts]
    ordered = sorted(cases, key=lambda o: o.size)
    cuts = [round(len(cases) * k / 3) for k in range(4)]
    thirds = [ordered[first:last] for first, last in pairwise(cuts)]
    return {
        "scans": len(cases),
        "count": len(counting),
        "caught": sum(o.caught for o in counting),
        "right": sum(o.decision in o.right for o in counting),
        "harmless_alarms": sum(o.caught for o in cases if not o.counts),
        "caught_by_growth": {name: _of(counting, *limits) for name, limits in GROWTHS.items()},
        "alarms_by_size": {
            name: f"{sum(o.caught for o in part)}/{len(part)}"
            for name, part in zip(("small", "medium", "large"), thirds, strict=True)
        },
        "smallest_caught": min((o.size for o in counting if o.caught), default=None),
        "largest_missed": max((o.size for o in counting if not o.caught), default=None),
    }


def _of(counting: list[Outcome], low: float, high: float) -> str:
    """Caught of those whose error grew by low … high; where it could not be compared it counts as endless."""
    inside = [o for o in counting if low < (np.inf if o.growth is None else o.growth) <= high]
    return f"{sum(o.caught for o in inside)}/{len(inside)}"


def _alarms(good: list[Outcome], names: Any) -> Figures:
    scans, alarms = Counter[str](), Counter[str]()
    for outcome in good:
        for name in names(outcome):
            scans[name] += 1
            alarms[name] += outcome.caught
    return {name: {"good": scans[name], "alarms": alarms[name]} for name in sorted(scans)}


def _center(outcomes: list[Outcome]) -> list[Figures]:
    found = []
    for low, high in CONFIDENCES:
        inside = [o for o in outcomes if low <= o.confidence < high and o.center_error is not None]
        error = np.abs([o.center_error for o in inside if o.center_error is not None])
        row: Figures = {"confidence": f"{low:g} to {min(high, 1):g}", "scans": len(inside)}
        if inside:
            row |= {
                "within_half_px": round(float(np.mean(error < 0.5)), 3),
                "median_px": round(float(np.median(error)), 3),
                "p95_px": round(float(np.percentile(error, 95)), 2),
            }
        found.append(row)
    return found


def _ratios(good: list[Outcome]) -> Figures:
    ratio = [o.resolution / o.true_resolution for o in good if o.resolution and o.true_resolution]
    if not ratio:
        return {"scans": 0, "not_reported": len(good)}
    p5, p25, p50, p75, p95 = (round(float(v), 2) for v in np.percentile(ratio, (5, 25, 50, 75, 95)))
    quartiles = {"p5": p5, "p25": p25, "median": p50, "p75": p75, "p95": p95}
    return {"scans": len(ratio), "not_reported": len(good) - len(ratio), **quartiles}


def tables(result: Figures) -> str:
    """For a terminal."""
    lines = ["", f"{'confusion':<34}" + "".join(f"{d:>9}" for d in DECISIONS)]
    for name, row in result["confusion"].items():
        lines.append(f"{name:<34}" + "".join(f"{row.get(d, 0) or '·':>9}" for d in DECISIONS))
    lines += ["", f"{'':<26}{'those that count':^16}{'caught, by growth of the error':^40}{'alarms by size':^21}"]
    heads = ("caught", "right", *GROWTHS, "small", "medium", "large", "harmless")
    lines.append(f"{'kind':<26}" + "".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
    for name, row in result["kinds"].items():
        cells = [f"{row['caught']}/{row['count']}", row["right"], *row["caught_by_growth"].values()]
        cells += [*row["alarms_by_size"].values(), f"{row['harmless_alarms']}/{row['scans'] - row['count']}"]
        shown = ("·" if cell == "0/0" else cell for cell in cells)
        lines.append(f"{name:<26}" + "".join(f"{cell:>{width}}" for cell, width in zip(shown, WIDTHS, strict=True)))
    for title in ("families", "orders", "hardships"):
        lines += ["", f"false alarms by {title}"]
        lines += [f"  {name:<32}{row['alarms']:>4} of {row['good']}" for name, row in result[title].items()]
    for group, rows in result["center"].items():
        lines += ["", f"centre, {group} scans: confidence, scans, within 0.5 px, median and 95 % of the error in px"]
        lines += ["  " + "  ".join(f"{value!s:>12}" for value in row.values()) for row in rows]
    lines += ["", f"reported to true resolution: {result['resolution_reported_to_true']}", ""]
    keys = ("false_alarms", "alarms_where_harmless", "sensitivity", "right_advice", f"error_above_{HARM}_called_ENOUGH")
    lines += [f"{key.replace('_', ' '):<32}{result[key]}" for key in ("good", "spoiled", "spoiled_that_count", *keys)]
    return "\n".join(lines)
