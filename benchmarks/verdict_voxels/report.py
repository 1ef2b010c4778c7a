"""Tables of an examination."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.verdict_voxels.examine import Finding
from benchmarks.verdict_voxels.kinds import KINDS

Test = Callable[[Finding], bool]


def share(found: Iterable[Finding], test: Test) -> str:
    """ "9/10 = 90 %"; "–" of nothing."""
    results = [test(finding) for finding in found]
    return f"{sum(results)}/{len(results)} = {100 * np.mean(results):.1f} %" if results else "–"


def alarm(finding: Finding) -> bool:
    return finding.alarm


def wanted(finding: Finding) -> bool:
    return finding.alarm_wanted


def missed(limit: float) -> Test:
    """Called ENOUGH though the fault did so much damage."""
    return lambda finding: not finding.alarm and finding.counts(limit)


def report(findings: list[Finding]) -> str:
    """The whole report, in plain text."""
    parts = (_summary(findings), _confusion(findings), _kinds(findings), _good(findings), _calibration(findings))
    return "\n\n".join(parts)


def _summary(findings: list[Finding]) -> str:
    spoiled = [f for f in findings if f.spoiled]
    counting = [f for f in spoiled if f.counts()]
    plainly = [f for f in spoiled if KINDS[f.kind].always or (f.plain_damage or 0) > 1.1]
    good = [f for f in findings if f.kind == "good"]
    hard = [f for f in findings if f.kind.startswith("hard")]
    lines = [
        ("scans, of them spoiled", f"{len(findings)}, {len(spoiled)}"),
        ("caught, of faults that count", share(counting, alarm)),
        ("… with a wanted resolution", share(counting, wanted)),
        ("… counted by plain backprojection", share(plainly, alarm)),
        ("false alarms, good", share(good, alarm)),
        ("false alarms, hard but good", share(hard, alarm)),
        ("harmless faults with an alarm", share([f for f in spoiled if not f.counts()], alarm)),
        ("×1.5 missed, of all spoiled", share(spoiled, missed(1.5))),
        ("… with a wanted resolution", share(spoiled, lambda f: not f.alarm_wanted and f.counts(1.5))),
        ("refused, crashed", ", ".join(str(sum(f.verdict == v for f in findings)) for v in ("refused", "crashed"))),
        ("median seconds of the product", f"{np.median([f.seconds for f in findings]):.2f}" if findings else "–"),
    ]
    return "\n".join(f"{name:36} {value}" for name, value in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def _confusion(findings: list[Finding]) -> str:
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        group = f"{KINDS[finding.kind].group}" if finding.spoiled else finding.kind.split(":")[0]
        groups[group + (", counts" if finding.counts() else ", harmless" if finding.spoiled else "")].append(finding)
    verdicts = sorted({finding.verdict for finding in findings})
    rows = (
        (group, *(str(sum(f.verdict == verdict for f in found)) for verdict in verdicts))
        for group, found in sorted(groups.items())
    )
    return _table(("what the scan is", *verdicts), rows)


def _kinds(findings: list[Finding]) -> str:
    rows = []
    for name, kind in sorted(KINDS.items(), key=lambda item: (item[1].group, item[0])):
        found = [f for f in findings if f.kind == name]
        if not found:
            continue
        cells = [_size([f for f in found if f.size == size]) for size in range(3)]
        count = [f for f in found if f.counts()]
        harmless = [f for f in found if not f.counts()]
        rows.append((kind.group, name, *cells, share(count, alarm), share(count, wanted), share(harmless, alarm)))
    head = ("group", "kind", "barely visible", "visible", "gross", "caught", "wanted", "harmless, alarms")
    return "by size: alarms/scans, median damage\n" + _table(head, rows)


def _size(found: list[Finding]) -> str:
    if not found:
        return ""
    damages = [f.damage for f in found if f.damage is not None]
    median = f"×{np.median(damages):.2f}" if damages else "no tomogram"
    return f"{sum(f.alarm for f in found)}/{len(found)} {median}"


def _good(findings: list[Finding]) -> str:
    whole = [f for f in findings if not f.spoiled]
    by: list[tuple[str, Callable[[Finding], str]]] = [
        ("family", lambda f: f.family),
        ("order of angles", lambda f: f.order),
        ("scan", lambda f: f.kind),
    ]
    rows = []
    for title, key in by:
        for value in sorted({key(f) for f in whole}):
            found = [f for f in whole if key(f) == value]
            damages = [f.damage for f in found if f.damage is not None]
            reasons = sorted({f.codes[0] for f in found if f.alarm and f.codes})
            rows.append((title, value, share(found, alarm), f"×{np.median(damages):.2f}", ", ".join(reasons)))
    return _table(("false alarms by", "", "alarms", "error over the good scan's", "first reasons"), rows)


def _calibration(findings: list[Finding]) -> str:
    whole = [f for f in findings if not f.spoiled]
    lines = []
    errors = [abs(f.center_error) for f in whole if f.center_error is not None]
    if errors:
        lines.append(f"error of the centre, good and hard: {_spread(errors)}")
    lines.append("error of the centre by its confidence, all but what moved:")
    centered = [
        (f.confidence, abs(f.center_error))
        for f in findings
        if f.center_error is not None and not (f.spoiled and KINDS[f.kind].moves)
    ]
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = [error for confidence, error in centered if low <= confidence < high]
        if inside:
            lines.append(f"  confidence {low:.2f} to {min(high, 1):.2f}: {len(inside)} scans, {_spread(inside)}")
    ratios = [f.resolution / f.true_resolution for f in whole if f.resolution and f.true_resolution]
    if ratios:
        within = np.mean(np.abs(np.array(ratios) - 1) <= 0.1)
        lines.append(
            f"resolution reported over true: median {np.median(ratios):.2f}, within 10 %: {100 * within:.0f} %"
        )
    return "\n".join(lines)


def _spread(errors: list[float]) -> str:
    return f"median {np.median(errors):.3f} px, 95th percentile {np.percentile(errors, 95):.3f} px"
