"""What the rows of the benchmark add up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

GOOD = ("good", "decay", "dose", "edge", "worn", "wander", "unrest", "shimmer")
ACCEPTED = ("ENOUGH",)


@dataclass(frozen=True)
class Row:
    """One scan. ``counts``: the fault raised the error by more than 10 %; ``right``: the verdict is one of the right
    ones, and ``right_limited``, if the resolution of the twin had been wanted. ``center_error`` in pixels, and the
    ``center_sigma`` that is told. ``true_px`` the resolution against the sample, of good scans.
    """

    seed: int
    family: str
    kind: str
    size: float
    damage: float
    decision: str
    limited: str
    code: str
    counts: bool
    right: bool
    right_limited: bool
    center_error: float | None
    center_sigma: float | None
    confidence: float
    resolution_px: float | None
    live: tuple[str, ...]
    true_px: float | None = None


def summary(rows: list[Row]) -> dict[str, Any]:
    """Everything that is kept."""
    faults = [r for r in rows if r.kind not in GOOD]
    counted = [r for r in faults if r.counts]
    spoiled = [r for r in counted if r.damage > 1.5 and r.decision == "ENOUGH"]
    kinds = {kind: [r for r in counted if r.kind == kind] for kind in sorted({r.kind for r in counted})}
    return {
        "scans": len(rows),
        "sensitivity": share(r.right for r in counted),
        "sensitivity_with_a_wanted_resolution": share(r.right_limited for r in counted),
        "noticed": share(r.decision != "ENOUGH" for r in counted),
        "specificity_good": share(r.decision == "ENOUGH" for r in rows if r.kind == "good"),
        "specificity_hard": share(r.decision == "ENOUGH" for r in rows if r.kind in GOOD[1:]),
        "damaged_by_half_called_enough": share(r in spoiled for r in counted),
        "the_same_with_a_wanted_resolution": share(r in spoiled and r.limited == "ENOUGH" for r in counted),
        "by_kind": {
            kind: [sum(r.right_limited for r in found), sum(r.right for r in found), len(found)]
            for kind, found in kinds.items()
        },
        "confusion": {
            group: dict(Counter(r.decision for r in rows if test(r)))
            for group, test in (
                ("good", lambda r: r.kind == "good"),
                ("hard", lambda r: r.kind in GOOD[1:]),
                ("faults that count", lambda r: r.counts),
                ("faults without damage", lambda r: r.kind not in GOOD and not r.counts),
            )
        },
        "false_alarms_by_family": dict(Counter(r.family for r in rows if r.kind in GOOD and r.decision != "ENOUGH")),
        "live_alarms_on_good": sum(
            any(d not in ("CONTINUE", "ENOUGH") for d in r.live) for r in rows if r.kind in GOOD
        ),
        "center": center(r for r in rows if r.kind in GOOD),
        "resolution_good": resolution(r for r in rows if r.kind == "good"),
        "resolution_hard": resolution(r for r in rows if r.kind in GOOD[1:]),
    }


def share(values: Iterable[bool]) -> list[float | int]:
    """[share, how many of, how many]."""
    found = list(values)
    return [round(sum(found) / len(found), 4) if found else 1.0, sum(found), len(found)]


def center(rows: Iterable[Row]) -> dict[str, float]:
    """Errors of the centre of good scans, and the ratio of the claimed standard error to the real one."""
    known = [(r.center_error, r.center_sigma) for r in rows if r.center_error is not None and r.center_sigma]
    error, claimed = np.abs(known).T
    return {
        "median_px": round(float(np.median(error)), 4),
        "p95_px": round(float(np.percentile(error, 95)), 4),
        "claimed_over_real": round(float(np.sqrt(np.mean(claimed**2)) / np.sqrt(np.mean(error**2))), 2),
        "median_claimed_over_real": round(0.6745 * float(np.median(claimed) / np.median(error)), 2),
    }


def resolution(rows: Iterable[Row]) -> dict[str, Any]:
    """The resolution that is told over the true one, of the scans that have both."""
    ratio = np.array([r.resolution_px / r.true_px for r in rows if r.resolution_px and r.true_px])
    if not ratio.size:
        return {}
    return {
        "told_over_true_median": round(float(np.median(ratio)), 3),
        "told_over_true_p5_p95": [round(float(x), 3) for x in np.percentile(ratio, (5, 95))],
        "within_0.1": share((np.abs(ratio - 1) <= 0.1).tolist()),
    }


def print_tables(rows: list[Row]) -> None:
    """The same for people, and every scan whose verdict was wrong."""
    result = summary(rows)
    for name, value in result.items():
        if name not in ("by_kind", "confusion"):
            print(f"{name:40s} {value}")
    for group, counts in result["confusion"].items():
        print(f"{group:24s} {counts}")
    sizes: dict[str, dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for r in rows:
        if r.kind not in GOOD:
            sizes[r.kind][r.size].append(r)
    print("\nkind: size: right with a wanted resolution / of those that count / of all (median damage)")
    for kind, by_size in sorted(sizes.items()):
        parts = []
        for size, found in sorted(by_size.items()):
            counted = [r for r in found if r.counts]
            damage = np.median([r.damage for r in found])
            parts.append(
                f"{size:g}: {sum(r.right_limited for r in counted)}/{len(counted)}/{len(found)} ({damage:.1f})"
            )
        print(f"  {kind:20s} {' · '.join(parts)}")
    print("\nwrong:")
    for r in rows:
        alarm = r.kind in GOOD and r.decision != "ENOUGH"
        if alarm or (r.counts and not r.right_limited):
            print(f"  {r.seed} {r.family} {r.kind} {r.size:g} damage {r.damage:.2f}: {r.decision}/{r.limited} {r.code}")
