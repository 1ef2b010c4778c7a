"""Frames of a foreign detector: received, decoded, joined with kinds and angles, and unpacked straight into the ring.

What a message means is in ``flow.dialects``, which frame of the scan an image is in ``flow.assembly``. A client arms
the scan; images that come while no scan waits for them are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import zmq

from streamer.flow import wire
from streamer.flow.assembly import Assembly, Ready
from streamer.flow.codecs import decompress_into
from streamer.flow.dialects.message import Image, Message, SeriesEnd, SeriesStart, SocketKind
from streamer.flow.positions.positions import Remark
from streamer.frames import ScanSpec
from streamer.io.messaging import sockets
from streamer.io.positions import PositionSource
from streamer.io.sources.push import POLL_MS, FrameSink

HEADER_ROOM = 2**20
"""Bytes that a part may have beyond the largest frame: tables and masks come in parts of their own."""

WAITING_MS = 5
"""How long a message is waited for while frames wait for their positions."""

MAX_PARTS = 1000
REQUEST = b"next"  # of the Karabo bridge, the only dialect that is asked
REQUEST_S = 10.0  # a request that is not answered is repeated


class Inbox(Protocol):
    """Where messages of a detector come in. One owner thread."""

    endpoint: str

    def attach(self, wanted: bool) -> None:
        """Whether messages are wanted just now; called before each ``receive``."""

    def receive(self, timeout_ms: int) -> Message | None:
        """The next message; None when none came, or one that says nothing. Raises WireError, ZMQError."""

    def close(self) -> None: ...


class ForeignSink(FrameSink, Protocol):
    """Where frames of a foreign detector are handed over."""

    def series(self, scan_id: str, start: SeriesStart) -> None:
        """The detector announces a series of a scan; its mask has the shape of the scan's images."""

    def remarks(self, scan_id: str, texts: Sequence[str]) -> None:
        """What was wrong with the frames of a scan so far, in words."""


class DialectReceiver:
    """``run`` is the body of the receive thread."""

    def __init__(
        self,
        inbox: Inbox,
        source: str,
        scan: Callable[[], ScanSpec | None],
        new_assembly: Callable[[ScanSpec], Assembly],
        clock: Callable[[], float],
        positions: PositionSource | None = None,
    ) -> None:
        """``scan`` gives the scan that waits for frames; ``new_assembly`` accepted it when it was armed.

        ``source`` is the name that its end message carries.
        """
        self._inbox, self._source, self._scan, self._new_assembly = inbox, source, scan, new_assembly
        self._clock, self._positions = clock, positions
        self._spec: ScanSpec | None = None
        self._assembly: Assembly | None = None
        self._end: wire.End | None = None  # it waits for frames that wait for their positions
        self.endpoint = inbox.endpoint

    def run(self, sink: ForeignSink, stopped: Callable[[], bool]) -> None:
        """Receive until ``stopped()``; looks at it at least every 50 ms."""
        while not stopped():
            self._guarded(sink)
        self.close()

    def close(self) -> None:
        self._inbox.close()

    def _guarded(self, sink: ForeignSink) -> None:
        try:
            self._turn(sink)
        except wire.WireError as error:
            sink.rejected(error.reason, str(error))
        except zmq.ZMQError:
            raise
        except Exception as error:  # a full disk, no more descriptors, a bug: the next message may fare better
            sink.failed(error)

    def _turn(self, sink: ForeignSink) -> None:
        """Take one message, if there is one, and hand on what is due."""
        self._follow_scan(sink)
        assembly = self._assembly
        self._inbox.attach(assembly is not None)
        message = None
        if self._positions is not None and assembly is not None and assembly.full:
            self._positions.wait(WAITING_MS / 1e3)
        else:
            message = self._inbox.receive(WAITING_MS if assembly is not None and assembly.waiting else POLL_MS)
        self._follow_scan(sink)  # it may have been armed while this waited
        self._take_positions(sink)
        if message is not None:
            self._take(message, sink)
        if self._assembly is not None:
            self._hand_on(self._assembly, sink)

    def _follow_scan(self, sink: ForeignSink) -> None:
        spec = self._scan()
        if spec is not self._spec:
            self._say_remarks(sink)
            self._spec, self._end = spec, None
            self._assembly = None if spec is None else self._new_assembly(spec)

    def _say_remarks(self, sink: ForeignSink) -> None:
        if self._spec is not None and self._assembly is not None:
            sink.remarks(self._spec.scan_id, tuple(self._assembly.remarks()))

    def _take_positions(self, sink: ForeignSink) -> None:
        """Positions that come while no scan waits are forgotten: they are those of no frame."""
        if self._positions is None:
            return
        now = self._clock()
        for event in self._positions.drain():
            if isinstance(event, Remark):
                sink.rejected("positions", event.text)
            if self._assembly is not None:
                self._assembly.position(event, now)

    def _take(self, message: Message, sink: ForeignSink) -> None:
        spec, assembly = self._spec, self._assembly
        if spec is None or assembly is None:
            kind, series = type(message).__name__, message.series
            sink.rejected("stale_scan", f"{kind} of series {series!r}, but no scan waits for frames: arm one first")
        elif isinstance(message, Image):
            assembly.image(message, self._clock())
        elif isinstance(message, SeriesStart):
            check_series(message, spec)
            assembly.start(message)
            sink.series(spec.scan_id, message)
        else:
            self._take_end(message, assembly, spec)

    def _take_end(self, message: SeriesEnd, assembly: Assembly, spec: ScanSpec) -> None:
        """The end of a series is that of the scan when no frame is left for another series."""
        assembly.end(message)
        if assembly.ended:
            self._end = wire.End(spec.scan_id, spec.frames, src=self._source)

    def _hand_on(self, assembly: Assembly, sink: ForeignSink) -> None:
        frames = assembly.due(self._clock())
        for ready in frames:
            self._unpack(ready, sink)
        if self._spec is None or assembly.waiting or assembly.frames < self._spec.frames:
            return
        if frames or self._end is not None:
            self._say_remarks(sink)
        if self._end is not None:
            end, self._end = self._end, None
            sink.end(end)

    def _unpack(self, ready: Ready, sink: ForeignSink) -> None:
        header, image = ready.header, ready.image
        slot = sink.slot(header)
        if slot is None:
            return
        try:
            decompress_into(image.codec, image.data, slot, np.dtype(image.dtype).itemsize)
        except wire.WireError as error:
            sink.corrupt(header, error.reason)
        else:
            sink.frame(header, image.data if image.codec == "bslz4-h5" else None)


