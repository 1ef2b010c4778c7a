"""Feeds a ViewModel from a daemon, without ever waiting and without changing anything there.

``status`` is asked once a second; its answer names the endpoints of previews and events. A question without an answer
costs its socket, so that nothing is expected of a daemon that died; the subscriptions move when the daemon does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamer.client import Context, Link, LinkError, Subscriber, reachable
from streamer.flow.wire import WireError
from streamer.flow.wire.daemon import DaemonStatus, GetStatus, PreviewHeader, read_preview
from streamer.flow.wire.events import read_event
from streamer.gui.model import ViewModel
from streamer.keys import ClientKey

ASK_EVERY_S = 1.0
ANSWER_WITHIN_S = 2.5
POLL_S = 0.015
"""Longest time that one poll may take to empty one socket."""

QUEUED_PREVIEWS = 8

Clock = Callable[[], float]


class ViewerClient:
    """Call ``poll`` often, ``close`` once. Raises LinkError when the endpoint makes no sense."""

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
        self._link = Link(endpoint, "the daemon", context=context, key=key)
        self._link.open()
        self._asked_s: float | None = None
        self._ask_again_s = clock()
        self._previews = Subscriber(QUEUED_PREVIEWS, context, key)
        self._events = Subscriber(context=context, key=key)

    @property
    def asking(self) -> bool:
        """A question is on its way."""
        return self._asked_s is not None

    def poll(self) -> bool:
        """Take what has arrived, without waiting; whether anything had."""
        heard = self._take_events(self._clock() + POLL_S)
        heard = self._take_previews(self._clock() + POLL_S) or heard
        heard = self._take_answer() or heard
        self._ask()
        return heard

    def close(self) -> None:
        self._previews.close()
        self._events.close()
        self._link.close()

    def _ask(self) -> None:
        now = self._clock()
        if self._asked_s is not None:
            if now - self._asked_s > ANSWER_WITHIN_S:
                self._link.close()
                self._asked_s = None
        elif now >= self._ask_again_s and self._link.post(GetStatus()):
            self._asked_s, self._ask_again_s = now, now + ASK_EVERY_S

    def _take_answer(self) -> bool:
        try:
            if (status := self._link.answer()) is None:
                return False
            if isinstance(status, DaemonStatus):
                self.model.status(status, self._clock())
                self._previews.follow(reachable(status.endpoints.preview, self.endpoint))
                self._events.follow(reachable(status.endpoints.events, self.endpoint))
        except LinkError:
            self.model.broken += 1
        self._asked_s = None
        return True

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
