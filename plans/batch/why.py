"""Why a sample was taken again, accepted or rejected: the decision record of a batch, in words."""

from collections.abc import Iterable, Sequence
from typing import Any

from streamer.frames import BadInput

Line = dict[str, Any]


def why(lines: Sequence[Line], name: str) -> list[str]:
    """What was done with a sample and why, as lines of text. Raises BadInput for one that is not in the journal."""
    samples: list[Line] = next((line["samples"] for line in lines if line["event"] == "started"), [])
    names = [sample["scan"]["sample"] for sample in samples]
    if name not in names:
        shown = ", ".join(names[:20]) + "…" * (len(names) > 20)
        raise BadInput(f"{name}: is not in this batch; its samples are {shown}")
    told: list[str] = []
    for line in lines:
        if line.get("sample") == name:
            told += _told(line)
    return told


def _told(line: Line) -> Iterable[str]:
    at = line["time"]
    match line["event"]:
        case "mounting":
            yield f"{at}  the robot was to bring it from slot {line['slot']}{_early(line)}"
        case "robot":
            yield f"{at}  fault {line['number']} of the robot"
            yield from _decision(line["decision"], line["versions"])
        case "scanning":
            yield f"{at}  scan {line['number']} began: {line['scan_id']}"
            yield f"    settings: {', '.join(f'{key} {value}' for key, value in line['scan'].items() if value)}"
        case "interrupted":
            yield f"{at}  scan {line['scan_id']} does not count: {line['text']}"
        case "attempt":
            inputs = line["inputs"]
            yield f"{at}  scan {line['number']} was judged: {line['outcome']['scan_id']}"
            yield f"    verdict: {inputs['verdict']['verdict']}"
            yield from (f"      {reason['code']}: {reason['text']}" for reason in inputs["verdict"]["reasons"])
            if inputs["failure"]:
                yield f"    failure: {inputs['failure']}"
            if inputs["unlit"]:
                yield f"    projections without light: {inputs['unlit']}"
            before = ", ".join(f"{count} because of the {blame}" for blame, count in inputs["retaken"].items())
            yield f"    retakes before: {before or 'none'}"
            yield from _decision(line["decision"], line["versions"])
        case "decided":
            yield f"{at}  end: {line['decision']['choice']}, because {line['decision']['why']}"


def _early(line: Line) -> str:
    return ", while the verdict on the sample before was awaited" if line["early"] else ""


def _decision(decision: Line, versions: Line) -> Iterable[str]:
    yield f"    decided: {decision['choice']}, by the rule '{decision['rule']}', because of: {decision['blame']}"
    if decision["change"] != "none":
        yield f"    change: {decision['change']}"
    if decision["settings"]:
        yield f"    next scan with: {', '.join(f'{key} {value:g}' for key, value in decision['settings'].items())}"
    for other in decision["alternatives"]:
        yield f"    not: {other}"
    yield f"    versions: {', '.join(f'{key} {value}' for key, value in versions.items())}"
