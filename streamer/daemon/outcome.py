"""How a scan ended, and what was made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamer.flow.losses import cause_of_loss
from streamer.flow.owner import Owner
from streamer.flow.scan import Ledger
from streamer.frames import Decision, FrameKind, Reason, ReasonCode, Verdict


@dataclass
class Ending:
    """How the frames of a scan ended. ``status``: ok, stopped, aborted or stalled."""

    status: str
    note: str = ""


@dataclass
class Result:
    """What the finisher produced."""

    tomogram_files: list[str] = field(default_factory=list)
    last_frame_to_tomogram_s: float | None = None
    artefacts: Mapping[str, float | None] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def tomogram_file(self) -> str | None:
        """The latest one."""
        return self.tomogram_files[-1] if self.tomogram_files else None


def remarks_of(
    ledger: Ledger, owner: Owner, restart: tuple[int, int] | None, status: str, frames: int | None
) -> Iterator[str]:
    """What the counters of the source and the order of the frames say about those that lack, when a scan ends.

    ``restart``: see ``CounterWatch``; ``status`` and ``frames``, how many the source issued: see ``wire.End``.
    """
    if frames is not None and status != "aborted" and frames != ledger.seen:
        announced = f"{ledger.announced} were announced"
        yield f"its source says that it issued {frames} frames, {ledger.seen} came, {announced}"
    for kind, number in ledger.missing_of().items():
        if number and kind is not FrameKind.PROJECTION:
            yield f"missing {kind.name.lower()}s: {number}"
    for kind, count in ledger.kinds.items():
        if ledger.received_of[kind] > count:
            yield f"{ledger.received_of[kind]} {kind.name.lower()}s came, {count} were announced"
    if cause := cause_of_loss(ledger.missing_indices(), ledger.announced, restart):
        yield cause
    for source, messages in owner.foreign.items():
        yield f"{messages} messages of source {source!r} were refused: the scan belongs to {owner.source!r}"


def without_raw_data(verdict: Verdict, why: str) -> Verdict:
    """What a verdict becomes when raw data are lost; a sample that is not there or must be moved comes first."""
    reason = Reason(ReasonCode.RAW_DATA_LOST, f"{why}; scan again")
    if verdict.decision in (Decision.EMPTY, Decision.REALIGN):
        return Verdict(verdict.decision, (*verdict.reasons, reason), verdict.final)
    return Verdict(Decision.RETAKE, (reason, *verdict.reasons), verdict.final)
