"""Questions to the daemon, one at a time, without ever waiting; of each kind only the newest one counts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from streamer.client import Context, Link, LinkError
from streamer.flow.wire.control import Reply, Request, UnknownVerb
from streamer.keys import ClientKey

ANSWER_WITHIN_S = 2.5

Answered = Callable[[Request[Any], Reply], None]
Refused = Callable[[Request[Any], str], None]


class Asking:
    """One socket. A question without an answer costs it, so that nothing is expected of a daemon that died.

    Raises LinkError when the endpoint makes no sense.
    """

    def __init__(
        self,
        endpoint: str,
        answered: Answered,
        refused: Refused,
        clock: Callable[[], float],
        context: Context | None = None,
        key: ClientKey | None = None,
    ) -> None:
        self._link = Link(endpoint, "the daemon", context=context, key=key)
        self._link.open()
        self._answered, self._refused, self._clock = answered, refused, clock
        self._waiting: dict[Hashable, Request[Any]] = {}
        self._asked: tuple[Request[Any], float] | None = None

    @property
    def busy(self) -> bool:
        """Whether a question is on its way, or waits for its turn."""
        return self._asked is not None or bool(self._waiting)

    @property
    def asking(self) -> bool:
        """Whether a question is on its way."""
        return self._asked is not None

    def want(self, request: Request[Any], kind: Hashable = None) -> None:
        """Ask when the questions before are answered; a newer question of this kind takes its place."""
        self._waiting[kind or request.verb] = request
        self.poll()

    def poll(self) -> bool:
        """Take an answer and ask the next question, without waiting; whether there was an answer."""
        heard = self._take()
        now = self._clock()
        if self._asked is not None:
            if now - self._asked[1] > ANSWER_WITHIN_S:
                request, _ = self._asked
                self._link.reset()
                self._asked = None
                self._refused(request, "the daemon does not answer")
        elif self._waiting:
            kind, request = next(iter(self._waiting.items()))
            if self._link.post(request):
                del self._waiting[kind]
                self._asked = (request, now)
        return heard

    def close(self) -> None:
        self._link.close()

    def _take(self) -> bool:
        if self._asked is None:
            return False
        request, _ = self._asked
        try:
            reply = self._link.answer()
        except LinkError as error:
            self._asked = None
            if error.code != UnknownVerb.code:  # an older daemon cannot be asked for everything
                self._refused(request, str(error))
            return True
        if reply is None:
            return False
        self._asked = None
        self._answered(request, reply)
        return True
