"""The clients of the page: who they are, and what waits for each. Belongs to the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from streamer.web.access import Right
from streamer.web.outbox import Message, Outbox

MAX_CLIENTS = 200
SEND_WITHIN_S = 30.0
"""A client that does not take one message in this time is cut off."""

MAX_AHEAD = 5
"""Pictures that are sent before the page has shown the first: a browser takes what comes, and draws it later."""

LOOK = "look "
"""Subjects that begin so are for the pages that see the detector."""

Counts = Counter[str]
"""What happened to all clients: pictures, texts and bytes that were sent, messages dropped, refused, cut."""


class PageClient:
    """One open page. Its messages wait in an outbox; ``send_all`` brings them to it, one after the other.

    ``sees_detector``: it wants pictures of what the detector sees.
    """

    def __init__(self, right: Right, counts: Counts | None = None) -> None:
        self.right = right
        self.outbox = Outbox()
        self.sees_detector = False
        self._counts: Counts = Counter() if counts is None else counts
        self._ahead = 0
        self._news = asyncio.Event()

    def drawn(self) -> None:
        """The page has shown a picture."""
        self._ahead = max(0, self._ahead - 1)
        self._news.set()

    def put(self, subject: str, message: Message) -> None:
        self._counts["dropped"] += self.outbox.put(subject, message)
        self._news.set()

    async def send_all(self, send: Callable[[Message], Awaitable[None]], within_s: float = SEND_WITHIN_S) -> None:
        """Send what waits and what will come. Raises TimeoutError when the client takes nothing any more."""
        while True:
            while (message := self.outbox.take(pictures=self._ahead < MAX_AHEAD)) is not None:
                picture = isinstance(message, bytes)
                self._ahead += picture
                try:
                    async with asyncio.timeout(within_s):
                        await send(message)
                except TimeoutError:
                    self._counts["cut"] += 1
                    raise
                self._counts["pictures" if picture else "texts"] += 1
                self._counts["bytes"] += len(message) if isinstance(message, bytes) else len(message.encode())
            self._news.clear()
            await self._news.wait()


class Hub:
    """All open pages."""

    def __init__(self) -> None:
        self.clients: set[PageClient] = set()
        self.counts: Counts = Counter()
        self.seeing_detector = 0
        """Pages that see the detector; read by other threads."""

    def enter(self, client: PageClient) -> None:
        self.clients.add(client)

    def leave(self, client: PageClient) -> None:
        self.clients.discard(client)
        self.see(client, detector=False)

    def see(self, client: PageClient, detector: bool) -> None:
        """Whether a page wants pictures of what the detector sees."""
        self.seeing_detector += detector - client.sees_detector
        client.sees_detector = detector

    @property
    def full(self) -> bool:
        return len(self.clients) >= MAX_CLIENTS

    def publish(self, subject: str, message: Message) -> None:
        """A message for every page that wants it."""
        for client in self.clients:
            if client.sees_detector or not subject.startswith(LOOK):
                client.put(subject, message)
