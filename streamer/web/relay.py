"""Brings the news of a daemon to the page's model, and the wishes of the page to the daemon.

Two threads: one listens to events and previews, and asks for the status once a second; the other asks for what pages
want, of each kind the newest wish only, so that a moved slider never queues. No page waits for the daemon.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

from streamer.client import Context, Link, LinkError, LinkTimeout, Subscriber, reachable
from streamer.flow.wire import WireError
from streamer.flow.wire.daemon import (
    Abort,
    CenterReply,
    DaemonStatus,
    EndScan,
    FixCenter,
    GetStatus,
    PreviewHeader,
    WatchedPlanes,
    WatchPlanes,
    read_preview,
)
from streamer.flow.wire.events import read_event
from streamer.flow.wire.looks import GetLatest, GetPast
from streamer.frames import BadInput
from streamer.io.batch_queue import QueueFile
from streamer.keys import ClientKey
from streamer.web.detector import DetectorPictures
from streamer.web.geometry import planes_at
from streamer.web.growing import GrowingBricks
from streamer.web.messages import FixTheCenter, Move, Stop
from streamer.web.model import MAX_HISTORY, News, PageModel
from streamer.web.outbox import Message

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
POLL_S = 0.02
BRICK_WITHIN_S = 25.0
QUEUED_PREVIEWS = 8
Steering = Move | FixTheCenter | Stop
Publish = Callable[[str, Message], None]


class Relay:
    """``start`` and ``close`` begin and end its threads. ``model`` is to be read under ``lock``."""

    def __init__(
        self,
        control: str,
        key: ClientKey | None = None,
        context: Context | None = None,
        batch: Path | None = None,
        seeing_detector: Callable[[], bool] = lambda: False,
    ) -> None:
        """``batch`` is the folder of a batch whose samples are shown. While ``seeing_detector()`` its pictures come."""
        self.model = PageModel()
        self._batch = None if batch is None else QueueFile(batch)
        self._publish: Publish = lambda _subject, _message: None
        self.lock = threading.Lock()
        self._key, self._context = key, context
        self._status = Link(control, "the daemon", 2.0, context, key)
        self._steering = Link(control, "the daemon", 4.0, context, key)
        self._bricks = GrowingBricks(Link(control, "the daemon", BRICK_WITHIN_S, context, key))
        pictures = Link(control, "the daemon", 4.0, context, key)
        self._detector = DetectorPictures(pictures, seeing_detector, self._row)
        self._wishes: dict[type[Steering], tuple[Steering, Callable[[str], None]]] = {}
        self._wished, self._ended = threading.Condition(), threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("page news", self._listen), ("page wishes", self._steer))
        ]

    def start(self, publish: Publish) -> None:
        """``publish`` is called on the threads of the relay, with every message for all pages."""
        self._publish = publish
        for thread in self._threads:
            thread.start()
        self._detector.start(publish)

    def close(self) -> None:
        self._ended.set()
        with self._wished:
            self._wished.notify()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._detector.close()
        self._bricks.close()

    def greeting(self) -> list[tuple[str, Message]]:
        """What a page that comes now must hear."""
        with self.lock:
            return list(self.model.greeting(time.monotonic()))

    def pictures(self, scan_id: str) -> dict[str, bytes]:
        """The last picture of each plane of a scan, as messages."""
        with self.lock:
            return self.model.pictures(scan_id)

    def tomogram_file(self, scan_id: str) -> Path | None:
        with self.lock:
            return self.model.tomogram_file(scan_id)

    @property
    def connected(self) -> bool:
        """Whether the daemon was heard of lately."""
        with self.lock:
            return self.model.connected(time.monotonic())

    def growing_brick(self, scan_id: str, query: Mapping[str, str]) -> bytes | None:
        """A box of the tomogram of the running scan; see ``GrowingBricks.brick``. None when that scan does not run."""
        with self.lock:
            if not self.model.grows(scan_id):
                return None
            volume = self.model.volume
        whole = None if volume is None else (volume.rows, volume.columns, volume.columns)
        return self._bricks.brick(scan_id, query, whole)

    def _row(self) -> int | None:
        """The detector row of the sinogram: that of the level plane."""
        with self.lock:
            place = self.model.place
        return None if place is None else max(0, round(place.z))

    def wish(self, wish: Steering, answer: Callable[[str], None]) -> None:
        """Ask the daemon for it soon. ``answer`` is called on a thread of the relay, with what went wrong, if anything.

        An older wish of this kind that still waits is forgotten.
        """
        with self._wished:
            self._wishes[type(wish)] = wish, answer
            self._wished.notify()

    # News.

    def _tell(self, news: Callable[[float], News]) -> None:
        with self.lock:
            messages = list(news(time.monotonic()))
        for subject, message in messages:
            self._publish(subject, message)

    def _listen(self) -> None:
        previews, events = (
            Subscriber(QUEUED_PREVIEWS, self._context, self._key),
            Subscriber(1000, self._context, self._key),
        )
        ask_at, asked_of, caught_up = 0.0, "", False
        try:
            while not self._ended.is_set():
                if time.monotonic() >= ask_at:
                    self._ask(previews, events)
                    self._follow_batch()
                    ask_at = time.monotonic() + ASK_EVERY_S
                if self.model.current != asked_of:
                    asked_of = self.model.current
                    self._look()
                if not caught_up and previews.endpoint is not None:
                    caught_up = True
                    self._catch_up()
                self._take_events(events)
                if previews.endpoint is None:
                    self._ended.wait(POLL_S)
                else:
                    self._take_previews(previews)
        finally:
            previews.close()
            events.close()
            self._status.close()

    def _ask(self, previews: Subscriber, events: Subscriber) -> None:
        try:
            status: DaemonStatus = self._status.ask(GetStatus())
            previews.follow(reachable(status.endpoints.preview, self._status.endpoint))
            events.follow(reachable(status.endpoints.events, self._status.endpoint))
        except (LinkError, LinkTimeout) as error:
            log.debug("no status: %s", error)
            self._tell(lambda now: iter([("state", self.model.state(now))]))
        else:
            self._tell(lambda now: self.model.status(status, now))

    def _follow_batch(self) -> None:
        if (batch := self._batch) is not None:
            batch.poll(time.monotonic())
            self._tell(lambda _now: self.model.queue(batch.queue))

    def _look(self) -> None:
        """Ask which planes are watched, and about which centre: of a new scan they may be others."""
        try:
            watched, center = self._status.ask(WatchPlanes()), self._status.ask(FixCenter())
        except (LinkError, LinkTimeout) as error:
            log.debug("no planes: %s", error)
        else:
            self._tell(lambda now: self.model.planes(watched.planes, now))
            self._tell(lambda now: self.model.fixed(center, now))

    def _catch_up(self) -> None:
        """Hear of the scans that are over, and see the pictures that were sent before."""
        try:
            known = self._status.ask(GetPast(MAX_HISTORY))
            self._tell(lambda now: self.model.past(known.scans, now))
            for plane in known.planes:
                last = self._status.ask(GetLatest(plane))
                self._tell(lambda now, last=last: self.model.preview(last.header, last.pixels, now))  # type: ignore[misc]
        except (LinkError, LinkTimeout) as error:
            log.debug("nothing of before: %s", error)

    def _take_events(self, events: Subscriber) -> None:
        while (parts := events.receive()) is not None:
            try:
                event = read_event(parts)
            except WireError:
                self.model.broken += 1
            else:
                self._tell(lambda now, event=event: self.model.event(event, now))  # type: ignore[misc]

    def _take_previews(self, previews: Subscriber) -> None:
        """Empty the socket, then tell the newest message of each plane only."""
        newest: dict[str, tuple[PreviewHeader, bytes]] = {}
        parts = previews.receive(POLL_S)
        while parts is not None:
            try:
                preview, payload = read_preview(parts)
            except WireError:
                self.model.broken += 1
            else:
                newest[preview.plane] = preview, payload
            parts = previews.receive() if len(newest) < QUEUED_PREVIEWS else None
        for preview, payload in newest.values():
            self._tell(lambda now, preview=preview, payload=payload: self.model.preview(preview, payload, now))  # type: ignore[misc]

    # Wishes.

    def _steer(self) -> None:
        try:
            while not self._ended.is_set():
                with self._wished:
                    while not self._wishes and not self._ended.is_set():
                        self._wished.wait()
                    wishes, self._wishes = list(self._wishes.values()), {}
                for wish, answer in wishes:
                    answer(self._do(wish))
        finally:
            self._steering.close()

    def _do(self, wish: Steering) -> str:
        try:
            match wish:
                case Move():
                    self._move(wish)
                case FixTheCenter(px):
                    center: CenterReply = self._steering.ask(FixCenter(px))
                    self._tell(lambda now: self.model.fixed(center, now))
                case Stop(scan_id, abort=True):
                    self._steering.ask(Abort(scan_id, "aborted on the web page"))
                case Stop(scan_id):
                    self._end(scan_id)
        except (BadInput, zmq.ZMQError) as error:
            return str(error)
        return ""

    def _move(self, move: Move) -> None:
        with self.lock:
            volume, others = self.model.volume, list(self.model.others)
        if volume is None:
            raise BadInput("there are no planes before the first scan is armed")
        watched: WatchedPlanes = self._steering.ask(
            WatchPlanes([*planes_at(volume, volume.within(move.place)), *others])
        )
        self._tell(lambda now: self.model.planes(watched.planes, now))

    def _end(self, scan_id: str) -> None:
        scan = self._steering.ask(GetStatus(scan_id)).scan
        if scan is None:
            raise BadInput(f"the daemon does not know scan {scan_id}")
        issued = scan.frames.received + scan.frames.missing
        self._steering.ask(EndScan(scan_id, issued, "stopped"))
