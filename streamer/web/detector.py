"""Asks the daemon for pictures of what the detector sees, while somebody looks, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import get_args

from streamer.client import Link, LinkError, LinkTimeout
from streamer.flow.wire.looks import Look, Looked, Subject
from streamer.web.hub import LOOK
from streamer.web.messages import eight_bits, jpeg, look_header, to_text, with_picture
from streamer.web.outbox import Message

log = logging.getLogger(__name__)

EVERY_S = 0.5
SUBJECTS: tuple[Subject, ...] = get_args(Subject)


class DetectorPictures:
    """``start`` and ``close`` begin and end the thread, which asks while ``looking()``.

    ``row`` gives the detector row of the sinogram, None for the middle one. Where there is nothing to see the pages are
    told why.
    """

    def __init__(self, link: Link, looking: Callable[[], bool], row: Callable[[], int | None]) -> None:
        self._link, self._looking, self._row = link, looking, row
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page detector", daemon=True)
        self._publish: Callable[[str, Message], None] = lambda _subject, _message: None

    def start(self, publish: Callable[[str, Message], None]) -> None:
        self._publish = publish
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(EVERY_S):
                if self._looking():
                    self._look()
        finally:
            self._link.close()

    def _look(self) -> None:
        for subject in SUBJECTS:
            if self._ended.is_set():
                return
            try:
                looked = self._link.ask(Look(subject, self._row() if subject == "sinogram" else None))
            except (LinkError, LinkTimeout) as error:
                log.debug("no picture of the detector: %s", error)
                self._publish(f"{LOOK}{subject} error", to_text("unseen", look=subject, why=_why(error)))
            else:
                self._publish(f"{LOOK}{subject}", picture_of(looked))


def picture_of(looked: Looked) -> bytes:
    """The message with a picture of the detector."""
    return with_picture(look_header(looked), jpeg(eight_bits(looked.pixels, looked.shape)))


def _why(error: LinkError | LinkTimeout) -> str:
    """Without the name of the verb, which is for programs."""
    return str(error).partition("'look': ")[2] or str(error)
