"""Positions of an encoder that come in a stream of their own: joined by trigger number, in degrees. No clocks.

A position that lacks is never guessed: the angle of its frame stays unknown.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import AfterValidator, Field

from streamer.frames import BadInput
from streamer.options import Options

INT32_WRAP = 2.0**32
"""Counts after which a counter of 32 bits begins again."""

SURPLUS = 2
"""Positions that are kept, in frames of the scan."""

ENDPOINTS = {"pandabox": "HOST:PORT, such as panda.beamline:8889", "stins": "tcp://HOST:PORT"}
"""Sources that need an endpoint, and what it looks like."""

Key = tuple[int, int]
"""Run of the encoder's numbering, and trigger in it; both count from 0."""


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("0 counts per degree")
    return value


class Positions(Options):
    """Where the angles of a foreign detector's frames come from."""

    source: Literal["planned", "attribute", "pandabox", "stins", "pv", "table"] = "planned"
    """planned (start + i × step, as announced), attribute (of each image), or positions that come beside the frames:
    of a PandABox, of a stream as MAX IV sends it, of arrays in EPICS PVs, or as a table that a client sends"""
    endpoint: str | None = Field(None, examples=["panda.beamline:8889"])
    """where the positions are: HOST:PORT of the PandABox, tcp://HOST:PORT of the stream; PVs and tables need none"""
    value: str = "INENC1.VAL.Mean"
    """what holds the position: attribute, capture, key or PV; several with commas between them, whose mean counts"""
    trigger: str | None = Field(None, examples=["COUNTER1.OUT.Value"])
    """what holds the number of the trigger; unset: positions are counted"""
    first: int = Field(0, ge=0)
    """number of the first trigger"""
    numbers: Literal["projections", "scan", "series"] = "projections"
    """frames that have a position: projections, all frames of the scan, or all frames of each series of the detector,
    with numbers that begin anew"""
    samples: int = Field(1, ge=0, le=1_000_000)
    """positions of one exposure, whose mean counts (2: of its start and end); 0: all until the next trigger"""
    counts_per_deg: Annotated[float, AfterValidator(_not_zero)] = Field(
        1.0, json_schema_extra={"rule": "a number other than 0"}
    )
    """counts of the encoder for each degree, negative when it counts backwards; 1: it sends degrees"""
    offset_deg: float = 0.0
    """angle at which the encoder counts 0"""
    wrap_counts: float | None = Field(INT32_WRAP, gt=0)
    """counts after which the counter begins again; 4294967296 for 32 bits, 360 for degrees of a turn"""
    wait_s: float = Field(2.0, ge=0, le=600)
    """seconds that a frame waits for its position; then it is set aside, its angle unknown"""
    hold_mb: float = Field(256.0, gt=0)
    """memory for frames that wait, in MiB; the detector is held back when it is full"""

    def check(self, native: bool) -> None:
        """Raises BadInput, naming the way out, for options that do not go together, or with the ``native`` format."""
        if native and self.source != "planned":
            text = "positions.source: frames in the native format carry their angles"
            raise BadInput(f"{text}; leave it out, or set source.dialect to that of the detector")
        if self.source in ENDPOINTS and self.endpoint is None:
            raise BadInput(f"positions.endpoint: a source {self.source!r} needs one; give {ENDPOINTS[self.source]}")
        if not self.values and self.source != "planned":
            raise BadInput(f"positions.value: name what holds the position of the source {self.source!r}")
        if self.samples == 0 and self.trigger is None and self.source in ENDPOINTS:
            raise BadInput("positions.samples: 0 needs positions.trigger, which says where the next trigger begins")

    @property
    def joined(self) -> bool:
        """Whether positions come beside the frames."""
        return self.source not in ("planned", "attribute")

    @property
    def values(self) -> list[str]:
        """Names of what holds the position."""
        return [name.strip() for name in self.value.split(",") if name.strip()]


class Position(Struct, frozen=True):
    """What an encoder says of a trigger. ``sample`` counts the positions of one exposure from 0."""

    trigger: int
    value: float  # in counts, or in degrees
    sample: int = 0
    shutter_open: bool | None = None


class RunBegins(Struct, frozen=True):
    """The encoder was armed: its numbering begins anew."""


class RunEnds(Struct, frozen=True):
    """The encoder was disarmed: no more positions of this run come."""


class Remark(Struct, frozen=True):
    """Something is wrong with the source of positions, in words."""

    text: str


PositionEvent = Position | RunBegins | RunEnds | Remark
"""What a source of positions says."""


