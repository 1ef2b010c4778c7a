"""A recorded scan as the messages of a detector, in the native format or in a foreign dialect."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from msgspec import structs

from streamer.flow import wire
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from streamer.flow.kinds import ORDER_KEY, WORDS
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.source_file import ScanFile

SOURCE = "replay"
ANGLE, KIND = "angle", "image_key"
"""Attributes of each image of a foreign dialect: degrees, and NXtomo's number for its kind."""

Outgoing = tuple[FrameMeta | None, Sequence[Any]]
"""The frame that a message holds, and its parts."""

_WORDS: Mapping[FrameKind, str] = {kind: word for word, kind in WORDS.items()}


class Encoder(Protocol):
    """A dialect as its detector needs it: the parts of each message, none when it has no such message."""

    def encode_start(self, start: SeriesStart) -> Sequence[Any]: ...

    def encode_image(self, image: Image) -> Sequence[Any]: ...

    def encode_end(self, end: SeriesEnd) -> Sequence[Any]: ...


def native_messages(scan: ScanFile, spec: ScanSpec) -> Iterator[Outgoing]:
    """Start, frames and end."""
    yield None, wire.encode(wire.Start(spec, src=SOURCE))
    count = 0
    for count, frame in enumerate(scan.usable(), start=1):
        meta = structs.replace(frame.meta, scan_id=spec.scan_id, seq=count, timestamp_ns=time.time_ns())
        yield frame.meta, wire.encode_frame(meta, frame.pixels, SOURCE)
    # A scan that was stopped lacks its last projections, too, but nobody misses them.
    status: wire.EndStatus = "ok" if count + scan.missing == spec.frames else "stopped"
    yield None, wire.encode(wire.End(spec.scan_id, count, status, seq=count + 1, src=SOURCE))


def foreign_messages(dialect: Encoder, scan: ScanFile, spec: ScanSpec) -> Iterator[Outgoing]:
    """One series: a start, images and an end, as far as the dialect has them."""
    series = str(time.time_ns() // 10**9)
    start = SeriesStart(
        series,
        spec.frames,
        (spec.rows, spec.columns),
        spec.dtype,
        spec.start_deg,
        spec.range_deg / spec.projections,
        spec.exposure_s,
        spec.saturation,
        scan.mask,
    )
    if parts := dialect.encode_start(start):
        yield None, parts
    for frame in scan.usable(by_index=True):
        meta, pixels = frame.meta, frame.pixels
        image = Image(
            (spec.rows, spec.columns),
            spec.dtype,
            pixels.data.cast("B"),
            series=series,
            number=meta.index,
            timestamp_ns=time.time_ns(),
            exposure_s=meta.exposure_s,
            attributes={ANGLE: meta.angle_deg, KIND: int(meta.kind)},
        )
        yield meta, dialect.encode_image(image)
    if parts := dialect.encode_end(SeriesEnd(series, spec.frames)):
        yield None, parts


def with_order(spec: ScanSpec, scan: ScanFile) -> ScanSpec:
    """The scan with the order of its kinds, which a foreign detector does not send."""
    runs = [(kind, len(list(frames))) for kind, frames in groupby(scan.kinds_by_index())]
    words = [_WORDS[kind] for kind, _count in runs]
    if len(set(words)) < len(words):
        words = [f"{word}:{count}" for word, (_kind, count) in zip(words, runs, strict=True)]
    return structs.replace(spec, metadata={**spec.metadata, ORDER_KEY: " ".join(words)})


class Pace:
    """When frames are sent: ``rate`` of them per second, or ``as_recorded``, or without waiting."""

    def __init__(self, rate: float | None, as_recorded: bool) -> None:
        self._rate, self._as_recorded = rate, as_recorded
        self._began, self._sent, self._first_ns = time.monotonic(), 0, 0

    @property
    def frames_per_s(self) -> float:
        return self._sent / max(time.monotonic() - self._began, 1e-9)

    def wait(self, meta: FrameMeta) -> None:
        """Wait for the moment of a frame."""
        self._first_ns = self._first_ns or meta.timestamp_ns
        due_s = 0.0
        if self._rate is not None:
            due_s = self._sent / self._rate
        elif self._as_recorded:
            due_s = (meta.timestamp_ns - self._first_ns) * 1e-9
        time.sleep(max(0.0, self._began + due_s - time.monotonic()))
        self._sent += 1
