"""Feeds a ViewModel from a daemon, without ever waiting, and tells the daemon what the viewer wants to see.

``status`` is asked once a second; its answer names the endpoints of previews and events. The subscriptions move when
the daemon does. Planes and centre have a socket of their own, and so have pictures of the detector.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamer.client import Context, LinkError, Subscriber, reachable
from streamer.flow.wire import WireError
from streamer.flow.wire.control import Reply, Request
from streamer.flow.wire.daemon import DaemonStatus, FixCenter, GetStatus, PreviewHeader, WatchPlanes, read_preview
from streamer.flow.wire.events import read_event
from streamer.flow.wire.looks import GetLatest, GetPast, Look, PastScans, Subject
from streamer.gui.asking import Asking
from streamer.gui.state.model import ViewModel
from streamer.keys import ClientKey

ASK_EVERY_S = 1.0
LOOK_EVERY_S = 0.5
POLL_S = 0.015
"""Longest time that one poll may take to empty one socket."""

QUEUED_PREVIEWS = 16

Clock = Callable[[], float]


class ViewerClient:
    """Call ``poll`` often, ``close`` once. Raises LinkError when the endpoint makes no sense.

    ``looking`` are the pictures of the detector that are asked for, twice a second.
    """

    def __init__(
        self,
        endpoint: str,
        model: ViewModel,
        context: Context | None = None,
        clock: Clock = time.monotonic,
        key: ClientKey | None = None,
    ) -> None:
        self.endpoint, self.model = endpoint, model
        self._clock = clock
        self._status = Asking(endpoint, self._learn, lambda _request, _why: None, clock, context, key)
        self._steering = Asking(endpoint, self._answer, model.refuse, clock, context, key)
        self._pictures = Asking(endpoint, self._answer, model.refuse, clock, context, key)
        self._ask_again_s = self._look_again_s = clock()
        self._knows_past, self._uptime_s = False, 0.0
        self.looking: set[Subject] = set()
        self.row: int | None = None  # of the sinogram
        self._previews = Subscriber(QUEUED_PREVIEWS, context, key)
        self._events = Subscriber(context=context, key=key)

    @property
    def eager(self) -> bool:
        """Whether planes or centre were changed and the answer is not there: a picture follows in a moment."""
        return self._steering.busy

    def poll(self) -> bool:
        """Take what has arrived, without waiting; whether anything had."""
        heard = self._take_events(self._clock() + POLL_S)
        heard = self._take_previews(self._clock() + POLL_S) or heard
        for asking in (self._status, self._steering, self._pictures):
            heard = asking.poll() or heard
        self._ask()
        return heard

    def close(self) -> None:
        for part in (self._previews, self._events, self._status, self._steering, self._pictures):
            part.close()

    # What the viewer wants.

    def watch(self, names: set[str]) -> None:
        """Have the planes where the model wants them; ``names`` are those that were moved."""
        wanted = self.model.steering.wanted()
        if wanted:
            self.model.moved(names, self._clock())
            self._steering.want(WatchPlanes(wanted))

    def fix_center(self, column: float | None) -> None:
        """Hold the centre of rotation at a column; None: have it found."""
        self._steering.want(FixCenter(column))

    # The sockets.

    def _ask(self) -> None:
        now = self._clock()
        if now >= self._ask_again_s and not self._status.busy:
            self._ask_again_s = now + ASK_EVERY_S
            self._status.want(GetStatus())
        if self.looking and now >= self._look_again_s and not self._pictures.busy:
            self._look_again_s = now + LOOK_EVERY_S
            for subject in self.looking:
                row = self.row if subject == "sinogram" else None
                self._pictures.want(Look(subject, row), subject)

    def _learn(self, _request: Request[Any], status: Reply) -> None:
        if not isinstance(status, DaemonStatus):
            return
        if self._has_restarted(status):
            self._knows_past = False
        self.model.status(status, self._clock())
        try:
            self._previews.follow(reachable(status.endpoints.preview, self.endpoint))
            self._events.follow(reachable(status.endpoints.events, self.endpoint))
        except LinkError:
            self.model.broken += 1
        if not self._knows_past:
            self._knows_past = True
            self._pictures.want(GetPast())
            self._steering.want(FixCenter(), "centre that is held")  # a wish of the user may wait: it stays

    def _has_restarted(self, status: DaemonStatus) -> bool:
        before, self._uptime_s = self._uptime_s, status.uptime_s
        return status.uptime_s < before

    def _answer(self, request: Request[Any], reply: Reply) -> None:
        self.model.answer(request, reply, self._clock())
        if isinstance(reply, PastScans):
            for plane in reply.planes:
                self._pictures.want(GetLatest(plane), ("latest", plane))

    def _take_events(self, deadline: float) -> bool:
        heard = False
        while self._clock() < deadline and (parts := self._events.receive()) is not None:
            heard = True
            try:
                self.model.event(read_event(parts), self._clock())
            except WireError:
                self.model.broken += 1
        return heard

    def _take_previews(self, deadline: float) -> bool:
        """Empty the socket, then show the newest message of each plane only."""
        newest: dict[str, tuple[PreviewHeader, bytes]] = {}
        while self._clock() < deadline and (parts := self._previews.receive()) is not None:
            try:
                preview, payload = read_preview(parts)
            except WireError:
                self.model.broken += 1
            else:
                newest[preview.plane] = (preview, payload)
        for preview, payload in newest.values():
            self.model.preview(preview, payload, self._clock())
        return bool(newest)
