"""Whose the beamline is: one owner, a queue of those who wait, and claims that end unless they are renewed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from streamer.flow.wire.beamline import BeamlineOwner
from streamer.flow.wire.control import Busy

MAX_CLAIMS = 32


@dataclass(frozen=True, slots=True)
class LeasedClaim:
    """A claim that holds until the time ``until``."""

    scan_id: str
    user: str
    until: float


@dataclass(frozen=True, slots=True)
class Claims:
    """All claims in their order; the first one owns the beamline."""

    queue: tuple[LeasedClaim, ...] = ()

    @property
    def owner(self) -> LeasedClaim | None:
        return self.queue[0] if self.queue else None

    def claim(self, scan_id: str, user: str, until: float) -> Self:
        """Renew the claim of a scan, or queue a new one. Raises Busy when too many wait."""
        claim = LeasedClaim(scan_id, user, until)
        if any(known.scan_id == scan_id for known in self.queue):
            return replace(self, queue=tuple(claim if known.scan_id == scan_id else known for known in self.queue))
        if len(self.queue) >= MAX_CLAIMS:
            raise Busy(f"claim: {len(self.queue)} scans have claimed the beamline, no more can wait")
        return replace(self, queue=(*self.queue, claim))

    def without(self, scan_id: str) -> Self:
        return replace(self, queue=tuple(claim for claim in self.queue if claim.scan_id != scan_id))

    def at(self, now: float) -> Self:
        """The claims that still hold at ``now``."""
        return replace(self, queue=tuple(claim for claim in self.queue if claim.until > now))

    def check(self, scan_id: str | None, verb: str) -> None:
        """Raise Busy when the beamline belongs to another scan than ``scan_id``."""
        owner = self.owner
        if owner is not None and owner.scan_id != scan_id:
            raise Busy(f"{verb}: the beamline belongs to scan {owner.scan_id} of {owner.user}")

    def status(self) -> BeamlineOwner:
        owner = self.owner
        if owner is None:
            return BeamlineOwner(None, None, [])
        return BeamlineOwner(owner.scan_id, owner.user, [claim.user for claim in self.queue[1:]])
