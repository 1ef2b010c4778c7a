"""Images of a foreign detector, kinds and angles → headers of native frames. No sockets, no clocks.

The index of a frame runs over all kinds of the scan; several series of the detector (darks, flats, projections) may
make one scan.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec import Struct, structs

from streamer.flow import wire
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from streamer.flow.kinds import Kinds, Order, attribute_kind, decide, shutter_open
from streamer.flow.positions.positions import (
    Encoder,
    Key,
    Position,
    PositionEvent,
    Positions,
    Remark,
    RunEnds,
    Triggers,
    number,
)
from streamer.flow.series import Series
from streamer.frames import FrameKind, ScanSpec
from streamer.schema import runs

STEP_OFF = 0.01
"""Share by which the step that a detector announces may differ from the scan's."""

MOST_NAMED = 200
"""Runs of frames that a remark names, so that a report stays short. The raw file lists all that are set aside."""


class Ready(Struct, frozen=True):
    """A frame that can be handed on. The angle in the header is NaN where it is not known."""

    header: wire.FrameHeader
    image: Image


@dataclass
class _Waiting:
    """A frame that waits for the position of its trigger."""

    image: Image
    index: int
    said: FrameKind | None
    until_s: float


@dataclass
class _Findings:
    """What was wrong with the frames of a scan."""

    contradictions: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    no_position: set[int] = field(default_factory=set)
    other_channels: Counter[str] = field(default_factory=Counter)
    wrong_step: float | None = None
    of_source: Counter[str] = field(default_factory=Counter)  # what the source of positions remarked


