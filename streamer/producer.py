"""For integrators of detectors: send a scan to a daemon, with nothing lost.

    from streamer.frames import FrameKind, ScanSpec
    from streamer.producer import Producer

    spec = ScanSpec("tooth-1", "tooth", rows=2048, columns=2048, projections=1800)
    with Producer("tcp://daemon:5580", spec) as producer:
        for index, (angle_deg, pixels) in enumerate(camera):
            producer.send(index, FrameKind.PROJECTION, angle_deg, pixels)
        producer.finish()

The daemon needs ``source.transport = "acknowledged"`` and ``source.bind = true``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.flow import wire
from streamer.flow.spool import Spool
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec, StreamerError
from streamer.io.messaging.sockets import open_to_all
from streamer.io.senders.acknowledged import AcknowledgedSender, SpoolFullError, new_run
from streamer.io.shared import SharedBuffer
from streamer.keys import ClientKey

__all__ = ["Producer", "SpoolFullError", "UnacknowledgedError"]

log = logging.getLogger(__name__)

ABORT_S = 2.0


class UnacknowledgedError(StreamerError):
    """The daemon did not acknowledge everything in time. The message says what is lacking, and why if that is known."""


class Producer:
    """One scan from a detector to a daemon over the acknowledged transport. A context manager.

    Every frame is kept in the spool until the daemon has it safe in the raw file; it is sent again when the connection
    or the daemon was lost. While the daemon is away the spool fills, and ``send`` goes on; when it is full ``alarm`` is
    called with one line, and ``send`` waits.
    """

    def __init__(
        self,
        endpoint: str,
        spec: ScanSpec,
        *,
        spool_mb: float = 1024.0,
        spool_file: Path | None = None,
        bind: bool = False,
        source: str = "producer",
        key_file: Path | None = None,
        alarm: Callable[[str], None] = log.warning,
    ) -> None:
        """Announce the scan; returns at once, whether a daemon is there or not.

        ``spool_mb`` is memory in MiB: 10 s of frames is a good size. With ``spool_file`` it is a file, which survives
        this process: a producer that is started again with it, the same ``spool_mb`` and the same spec sends what is
        left and goes on at ``next_index``. With ``bind`` the daemon connects here (``source.bind = false``).
        ``key_file`` is this client's key, for a daemon that asks for one (``streamer keys``).
        Raises BadInput for an endpoint, a key or a spool that cannot be used, and for a scan that ended before.
        """
        nbytes = int(spool_mb * 2**20)
        self.spec, self._source = spec, source
        guard = open_to_all if key_file is None else ClientKey.read(key_file).apply
        self._spool = SharedBuffer.create(nbytes) if spool_file is None else SharedBuffer.named(spool_file, nbytes)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            messages = Spool(self._spool.memory, new_run())
            self._sender = AcknowledgedSender(self._context, endpoint, bind, messages, source, alarm, guard=guard)
        except BaseException:
            self._release()
            raise
        self.endpoint = self._sender.endpoint
        self.next_index = 0
        """One more than the highest index that was sent, also by an earlier process with the same spool file."""
        self._ended = False
        try:
            self._resume_or_start()
        except BaseException:
            self.close()
            raise

    def _resume_or_start(self) -> None:
        header = self._sender.last_header()
        last = None if header is None else wire.decode(header)
        if isinstance(last, wire.FrameHeader) and last.scan_id == self.spec.scan_id:
            self.next_index = last.index + 1
        elif isinstance(last, wire.End) and last.scan_id == self.spec.scan_id:
            raise BadInput(f"scan {last.scan_id} was ended by an earlier process; every scan needs its own scan id")
        elif not (isinstance(last, wire.Start) and last.spec == self.spec):
            self._sender.send(wire.encode(wire.Start(self.spec, src=self._source)))

    def send(
        self,
        index: int,
        kind: FrameKind,
        angle_deg: float,
        pixels: NDArray[Any],
        monitor: float | None = None,
        *,
        exposure_s: float = 0.0,
        timestamp_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Send one frame: ``pixels`` (rows, columns) of the announced dtype are copied before this returns.

        ``index`` counts from 0 over all kinds; ``angle_deg`` is the true angle at the exposure; ``monitor`` is the beam
        monitor (None: 1); ``timestamp_ns`` is the start of the exposure since 1970 UTC (None: now).
        Raises BadInput for pixels of another shape or type than announced, SpoolFullError when the spool stays full for
        ``timeout_s`` (None: wait for ever).
        """
        spec = self.spec
        if pixels.shape != (spec.rows, spec.columns) or pixels.dtype != np.dtype(spec.dtype):
            announced = f"announced are {(spec.rows, spec.columns)} {spec.dtype}"
            raise BadInput(f"frame {index}: {pixels.shape} {pixels.dtype.str}, {announced}")
        meta = FrameMeta(
            spec.scan_id,
            index,
            kind,
            angle_deg,
            timestamp_ns=time.time_ns() if timestamp_ns is None else timestamp_ns,
            exposure_s=exposure_s or spec.exposure_s,
            monitor=1.0 if monitor is None else monitor,
        )
        self._sender.send(wire.encode_frame(meta, pixels, self._source), timeout_s)
        self.next_index = max(self.next_index, index + 1)

    def end(self, status: wire.EndStatus = "ok", timeout_s: float | None = None) -> None:
        """Say that no more frames come, and do not wait for the daemon. Once it is said, nothing changes it.

        ``status``: "ok", "stopped" (ended early on purpose; what was not sent is not missing) or "aborted".
        Raises SpoolFullError when the spool stays full for ``timeout_s`` (None: wait for ever).
        """
        if not self._ended:
            message = wire.End(self.spec.scan_id, self.next_index, status, src=self._source)
            self._sender.send(wire.encode(message), timeout_s)
            self._ended = True

    def finish(self, status: wire.EndStatus = "ok", timeout_s: float | None = 60.0) -> None:
        """End the scan with a status of ``end``, and wait until the daemon has closed its files.

        Raises UnacknowledgedError when the daemon is away, or takes nothing, for ``timeout_s``; what is left stays in
        the spool.
        """
        try:
            self.end(status, timeout_s)
        except SpoolFullError as error:
            raise UnacknowledgedError(str(error)) from error
        if not self._sender.wait(timeout_s):
            raise UnacknowledgedError(self._sender.complaint())

    @property
    def unacknowledged(self) -> int:
        """Messages that the daemon has not acknowledged."""
        return self._sender.unacknowledged

    @property
    def resent(self) -> int:
        """Messages that had to be sent again."""
        return self._sender.resent

    @property
    def held(self) -> str:
        """Why the daemon takes no frames now; empty when it does."""
        return self._sender.held

    def close(self) -> None:
        """Stop at once. What is not acknowledged stays in the spool file, if there is one."""
        self._sender.close()
        self._release()

    def _release(self) -> None:
        self._context.destroy(linger=0)
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close. A scan that was not finished is "stopped", or "aborted" when the block ended with an error."""
        try:
            if kind is None and not self._ended:
                self.finish("stopped")
            elif kind is not None and not self._ended and issubclass(kind, Exception):
                self._abort()
        finally:
            self.close()

    def _abort(self) -> None:
        """Tell the daemon, but keep the error that ended the block."""
        try:
            self.finish("aborted", ABORT_S)
        except StreamerError as problem:
            log.warning("scan %s: %s", self.spec.scan_id, problem)
