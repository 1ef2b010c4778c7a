"""The sheet of a batch: a row for each sample, with its slot, priority and parameters, as CSV or YAML.

Columns are the fields of ``TomoScan``, and ``slot``, ``priority``, ``plan`` and ``turns`` (of the plan interlaced). An
empty cell is the default. In YAML, ``defaults`` holds values for all rows, and ``samples`` is the list of rows.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streamer.frames import BadInput

from ..scan import TomoScan
from .samples import Sample

Positive = Annotated[float, Meta(gt=0, le=1e9)]
Number = Annotated[float, Meta(ge=-1e9, le=1e9)]
Frames = Annotated[int, Meta(ge=0, le=10_000_000)]

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sample of a sheet. Units are in the names; x is that of the sample stage."""

    sample: Annotated[str, Meta(min_length=1, max_length=200)]
    slot: Annotated[int, Meta(ge=0)]
    priority: Number = 0.0
    plan: Literal["fly", "interlaced", "golden"] = "fly"
    turns: Annotated[int, Meta(ge=1, le=1000)] = 8
    projections: Annotated[int, Meta(ge=1, le=10_000_000)] = 720
    darks: Frames = 10
    flats: Frames = 20
    flats_after: Frames = 0
    darks_after: Frames = 0
    flats_every: Frames = 0
    beam_losses: Annotated[int, Meta(ge=0, le=100)] = 0
    flat_position: str = ""
    start_deg: Number = 0.0
    range_deg: Number = 180.0
    rate_hz: Positive = 50.0
    exposure_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    x_in_mm: Number = 0.0
    x_out_mm: Number = 10.0
    stop_early: bool = False
    stop_spoiled: bool = True
    energy_kev: Positive | None = None
    distance_m: Positive | None = None

    def to_sample(self) -> Sample:
        values = msgspec.structs.asdict(self)
        slot, priority, plan, turns = (values.pop(key) for key in ("slot", "priority", "plan", "turns"))
        return Sample(slot, TomoScan(**values), priority, plan, turns)


class SheetErrors(BadInput):
    """A sheet cannot be used; ``problems`` has a line for each fault, with row, column and the way out."""

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{path}: {problems[0]}{more}")
        self.problems = tuple(problems)


def read_sheet(path: Path) -> list[Sample]:
    """The samples of a sheet, in its order. Raises SheetErrors."""
    rows = _yaml(path) if path.suffix.lower() in (".yaml", ".yml") else _csv(path)
    return samples_of(rows, path)


def samples_of(rows: Iterable[tuple[int, Mapping[str, Any]]], path: object = "sheet") -> list[Sample]:
    """Samples from (number of the row in the file, its cells). Raises SheetErrors."""
    problems: list[str] = []
    samples: list[Sample] = []
    seen: dict[tuple[str, object], int] = {}
    number = 0
    for number, cells in rows:
        found = [f"row {number}{_named(cells)}, {problem}" for problem in _wrong_cells(cells)]
        problems += found
        if found:
            continue
        sample = msgspec.convert(_filled(cells), Row, strict=False).to_sample()
        for column, value in (("sample", sample.name), ("slot", sample.slot)):
            before = seen.setdefault((column, value), number)
            if before != number:
                other = "give each sample its own name" if column == "sample" else "give each sample its own slot"
                problems.append(
                    f"row {number}{_named(cells)}, column {column}: {value!r} is in row {before} too; {other}"
                )
        if sample.scan.range_deg == 0:
            problems.append(f"row {number}{_named(cells)}, column range_deg: is 0; use 180, 360 or another range")
        if sample.plan == "interlaced" and abs(sample.scan.range_deg) not in (180.0, 360.0):
            problems.append(
                f"row {number}{_named(cells)}, column range_deg: is {sample.scan.range_deg:g}, and such turns do not "
                "interlace; use 180 or 360, or the plan fly"
            )
        samples.append(sample)
    if not number:
        problems.append("has no sample; add a row for each")
    if problems:
        raise SheetErrors(path, problems)
    return samples


