"""Events of the daemon: what it publishes as it happens (``docs/protocol.md`` §3).

The tables there give the unit and the meaning of every field; a test compares them with these structs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from streamer.flow.scan import ScanState
from streamer.flow.wire import WireError, decode_as
from streamer.flow.wire.daemon import Judged, Nanoseconds, Report
from streamer.frames import Name, Quality, Reason
from streamer.schema import shown


class Event(Struct, frozen=True, kw_only=True):
    """Base of all events. The class has the topic, which is sent before the map."""

    topic: ClassVar[str]
    scan_id: Name | None = None


class StateEvent(Event, frozen=True, kw_only=True):
    """A scan entered a state. The event of a final state contains the report."""

    topic = "scan"
    scan_id: Name
    state: ScanState
    time_ns: Nanoseconds = 0
    report: Report | None = None


class ProgressEvent(Event, frozen=True, kw_only=True):
    """Progress of a scan."""

    topic = "progress"
    scan_id: Name
    report: Report


class VerdictEvent(Event, Judged, frozen=True, kw_only=True):
    """The verdict changed."""

    topic = "verdict"
    scan_id: Name
    verdict: str
    reasons: tuple[Reason, ...]
    final: bool
    quality: Quality = Quality()

    @classmethod
    def of(cls, report: Report) -> VerdictEvent:
        """The verdict in a report."""
        return cls(
            scan_id=report.scan_id,
            verdict=report.verdict,
            reasons=report.reasons,
            final=report.final,
            quality=report.quality,
        )


class FaultEvent(Event, frozen=True, kw_only=True):
    """Something of the daemon failed. ``part`` is a thread or process of it; ``fatal``: the daemon ends."""

    topic = "fault"
    part: str
    text: str
    fatal: bool = False
    time_ns: Nanoseconds = 0


EVENT_TYPES: tuple[type[Event], ...] = (StateEvent, ProgressEvent, VerdictEvent, FaultEvent)
_TOPICS = {kind.topic.encode(): kind for kind in EVENT_TYPES}


def read_event(parts: Sequence[bytes]) -> Event:
    """Decode the parts ``[topic, map]`` of a message. Raises WireError."""
    if len(parts) != 2:
        raise WireError("parts", f"event of {len(parts)} parts, expected topic and map")
    kind = _TOPICS.get(parts[0])
    if kind is None:
        raise WireError("unknown_kind", f"event of the unknown topic {shown(parts[0])}")
    return decode_as(parts[1], kind, f"event {kind.topic}")
