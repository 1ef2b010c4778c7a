"""The process of the virtual beamline: two sockets, one control loop, one acquisition thread."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import zmq

from streamer.flow.wire import WireError, pack, unpack
from streamer.sim.acquisition import Acquirer, Clock
from streamer.sim.control import Control, Later, Reply, refusal
from streamer.sim.phantom import compile_bodies
from streamer.sim.prerender import Renderer
from streamer.sim.render import View
from streamer.sim.samples import Sample, magazine
from streamer.sim.station import Setup, Station
from streamer.sim.truth import write_json

log = logging.getLogger(__name__)

HIGH_WATER = 8
LOOP_MS = 100
PREPARE_WAIT_S = 3.0
"""``prepare`` answers when the projections are rendered, or after this time; the rest is then rendered on the way."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the sockets are bound (ports may be ``*``) and where the result is announced."""

    frames: str = "tcp://127.0.0.1:*"
    control: str = "tcp://127.0.0.1:*"
    ready_file: Path | None = None


class Server:
    """Runs until told to stop; everything is released when ``run`` returns."""

    def __init__(self, setup: Setup, addresses: Addresses, cache_bytes: int, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        frames = self._context.socket(zmq.PUSH)
        frames.set_hwm(HIGH_WATER)
        self._router.bind(addresses.control)
        frames.bind(addresses.frames)
        self.endpoints = {"control": _endpoint(self._router), "frames": _endpoint(frames)}
        self._ready_file = addresses.ready_file
        self._renderer = Renderer(cache_bytes)
        station = Station(setup)
        self._acquirer = Acquirer(station, self._renderer, frames, self._clock)
        self._control = Control(station, self._acquirer, self._renderer, self.endpoints, self._clock.now)
        self._waiting: list[tuple[float, list[bytes], Later]] = []
        self._parent = os.getppid()
        self._stop = False
        warm(setup)
        self._acquirer.warm()

    def run(self) -> None:
        """Serve until ``quit``, a signal, or the end of the parent process."""
        self._acquirer.start()
        if self._ready_file is not None:
            write_json(self._ready_file, {**self.endpoints, "pid": os.getpid()})
        try:
            while not (self._stop or self._control.finished or os.getppid() != self._parent):
                if self._router.poll(10 if self._waiting else LOOP_MS):
                    self._serve(self._router.recv_multipart())
                self._answer_waiting()
        finally:
            self._close()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """A signal handler: leave ``run`` soon."""
        self._stop = True

    def _serve(self, parts: list[bytes]) -> None:
        try:
            reply = self._control.answer(unpack(parts[-1]))
        except WireError as error:
            reply = refusal(error)
        except Exception as error:  # a fault of ours must not end the beamline; it is logged and told to the client
            log.exception("request failed")
            reply = {"v": 1, "ok": False, "error": f"{type(error).__name__}: {error}", "code": "failed"}
        if isinstance(reply, Later):
            self._waiting.append((self._clock.now() + PREPARE_WAIT_S, parts[:-1], reply))
        else:
            self._reply(parts[:-1], reply)

    def _answer_waiting(self) -> None:
        now = self._clock.now()
        due = [entry for entry in self._waiting if entry[0] <= now or entry[2].ready()]
        for entry in due:
            self._waiting.remove(entry)
            self._reply(entry[1], entry[2].reply)

    def _reply(self, envelope: list[bytes], reply: Reply) -> None:
        with suppress(zmq.Again):
            self._router.send_multipart([*envelope, pack(reply)], zmq.DONTWAIT)

    def _close(self) -> None:
        self._acquirer.close()
        self._renderer.close()
        self._router.close(linger=500)
        self._context.term()
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


def _endpoint(socket: zmq.Socket[bytes]) -> str:
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def warm(setup: Setup) -> None:
    """Compile, or load from the cache on disk, every kernel of the projector on a tiny detector."""
    samples: list[Sample] = list(magazine(1, 8, 0.2, 1.0, 0))
    view = View(8, 8, 0.2, 3.5, weights=setup.preset.weights, blur_px=0.5)
    view.transmission(compile_bodies(samples[0].bodies, setup.preset.energies_kev), 10.0)


def serve(setup: Setup, addresses: Addresses, cache_bytes: int, install: Callable[..., object] = signal.signal) -> int:
    """Build the server, let SIGTERM and SIGINT end it, run it; the exit code of the process."""
    try:
        server = Server(setup, addresses, cache_bytes)
    except zmq.ZMQError as error:
        print(f"streamer.sim: cannot bind {addresses.control} or {addresses.frames}: {error}", file=sys.stderr)
        return 2
    install(signal.SIGTERM, server.stop)
    install(signal.SIGINT, server.stop)
    server.run()
    return 0
