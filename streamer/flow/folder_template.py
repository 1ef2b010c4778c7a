"""Folders of scans below the daemon's: by year, proposal, sample, as a template says. Names only, no files.

What a scan announces about itself comes from a network: each part of the path must be a plain name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from streamer.frames import NAME, BadInput, ScanSpec

DEEPEST = 8
RULE = "names with placeholders, such as {year}/{proposal}/{sample}"
PART = re.compile(r"(?:[A-Za-z0-9._-]|\{[a-z][a-z0-9_]*\})+")
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
DATES = {"year": "%Y", "month": "%m", "day": "%d"}


class FolderTemplate:
    """``text`` has parts with {year}, {month}, {day} (of this machine's clock and zone), {sample}, {scan_id}, and {KEY}
    of the metadata of a scan; "" has none. Raises ValueError when it makes no sense.
    """

    def __init__(self, text: str) -> None:
        self.parts = tuple(text.split("/")) if text else ()
        if len(self.parts) > DEEPEST or not all(map(_is_part, self.parts)):
            raise ValueError(RULE)

    def folders(self, spec: ScanSpec, now: float) -> tuple[str, ...]:
        """The folders of a scan that is armed ``now`` (s since 1970 UTC), one in the other. Raises BadInput."""
        return tuple(filled(part, spec, now) for part in self.parts)

    def first_with(self, text: str) -> int:
        """The number of the first part that has a placeholder of ``text``; 0 when none has."""
        wanted = placeholders(text)
        return next((number for number, part in enumerate(self.parts) if wanted & placeholders(part)), 0)


def placeholders(text: str) -> set[str]:
    return set(PLACEHOLDER.findall(text))


def filled(text: str, spec: ScanSpec, now: float) -> str:
    """A name with its placeholders replaced by what is known of a scan. Raises BadInput, naming what is wrong."""
    values = {**spec.metadata, **_dates(now), "sample": spec.sample, "scan_id": spec.scan_id}
    return PLACEHOLDER.sub(lambda found: _value(found[1], text, values, spec.scan_id), text)


def _value(name: str, text: str, values: Mapping[str, str], scan_id: str) -> str:
    if name not in values:
        raise BadInput(f"scan {scan_id}: {text} needs {name!r}; give it in the metadata of the scan")
    if not NAME.fullmatch(values[name]):
        rule = "1 to 100 letters, digits, '.', '_', '-', starting with a letter or digit"
        raise BadInput(f"scan {scan_id}: metadata.{name} is {values[name][:60]!r}, and {text} needs a name: {rule}")
    return values[name]


def _dates(now: float) -> dict[str, str]:
    moment = time.localtime(now)
    return {name: time.strftime(form, moment) for name, form in DATES.items()}


def _is_part(part: str) -> bool:
    return bool(PART.fullmatch(part) and NAME.fullmatch(PLACEHOLDER.sub("x", part)))
