"""The newest picture of each plane, as the daemon publishes them."""

from __future__ import annotations

import logging
import threading
import time

from streamer.client import Link, LinkError, LinkTimeout, Subscriber, reachable
from streamer.flow.wire import WireError
from streamer.flow.wire.daemon import GetStatus, PreviewHeader, read_preview
from streamer.keys import ClientKey

log = logging.getLogger(__name__)

ASK_EVERY_S = 2.0
POLL_S = 0.1
KEPT = 2  # scans whose planes are kept: the one that runs and the one before
QUEUED = 8

Picture = tuple[PreviewHeader, bytes]


class LivePlanes:
    """Listens on a thread of its own, and finds the daemon again when it restarts. ``close`` ends it."""

    def __init__(self, control: str, key: ClientKey | None = None) -> None:
        self._link, self._key = Link(control, "the daemon", ASK_EVERY_S, key=key), key
        self._scans: dict[str, dict[str, Picture]] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="planes", daemon=True)
        self._thread.start()

    def of(self, scan_id: str) -> dict[str, Picture]:
        """Header and payload by plane; empty for scans that are long over."""
        with self._lock:
            return dict(self._scans.get(scan_id, {}))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        subscriber, ask_at = Subscriber(QUEUED, key=self._key), 0.0
        try:
            while not self._ended.is_set():
                if time.monotonic() >= ask_at:
                    self._find(subscriber)
                    ask_at = time.monotonic() + ASK_EVERY_S
                if subscriber.endpoint is None:
                    self._ended.wait(POLL_S)
                elif (parts := subscriber.receive(POLL_S)) is not None:
                    self._take(parts)
        finally:
            subscriber.close()
            self._link.close()

    def _find(self, subscriber: Subscriber) -> None:
        try:
            subscriber.follow(reachable(self._link.ask(GetStatus()).endpoints.preview, self._link.endpoint))
        except (LinkError, LinkTimeout) as error:
            log.debug("no planes: %s", error)

    def _take(self, parts: list[bytes]) -> None:
        try:
            header, payload = read_preview(parts)
        except WireError as error:
            log.warning("a preview cannot be read: %s", error)
            return
        with self._lock:
            self._scans.setdefault(header.scan_id, {})[header.plane] = header, payload
            while len(self._scans) > KEPT:
                del self._scans[next(iter(self._scans))]
