"""Dark, flat or projection: the kind of each frame of a detector that does not send it.

Three sources speak: an attribute of the image, the shutter's record, and the order in which the scan was announced.
The image's own attribute comes first, then the shutter, then the order; where two contradict, the frame is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.options import Options

WORDS: Mapping[str, FrameKind] = {
    "darks": FrameKind.DARK,
    "flats": FrameKind.FLAT,
    "projections": FrameKind.PROJECTION,
}
ORDER_KEY = "order"
"""Key of a scan's metadata that overrides ``kinds.order``."""

EXAMPLE = "darks:10 flats:20 projections:720 flats:20"

Attributes = Mapping[str, int | float | str]


def _parts(order: str) -> list[tuple[FrameKind, int | None]]:
    """Raises ValueError for anything but words, each with or without a number."""
    parts: list[tuple[FrameKind, int | None]] = []
    for part in order.split():
        word, colon, number = part.partition(":")
        if word not in WORDS or (colon and not (number.isdecimal() and len(number) < 9)):
            raise ValueError("no order of kinds")
        parts.append((WORDS[word], int(number) if colon else None))
    if not parts:
        raise ValueError("no order of kinds")
    return parts


def _order(value: str) -> str:
    _parts(value)
    return value


class Kinds(Options):
    """How the frames of a foreign detector are known to be darks, flats or projections."""

    order: Annotated[str, AfterValidator(_order)] = Field(
        "darks flats projections", json_schema_extra={"rule": f'kinds in their order, such as "{EXAMPLE}"'}
    )
    """order in which a scan takes its frames; kinds without a number share what the scan announces of them. A scan may
    announce its own as "order" in its metadata"""
    attribute: str | None = Field(None, examples=["ImageKey"])
    """attribute of an image that says its kind; it is believed before all else"""
    projection: str = "0"
    """values of the attribute that mean a projection, with commas between them"""
    flat: str = "1"
    """values of the attribute that mean a flat, with commas between them"""
    dark: str = "2"
    """values of the attribute that mean a dark, with commas between them"""
    shutter: str | None = Field(None, examples=["ShutterOpen"])
    """attribute of an image, or capture of the positions, that is 0 while the shutter is closed"""

    def values(self) -> dict[str, FrameKind]:
        """The kind that each value of the attribute means."""
        means = ((self.projection, FrameKind.PROJECTION), (self.flat, FrameKind.FLAT), (self.dark, FrameKind.DARK))
        return {_word(value): kind for values, kind in means for value in values.split(",") if value.strip()}


@dataclass(frozen=True)
class Order:
    """The announced order of the kinds of one scan, as (kind, frames)."""

    ranges: tuple[tuple[FrameKind, int], ...]

    @classmethod
    def of(cls, spec: ScanSpec, configured: str) -> Order:
        """The order of this scan. Raises BadInput, naming the way out, for one that does not fit its numbers."""
        text = spec.metadata.get(ORDER_KEY, configured)
        try:
            parts = _parts(text)
        except ValueError:
            text = f"scan {spec.scan_id}: metadata.{ORDER_KEY} is {text!r}, expected kinds such as {EXAMPLE!r}"
            raise BadInput(text) from None
        wanted = {FrameKind.DARK: spec.darks, FrameKind.FLAT: spec.flats, FrameKind.PROJECTION: spec.projections}
        ranges: list[tuple[FrameKind, int]] = []
        for kind, total in wanted.items():
            rest = total - sum(number for each, number in parts if each is kind and number is not None)
            sharing = [at for at, (each, number) in enumerate(parts) if each is kind and number is None]
            if rest < 0 or (rest and not sharing):
                name = f"{kind.name.lower()}s"
                way_out = f"change kinds.order, or announce metadata.{ORDER_KEY} with the scan"
                raise BadInput(f"scan {spec.scan_id}: {total} {name} are not those of {text!r}; {way_out}")
            for place, at in enumerate(sharing):
                parts[at] = kind, rest // len(sharing) + (place < rest % len(sharing))
        ranges = [(kind, number or 0) for kind, number in parts]
        return cls(tuple(ranges))

    def kind(self, index: int) -> FrameKind | None:
        """The announced kind of a frame; None beyond the scan."""
        for kind, number in self.ranges:
            if index < number:
                return kind
            index -= number
        return None

    def projection(self, index: int) -> int | None:
        """How many projections come before frame ``index``; None when it is not announced as a projection."""
        before = 0
        for kind, number in self.ranges:
            if index < number:
                return before + index if kind is FrameKind.PROJECTION else None
            index -= number
            before += number if kind is FrameKind.PROJECTION else 0
        return None


def attribute_kind(attributes: Attributes, key: str | None, values: Mapping[str, FrameKind]) -> FrameKind | None:
    """The kind that an attribute of an image says; None when it has none, or one of a value that means nothing."""
    return None if key is None or key not in attributes else values.get(_word(attributes[key]))


def shutter_open(attributes: Attributes, key: str | None) -> bool | None:
    """What an attribute says of the shutter; None when it says nothing."""
    if key is None or key not in attributes:
        return None
    value = _word(attributes[key])
    return value not in ("0", "closed", "false", "no")


def decide(said: FrameKind | None, is_open: bool | None, announced: FrameKind | None) -> tuple[FrameKind, str]:
    """The kind of a frame from its attribute, the shutter's record and the announced order; and what contradicts.

    An open shutter alone does not say whether the sample is in the beam: such a frame is INVALID where a dark was
    announced.
    """
    contradiction = ""
    kind = announced if said is None else said
    if said is not None and announced is not None and said is not announced:
        contradiction = f"announced as {_name(announced)}, sent as {_name(said)}"
    if is_open is not None and kind is not None and is_open is (kind is FrameKind.DARK):
        state = "open" if is_open else "closed"
        contradiction = f"{_name(kind)} with the shutter {state}"
        if said is None:
            kind = FrameKind.INVALID if is_open else FrameKind.DARK
    return FrameKind.INVALID if kind is None else kind, contradiction


def _name(kind: FrameKind) -> str:
    return kind.name.lower()


def _word(value: int | float | str) -> str:
    """A value as it is compared: 2, 2.0, "2" and " 2 " are the same, and so are "Flat" and "flat"."""
    text = str(value).strip().lower()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
