"""The process of the virtual beamline: two sockets, one control loop, one acquisition thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import zmq
from msgspec import structs

from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.beamline import BeamlineEndpoints
from streamer.io.messaging import sockets
from streamer.io.messaging.control import ControlServer
from streamer.io.senders.outlet import open_outlet
from streamer.sim.acquisition import SOURCE_NAME, Acquirer, Clock
from streamer.sim.control import BeamlineControl
from streamer.sim.prerender import Renderer
from streamer.sim.scene.phantom import compile_bodies
from streamer.sim.scene.render import View
from streamer.sim.scene.samples import Sample, magazine
from streamer.sim.station import Setup, VirtualStation
from streamer.sim.truth import write_json

SPOOL_BYTES = 2**26
SPOOL_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Addresses:
    """Endpoints to bind (ports may be ``*``), the file in which the bound ones are announced, how frames are sent, and
    whether the process ends when its parent does.
    """

    frames: str = "tcp://127.0.0.1:*"
    control: str = "tcp://127.0.0.1:*"
    ready_file: Path | None = None
    transport: Transport = "push"
    with_parent: bool = False


class Server:
    """The server of one virtual beamline; ``run`` releases everything when it returns.

    Raises BadInput when a socket cannot be bound.
    """

    def __init__(self, setup: Setup, addresses: Addresses, cache_bytes: int, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self._context: sockets.Context = zmq.Context()
        self._ready_file = addresses.ready_file
        self._renderer = Renderer(cache_bytes)
        with ExitStack() as undo:
            undo.callback(self._context.term)
            undo.callback(self._renderer.close)
            spool = max(SPOOL_BYTES, SPOOL_FRAMES * 2 * setup.rows * setup.columns)
            outlet = open_outlet(
                addresses.transport, self._context, addresses.frames, True, "--frames", SOURCE_NAME, spool
            )
            undo.callback(outlet.close, 0.0)
            station = VirtualStation(setup)
            self._acquirer = Acquirer(station, self._renderer, outlet, clock)
            self._control = BeamlineControl(station, self._acquirer, self._renderer, lambda: self.endpoints, clock.now)
            self._server = ControlServer(
                self._context, addresses.control, self._control.table(), clock.now, name="--control"
            )
            undo.pop_all()
        self.endpoints = BeamlineEndpoints(self._server.endpoint, outlet.endpoint)
        self._parent = os.getppid() if addresses.with_parent else None
        self._stop = False
        warm(setup)
        self._acquirer.warm()

    def run(self) -> None:
        """Serve until ``quit``, a signal, or the end of the parent process where that is wanted."""
        self._acquirer.start()
        if self._ready_file is not None:
            write_json(self._ready_file, {**structs.asdict(self.endpoints), "pid": os.getpid()})
        try:
            self._server.run(self._ended)
        finally:
            self._close()

    def _ended(self) -> bool:
        """Asked in every round of the control loop, which the watchdog uses, too."""
        self._control.watch()
        return self._stop or self._control.finished or (self._parent is not None and os.getppid() != self._parent)

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """A signal handler: leave ``run`` soon."""
        self._stop = True

    def _close(self) -> None:
        self._acquirer.close()
        self._renderer.close()
        self._context.term()
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


def warm(setup: Setup) -> None:
    """Compile the kernels of the projector, or load them from the cache on disk, with a tiny detector."""
    samples: list[Sample] = list(magazine(1, 8, 0.2, 1.0, 0))
    view = View(8, 8, 0.2, 3.5, weights=setup.preset.weights, blur_px=0.5)
    view.transmission(compile_bodies(samples[0].bodies, setup.preset.energies_kev), 10.0)


def serve(
    setup: Setup,
    addresses: Addresses,
    cache_bytes: int,
    install: Callable[..., object] = signal.signal,
    tell: Callable[[BeamlineEndpoints], object] = lambda _endpoints: None,
) -> None:
    """Run a server until SIGTERM or SIGINT; ``tell`` is called when it is ready. Raises BadInput as Server does."""
    server = Server(setup, addresses, cache_bytes)
    install(signal.SIGTERM, server.stop)
    install(signal.SIGINT, server.stop)
    tell(server.endpoints)
    server.run()
