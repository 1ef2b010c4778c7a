"""The virtual beamline as the IOC sees it: its state, asked for again and again, and orders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from streamer.client import Link, LinkError, LinkTimeout
from streamer.flow.wire.beamline import BeamlineStatus, Claimed, GetBeamlineStatus
from streamer.flow.wire.control import Request

log = logging.getLogger(__name__)

PERIOD_S = 0.02
PATIENCE_S = 2.0  # then the beamline is taken for dead
ORDER_S = 60.0

Show = Callable[[BeamlineStatus | None], Awaitable[None]]


class Hardware:
    """``status`` is the last one, None while the beamline does not answer; ``owner`` is the scan that has claimed
    it."""

    def __init__(self, endpoint: str) -> None:
        self._watched = Link(endpoint, "the virtual beamline", PATIENCE_S)
        self._ordered = Link(endpoint, "the virtual beamline", ORDER_S)
        self._round = asyncio.Condition()
        self._rounds = 0
        self.status: BeamlineStatus | None = None
        self.owner: str | None = None

    @property
    def scan_id(self) -> str:
        """The scan for which the camera is prepared; "none" is refused with the right words."""
        return (self.status and self.status.detector.scan_id) or "none"

    async def watch(self, show: Show) -> None:
        """Show every state of the beamline, for ever."""
        while True:
            try:
                self.status = await asyncio.to_thread(self._watched.ask, GetBeamlineStatus())
                self.owner = self.status.ownership.scan_id
            except (LinkError, LinkTimeout) as error:
                if self.status is not None:
                    log.warning("%s", error)
                self.status = None
            await show(self.status)
            async with self._round:
                self._rounds += 1
                self._round.notify_all()
            await asyncio.sleep(PERIOD_S)

    async def fresh(self) -> BeamlineStatus | None:
        """A status that was asked for after this call, and that all records show."""
        async with self._round:
            wanted = self._rounds + 2  # the present round may have asked before
            await self._round.wait_for(lambda: self._rounds >= wanted)
        return self.status

    async def order(self, request: Request[Any]) -> str:
        """Give an order. Returns "" when it was taken, else "CODE: why"."""
        if self.status is None:
            return "timeout: the virtual beamline does not answer"
        try:
            reply = await asyncio.to_thread(self._ordered.ask, request)
        except LinkError as error:
            log.info("refused: %s", error)
            return f"{error.code}: {error}"
        except LinkTimeout as error:
            return f"timeout: {error}"
        if isinstance(reply, Claimed):
            self.owner = reply.ownership.scan_id
        return ""

    def close(self) -> None:
        self._watched.close()
        self._ordered.close()
