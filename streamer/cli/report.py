"""``streamer report``: shows what a raw file or a tomogram says of its scan."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb
from streamer.cli.terminal.outputs import check_outputs, write_json
from streamer.cli.terminal.words import say
from streamer.frames import Verdict
from streamer.io.archive import read_archive
from streamer.pipeline.settings import Settings
from streamer.schema import runs

MEASURES = {
    "coverage": "coverage {:.1%}",
    "center_px": "centre {:.2f} px",
    "center_confidence": "confidence {:.2f}",
    "resolution_px": "resolution {:.1f} px",
    "motion_px": "motion {:.2f} px",
    "misfit_px": "misfit {:.3f} px",
    "mass_change": "change of mass {:.1%}",
    "snr": "signal to noise {:.1f}",
    "saturation": "saturated {:.2%}",
    "flat_drift": "drift of the beam {:.1%}",
    "truncation": "cut off {:.0%}",
}
"""Fields of a quality that are shown, and how; ``--json`` has them all."""


HANG = 12
"""Columns before what an entry says."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "report",
        "Show what a raw file or a tomogram says of its scan: the verdict with its reasons, what was measured, frames "
        "that are lacking or were of no use, the limits of the verdict, options that are not at their defaults, and "
        "the versions of the programs. Works on files of the daemon and of reconstruct; no daemon is needed.",
        {
            "report scan.nx": "the raw file",
            "report scan.tomogram.h5 --json r.json": "the tomogram; everything for a program",
        },
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="raw file or tomogram")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE; - is stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_outputs({"--json": args.json}, inputs=[args.file])
    content = read_archive(args.file)
    for line in lines(content):
        say(line, HANG)
    write_json(args.json, content)
    return 0


def lines(content: Mapping[str, Any]) -> list[str]:
    """The archive in words."""
    name = f"scan {content['scan_id']} of {content['sample']}" if "scan_id" in content else "scan"
    text = [f"{content['file']} file of {name}: {content['status']}"]
    for title, entry in _entries(content):
        text.append(f"  {title:{HANG - 3}} {entry}")
    return text


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from streamer.pipeline.frame_checks import LISTED  # loads the kernels, which the help does not need

    if content["note"]:
        yield "note", content["note"]
    for name in ("missing", "corrupt", "lost"):
        if content.get(name):
            yield name, f"{len(content[name])} frames: {runs(content[name], LISTED)}"
    if "verdict" not in content:
        yield "verdict", "none: the scan was not judged, or its daemon ended before"
        return
    verdict = Verdict.from_dict(content)
    yield "verdict", f"{verdict.decision}, {content['date']}"
    for reason in verdict.reasons:
        yield "", str(reason)
    if content["frames"]:
        counted = content["frames"].items()
        yield "frames", ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counted if count)
    for cause, frames in _map(content["unusable"]).items():
        yield "unusable", f"{cause}: {frames}"
    for name in ("unusable", "settings", "notes"):
        if isinstance(content[name], str):  # why it is not there
            yield name, content[name]
    measured = content["quality"]
    yield "measured", ", ".join(form.format(measured[k]) for k, form in MEASURES.items() if measured.get(k) is not None)
    settings = _map(content["settings"])
    if settings:
        limits = settings["limits"].items()
        yield "limits", ", ".join(f"{name} {value}" for name, value in limits if value is not None)
    changed = [f"{section}.{name} {value}" for section, name, value in _changed(settings)]
    if changed:
        yield "options", ", ".join(changed)
    yield "versions", ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    for note in content["notes"] if isinstance(content["notes"], list) else ():
        yield "note", note


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _changed(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Options besides the limits that differ from the defaults of this version."""
    defaults = Settings().model_dump(mode="json")
    for section, values in settings.items():
        for name, value in values.items():
            if section != "limits" and value != defaults.get(section, {}).get(name):
                yield section, name, value