def in_order(samples: Iterable[Sample]) -> list[Sample]:
    """By falling priority, else as they come."""
    return sorted(samples, key=lambda sample: -sample.priority)


def check_station(samples: Sequence[Sample], inventory: Sequence[str], max_rate_hz: float) -> None:
    """Compare samples with what the beamline has. Raises SheetErrors, before anything moves."""
    problems = []
    for sample in samples:
        if sample.slot >= len(inventory):
            last = len(inventory) - 1
            problems.append(f"sample {sample.name!r}, column slot: slot {sample.slot} does not exist; use 0 to {last}")
        elif inventory[sample.slot] == "nowhere":
            problems.append(f"sample {sample.name!r}, column slot: slot {sample.slot} was found empty; fill it")
        if sample.scan.rate_hz > max_rate_hz:
            problems.append(
                f"sample {sample.name!r}, column rate_hz: is {sample.scan.rate_hz:g}, use up to {max_rate_hz:g}"
            )
    if problems:
        raise SheetErrors("sheet", problems)


def _named(cells: Mapping[str, Any]) -> str:
    name = cells.get("sample")
    return f" ({name})" if name else ""


def _filled(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells that hold something."""
    return {key: value for key, value in cells.items() if value not in (None, "")}


def _wrong_cells(cells: Mapping[str, Any]) -> list[str]:
    """What is wrong with the cells of a row, one line each."""
    fields = {field.name: field for field in msgspec.structs.fields(Row)}
    problems = []
    for column, value in _filled(cells).items():
        field = fields.get(column)
        if field is None:
            near = get_close_matches(str(column), fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(fields)}"
            problems.append(f"column {column}: is not known; {hint}")
            continue
        try:
            msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"column {column}: is {value!r}; {_rule(str(error))}")
    empty = [name for name in ("sample", "slot") if cells.get(name) in (None, "")]
    return problems + [f"column {name}: is empty; every row needs one" for name in empty]


def _rule(complaint: str) -> str:
    """msgspec's complaint as a rule: "Expected `int` >= 1" is "use a whole number >= 1"."""
    rule = complaint.removeprefix("Expected ").split(", got ")[0].split(" - at ")[0]
    for word, plain in WORDS.items():
        rule = rule.replace(f"`{word} | null`", plain).replace(f"`{word}`", plain)
    if complaint.startswith("Invalid enum value"):
        rule = "fly, interlaced or golden"
    return f"use {rule}"


def _csv(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in enumerate(csv.reader(file), start=1) if any(cell.strip() for cell in line[1])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: {error}; a sheet is a CSV file in UTF-8, or YAML") from error
    if not lines:
        return []
    header = [cell.strip() for cell in lines[0][1]]
    if doubled := sorted({name for name in header if name and header.count(name) > 1}):
        raise SheetErrors(path, [f"column {doubled[0]}: is there twice; remove one"])
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            raise SheetErrors(path, [f"row {number}: has {len(cells)} cells, the header {len(header)}; quote commas"])
        rows.append((number, {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name}))
    return rows


def _yaml(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        content = msgspec.yaml.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise BadInput(f"{path}: {error}; a sheet is a map with the list 'samples'") from error
    except ImportError as error:
        raise BadInput(f"{path}: {error}; install PyYAML, or write the sheet as CSV") from error
    if not isinstance(content, dict) or not isinstance(content.get("samples"), list):
        raise BadInput(f"{path}: has no list 'samples'; a sheet is a map with 'samples', and 'defaults' if you like")
    if others := sorted(set(content) - {"samples", "defaults"}):
        raise BadInput(f"{path}: {others[0]!r} is not known; a sheet has 'samples' and 'defaults'")
    defaults = content.get("defaults") or {}
    rows = []
    for number, row in enumerate(content["samples"], start=1):
        if not isinstance(row, dict) or not isinstance(defaults, dict):
            raise SheetErrors(path, [f"row {number}: is no map of columns; write 'sample: name' and so on"])
        rows.append((number, {**defaults, **row}))
    return rows