def check_series(start: SeriesStart, spec: ScanSpec) -> None:
    """Raises WireError when a series will not fit the armed scan."""
    shape = spec.rows, spec.columns
    if start.shape not in (None, shape) or (start.mask is not None and start.mask.shape != shape):
        reason = "shape"
    elif start.dtype not in (None, spec.dtype):
        reason = "dtype"
    else:
        return
    rows, columns = start.shape or shape
    came = f"{rows}×{columns} {start.dtype or spec.dtype}"
    armed = f"{spec.rows}×{spec.columns} {spec.dtype}"
    raise wire.WireError(
        reason, f"series {start.series} has images of {came}, scan {spec.scan_id} was armed for {armed}"
    )


class ZmqInbox:
    """Messages of a dialect from a PULL, SUB or REQ socket.

    Raises BadInput when the endpoint cannot be bound or connected.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        high_water_mark: int,
        max_bytes: int,
        decode: Callable[[Sequence[memoryview]], Message | None],
        kind: SocketKind,
        clock: Callable[[], float],
        guard: sockets.Guard = sockets.open_to_all,
        always: bool = False,
    ) -> None:
        """A PULL socket that connects is attached only while frames are wanted, unless ``always``.

        A PUSH socket deals its messages out to all that are connected; a PUB socket sends them to everybody, and loses
        those of the first moments, so that a SUB socket stays attached.
        """
        self._decode, self._kind, self._clock = decode, kind, clock
        self._leaves = kind == "pull" and not bind and not always
        self._attached = not self._leaves
        if self._leaves:
            self.endpoint = sockets.check_endpoint(context, endpoint, "source.endpoint")
        self._socket = context.socket({"pull": zmq.PULL, "sub": zmq.SUB, "req": zmq.REQ}[kind])
        self._socket.setsockopt(zmq.RCVHWM, high_water_mark)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_bytes + HEADER_ROOM)
        self._socket.setsockopt(zmq.LINGER, 0)
        if kind == "sub":
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        if kind == "req":
            self._socket.setsockopt(zmq.REQ_RELAXED, 1)
            self._socket.setsockopt(zmq.REQ_CORRELATE, 1)
        self._watch = None if bind else sockets.Watch(self._socket)
        self._asked_s: float | None = None  # when the answer that is awaited was asked for
        self._wanted = False
        guard(self._socket)
        if self._attached:
            self.endpoint = (sockets.bind if bind else sockets.connect)(self._socket, endpoint, "source.endpoint")

    def attach(self, wanted: bool) -> None:
        self._wanted = wanted
        if self._leaves and wanted is not self._attached:
            (self._socket.connect if wanted else self._socket.disconnect)(self.endpoint)
            self._attached = wanted

    def receive(self, timeout_ms: int) -> Message | None:
        if self._kind == "req":
            self._ask()
        if not self._socket.poll(timeout_ms):
            if self._watch is not None and self._attached and self._watch.mend(self.endpoint):
                raise wire.WireError("oversize", f"{self.endpoint}: {self._watch.GIVEN_UP}; it is made anew")
            return None
        self._asked_s = None
        return self._decode(self._parts())

    def _ask(self) -> None:
        now = self._clock()
        if not self._wanted or (self._asked_s is not None and now - self._asked_s < REQUEST_S):
            return
        with suppress(zmq.Again):  # nobody is there yet
            self._socket.send(REQUEST, zmq.DONTWAIT)
            self._asked_s = now

    def _parts(self) -> list[memoryview]:
        """The parts of a message, which share its memory."""
        parts: list[memoryview] = []
        more = True
        while more:
            frame = self._socket.recv(copy=False)
            more = frame.more
            if len(parts) <= MAX_PARTS:  # those beyond are dropped, and the dialect refuses their number
                parts.append(frame.buffer)
        return parts

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._socket.close()
