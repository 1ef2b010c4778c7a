"""Pages over HTTP for other programs: the metrics. A client that is slow, idle or one of many delays nobody else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from streamer.frames import BadInput

log = logging.getLogger(__name__)

REQUEST_S = 5.0
"""Longest time that a connection lasts: a client that has not sent its request and read the answer by then is cut."""

MAX_CONNECTIONS = 64
MAX_REQUEST = 8192
TEXT = "text/plain; charset=utf-8"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Failed", 503: "Not Ready"}


@dataclass(frozen=True)
class Page:
    """The answer to a request."""

    body: bytes
    kind: str = TEXT
    status: int = 200


MakePage = Callable[[str], Page]
"""Makes a page for a client whose header ``Accept`` is given, "" without one."""


class PageServer:
    """Serves ``pages``, functions by path, on a thread of its own until ``close``.

    One page is made at a time. With MAX_CONNECTIONS open, the oldest one makes room for the next. Port 0 takes a free
    one. Raises BadInput when the address cannot be had.
    """

    def __init__(self, pages: Mapping[str, MakePage], host: str, port: int) -> None:
        self._pages = dict(pages)
        self._connections: dict[asyncio.Task[None], None] = {}  # in the order in which they came
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._connected, host, port, limit=MAX_REQUEST, backlog=MAX_CONNECTIONS)
            )
        except OSError as error:
            self._loop.close()
            text = error.strerror or str(error)
            raise BadInput(f"metrics {host}:{port}: {text}; set another port, or 0 for a free one") from error
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="pages")
        self._thread.start()

    def close(self) -> None:
        """Returns when nothing listens any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        await asyncio.sleep(0)  # connections that were just accepted get their task
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # their sockets are closed

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            next(iter(self._connections)).cancel()
        self._connections[task] = None
        try:
            async with asyncio.timeout(REQUEST_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(request))
                await writer.drain()
                writer.write_eof()
                await reader.read(1)  # the client closes first, so that nothing of the answer is lost
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        except asyncio.CancelledError:
            pass  # another client needs the place, or the server ends; nobody awaits this task
        finally:
            self._connections.pop(task, None)
            writer.transport.abort()

    def _answer(self, request: bytes) -> bytes:
        page = self.page(self._pages, request)
        head = (
            f"HTTP/1.1 {page.status} {REASONS[page.status]}\r\nContent-Type: {page.kind}\r\n"
            f"Content-Length: {len(page.body)}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if request.startswith(b"HEAD ") else page.body)

    @staticmethod
    def page(pages: Mapping[str, MakePage], request: bytes) -> Page:
        """The page that a request asks for, or what is wrong with it."""
        words = request.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Page(b"not a request\n", status=400)
        if words[0] not in (b"GET", b"HEAD"):
            return Page(b"pages can only be read\n", status=405)
        make = pages.get(words[1].split(b"?")[0].decode("latin-1"))
        if make is None:
            return Page(f"no such page; there is {', '.join(pages)}\n".encode(), status=404)
        try:
            return make(_accepted(request))
        except Exception:  # the next request may find better times
            log.exception("a page could not be made")
            return Page(b"failed; see the log\n", status=500)


def _accepted(request: bytes) -> str:
    """The header ``Accept`` of a request; several are one list, as HTTP has it."""
    lines = (line.partition(b":") for line in request.split(b"\r\n")[1:])
    return ", ".join(value.decode("latin-1").strip() for name, _, value in lines if name.strip().lower() == b"accept")


def exposition(registry: CollectorRegistry) -> MakePage:
    """The metrics of a registry, as OpenMetrics for a client that asks for it, else in Prometheus' text format."""

    def make(accept: str) -> Page:
        encode, kind = choose_encoder(accept)
        return Page(encode(registry), kind)

    return make