class Assembly:
    """Joins what comes for one scan. Not thread-safe.

    Raises BadInput when the order of the kinds does not fit the scan.
    """

    def __init__(self, spec: ScanSpec, source: str, kinds: Kinds, positions: Positions | None = None) -> None:
        """``source`` is the name that the frames carry as theirs; without ``positions`` angles are as planned."""
        self._spec, self._source, self._kinds = spec, source, kinds
        self._positions = positions or Positions()
        options = self._positions
        self._order, self._values = Order.of(spec, kinds.order), kinds.values()
        self._step_deg = spec.range_deg / spec.projections
        self._series: Series | None = None
        self._channel: str | None = None
        self._seq = 0
        self._ready: list[Ready] = []
        self._findings = _Findings()
        self._encoder = Encoder(options.counts_per_deg, options.offset_deg, options.wrap_counts)
        self._triggers = self._new_triggers()
        self._joined = False  # whether a frame was joined with its position
        self._waiting: dict[Key, list[_Waiting]] = {}  # in the order in which they came
        self._indices: dict[Key, int] = {}  # frames that came, by trigger
        self._held = 0  # bytes of those that wait

    def _new_triggers(self) -> Triggers:
        return Triggers(self._positions.samples * max(1, len(self._positions.values)), self._spec.frames)

    def start(self, start: SeriesStart) -> None:
        """The detector announces a series; the same again, before its end, changes nothing."""
        if self._series is None or self._series.name != start.series or self._series.ended:
            self._open(start.series, 0, start.frames)
        if start.step_deg and abs(start.step_deg - self._step_deg) > STEP_OFF * abs(self._step_deg):
            self._findings.wrong_step = start.step_deg

    def image(self, image: Image, now_s: float) -> None:
        """An image came at this moment. It waits for the position of its trigger, if it has one.

        Raises WireError for one whose number is beyond its series or the scan.
        """
        if self._channel is None:
            self._channel = image.channel
        if image.channel != self._channel:
            self._findings.other_channels[image.channel] += 1
            return
        index, place = self._index(image)
        said = attribute_kind(image.attributes, self._kinds.attribute, self._values)
        key = self._key(index, place)
        if key is not None:
            self._indices[key] = index
        if key is None or not self._needs_position(self._order.kind(index) if said is None else said):
            self._hand_on(image, index, said, None)
            return
        waiting = _Waiting(image, index, said, now_s + self._positions.wait_s)
        self._waiting.setdefault(key, []).append(waiting)
        self._held += image.data.nbytes
        self._join([key])

    def position(self, event: PositionEvent, now_s: float) -> None:
        """The encoder said this at this moment."""
        if isinstance(event, Position):
            self._join(self._triggers.add(structs.replace(event, trigger=event.trigger - self._positions.first)))
        elif isinstance(event, Remark):
            self._findings.of_source[event.text] += 1
        elif isinstance(event, RunEnds):
            self._join(self._triggers.end())
        elif self._joined or self._positions.numbers == "series":
            self._join(self._triggers.begin())
        else:  # what came before is of another scan
            self._triggers = self._new_triggers()

    def end(self, end: SeriesEnd) -> None:
        """The detector has sent its last image of a series; the end of another one than the latest changes nothing."""
        series = self._series
        if series is None or end.series not in (None, series.name):
            return
        series.ended = True
        if end.frames is not None:
            series.frames = end.frames

    def due(self, now_s: float) -> list[Ready]:
        """The frames that can be handed on at this moment."""
        for key in list(self._overdue(now_s)):
            self._triggers.give_up(key)
            for frame in self._waiting.pop(key):
                self._release(key, frame, None)
        ready, self._ready = self._ready, []
        return ready

    def _overdue(self, now_s: float) -> Iterator[Key]:
        """Triggers whose frames have waited for long enough, or for a position that will not come."""
        for key, frames in self._waiting.items():
            if frames[0].until_s > now_s and not self._triggers.is_over(key):
                return
            yield key

    @property
    def full(self) -> bool:
        """Whether no more images should be taken at the moment: those that wait fill the memory for them."""
        return self._held >= self._positions.hold_mb * 2**20

    @property
    def waiting(self) -> int:
        """Triggers whose frames wait for their position."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether the latest series has ended, and no frame of the scan is left for another one."""
        return self._series is not None and self._series.ended and self.frames >= self._spec.frames

    @property
    def frames(self) -> int:
        """Frames of the scan that were issued so far, as far as their numbers tell."""
        return 0 if self._series is None else self._series.end

    def remarks(self) -> Iterator[str]:
        """What was wrong with the frames and their positions so far, in words."""
        findings, triggers = self._findings, self._triggers
        for text, indices in findings.contradictions.items():
            yield f"{text}: frames {runs(indices, MOST_NAMED)}"
        for channel, images in findings.other_channels.items():
            yield f"{images} images of channel {channel!r} were left out; the scan is made of channel {self._channel!r}"
        if findings.wrong_step is not None:
            steps = f"steps of {findings.wrong_step:g}°, the scan {self._step_deg:g}°"
            yield f"the detector announces {steps}: the scan's are used"
        if findings.no_position:
            yield f"no position is known for frames {runs(findings.no_position, MOST_NAMED)}"
        for what, keys in (
            ("positions came too late for", triggers.late),
            ("positions came twice for", triggers.doubled - triggers.contradicting),
            ("two different positions came, and the first was used, for", triggers.contradicting),
        ):
            yield from (f"{what} {named}" for named in self._named(keys))
        if self._positions.joined:
            for run, numbers in triggers.unclaimed(self._indices).items():
                yield f"positions of triggers {self._numbers(numbers)}{_of_run(run)} belong to no frame that came"
        for text, times in findings.of_source.items():
            yield text if times == 1 else f"{text} ({times} times)"
        for why, refused in triggers.refused.items():
            yield f"{refused} positions were refused: {why}"

    def _named(self, keys: Iterable[Key]) -> Iterator[str]:
        """The frames of triggers, and the triggers whose frames did not come."""
        known, unknown = [], []
        for key in keys:
            if key in self._indices:
                known.append(self._indices[key])
            else:
                unknown.append(key[1])
        if known:
            yield f"frames {runs(known, MOST_NAMED)}"
        if unknown:
            yield f"triggers {self._numbers(unknown)}, whose frames did not come"

    def _numbers(self, triggers: Iterable[int]) -> str:
        return runs((trigger + self._positions.first for trigger in triggers), MOST_NAMED)

    def _open(self, name: str | None, zero: int | None, frames: int | None = None) -> Series:
        ordinal = 0 if self._series is None else self._series.ordinal + 1
        # Before a trigger, frames come without end, and only the last of them are kept.
        room = None if self._spec.before_trigger is not None else max(0, self._spec.frames - self.frames)
        self._series = Series(name, self.frames, zero, room, frames, ordinal)
        return self._series

    def _index(self, image: Image) -> tuple[int, int]:
        """The index of an image in the scan, and its place in its series.

        A numbering that begins anew without a message is another series. Raises WireError as ``Series.place`` does.
        """
        series = self._series
        if series is None or (image.series is not None and image.series != series.name):
            series = self._open(image.series, None)
        elif image.series is None and image.number is not None and image.number < series.last:
            series = self._open(None, None)
        place = series.place(image.number)
        return series.base + place, place

    def _key(self, index: int, place: int) -> Key | None:
        """The trigger of a frame; None when its position does not come in a stream of its own."""
        options = self._positions
        if not options.joined:
            return None
        if options.numbers == "series":
            assert self._series is not None
            return self._series.ordinal, place
        trigger = index if options.numbers == "scan" else self._order.projection(index)
        return None if trigger is None else (0, trigger)

    def _needs_position(self, kind: FrameKind | None) -> bool:
        """Whether a frame waits for its position: for the angle, or for what the shutter was recorded as."""
        return kind is FrameKind.PROJECTION or self._kinds.shutter is not None

    def _join(self, keys: Iterable[Key]) -> None:
        """Hand on the frames that wait for these triggers, if their positions are known."""
        for key in keys:
            if key in self._waiting and (counts := self._triggers.position(key)) is not None:
                for frame in self._waiting.pop(key):
                    self._release(key, frame, counts)

    def _release(self, key: Key, frame: _Waiting, counts: tuple[float, ...] | None) -> None:
        self._held -= frame.image.data.nbytes
        angle_deg = math.nan
        if counts is not None:
            angle_deg = self._encoder.degrees(counts, self._planned_angle(frame.index))
            self._joined = True
        self._hand_on(frame.image, frame.index, frame.said, angle_deg, self._triggers.shutter_open(key))

    def _hand_on(
        self,
        image: Image,
        index: int,
        said: FrameKind | None,
        angle_deg: float | None,
        is_open: bool | None = None,
    ) -> None:
        """``angle_deg``: from its position, NaN when none came; None for a frame that does not wait for one."""
        if is_open is None:
            is_open = shutter_open(image.attributes, self._kinds.shutter)
        kind, contradiction = decide(said, is_open, self._order.kind(index))
        if contradiction:
            self._findings.contradictions[contradiction].append(index)
        if kind is not FrameKind.PROJECTION:
            angle_deg = None
        elif angle_deg is None:
            angle_deg = self._own_angle(image, index)
        if angle_deg is not None and math.isnan(angle_deg):
            self._findings.no_position.add(index)
        header = wire.FrameHeader(
            self._spec.scan_id,
            index,
            kind,
            image.shape,
            image.dtype,
            image.nbytes,
            angle_deg,
            image.timestamp_ns,
            image.exposure_s,
            src=self._source,
            seq=self._seq,
        )
        self._seq += 1
        self._ready.append(Ready(header, image))

    def _own_angle(self, image: Image, index: int) -> float:
        """The angle of a projection that waits for no position, in degrees; NaN when it is not known."""
        if self._positions.source == "planned":
            return self._planned_angle(index)
        counts = [number(image.attributes.get(name)) for name in self._positions.values]
        known = self._positions.source == "attribute" and all(map(math.isfinite, counts))
        return self._encoder.degrees(counts, self._planned_angle(index)) if known else math.nan

    def _planned_angle(self, index: int) -> float:
        """The announced angle of a frame, in degrees; NaN for one that was not announced as a projection."""
        before = self._order.projection(index)
        return math.nan if before is None else self._spec.start_deg + before * self._step_deg


def _of_run(run: int) -> str:
    return f" of run {run + 1} of the encoder" if run else ""
