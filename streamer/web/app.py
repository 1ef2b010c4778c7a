"""The ASGI application: the page, its WebSocket, and bricks of tomograms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamer import __version__
from streamer.frames import BadInput
from streamer.web.access import HEADERS, Access, Right, host_is_ours, origin_is_ours
from streamer.web.archive import Archive
from streamer.web.hub import Hub, PageClient
from streamer.web.messages import Cut, Drawn, Enter, FixTheCenter, Move, Open, See, Stop, read_wish, to_text
from streamer.web.relay import Relay

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
TOKEN_HEADER = "streamer-token"  # not Authorization, which belongs to a proxy
ENTER_WITHIN_S = 10.0
REFUSED, FULL, NOT_UNDERSTOOD = 4401, 4429, 4400
"""Codes with which a WebSocket is closed: the token is wrong, too many pages are open, the page sent nonsense."""


class Guard:
    """Refuses requests for other hosts and from other pages, WebSockets included; adds the headers of every answer."""

    def __init__(self, app: ASGIApp, names: Iterable[str], refused: Callable[[], None]) -> None:
        self._app, self._names, self._refused = app, tuple(names), refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        good = len(hosts) == 1 and len(origins) <= 1 and host_is_ours(hosts[0], self._names)
        if not good or not origin_is_ours(origins[0] if origins else None, hosts[0]):
            self._refused()
            log.info("refused a request for host %r from %r", hosts[:2], origins[:2])
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": REFUSED})
            else:
                await PlainTextResponse("this host or page may not ask\n", 403, HEADERS)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


class Page:
    """The endpoints. ``relay`` brings news by ``hub``, which belongs to the event loop."""

    def __init__(self, relay: Relay, hub: Hub, access: Access) -> None:
        self._relay, self._hub, self._access = relay, hub, access
        self._archive = Archive(relay.tomogram_file)

    async def index(self, _request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def alive(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def brick(self, request: Request) -> Response:
        """Voxels of a box, of a tomogram that grows or of a file; see ``Archive.brick``."""
        if self._access.right(request.headers.get(TOKEN_HEADER, "")) < Right.LOOK:
            self._hub.counts["refused"] += 1
            return PlainTextResponse("a token is needed\n", 403)
        try:
            content = await asyncio.to_thread(self._brick, request.path_params["scan_id"], request.query_params)
        except BadInput as error:
            return PlainTextResponse(f"{error}\n", 404)
        self._hub.counts["bricks"] += 1
        self._hub.counts["brick bytes"] += len(content)
        return Response(content, media_type="application/octet-stream", headers={"cache-control": "no-store"})

    def _brick(self, scan_id: str, query: Mapping[str, str]) -> bytes:
        grown = self._relay.growing_brick(scan_id, query)
        return self._archive.brick(scan_id, query) if grown is None else grown

    async def socket(self, socket: WebSocket) -> None:
        """One page, from its token to its end."""
        if self._hub.full:
            await socket.close(FULL)
            return
        await socket.accept()
        client = await self._entered(socket)
        if client is None:
            return
        self._hub.enter(client)
        for subject, message in self._relay.greeting():
            client.put(subject, message)

        async def send(message: str | bytes) -> None:
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))

        sending = asyncio.create_task(client.send_all(send))
        hearing = asyncio.create_task(self._hear(socket, client))
        try:
            await asyncio.wait([sending, hearing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(client)
            for task in (sending, hearing):
                task.cancel()
            await asyncio.gather(sending, hearing, return_exceptions=True)

    async def _entered(self, socket: WebSocket) -> PageClient | None:
        try:
            async with asyncio.timeout(ENTER_WITHIN_S):
                wish = read_wish(await socket.receive_text())
        except (TimeoutError, BadInput, WebSocketDisconnect, KeyError):
            await _close(socket, NOT_UNDERSTOOD)
            return None
        right = self._access.right(wish.token) if isinstance(wish, Enter) else Right.NONE
        if right is Right.NONE:
            self._hub.counts["refused"] += 1
            await _close(socket, REFUSED)
            return None
        await socket.send_text(to_text("hello", version=__version__, steers=right is Right.STEER,
                                       can_steer=self._access.steer is not None))  # fmt: skip
        return PageClient(right, self._hub.counts)

    async def _hear(self, socket: WebSocket, client: PageClient) -> None:
        loop = asyncio.get_running_loop()

        def answer(problem: str) -> None:
            if problem:
                _call(loop, client.put, "notice", to_text("notice", text=problem))

        while True:
            try:
                wish = read_wish(await socket.receive_text())
            except (WebSocketDisconnect, KeyError):
                return
            except BadInput as error:
                answer(str(error))
                await _close(socket, NOT_UNDERSTOOD)
                return
            if wish.steers and client.right < Right.STEER:
                answer("this page may only look; enter a token to steer")
                continue
            match wish:
                case Drawn():
                    client.drawn()
                case See(detector):
                    self._hub.see(client, detector)
                case Move() | FixTheCenter() | Stop():
                    self._relay.wish(wish, answer)
                case Open(scan_id):
                    for plane, message in self._relay.pictures(scan_id).items():
                        client.put(f"past plane {plane}", message)
                case Cut():
                    await self._cut(wish, client, answer)

    async def _cut(self, wish: Cut, client: PageClient, answer: Callable[[str], None]) -> None:
        try:
            pictures = await asyncio.to_thread(self._archive.cut, wish)
        except BadInput as error:
            answer(str(error))
            return
        for plane, message in pictures.items():
            client.put(f"past plane {plane}", message)


async def _close(socket: WebSocket, code: int) -> None:
    try:
        await socket.close(code)
    except (RuntimeError, WebSocketDisconnect):
        log.debug("the page was gone before it was closed")


def application(relay: Relay, hub: Hub, access: Access, names: Iterable[str]) -> ASGIApp:
    """The application. ``names`` are those by which pages may ask for it, besides addresses and localhost."""
    page = Page(relay, hub, access)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        relay.start(lambda subject, message: _call(loop, hub.publish, subject, message))
        yield
        await asyncio.to_thread(relay.close)

    routes = [
        Route("/", page.index),
        Route("/livez", page.alive),
        Route("/brick/{scan_id}", page.brick),
        WebSocketRoute("/news", page.socket),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(routes=routes, lifespan=running)

    def refused() -> None:
        hub.counts["refused"] += 1

    return Guard(app, names, refused)


def _call(loop: asyncio.AbstractEventLoop, work: Callable[..., object], *arguments: object) -> None:
    """Have the event loop call ``work`` soon; not at all when it has ended."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(work, *arguments)