class Encoder:
    """Counts → degrees, also where the counter wraps: it moves by less than half a wrap from one call to the next."""

    def __init__(self, counts_per_deg: float, offset_deg: float = 0.0, wrap_counts: float | None = None) -> None:
        self._scale, self._offset, self._wrap = counts_per_deg, offset_deg, wrap_counts
        self._last: float | None = None

    def degrees(self, counts: Sequence[float], near_deg: float = math.nan) -> float:
        """The mean angle of an exposure, in degrees, from all of its samples, finite numbers.

        The first angle is the one nearest to ``near_deg`` that differs from the encoder's by whole turns.
        """
        first = counts[0]
        mean = first + sum(self._moved(value - first) for value in counts) / len(counts)
        if self._last is None:
            self._last = mean
            off = near_deg - self._angle(mean)
            self._offset += 360.0 * round(off / 360.0) if math.isfinite(off) else 0.0
        self._last += self._moved(mean - self._last)
        return self._angle(self._last)

    def _angle(self, counts: float) -> float:
        return counts / self._scale + self._offset

    def _moved(self, counts: float) -> float:
        """A difference of the counter as a movement."""
        half = math.inf if self._wrap is None else self._wrap / 2
        return counts if -half <= counts < half else (counts + half) % (2 * half) - half


class Triggers:
    """What is known of each trigger of one scan. A trigger without all of its samples has no position.

    A trigger is unknown, has a position, or was given up; only an unknown one takes positions. What comes otherwise is
    counted and named: ``late`` for a trigger that was given up, ``doubled`` for one that has it, and ``contradicting``
    those of them that say something else.
    """

    def __init__(self, samples: int, frames: int) -> None:
        """``samples`` of each trigger, 0: all that come until the next one; at most ``frames`` triggers in a run."""
        self._samples, self._frames = samples, frames
        self._found: dict[Key, tuple[float, ...]] = {}
        self._partial: dict[Key, dict[int, float]] = {}
        self._given_up: set[Key] = set()
        self._shutter: dict[Key, bool] = {}
        self._begun = False
        self.run = 0
        self.ended = -1  # the last run of which no more positions come
        self.late: set[Key] = set()
        self.doubled: set[Key] = set()
        self.contradicting: set[Key] = set()
        self.refused: Counter[str] = Counter()

    def begin(self) -> list[Key]:
        """The encoder was armed, which changes nothing before the first position. Returns as ``end`` does."""
        if not self._begun:
            return []
        found = self.end()
        self.run, self._begun = self.run + 1, False
        return found

    def end(self) -> list[Key]:
        """The encoder was disarmed, which changes nothing before the first position.

        Returns the triggers that have their position only now.
        """
        if not self._begun:  # what ends is the run before this scan
            return []
        self.ended = self.run
        return [] if self._samples else self._complete(list(self._partial))

    def add(self, position: Position) -> list[Key]:
        """Enter a position. Returns the triggers that have theirs now."""
        self._begun = True
        key = self.run, position.trigger
        if not math.isfinite(position.value):
            self.refused["no number"] += 1
        elif not 0 <= position.trigger < self._frames:
            self.refused["beyond the scan"] += 1
        elif key in self._given_up:
            self.late.add(key)
        elif key in self._found:
            self._again(key, position.value, self._found[key][: position.sample + 1][-1])
        elif len(self._found) + len(self._partial) >= SURPLUS * self._frames:
            self.refused["too many"] += 1
        else:
            return self._enter(key, position)
        return []

    def _enter(self, key: Key, position: Position) -> list[Key]:
        before = [] if self._samples else [other for other in self._partial if other != key]
        samples = self._partial.setdefault(key, {})
        if position.sample in samples:
            self._again(key, position.value, samples[position.sample])
        samples.setdefault(position.sample, position.value)
        if position.shutter_open is not None:
            # A shutter that was closed for a part of the exposure was not open.
            self._shutter[key] = self._shutter.get(key, True) and position.shutter_open
        return self._complete([key] if len(samples) == self._samples else before)

    def _again(self, key: Key, value: float, known: float) -> None:
        self.doubled.add(key)
        if value != known:
            self.contradicting.add(key)

    def _complete(self, keys: list[Key]) -> list[Key]:
        for key in keys:
            samples = self._partial.pop(key)
            self._found[key] = tuple(samples[number] for number in sorted(samples))
        return keys

    def position(self, key: Key) -> tuple[float, ...] | None:
        """All samples of a trigger, for its frame; None while they are not known."""
        return self._found.get(key)

    def give_up(self, key: Key) -> None:
        """The frame of this trigger waits no longer."""
        self._given_up.add(key)
        self._partial.pop(key, None)

    def shutter_open(self, key: Key) -> bool | None:
        """Whether the shutter was open all through the exposure, as far as it is recorded."""
        return self._shutter.get(key)

    def is_over(self, key: Key) -> bool:
        """Whether nothing more comes for this trigger, or nobody waits for it."""
        return key[0] <= self.ended or key in self._given_up

    def unclaimed(self, claimed: Container[Key]) -> dict[int, list[int]]:
        """Triggers that have positions and no frames, in order, by run; ``claimed`` are those of the frames."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for run, trigger in sorted(key for key in self._found.keys() | self._partial.keys() if key not in claimed):
            found[run].append(trigger)
        return dict(found)


def number(value: object) -> float:
    """A value of a source of positions as a number; NaN for what is none."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan
